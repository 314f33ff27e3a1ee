"""What the engine must do on *this* build, thread and machine before it may decide anything.

Each check is a hole of the bare engine (facts section 3.1): there it answers Allow, here it must not. The positive checks keep
the others honest: an engine that refuses everything would pass them. Run it on the kind of thread that will decide: a stack
that is too small shows here (facts S4). Takes some milliseconds; refuses to know why a check failed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from lictor.model.ids import PolicyId
from lictor.pdp.depth import MAX_EXPRESSION_DEPTH
from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.engine.slicing import Uid
from lictor.pdp.verdict import Verdict

SCHEMA: Final = """
entity Group;
entity Agent in [Group] { budget: Long };
entity Tool;
action "read";
action "tool", "odd \\"name\\"" in [Action::"read"] appliesTo {
  principal: [Agent], resource: [Tool],
  context: { path: String, amount: Long, args?: { path: String }, who?: Agent, now: datetime, labels: Set<String> }
};
action "plain" in [Action::"read"] appliesTo {
  principal: [Agent], resource: [Tool],
  context: { path: String, amount: Long, args?: { path: String }, now: datetime, labels: Set<String> }
};
"""
AGENT: Final[Uid] = ("Agent", 'a"\n1')
TOOL: Final[Uid] = ("Tool", "t")
ENTITIES: Final[Sequence[Mapping[str, Any]]] = (
    {"uid": {"type": "Group", "id": "g"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Agent", "id": AGENT[1]}, "attrs": {"budget": 100}, "parents": [{"type": "Group", "id": "g"}]},
    {"uid": {"type": "Tool", "id": "t"}, "attrs": {}, "parents": []},
)
CONTEXT: Final[Mapping[str, Any]] = {
    "path": "/srv/a",
    "amount": 1,
    "now": {"__extn": {"fn": "datetime", "arg": "2026-01-01T00:00:00.000Z"}},
    "labels": ["x"],
}

Policy = dict[str, Any]
_FORGED: Final[Sequence[Any]] = (
    {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
    {"__extn": {"fn": "unknown", "arg": "x"}},
    {"__entity": {"type": "Agent", "id": AGENT[1]}},
    {"type": "Agent", "id": AGENT[1]},
    {"fn": "ip", "arg": "10.0.0.1"},
    ["/srv/a"],
    None,
    1.5,
)
"""What a caller may put where a string is declared (facts S6)."""


class Engine(Protocol):
    """What is tested."""

    def evaluate(self, principal: Uid, action: str, resource: Uid, context: Mapping[str, Any]) -> Verdict:
        """See `CedarEngine.evaluate`."""
        ...


Build = Callable[[Mapping[PolicyId, Mapping[str, Any]], str, Sequence[Mapping[str, Any]]], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """One question to an engine, and the only right answer."""

    name: str
    allowed: bool = False
    principal: Uid = AGENT
    action: str = "tool"
    resource: Uid = TOOL
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def actions(self) -> tuple[str, ...]:
        """The action, and the one whose whole context is judged before the engine sees it, where the question fits it."""
        return ("plain", "tool") if self.action == "tool" and not self.name.startswith("S3") else (self.action,)


def run(build: Build = CedarEngine) -> list[str]:
    """Run every check on the calling thread.

    Args:
        build: makes an engine of policies, schema and entities.

    Returns:
        What failed, one line each; empty when the engine may decide. Never raises for a misbehaving engine.
    """
    failures: list[str] = []
    for policies, questions in _checks():
        try:
            engine = build({PolicyId(f"p{n}"): policy for n, policy in enumerate(policies)}, SCHEMA, ENTITIES)
            for ask in questions:
                for action in ask.actions:
                    verdict = engine.evaluate(ask.principal, action, ask.resource, {**CONTEXT, **ask.context})
                    if verdict.allowed is not ask.allowed:
                        answer = "allowed" if verdict.allowed else f"refused: {', '.join(verdict.errors)}"
                        failures.append(f"{ask.name}: {answer}"[:300])
        except Exception as error:  # noqa: BLE001 - an engine that cannot be built or asked may not decide either
            failures.append(f"{questions[0].name}: {type(error).__name__}: {error}"[:300])
    return failures


def _checks() -> Iterator[tuple[tuple[Policy, ...], tuple[_Ask, ...]]]:
    permit = _policy("permit")
    yield (
        (permit,),
        (
            _Ask(name="a plain permit allows", allowed=True),
            _Ask(name="S3 absent principal", principal=("Agent", "nobody")),
            _Ask(name="S3 absent resource", resource=("Tool", "nothing")),
            _Ask(name="S6 undeclared attribute", context={"extra": 1}),
            _Ask(name="an action that is not declared", action="nothing"),
            *(_Ask(name=f"S6 forged value {n}, not read", context={"path": v}) for n, v in enumerate(_FORGED)),
        ),
    )
    denied = _like(_attr(_CONTEXT, "path"), "/etc/")
    yield (
        (permit, _policy("forbid", when=denied)),
        (
            _Ask(name="a forbid that does not apply", allowed=True),
            _Ask(name="a forbid that applies", context={"path": "/etc/passwd"}),
            *(_Ask(name=f"S6 forged value {n}", context={"path": v}) for n, v in enumerate(_FORGED)),
        ),
    )
    group = {"op": "in", "entity": {"type": "Action", "id": "read"}}
    yield (_policy("permit", action=group),), (_Ask(name="S7 a permit for an action group", allowed=True),)
    yield (
        (permit, _policy("forbid", action=group)),
        (
            _Ask(name="S7 a forbid for an action group"),
            _Ask(name="S7 the same, with a quote in the action", action='odd "name"'),
        ),
    )
    absent = _like(_attr(_attr(_CONTEXT, "args"), "path"), "/etc/")
    yield (permit, _policy("forbid", when=absent)), (_Ask(name="S1 absent attribute"),)
    labelled = {"contains": {"left": _attr(_CONTEXT, "labels"), "right": {"Value": "secret"}}}
    yield (
        (permit, _policy("forbid", when=labelled)),
        (
            _Ask(name="a fact that leaves a forbid out", allowed=True),
            _Ask(name="a fact that lets a forbid stay", context={"labels": ["x", "secret"]}),
        ),
    )
    costly = {"&&": {"left": {">": {"left": _attr(_CONTEXT, "amount"), "right": {"Value": 5}}}, "right": absent}}
    yield (
        (permit, _policy("forbid", when=costly)),
        (
            _Ask(name="a part that errs and is not reached", allowed=True),
            _Ask(name="S1 a part that errs and is reached", context={"amount": 6}),
        ),
    )
    total = {"+": {"left": _attr(_CONTEXT, "amount"), "right": _attr({"Var": "principal"}, "budget")}}
    yield (
        (permit, _policy("forbid", when={">": {"left": total, "right": {"Value": 500}}})),
        (
            _Ask(name="S2 below the cap", allowed=True),
            _Ask(name="S2 above the cap", context={"amount": 1_000}),
            _Ask(name="S2 integer overflow", context={"amount": 2**63 - 1}),
        ),
    )
    budget = _attr(_attr(_CONTEXT, "who"), "budget")
    yield (
        (permit, _policy("forbid", when={"<": {"left": budget, "right": {"Value": 5}}})),
        (
            _Ask(name="S3 present entity in the context", allowed=True, context={"who": _entity(AGENT)}),
            _Ask(name="S3 absent entity in the context", context={"who": _entity(("Agent", "nobody"))}),
        ),
    )
    yield (
        (permit, _policy("forbid", when=_chain(MAX_EXPRESSION_DEPTH - 4))),
        (
            _Ask(name="S4 the deepest expression: is the thread's stack too small?", allowed=True),
            _Ask(name="S4 the deepest expression forbids", context={"path": "denied"}),
        ),
    )


_CONTEXT: Final[Policy] = {"Var": "context"}


def _policy(effect: str, *, action: Policy | None = None, when: Policy | None = None) -> Policy:
    """One static policy in the engine's JSON form, unscoped but for the action."""
    everything = {"op": "All"}
    return {
        "effect": effect,
        "principal": everything,
        "action": action or everything,
        "resource": everything,
        "conditions": [] if when is None else [{"kind": "when", "body": when}],
    }


def _attr(base: Policy, name: str) -> Policy:
    return {".": {"left": base, "attr": name}}


def _like(value: Policy, prefix: str) -> Policy:
    return {"like": {"left": value, "pattern": [{"Literal": prefix}, "Wildcard"]}}


def _entity(uid: Uid) -> dict[str, Any]:
    return {"__entity": {"type": uid[0], "id": uid[1]}}


def _chain(length: int) -> Policy:
    """`context.path == "denied" || … || context.path == "n"`: as deep as it is long."""
    chain: Policy = {"==": {"left": _attr(_CONTEXT, "path"), "right": {"Value": "denied"}}}
    for number in range(length):
        term = {"==": {"left": _attr(_CONTEXT, "path"), "right": {"Value": str(number)}}}
        chain = {"||": {"left": chain, "right": term}}
    return chain
