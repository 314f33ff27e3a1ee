"""The token endpoint against whatever bytes come: a form is read in one way or refused, and no noise ever becomes a token."""

import asyncio
import json
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.token_world import ASSERTION, EXCHANGE, JWT
from lictor.model.errors import CallerError, LictorError
from lictor.protocol.oauth.details import Existing, NewTask, read_details, read_scope
from lictor.protocol.oauth.errors import OAuthError
from lictor.protocol.oauth.form import read_form
from lictor.protocol.oauth.request import read_request
from lictor.service.calls.pace import Pace
from lictor.service.tasks.exchange import Sent
from token_bench import AUDIENCE, TOKEN_URL, Bench, bench

NAMES = st.sampled_from(
    [
        "grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "scope", "resource",
        "audience", "client_id", "client_assertion", "client_assertion_type", "client_secret", "authorization_details",
        "requested_token_type", "x",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([EXCHANGE, "client_credentials", JWT, ASSERTION, AUDIENCE, "task:task_AAAAAAAAAAAAAAAAAAAAAA", ""]),
    st.text(max_size=40),
    st.sampled_from(
        ['[{"type":"lictor_task"}]', '[{"type":"lictor_task","task":"task_AAAAAAAAAAAA"}]', "[]", "{}", "[[]]"]
    ),
)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    """Nothing else happens; what is read is what the standard's own reader reads, each name once."""
    try:
        found = read_form(body)
    except OAuthError as error:
        assert error.code == "invalid_request"
        return
    pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="strict")
    assert len({name for name, _ in pairs}) == len(pairs)
    assert found == {name: value for name, value in pairs if value}


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_a_parameter_twice_is_never_read(pairs: list[tuple[str, str]]) -> None:
    """Whatever it is, and also where both say the same (RFC 6749 3.2)."""
    names = [name for name, _ in pairs]
    body = urlencode(pairs).encode()
    if len(set(names)) < len(names):
        with pytest.raises(OAuthError):
            read_form(body)
        return
    clean = all(all((ord(char) >= 32 and ord(char) != 127) or char in "\t\n\r" for char in value) for _, value in pairs)
    if clean:
        assert read_form(body) == {name: value for name, value in pairs if value}


def last_wins(body: bytes) -> dict[str, str]:
    """The control: a reader as most frameworks have it."""
    return dict(parse_qsl(body.decode()))


def test_the_control_is_caught() -> None:
    """A reader that takes the last of two would be noticed."""
    with pytest.raises(OAuthError):
        read_form(b"resource=a&resource=b")
    assert last_wins(b"resource=a&resource=b") == {"resource": "b"}


@given(st.text(max_size=200))
def test_details_are_a_task_or_refused(text: str) -> None:
    """Any text."""
    for reader in (read_details, read_scope):
        try:
            found = reader(text)
        except OAuthError:
            continue
        assert isinstance(found, Existing | NewTask)


@pytest.fixture(scope="module")
def made() -> Bench:
    """Doors that have a task and a token out."""
    found = bench(Path(tempfile.mkdtemp(prefix="doors-")))
    found.doors.exchange.pace = Pace(burst=100_000)
    return found


@settings(max_examples=150)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8, unique_by=lambda pair: pair[0]))
def test_noise_is_never_a_token(made: Bench, pairs: list[tuple[str, str]]) -> None:
    """No combination of parameters without a good proof gets anything, and each refusal is one of ours."""

    async def ask() -> object:
        form = read_form(urlencode(pairs).encode())
        return await made.doors.exchange(read_request(form, resource=AUDIENCE), Sent(method="POST", url=TOKEN_URL))

    with pytest.raises(LictorError):
        asyncio.run(ask())


@settings(max_examples=150)
@given(st.data())
def test_a_changed_token_is_never_good(made: Bench, data: st.DataObject) -> None:
    """One character of a workload token or of a task token, anywhere."""

    async def tried() -> None:
        token, task = await made.bound()
        workload = made.workload()
        for original, use in (
            (token, made.used),
            (workload, lambda one: made.exchange(one, {"task": task})),
        ):
            at = data.draw(st.integers(0, len(original) - 1))
            char = data.draw(st.sampled_from("AZaz09-_.=+/ \n"))
            changed = original[:at] + char + original[at + 1 :]
            if changed == original:
                continue
            with pytest.raises(CallerError):
                await use(changed)

    asyncio.run(tried())


def test_unchanged_ones_are_good(made: Bench) -> None:
    """The control of the control: both work."""

    async def tried() -> None:
        token, task = await made.bound()
        await made.used(token)
        await made.exchange(made.workload(), {"task": task})

    asyncio.run(tried())


def test_reading_details_keeps_types() -> None:
    """Numbers are numbers, and a task is not named and described at once."""
    for value in (
        {"calls": "5"},
        {"calls": 5.5},
        {"value": {"EUR": "1"}},
        {"task": "task_AAAAAAAAAAAA", "purpose": "x"},
        {"more": 1},
    ):
        with pytest.raises(OAuthError, match=r".") as caught:
            read_details(json.dumps([{"type": "lictor_task", **value}]))
        assert caught.value.code == "invalid_authorization_details"
