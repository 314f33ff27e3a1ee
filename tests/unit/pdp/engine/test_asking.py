"""Asking the engine: the quick way only where it is exactly the documented one."""

import cedarpy
import msgspec
import pytest

from lictor.pdp.engine import asking


def test_this_build_is_asked_directly():
    """The pinned engine answers alike both ways."""
    assert asking.agrees(asking.direct)
    assert asking.agrees(asking.public)
    assert asking.chosen() is asking.direct


def always_allow(*_):
    return cedarpy.Decision.Allow, ["policy0"], []


def errors_lost(*question):
    decision, reasons, _ = asking.public(*question)
    return decision, reasons, []


def reasons_lost(*question):
    decision, _, errors = asking.public(*question)
    return decision, [], errors


def no_decision_is_deny(*question):
    decision, reasons, errors = asking.public(*question)
    return (cedarpy.Decision.Deny if decision is cedarpy.Decision.NoDecision else decision), reasons, errors


def without_schema(request, policies, entities, schema):
    return asking.public(request, policies, entities, None)


def exploding(*_):
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    "broken", [always_allow, errors_lost, reasons_lost, no_decision_is_deny, without_schema, exploding]
)
def test_a_way_that_differs_is_not_taken(broken, monkeypatch):
    """Whatever is not exactly the documented answer falls back to the documented function."""
    assert not asking.agrees(broken)
    monkeypatch.setattr(asking, "direct", broken)
    assert asking.chosen.__wrapped__() is asking.public


def test_a_build_without_the_inner_function_is_asked_the_documented_way(monkeypatch):
    """Another cedarpy, whose inside is arranged differently, still decides."""
    monkeypatch.setattr(cedarpy, "_internal", object())
    assert not asking.agrees(asking.direct)


@pytest.mark.parametrize(
    "reply",
    [
        b'{"decision":"Maybe","diagnostics":{"reason":[],"errors":[]}}',
        b'{"decision":"Allow","diagnostics":{"reason":["a"]}}',
        b'{"decision":"Allow","diagnostics":{"reason":["a"],"errors":[],"warnings":["x"]}}',
        b'{"decision":"Allow","diagnostics":{"reason":["a"],"errors":[]},"more":1}',
        b'{"decision":"Allow"}',
        b"[]",
        b"",
    ],
)
def test_a_reply_of_another_form_raises(reply):
    """Nothing is made of a reply that is not exactly as expected; the caller refuses."""
    with pytest.raises(msgspec.DecodeError):
        asking._read(reply)
