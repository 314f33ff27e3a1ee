"""The one call into the engine: a request in, decision, reasons and errors out.

cedarpy's own wrapper copies every request and decodes the answer twice over; the function under it answers the same in about
half the time. That function is not public, so it is used only if, on this build, it answers a set of questions exactly as the
public one does; otherwise the public one is used. An answer of a form not expected raises, which the caller makes a refusal.

Refuses to know what an answer means: `cedar.py` closes it.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from typing import Any, Final, Literal, TypeAlias

import cedarpy
import msgspec
from cedarpy import Decision, Entities, PolicySet, Schema, is_authorized_batch

Request: TypeAlias = dict[str, Any]
"""`principal`, `action`, `resource` as `{"type", "id"}`, `context` as JSON text."""
Answer: TypeAlias = tuple[Decision, list[str], list[str]]
"""Decision, ids of the determining policies in any order, errors."""
Ask: TypeAlias = Callable[[Request, PolicySet, Entities, Schema | None], Answer]
"""Without a schema the engine does not look whether the request fits it: for one that is known to."""

_DECISIONS: Final = {decision.value: decision for decision in Decision}


class _Diagnostics(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    errors: list[str]
    reason: list[str] = []
    id_annotations_by_reason: msgspec.Raw = msgspec.Raw()


class _Reply(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What the extension writes; anything else is not read."""

    decision: Literal["Allow", "Deny", "NoDecision"]
    diagnostics: _Diagnostics
    correlation_id: None = None
    metrics: msgspec.Raw = msgspec.Raw()


_read = msgspec.json.Decoder(_Reply).decode


def public(request: Request, policies: PolicySet, entities: Entities, schema: Schema | None) -> Answer:
    """Ask by cedarpy's documented function."""
    result = is_authorized_batch([request], policies, entities, schema)[0]
    return result.decision, result.diagnostics.reasons, result.diagnostics.errors


def direct(request: Request, policies: PolicySet, entities: Entities, schema: Schema | None) -> Answer:
    """Ask by the extension's own function.

    Raises:
        Exception: whatever the extension raises, and for a reply of another form.
    """
    inner = entities._inner  # noqa: SLF001 - compared with the public way before it is used, see `chosen`
    reply = _read(cedarpy._internal.is_authorized(request, policies, inner, schema, False))  # noqa: SLF001 - likewise
    return _DECISIONS[reply.decision], reply.diagnostics.reason, reply.diagnostics.errors


@cache
def chosen() -> Ask:
    """The quicker way, if on this build it is exactly the public one; else the public one."""
    return direct if agrees(direct) else public


_SCHEMA: Final = """
entity User in [Group]; entity Group; entity Thing; action "all";
action "use" in [Action::"all"] appliesTo { principal: [User], resource: [Thing], context: { n: Long, s: String } };
"""
_ENTITIES: Final = (
    '[{"uid":{"type":"User","id":"u"},"attrs":{},"parents":[{"type":"Group","id":"g"}]},'
    '{"uid":{"type":"Group","id":"g"},"attrs":{},"parents":[]},{"uid":{"type":"Thing","id":"\\"t\\n"},"attrs":{},"parents":[]}]'
)
_POLICIES: Final = (
    "",
    '@id("x") permit(principal in Group::"g", action in Action::"all", resource);',
    'permit(principal, action, resource); permit(principal, action, resource) when { context.s == "a" };',
    "permit(principal, action, resource); forbid(principal, action, resource) when { context.n > 1 };",
    "permit(principal, action, resource); forbid(principal, action, resource) when { context.n + 1 > 1 };",
    'forbid(principal, action, resource) unless { principal == User::"nobody" };',
)
_CONTEXTS: Final = (
    '{"n":1,"s":"a"}',
    '{"n":2,"s":"\\u00e9"}',
    '{"n":9223372036854775807,"s":""}',
    '{"n":1,"s":{"__extn":{"fn":"ip","arg":"10.0.0.1"}}}',
    '{"n":1.0,"s":"a"}',
    '{"n":1}',
    '{"n":1,"s":"a","more":1}',
    "{",
)


def agrees(ask: Ask) -> bool:
    """Whether a way of asking answers as the documented one, on questions of every outcome."""
    seen: set[tuple[Decision, bool, bool]] = set()
    try:
        schema = Schema.from_str(_SCHEMA)
        entities = Entities.from_json_str(_ENTITIES, schema)
        for text in _POLICIES:
            policies = PolicySet.from_str(text)
            for request, judged in product(_questions(), (schema, None)):
                expected = _plain(public(dict(request), policies, entities, judged))
                if _plain(ask(dict(request), policies, entities, judged)) != expected:
                    return False
                seen.add((expected[0], bool(expected[1]), bool(expected[2])))
    except Exception:  # noqa: BLE001 - a build on which this cannot be asked is one on which it is not used
        return False
    wanted = {
        (Decision.Allow, True, False),
        (Decision.Allow, True, True),
        (Decision.Deny, True, False),
        (Decision.Deny, False, False),
        (Decision.NoDecision, False, True),
    }
    return wanted <= seen


def _plain(answer: Answer) -> tuple[Decision, list[str], list[str]]:
    decision, reasons, errors = answer
    if type(reasons) is not list or type(errors) is not list:
        raise TypeError("not lists")
    return decision, sorted(reasons), errors


def _questions() -> list[Mapping[str, Any]]:
    return [
        {
            "principal": {"type": "User", "id": "u"},
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Thing", "id": '"t\n'},
            "context": context,
        }
        for action in ("use", "nothing")
        for context in _CONTEXTS
    ]
