"""What a set of policies is compiled to: the engine's own set, and the part of context and schema that it can read.

Policies are parsed a chunk at a time, under our ids and without annotations; only syntax trees are kept, and what is compiled of
them. Refuses to know requests.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from cedarpy import PolicySet, Schema, pst

from lictor.model.errors import OperatorError
from lictor.model.ids import PolicyId
from lictor.model.reasons import Reason
from lictor.pdp.depth import MAX_EXPRESSION_DEPTH, too_deep
from lictor.pdp.engine import projection
from lictor.pdp.engine.judging import Check, Judges
from lictor.pdp.engine.schematext import SchemaShape, render_action
from lictor.pdp.engine.slicing import Uid

MAX_SCHEMAS: Final = 512
"""Cut-down schemas kept, of some 60 KiB each; the oldest goes first."""
MAX_ERROR: Final = 500
"""Characters of one error kept."""
_CHUNK: Final = 256
"""Policies parsed at a time: a parsed policy takes up to 26 KiB (facts section 11)."""
_ACTION: Final = "Action"

_encode = msgspec.json.Encoder().encode

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class View:
    """What a request is evaluated with: compiled policies and what they can read."""

    policies: PolicySet
    check: Check | None
    """Raises for a context that does not fit as far as it is judged here; the same for all views of an action. None: send all."""
    pick: projection.Step
    """Takes out what they can read, of a context that was checked."""
    judged: bool
    """Whether what is picked of a context that was checked fits the schema: then the engine need not look again."""
    schema: Schema
    """The one action with its groups, its context cut down to what `pick` leaves."""
    mentioned: tuple[Uid, ...]
    size: int
    """Policies."""
    factless: bool
    """Whether they read nothing of the context."""


class Compiler:
    """Compiles policies of one version for one action at a time."""

    def __init__(self, shape: SchemaShape, *, projecting: bool) -> None:
        """Of a schema that has been read.

        Args:
            shape: every action and its groups.
            projecting: whether views cut the context down; for tests that compare.
        """
        self._shape = shape
        self._projecting = projecting
        self._judges = Judges()
        self._checks: dict[str, Check] = {}
        self._schemas: dict[str, Schema] = {}

    def compile(self, action: str, policies: list[pst.Template]) -> View:
        """The view of one action's requests by these policies."""
        mentioned = tuple(sorted((str(uid.type), uid.id) for uid in pst.entity_uids(tuple(policies))))
        shape = self._shape.actions[action]
        reads = projection.context_reads(policies)
        narrow = projection.narrow(shape.context, reads)
        actions = {
            action,
            *(id_ for type_name, id_ in mentioned if type_name == _ACTION and id_ in self._shape.actions),
        }
        text = self._shape.declarations + "".join(
            self._render(name) for name in sorted(self._with_groups(actions) - {action})
        )
        text += render_action(shape, self._quoted(shape.parents), narrow.type)
        return View(
            policies=policy_set({policy.id: policy for policy in policies}),
            check=self._check(action) if self._projecting else None,
            pick=narrow.pick,
            judged=self._projecting and narrow.judged,
            schema=self._narrowed(text),
            mentioned=mentioned,
            size=len(policies),
            factless=not reads.whole and not reads.children,
        )

    def _check(self, action: str) -> Check:
        check = self._checks.get(action)
        if check is None:
            check = self._checks[action] = self._judges.of(self._shape.actions[action].context)
        return check

    def _narrowed(self, text: str) -> Schema:
        """A schema by its text: slices that read the same share one (60 KiB)."""
        schema = self._schemas.get(text)
        if schema is None:
            schema = Schema.from_str(text)
            while len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.pop(next(iter(self._schemas)), None)
            self._schemas[text] = schema
        return schema

    def _with_groups(self, actions: Iterable[str]) -> set[str]:
        return {name for action in actions for name in (action, *self._shape.ancestors(action))}

    def _quoted(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(self._shape.actions[name].quoted for name in names)

    def _render(self, name: str) -> str:
        """An action only for its place among the groups: it applies to nothing."""
        shape = self._shape.actions[name]
        return render_action(replace(shape, applies=None), self._quoted(shape.parents), shape.context)


def policy_set(policies: Mapping[str, pst.Template]) -> PolicySet:
    """Static policies as the engine's own set."""
    return PolicySet.from_pst(pst.PolicySet(templates={}, static_policies=policies, template_links=()))


def parse(policies: Mapping[PolicyId, Mapping[str, Any]]) -> dict[str, pst.Template]:
    """Syntax trees under our ids, a chunk at a time.

    Raises:
        OperatorError: `bundle_refused`: nested too deep (facts S5, C2), a template, or not taken by the engine.
    """
    found: dict[str, pst.Template] = {}
    names = list(policies)
    for name in names:
        if too_deep(policies[name]):
            raise OperatorError(
                Reason.BUNDLE_REFUSED,
                f"policy {name[:128]!r} nests deeper than {MAX_EXPRESSION_DEPTH} expressions",
                remedy="write a list as [...].contains(x)",
            )
    for start in range(0, len(names), _CHUNK):
        chunk = names[start : start + _CHUNK]
        try:
            found.update(_parse_chunk(policies, chunk))
        except ValueError:
            for name in chunk:  # again one by one, to name the culprit
                found.update(refusing(f"policy {name[:128]!r}", partial(_parse_chunk, policies, [name])))
    return found


def _parse_chunk(policies: Mapping[PolicyId, Mapping[str, Any]], names: list[PolicyId]) -> Mapping[str, pst.Template]:
    # Annotations decide nothing, and the engine would return them with each answer.
    plain = {name: {part: value for part, value in policies[name].items() if part != "annotations"} for name in names}
    document = {"staticPolicies": plain, "templates": {}, "templateLinks": []}
    tree = PolicySet.from_json_str(_encode(document).decode()).to_pst()
    if tree.templates or tree.template_links or tree.static_policies.keys() != set(names):
        raise ValueError("templates are not supported")
    return tree.static_policies


def refusing(what: str, make: Callable[[], _T]) -> _T:
    """Run a constructor of the engine; what it refuses is the operator's error."""
    try:
        return make()
    except (ValueError, TypeError, RecursionError) as error:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"{what}: {' '.join(str(error).split())[:MAX_ERROR]}") from error
