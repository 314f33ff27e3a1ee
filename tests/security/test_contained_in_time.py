"""A restriction laid between a decision and its commit stops what was decided: nothing starts after it on an older look."""

import asyncio
from unittest.mock import patch

import pytest

from integration.spender import Spender
from lictor.lifecycle import containments
from lictor.model.containment import Restriction, Scope
from lictor.model.reasons import Reason
from lictor.service.calls.authorize import Authorize, Granted, Outcome, Refused
from lictor.service.containment.contain import Contain
from lictor.stores.memory import MemoryStore


async def restricted_in_between() -> Outcome:
    """The outcome of a payment, with the agent suspended after it was decided and before it was recorded."""
    store = MemoryStore()
    spender = Spender(store)
    task = await spender.open_task()
    contain = Contain(store=store, clock=spender.clock, ids=spender.ids)
    allow = Authorize._allow

    async def late(authorize, *args):
        if not store.containments():
            await contain.lay(Scope.AGENT, "coder", Restriction.SUSPENDED, by="os:op")
        return await allow(authorize, *args)

    try:
        with patch.object(Authorize, "_allow", late):
            return await spender.pay(task)
    finally:
        store.close()


def test_a_restriction_in_between_is_seen():
    """The commit refuses the older look; deciding again finds the restriction."""
    outcome = asyncio.run(restricted_in_between())
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.CONTAINED


def test_a_commit_that_does_not_look_is_found_out(monkeypatch: pytest.MonkeyPatch):
    """Control: without the comparison it runs."""
    monkeypatch.setattr(containments, "check_unchanged", lambda *_: None)
    assert isinstance(asyncio.run(restricted_in_between()), Granted)
