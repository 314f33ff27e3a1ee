"""What is wrong with a policy about places: patterns that look-alikes fit, and paths that need not be there.

Each rule reads one policy's syntax tree (`cedarpy.pst`). Refuses to know files and lines.
"""

from collections.abc import Iterator
from typing import Any, Final

from cedarpy import pst

from lictor.pdp.engine.projection import children, context_path
from lictor.policy.lintrules import Fault, Known, nodes
from lictor.policy.problems import quote

_ADDRESSES: Final = frozenset({"address", "email", "mail", "recipient", "to"})
_PATH: Final = ("destination", "path")


def loose_address(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001 - one signature for all rules
    """`like "*corp.example"` on an e-mail address matches `x@evilcorp.example` as well."""
    for attribute, text in _patterns(policy):
        domain = text[1:]
        if (
            attribute in _ADDRESSES
            and text.startswith("*")
            and "." in domain
            and domain[0] not in "@.*"
            and "@" not in domain
        ):
            fix = f'write "*@{domain}", or list the domain in directory.toml'
            yield Fault("look_alike_host", "error", f"{quote(text)} also matches domains that only end like it", fix)


def host_with_star(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """`like "https://*.corp.example/*"` matches `https://evil.example/.corp.example/`: a star matches slashes too."""
    for _, text in _patterns(policy):
        host = text.partition("://")[2].partition("/")[0]
        if "*" in host.removesuffix("*"):
            said = f"in {quote(text)} the * also matches another host and a slash"
            yield Fault("look_alike_host", "error", said, 'use context.destination.host like "*.example.com"')


def forbidden_path(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """A forbid that applies to certain paths does not apply to a URL whose path has several readings (case URLS-23)."""
    if policy.effect == "forbid" and any(
        _applies_on_path(clause.expr, applies=type(clause) is pst.When) for clause in policy.clauses
    ):
        yield Fault(
            "path_may_be_absent",
            "warning",
            "a URL whose path readers take differently has no context.destination.path: this forbid lets it pass",
            'say what is allowed (unless { context.destination has path && ... }), or unclear = "deny" in the catalogue',
        )


PLACE_RULES: Final = (loose_address, host_with_star, forbidden_path)


def _patterns(policy: pst.Template) -> Iterator[tuple[str, str]]:
    """Attribute, lower case, and pattern of every `like`."""
    for node in nodes(policy):
        if type(node) is pst.Like and isinstance(node.base, pst.GetAttr):
            text = "".join(part.value if isinstance(part, pst.Char) else "*" for part in node.pattern)
            yield node.base.attr.lower(), text


def _applies_on_path(root: Any, *, applies: bool) -> bool:
    """Whether a comparison with the path, being true, makes the forbid apply."""
    waiting = [(root, applies)]
    while waiting:
        node, good = waiting.pop()
        if type(node) is pst.UnaryOp and node.op == "not":
            waiting.append((node.arg, not good))
        elif type(node) is pst.BinaryOp and node.op in {"and", "or"}:
            waiting += [(node.left, good), (node.right, good)]
        elif good and type(node) is not pst.HasAttr and _reads_path(node):
            return True
    return False


def _reads_path(root: Any) -> bool:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if type(node) is pst.GetAttr and context_path(node)[0] == _PATH:
            return True
        waiting.extend(children(node))
    return False
