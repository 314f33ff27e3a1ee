"""Our lints on one policy's syntax tree: what strict validation does not find (facts 7).

A rule is a generator of `Fault`s; `lint.py` adds file, line and id. Refuses to know files and the engine.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cedarpy import pst

from lictor.pdp.command.programs import runs_anything
from lictor.pdp.engine.projection import children, context_path
from lictor.policy import fold
from lictor.policy.problems import quote

Severity = Literal["error", "warning"]
MAX_CHAIN: Final = 16
"""Alternatives in one `||` chain; long ones nest, and deep nesting is where the engine gives up (facts S5)."""
_HOSTLIKE: Final = frozenset({"host", "hostname", "domain", "url", "uri"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding in one policy."""

    rule: str
    severity: Severity
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Every name the bundle gives a meaning."""

    entities: Mapping[str, frozenset[str]]
    """Ids by entity type; a type not listed is not checked here."""
    approver_groups: frozenset[str]
    labels: frozenset[str]
    purposes: frozenset[str]
    host_groups: frozenset[str]
    classes: frozenset[str]


def nodes(policy: pst.Template) -> Iterator[Any]:
    """Every node of the conditions."""
    waiting: list[Any] = [clause.expr for clause in policy.clauses]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(children(node))


def open_permit(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001 - one signature for all rules
    """A permit that every scope leaves open is one forgotten condition away from allowing everything (ASI03)."""
    scopes = (policy.principal, policy.action, policy.resource)
    if policy.effect == "permit" and all(type(scope) is pst.ScopeAny for scope in scopes):
        yield Fault(
            "open_permit",
            "error",
            "this permit names no principal, no action and no resource",
            'narrow at least the action, for example: action in [Action::"read"]',
        )


def approval_use(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """Approval must name groups (facts S8), and only ever help (facts 5). Digest and expiry hold anyway: `decide` step 7."""
    paths = {path for node in nodes(policy) if (path := context_path(node)[0]) and path[0] == "approval"}
    if paths and not any(path[:2] == ("approval", "groups") for path in paths):
        yield Fault(
            "approval_without_groups",
            "error",
            "anybody's approval would do: no group is asked for",
            'add: && context.approval.groups.contains("GROUP")',
        )
    for clause in policy.clauses:
        helps = (policy.effect == "permit") == (type(clause) is pst.When)
        if _used_against(clause.expr, helps=helps):
            yield Fault(
                "approval_used_against",
                "error",
                "an approval makes this policy stricter, so no approval could ever be enough",
                "use the approval in permits, or negated in forbids",
            )
            return


def constant(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """A condition that does not depend on anything is a mistake (case POLE-14)."""
    for clause in policy.clauses:
        value = fold.truth(clause.expr)
        if value is not None:
            word = "when" if type(clause) is pst.When else "unless"
            rule, said = ("always_true", "always") if value else ("always_false", "never")
            yield Fault(rule, "error", f"this {word} condition is {said} true", "say what you mean, or remove it")
    for node in nodes(policy):
        if type(node) is pst.BinaryOp and node.op.startswith("contains") and fold.truth(node) is not None:
            rule = "always_true" if fold.truth(node) else "always_false"
            yield Fault(rule, "error", "a comparison with an empty list decides nothing", "fill the list, or remove it")
    if fold.contradiction(fold.conjuncts(policy)):
        yield Fault(
            "contradiction", "error", "the conditions can not all be true together", "this policy never applies"
        )


def overflow(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """Arithmetic past 64 bits is an error, and an error denies everything the policy's scope reaches (facts S2)."""
    if any(fold.may_overflow(node) for node in nodes(policy)):
        yield Fault(
            "may_overflow",
            "error",
            "this arithmetic can leave 64 bits; every request it meets would then be denied",
            "compare before you multiply, or bound the value first",
        )


def long_chain(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """Long `||` chains nest deeply (facts S5)."""
    longest = max((fold.chain_length(node, "or") for node in nodes(policy) if _is(node, "or")), default=0)
    if longest > MAX_CHAIN:
        yield Fault("long_chain", "warning", f"a chain of {longest} alternatives", "write a list: [...].contains(x)")


def loose_pattern(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """`like "*example.com"` matches `evilexample.com`, and `"https://example.com*"` matches `https://example.com.evil.org`."""
    for node in nodes(policy):
        if type(node) is not pst.Like or not isinstance(node.base, pst.GetAttr):
            continue
        text = "".join(part.value if isinstance(part, pst.Char) else "*" for part in node.pattern)
        hostlike = node.base.attr.lower() in _HOSTLIKE
        if hostlike and text.startswith("*") and text[1:2] not in {"", ".", "*", "/"} and "." in text:
            fix = 'write "*.example.com", or list the hosts in directory.toml'
            yield Fault("look_alike_host", "error", f"{quote(text)} also matches hosts that only end like it", fix)
        tail = text.partition("://")[2] if "://" in text else text if node.base.attr.lower() == "host" else ""
        if tail.endswith("*") and "/" not in tail and len(tail) > 1 and not tail.startswith("*"):
            fix = "end the host with / before the *, or use context.destination.host"
            yield Fault("look_alike_host", "error", f"{quote(text)} also matches hosts that only begin like it", fix)


def interpreter_allowed(policy: pst.Template, known: Known) -> Iterator[Fault]:  # noqa: ARG001
    """A list of allowed commands with an interpreter in it allows whatever the interpreter is told (ASI05)."""
    for node in nodes(policy):
        if policy.effect != "permit" or not _is(node, "contains_all") or type(node.left) is not pst.Set:
            continue
        if context_path(node.right)[0] not in {("command", "programs"), ("command", "subcommands")}:
            continue
        for element in node.left.elements:
            program = element.value.partition(" ")[0] if type(element) is pst.StringLit else ""
            if program and runs_anything(program):
                said = f"{quote(program)} runs whatever its words, input or files say"
                yield Fault("interpreter_allowed", "error", said, "list the programs it should run instead")


def unknown_names(policy: pst.Template, known: Known) -> Iterator[Fault]:
    """A name nobody has given a meaning never matches: a permit that helps nobody, a forbid that stops nothing."""
    for uid in pst.entity_uids((policy,)):
        ids = known.entities.get(uid.type.basename)
        if ids is not None and uid.id not in ids:
            what = f"{uid.type.basename}::{quote(uid.id)}"
            yield Fault("unknown_name", "error", f"{what} does not exist in this bundle", "correct the name")
    for path, text in _literals(policy):
        vocabulary = _VOCABULARY.get(path)
        if vocabulary is not None:
            rule, severity, what, names = vocabulary
            if text not in names(known):
                yield Fault(rule, severity, f"{what} {quote(text)} does not exist in this bundle", "correct the name")


RULES: Final[tuple[Callable[[pst.Template, Known], Iterator[Fault]], ...]] = (
    open_permit,
    approval_use,
    constant,
    overflow,
    long_chain,
    loose_pattern,
    interpreter_allowed,
    unknown_names,
)

_Entry = tuple[str, Severity, str, Callable[[Known], frozenset[str]]]
_VOCABULARY: Final[Mapping[tuple[str, ...], _Entry]] = {
    ("approval", "groups"): ("unknown_name", "error", "approver group", lambda known: known.approver_groups),
    ("labels",): ("label_never_produced", "warning", "label", lambda known: known.labels),
    ("task", "purpose"): ("unknown_name", "error", "purpose", lambda known: known.purposes),
    ("destination", "directory"): ("unknown_name", "error", "host group", lambda known: known.host_groups),
    ("effect", "class"): ("unknown_name", "error", "effect class", lambda known: known.classes),
}


def _literals(policy: pst.Template) -> Iterator[tuple[tuple[str, ...], str]]:
    """String literals that are compared with a fact, by the fact's path."""
    for node in nodes(policy):
        if type(node) is not pst.BinaryOp:
            continue
        for one, other in ((node.left, node.right), (node.right, node.left)):
            path = context_path(one)[0]
            if path is None:
                continue
            elements = other.elements if type(other) is pst.Set else (other,)
            yield from ((path, element.value) for element in elements if type(element) is pst.StringLit)


def _used_against(root: Any, *, helps: bool) -> bool:
    """Whether an approval, in some place, turns the policy against the request.

    Args:
        helps: whether this condition being true is good for the request.
    """
    waiting = [(root, helps)]
    while waiting:
        node, good = waiting.pop()
        if type(node) is pst.UnaryOp and node.op == "not":
            waiting.append((node.arg, not good))
        elif type(node) is pst.IfThenElse:
            if _mentions_approval(node.cond):
                return True  # one branch or the other is taken because there is an approval: nothing simple can be said
            waiting += [(node.then_expr, good), (node.else_expr, good)]
        elif type(node) is pst.BinaryOp and node.op in {"and", "or"}:
            waiting += [(node.left, good), (node.right, good)]
        elif not good and _tests_approval(node):
            return True
    return False


def _tests_approval(node: Any) -> bool:
    """Whether this asks for an approval, or for a group of it. Comparing who gave it is another matter."""
    if type(node) is pst.HasAttr:
        path = context_path(node)[0]
        return path is not None and path[0] == "approval"
    return type(node) is pst.BinaryOp and node.op.startswith("contains") and _mentions_approval(node)


def _mentions_approval(root: Any) -> bool:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        path = context_path(node)[0]
        if path and path[0] == "approval":
            return True
        waiting.extend(children(node))
    return False


def _is(node: Any, op: str) -> bool:
    return type(node) is pst.BinaryOp and node.op == op
