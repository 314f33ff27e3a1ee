"""What is proved about: one bundle, taken apart once, and one *scene* of it for each request environment.

A scene holds the formulas of all policies in one environment; it is made, asked everything, and dropped. Refuses to know claims.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import msgspec
import z3
from cedarpy import PolicySet, pst

from lictor.model.approval import Strength
from lictor.model.ids import PolicyId
from lictor.pdp.engine.entities import Directory
from lictor.pdp.facts import HYPOTHETICAL, MOST_PEOPLE
from lictor.policy.bundle import Bundle
from lictor.policy.cedarschema import schema_text
from lictor.policy.compile import bundle_actions, entities
from lictor.policy.prove.environment import Environment, environments
from lictor.policy.prove.expressions import Expressions
from lictor.policy.prove.house import House, assumptions
from lictor.policy.prove.logic import Truth, every, negate, some
from lictor.policy.prove.policies import Outcome, Reads, in_action_scope, reading, reads_of, translate
from lictor.policy.prove.replay import APPROVAL, APPROVAL_MS, Replay
from lictor.policy.prove.symbols import Symbols, View, lookup
from lictor.policy.prove.terms import (
    BOOL,
    DATETIME,
    LONG,
    STRING,
    Collection,
    Record,
    Scalar,
    Term,
    Written,
    is_record,
    replaced,
)
from lictor.policy.prove.unsupported import Unsupported

_CHUNK: Final = 256


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One bundle's policies over one schema."""

    bundle: Bundle
    schema: str
    entities: Sequence[Mapping[str, Any]]
    policies: Mapping[PolicyId, pst.Template]
    groups: tuple[str, ...]
    """Approver groups that have a member, sorted: what pass 2 grants."""
    house: House

    @classmethod
    def of(cls, bundle: Bundle, schema: str = "") -> "Subject":
        """Take a bundle apart.

        Args:
            bundle: loaded; it compiles.
            schema: another schema than its own, for a comparison; empty means its own with an action for each class that nothing
                is in yet.

        Raises:
            OperatorError: it does not compile.
        """
        own = entities(bundle)
        return cls(
            bundle=bundle,
            schema=schema or schema_text(bundle_actions(bundle), phantoms=True),
            entities=own,
            policies=_trees({policy.id: policy.json for policy in bundle.policies}),
            groups=tuple(sorted(bundle.approvers.groups)),
            house=House.of(bundle, own),
        )

    @cached_property
    def environments(self) -> tuple[Environment, ...]:
        """Every way a request can be typed."""
        return environments(self.schema)

    @cached_property
    def replay(self) -> Replay:
        """The real engine on the same policies."""
        return Replay(
            {policy.id: policy.json for policy in self.bundle.policies}, self.schema, self.entities, self.groups
        )

    @cached_property
    def reads(self) -> Mapping[PolicyId, Reads]:
        """What each policy can read."""
        return {name: reads_of(policy) for name, policy in self.policies.items()}

    @cached_property
    def directory(self) -> Directory:
        """The bundle's entities."""
        return Directory(self.entities)


class Scene:
    """One environment of a subject: every policy translated once, what `decide` makes of them, and what is assumed."""

    def __init__(self, subject: Subject, environment: Environment, symbols: Symbols | None = None) -> None:
        """Translate.

        Args:
            symbols: another scene's, to compare two subjects on one request.

        Raises:
            Unsupported: a construct that is not known, with its policy.
        """
        self.subject = subject
        self.symbols = symbols or Symbols(environment, subject.directory)
        self.policies = {
            name: policy for name, policy in subject.policies.items() if in_action_scope(policy, self.symbols)
        }
        self._reads = {name: subject.reads[name] for name in self.policies}
        self.view = self.symbols.view
        self.base = translate(self.policies, self.symbols, self.view)

    def outcome(self, view: View, root: str = "", name: str = "") -> Outcome:
        """What policies make of another view, which differs in one member."""
        if view is self.view:
            return self.base
        touched = self.touched(root, name)
        return translate(self.policies, self.symbols, view, reuse=self.base, touched=touched)

    def touched(self, root: str, name: str) -> frozenset[PolicyId]:
        """The policies that can tell two requests apart which differ in one member."""
        return reading(self._reads, root, name)

    def held(self, view: View, outcome: Outcome) -> Truth:
        """Whether `decide` would ask people: not allowed, no error, no approval yet, and pass 2 allows."""
        found = view.context.member(APPROVAL)
        if found is None or not self.subject.groups or found[0] is True:
            return False
        second = self._with_approval(view, found[1], outcome)
        return every((negate(outcome.allow), negate(outcome.errs), negate(found[0]), second))

    def _with_approval(self, view: View, declared: Term, outcome: Outcome) -> Truth:
        touched = self.touched("context", APPROVAL)
        if not touched:
            return False
        found = []
        for people, strength in ((1, Strength.SECRET), (MOST_PEOPLE, Strength.PASSKEY)):
            given = replaced(view.context, (APPROVAL,), True, self._hypothetical(view, declared, people, strength))
            changed = View(view.principal, view.resource, given)
            found.append(translate(self.policies, self.symbols, changed, reuse=outcome, touched=touched).allow)
        return some(found)

    def _hypothetical(self, view: View, declared: Term, people: int, strength: int) -> Record:
        """An approval of pass 2 (`facts.hypothetical_approval`), member by member."""
        if not is_record(declared):
            raise Unsupported("an approval that is no record")
        names = set(declared.names())  # type: ignore[union-attr]
        now, digest = lookup(view.context, ("now",)), lookup(view.context, ("digest",))
        if now is None or digest is None or not isinstance(now[1], Scalar):
            raise Unsupported("a context without now or digest")
        groups = tuple(Scalar(STRING, self.symbols.literal(group)) for group in self.subject.groups)
        members: dict[str, tuple[Truth, Term]] = {
            "digest": (True, digest[1]),
            "approver": (True, Scalar(STRING, self.symbols.literal(HYPOTHETICAL))),
            "groups": (True, Collection(STRING, groups)),
            "people": (True, Scalar(LONG, z3.IntVal(people))),
            "strength": (True, Scalar(LONG, z3.IntVal(int(strength)))),
            "ahead": (True, Scalar(BOOL, z3.BoolVal(False))),
            "given": (True, now[1]),
            "expires": (True, Scalar(DATETIME, now[1].z + APPROVAL_MS)),
        }
        if names != members.keys():
            raise Unsupported(f"the approval's member {min(names ^ members.keys())[:60]!r}")
        return Written(members)

    def condition(self, tree: Any, view: View, *, doubt: bool) -> Truth:
        """A claim's condition; where evaluating it would be an error, `doubt`."""
        value, ok = Expressions(self.symbols, view).truth(tree)
        return every((value, ok)) if not doubt else negate(every((ok, negate(value))))

    def assumed(self, *, registry: bool = True) -> list[Any]:
        """Types and the house's guarantees; ask after every formula has been made.

        Args:
            registry: whether registered agents are as the registry says.
        """
        return self.assumed_with(self.subject.house if registry else replace(self.subject.house, agents={}))

    def assumed_with(self, house: House) -> list[Any]:
        """The same with other guarantees."""
        return [*assumptions(self.symbols, self.view, house), *self.symbols.constraints]


def _trees(policies: Mapping[PolicyId, Mapping[str, Any]]) -> dict[PolicyId, pst.Template]:
    found: dict[PolicyId, pst.Template] = {}
    names = list(policies)
    for start in range(0, len(names), _CHUNK):
        chunk = {name: policies[name] for name in names[start : start + _CHUNK]}
        document = {"staticPolicies": chunk, "templates": {}, "templateLinks": []}
        tree = PolicySet.from_json_str(msgspec.json.encode(document).decode()).to_pst()
        if tree.templates or tree.template_links or tree.static_policies.keys() != chunk.keys():
            raise Unsupported("templates")
        found.update({PolicyId(name): policy for name, policy in tree.static_policies.items()})
    return found
