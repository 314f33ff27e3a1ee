"""Counting from the log: every record counts once, a label is one of ours, what is remembered is bounded."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.model.ids import ServerName
from lictor.model.record import Record, RequestRefused, ShadowDiffered, encode_entry
from lictor.telemetry import tally as module
from lictor.telemetry.families import FAMILIES
from lictor.telemetry.figures import Figures
from lictor.telemetry.tally import Tally
from store_samples import NOW, approved, decided, ended, held, received, started
from told_samples import records

EVERY = list(records())


def catalogue(kind: ActionKind, server: str, name: str) -> CatalogEntry | None:
    if name != "write_file":
        return None
    return CatalogEntry(server=ServerName(server), kind=kind, name=name, effect=EffectClass.WRITE)


def tallied(*records: Record, at: int = NOW, made: type[Tally] = Tally) -> Figures:
    figures = Figures()
    tally = made(figures, catalogue, frozenset({"files", "fs", "shop"}))
    for record in records:
        tally.entry(encode_entry(at, record))
    return figures


@given(st.lists(st.sampled_from(EVERY), max_size=40))
def test_every_record_counts_once(found: list[Record]) -> None:
    """Whatever is in the log, by tag; no record is left out and none breaks the count."""
    counted = {labels[0]: value for labels, value in tallied(*found).of("lictor_records").items()}
    assert counted == Counter(str(record.__struct_config__.tag) for record in found)


def test_only_families_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every counter that any record moves is in the table, with as many labels."""
    figures = tallied(*EVERY)
    for name, labels in (*figures.counters, *figures.times):
        assert len(labels) == len(FAMILIES[name].labels)


def test_bytes_that_are_no_entry_count_as_other() -> None:
    """A damaged entry stops nothing."""
    figures = Figures()
    tally = Tally(figures, catalogue, frozenset())
    for data in (b"", b"{}", b"\xff", b'{"at":1,"record":{"type":"made.up"},"v":1}'):
        tally.entry(data)
    assert figures.of("lictor_records") == {("other",): 4}


@given(st.text(), st.sampled_from(["unknown_member", "too_large"]))
def test_a_label_is_one_of_ours(word: str, reason: str) -> None:
    """Words that are no reason code are `other`; reason codes are themselves."""
    refused = RequestRefused(task="t", reason=word.encode("utf-8", "replace").decode(), where="", size=1, digest="")
    found = tallied(refused, RequestRefused(task="t", reason=reason, where="", size=1, digest=""))
    assert found.of("lictor_refusals").get((reason,), 0) >= 1
    assert {labels[0] for labels in found.of("lictor_refusals")} <= {*module.REASONS, "other"}


def test_what_was_asked_is_known_at_the_decision_and_after() -> None:
    """Effect and name come from the catalogue, the server from the settings; of what is not listed they are `other`."""
    asked = received()
    figures = tallied(asked, decided(), started(), ended())
    listed = catalogue(asked.kind, asked.server, asked.name)
    effect, name = ("write", asked.name) if listed else ("other", "other")
    assert figures.of("lictor_decisions") == {("allow", decided().reason, effect): 1}
    assert figures.of("lictor_action_decisions") == {(asked.server, asked.kind.value, name, "allow"): 1}
    assert figures.of("lictor_executions")[asked.server, "executed"] == 1
    lone = tallied(decided(), ended())
    assert lone.of("lictor_action_decisions") == {("other", "other", "other", "allow"): 1}
    assert lone.of("lictor_executions")["other", "executed"] == 1


def test_differences_in_shadow_are_counted_with_those_that_have_no_record() -> None:
    """By what was and what would have been; words that are no outcome are `other`."""
    one = ShadowDiffered(
        request="req_1",  # type: ignore[arg-type]
        decision="dec_1",  # type: ignore[arg-type]
        task="task_1",  # type: ignore[arg-type]
        agent="coder",  # type: ignore[arg-type]
        action="fs/write",
        was="allow",
        was_reason="permitted",
        revision="sha256:c",  # type: ignore[arg-type]
        outcome="deny",
        reason="forbidden",
        more=4,
    )
    figures = tallied(one, replace(one, more=0), replace(one, outcome="perhaps", more=0))
    assert figures.of("lictor_shadow_differences") == {("allow", "deny"): 6, ("allow", "other"): 1}


def test_how_long_people_took() -> None:
    """From the hold's record to the answer's; of a hold that was opened before we looked nothing is said."""
    figures = Figures()
    tally = Tally(figures, catalogue, frozenset())
    tally.entry(encode_entry(NOW, held()))
    tally.entry(encode_entry(NOW + 42_000, approved()))
    times = figures.times["lictor_approval_answer_seconds", ("given",)]
    assert (times.count, times.total) == (1, 42.0)
    assert ("lictor_approval_answer_seconds", ("given",)) not in tallied(approved()).times


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests, holds and executions never end."""
    monkeypatch.setattr(module, "REMEMBERED", 10)
    figures = Figures()
    tally = Tally(figures, catalogue, frozenset())
    for number in range(200):
        for record in (received(f"req_{number}"), held(f"hold_{number}"), started(f"exec_{number}")):
            tally.entry(encode_entry(NOW, record))
    assert max(len(tally._asked), len(tally._running), len(tally._holds)) == 10
    tally.entry(encode_entry(NOW, ended("exec_0")))
    assert figures.of("lictor_executions")["other", "executed"] == 1
