"""Changing the log's key: whatever happens in which order, every key of a log verifies it, and no key does what is another's."""

import tempfile
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.records.checkpoint import VerifierKey
from lictor.records.verify import verify_log
from lictor.stores.keys import Keys
from lictor.stores.snapshot import LogSnapshot
from rotation_world import ORIGIN, Written, chain_of, commits, found, rotate, signer_of

STEPS = st.lists(st.sampled_from(["work", "change", "roll"]), max_size=7)


def written(steps) -> Written:
    log = Written()
    for step in steps:
        if step == "work":
            log.work()
        elif step == "change":
            log.change()
        else:
            log.roll()
    return log


@given(STEPS)
@settings(max_examples=25, deadline=None)
def test_any_sequence_verifies_from_every_key(steps):
    """From the first and from each later one: no false alarm."""
    log = written(steps)
    for key in log.holders():
        assert found(log, key) == []


@given(STEPS, st.data())
@settings(max_examples=40, deadline=None)
def test_a_checkpoint_of_a_key_out_of_its_turn_is_found(steps, data):
    """An old key after it handed over, a new one before it was handed to, a key of nobody: at any size."""
    log = written([*steps, "work"])
    place = data.draw(st.integers(0, len(log.heads) - 1))
    other = data.draw(st.integers(0, len(log.signers)))
    signed = log.cut(int(log.heads[place].split("\n")[1]))
    signed.sign(signer_of(other))
    forged = signed.heads[-1]
    if forged == log.heads[place]:
        return
    log.rolls = []
    log.heads[place] = forged
    for key in log.holders():
        assert found(log, key)


@given(STEPS, st.data())
@settings(max_examples=25, deadline=None)
def test_what_the_state_says_of_changes_is_never_believed(steps, data):
    """A place too few, a place too many, another place: found, whichever key one has."""
    log = written(["work", *steps, "change", "work"])
    how = data.draw(st.sampled_from(["drop", "add", "move"]))
    at = data.draw(st.integers(0, len(log.places) - 1))
    if how == "add":
        log.places.append(str(data.draw(st.integers(0, len(log.entries) + 1))))
    elif how == "drop":
        del log.places[at]
    else:
        log.places[at] = str(int(log.places[at]) + data.draw(st.sampled_from([-1, 1, 7])))
    for key in log.holders():
        assert found(log, key)


@pytest.mark.parametrize("blind", ["key", "chain"])
def test_the_checks_would_be_missed(blind, monkeypatch):
    """Control: a verifier that takes any key of the log for any size, or trusts no statement's order, lets an old key go on."""
    log = Written()
    log.work(2)
    log.change()
    log.work(1, signer=log.signers[0])
    assert "checkpoint" in found(log, log.holders()[0])
    if blind == "key":
        monkeypatch.setattr("lictor.records.keychain.KeyChain.at", lambda chain, _: chain.first)
        assert found(log, log.holders()[0]) == []
    else:
        log.places = []
        assert "inconsistent" in found(log, log.holders()[0])
        assert found(log, log.holders()[0], compare=False) == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3))
@settings(max_examples=5, deadline=None)
def test_a_log_of_the_real_store_verifies_from_every_key(amounts):
    """The store, the files and the statements as they are used; the state that follows from the log is what it says."""

    async def run(folder: Path) -> list[VerifierKey]:
        keys = []
        done = 0
        for amount in amounts:
            await commits(folder, amount, first=done)
            done += amount
            if not (folder / "log.db").exists():
                await commits(folder, 0)
            keys.append(VerifierKey.of(ORIGIN, Keys.open(folder).signer))
            await rotate(folder)
        return [*keys, VerifierKey.of(ORIGIN, Keys.open(folder).signer)]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "state"
        for key in anyio.run(run, folder):
            chain = chain_of(folder, key)
            with LogSnapshot(folder / "log.db") as view:
                report = verify_log(view.entries(), view.checkpoints(), chain, anchor=chain.heads(), rolls=view.rolls())
                assert view.rebuild_rows() == []
            assert report.ok, report.findings
