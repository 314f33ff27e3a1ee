"""A program as provider: what it is told, what is believed of its answer, and that nothing of it is shown."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lictor.credentials.command import build
from lictor.credentials.providers import make
from lictor.model.errors import LictorError, OperatorError, UpstreamError
from lictor.model.ids import AgentId, HumanId, LeaseId, ServerName, TaskId
from lictor.model.lease import Credential
from lictor.model.secret import Secret
from lictor.ports import LeaseAsk
from lictor.testing.clock import ManualClock

LEASE = LeaseId("lease_0123456789")
CREDENTIAL = Credential(name="door", server=ServerName("s"), destination="command", provider="command")
CANARY = "canary-0123456789"


async def secret_of(name: str) -> Secret:
    if name != "admin":
        raise LookupError(name)
    return Secret(CANARY)


def provider(program: str, **options: Any) -> Any:
    return build({"command": [sys.executable, "-c", program], **options}, secret_of, ManualClock(1_000))


def ask() -> LeaseAsk:
    return LeaseAsk(
        lease=LEASE,
        credential=CREDENTIAL,
        agent=AgentId("a"),
        human=HumanId("os:me"),
        task=TaskId("t"),
        purpose="p",
        ttl_s=60,
    )


ANSWER = "import json, os, sys; told = json.load(sys.stdin); "


async def test_it_is_told_what_is_asked_and_believed_when_it_fits():
    """The lease's id and the time go in; fields, life, handle and revocation come out; its secret comes by name."""
    program = ANSWER + (
        "print(json.dumps({'secret': {'token': os.environ['ADMIN'] + told['lease']}, 'expires_in': told['ttl_s'],"
        " 'handle': 'h', 'revocation': 'r'}))"
    )
    issued = await provider(program, env={"ADMIN": "admin"}).issue(ask())
    assert issued.secret["token"].reveal() == CANARY + LEASE
    assert (issued.expires_at_ms, issued.handle, issued.revocation) == (61_000, "h", Secret("r"))


async def test_it_revokes_with_what_it_gave(tmp_path: Path):
    """Handle and revocation come back to it."""
    program = ANSWER + f"open({str(tmp_path / 'told')!r}, 'w').write(json.dumps(told))"
    await provider(program).revoke(LEASE, CREDENTIAL, "h", Secret("r"))
    told = json.loads((tmp_path / "told").read_text())
    assert told == {"do": "revoke", "lease": LEASE, "credential": "door", "handle": "h", "revocation": "r"}


@pytest.mark.parametrize(
    "program",
    [
        "import sys; print('" + CANARY + "'); sys.exit(1)",
        "print('" + CANARY + "')",
        "import sys; sys.stderr.write('" + CANARY + "'); sys.exit(2)",
        'print(\'{"secret": {}, "expires_in": 60}\')',
        'print(\'{"secret": {"token": "x"}, "expires_in": 0}\')',
        'print(\'{"secret": {"token": "x"}, "expires_in": 60, "more": 1}\')',
        "print('x' * 100000)",
        "import time; time.sleep(30)",
    ],
)
async def test_what_does_not_fit_may_have_made_one_and_shows_nothing(program: str):
    """Failed, late, too large, not understood: searched for and revoked; the message repeats none of it."""
    began = time.monotonic()
    with pytest.raises(UpstreamError) as failure:
        await provider(program, timeout_s=1.0).issue(ask())
    assert failure.value.effect_possible
    assert CANARY not in str(failure.value)
    assert time.monotonic() - began < 5


async def test_what_does_not_start_made_nothing():
    """No such program."""
    with pytest.raises(UpstreamError) as failure:
        await build({"command": ["/no/such/program"]}, secret_of, ManualClock(1)).issue(ask())
    assert not failure.value.effect_possible


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"command": []},
        {"command": ["x"], "shell": True},
        {"command": ["x"], "timeout_s": 0.0},
        {"command": ["x"], "env": {"A": "not a name"}},
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]):
    """Unknown keys, no program, no time."""
    with pytest.raises(OperatorError):
        make("command", options, secret_of, clock=ManualClock(1))


@pytest.mark.parametrize("options", [{}, {"secret": "a", "fields": {"b": "c"}}, {"secret": "a b"}, {"token": "x"}])
def test_static_takes_names_only(options: dict[str, Any]):
    """One secret or several fields, each by its name."""
    with pytest.raises(LictorError):
        make("static", options, secret_of, clock=ManualClock(1))


async def test_static_lends_what_the_safe_holds():
    """For as long as was asked."""
    issued = await make("static", {"secret": "admin"}, secret_of, clock=ManualClock(1_000)).issue(ask())
    assert (issued.secret["token"], issued.expires_at_ms, issued.handle) == (Secret(CANARY), 61_000, "")
