"""The real engine's word on a request the solver found: only what it confirms is shown as a counterexample.

The same two passes as `decide`. Refuses to know formulas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from lictor.model.approval import Strength
from lictor.model.ids import PolicyId
from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.engine.entities import Directory, uid_of
from lictor.pdp.engine.slicing import Uid
from lictor.pdp.facts import HYPOTHETICAL, MOST_PEOPLE, moment
from lictor.policy.prove.request import Asked

APPROVAL: Final = "approval"
APPROVAL_MS: Final = 600_000


class Answer(StrEnum):
    """What `decide` makes of policy: the three outcomes."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One answer of the engine's, with what made it."""

    answer: Answer
    policies: tuple[PolicyId, ...]
    errors: tuple[str, ...]


class Replay:
    """A bundle's policies on the real engine, over its own entities and those a request brings."""

    def __init__(
        self,
        policies: Mapping[PolicyId, Mapping[str, Any]],
        schema: str,
        entities: Sequence[Mapping[str, Any]],
        groups: tuple[str, ...],
    ) -> None:
        """Compile.

        Args:
            policies: Cedar JSON under our own ids.
            schema: Cedar schema text.
            entities: the bundle's.
            groups: every approver group that has a member, sorted.

        Raises:
            OperatorError: as `CedarEngine`.
        """
        self._policies = policies
        self._schema = schema
        self._entities = entities
        self._engine = CedarEngine(policies, schema, entities)
        self._directory = Directory(entities)
        self._groups = groups
        self._other: tuple[Uid, CedarEngine, Directory] | None = None

    def answer(self, asked: Asked, *, own_principal: bool = False) -> Replayed:
        """Both passes, as `decide` makes them.

        Args:
            own_principal: the request's principal counts, not the bundle's of the same name.
        """
        engine, directory = self._engine, self._directory
        if own_principal and asked.principal in directory:
            engine, directory = self._without(asked.principal)
        extra = [entity for entity in asked.entities if uid_of(entity["uid"]) not in directory]
        first = engine.evaluate(asked.principal, asked.action, asked.resource, asked.context, extra)
        answer = Answer.DENY
        if first.allowed and not first.errors:
            answer = Answer.ALLOW
        elif not first.errors and APPROVAL not in asked.context and self._groups:
            for people, strength in ((1, Strength.SECRET), (MOST_PEOPLE, Strength.PASSKEY)):
                granted = {**asked.context, APPROVAL: self._hypothetical(asked.context, people, strength)}
                second = engine.evaluate(asked.principal, asked.action, asked.resource, granted, extra)
                if second.allowed and not second.errors:
                    answer = Answer.NEEDS_APPROVAL
        return Replayed(answer=answer, policies=first.determining, errors=first.errors)

    def _without(self, principal: Uid) -> tuple[CedarEngine, Directory]:
        """The bundle without one of its agents. Kept until it is another's turn: a case is made smaller in many small steps."""
        if self._other is None or self._other[0] != principal:
            others = [entity for entity in self._entities if uid_of(entity["uid"]) != principal]
            self._other = (principal, CedarEngine(self._policies, self._schema, others), Directory(others))
        return self._other[1:]

    def _hypothetical(self, context: Mapping[str, Any], people: int, strength: int) -> dict[str, Any]:
        now = context.get("now")
        return {
            "digest": context.get("digest", ""),
            "approver": HYPOTHETICAL,
            "groups": list(self._groups),
            "people": people,
            "strength": int(strength),
            "ahead": False,
            "given": now if now is not None else moment(0),
            "expires": _later(now),
        }


def _later(now: Any) -> Any:
    later = {"__extn": {"fn": "duration", "arg": f"{APPROVAL_MS}ms"}}
    return {"__extn": {"fn": "offset", "args": [now if now is not None else moment(0), later]}}
