"""Every rule of the life cycles, with the reason each refusal gives."""

import pytest

from lictor.lifecycle import table
from lictor.lifecycle.fold import fold
from lictor.lifecycle.rows import Execution, Pointer, active_revision, decode_row, encode_body
from lictor.model.approval import HoldStatus
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.record import (
    ApproverEnrolled,
    BundleActivated,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    HoldRefused,
    RequestRefused,
    TaskClosed,
    ToolQuarantined,
)
from store_samples import (
    DIGEST,
    NOW,
    OTHER,
    approved,
    decided,
    ended,
    held,
    hold,
    opened,
    received,
    started,
)


class State(dict):
    """Rows in a dictionary."""

    def do(self, *records, at=NOW):
        for record in records:
            for key, row in fold(self.get, record, at).items():
                if row is None:
                    self.pop(key, None)
                else:
                    assert row.key == key
                    self[key] = row
        return self

    def refuses(self, record, at=NOW):
        before = dict(self)
        with pytest.raises(ConflictError) as caught:
            fold(self.get, record, at)
        assert self == before
        return caught.value.reason

    @property
    def task(self):
        return self["task", "task_1"].body

    @property
    def hold(self):
        return self["hold", "hold_1"].body


def test_most_records_only_stand_in_the_log():
    """Requests, decisions, refusals and signals change no state."""
    refused = RequestRefused(task="t", reason="r", where="", size=1, digest=DIGEST)
    quarantined = ToolQuarantined(server="s", kind="tool", name="n", pinned=DIGEST, live=OTHER)
    assert State().do(received(), decided(), refused, HoldRefused(request="r", reason="x"), quarantined) == {}


def test_a_task_is_opened_once():
    """Its id and its token are each taken once."""
    state = State().do(opened(token="t"))
    assert state["token", "t"].body == Pointer(target="task_1")
    assert state.refuses(opened()) is Reason.CONFLICT
    assert state.refuses(opened("task_2", token="t")) is Reason.CONFLICT


def test_a_closed_task_starts_nothing():
    """Neither executions nor holds; nor is it closed again. What is in flight can still end."""
    state = State().do(opened(), started("e1"), TaskClosed(task="task_1", by="op"))
    assert state.refuses(started("e2")) is Reason.TASK_CLOSED
    assert state.refuses(held()) is Reason.TASK_CLOSED
    assert state.refuses(TaskClosed(task="task_1", by="op")) is Reason.TASK_CLOSED
    state.do(ended("e1"))
    assert state["execution", "e1"].status == "executed"


@pytest.mark.parametrize("record", [started(), held(), TaskClosed(task="task_1", by="op")])
def test_an_unknown_task_has_no_authority(record):
    """Nothing starts without a task."""
    assert State().refuses(record) is Reason.UNKNOWN_TASK


def test_an_expired_task_starts_nothing():
    """From the moment of expiry on, that moment included."""
    state = State().do(opened(expires=NOW + 10))
    assert state.refuses(started(), at=NOW + 10) is Reason.TASK_EXPIRED
    state.do(started(), at=NOW + 9)


def test_calls_are_counted_and_never_given_back():
    """Also a failed call was one: retries are not free."""
    state = State().do(opened(calls=1), started("e1"), ended("e1", "failed"))
    assert state.task.calls_used == 1
    assert state.refuses(started("e2")) is Reason.BUDGET_CALLS


def test_value_is_reserved_at_the_start():
    """Up to the budget, by currency; a currency without a budget has none; a negative value is refused."""
    state = State().do(opened(value={"EUR": 100}), started("e1", value=100, currency="EUR"))
    assert state.refuses(started("e2", value=1, currency="EUR")) is Reason.BUDGET_VALUE
    assert state.refuses(started("e2", value=1, currency="USD")) is Reason.BUDGET_VALUE
    assert state.refuses(started("e2", value=-1, currency="EUR")) is Reason.BUDGET_VALUE
    state.do(started("e2"))


@pytest.mark.parametrize(("outcome", "left"), [("failed", 0), ("executed", 60), ("indeterminate", 60)])
def test_value_is_given_back_only_when_nothing_left_us(outcome, left):
    """An effect that may have happened has been paid for."""
    state = State().do(opened(value={"EUR": 100}), started(value=60, currency="EUR"), ended(outcome=outcome))
    assert state.task.value_used == {"EUR": left}


def test_labels_are_taken_at_the_start():
    """Sorted, without repetition, and never lost."""
    state = State().do(
        opened(), started("e1", labels=("b", "a")), started("e2", labels=("b", "c")), ended("e1", "failed")
    )
    assert state.task.labels == ("a", "b", "c")


def test_an_execution_ends_once():
    """From `started` to one of three outcomes, and nowhere from there, but by a person's word on what nobody knew."""
    state = State().do(opened(), started())
    assert state.refuses(started()) is Reason.CONFLICT
    assert state.refuses(ended("nothing")) is Reason.CONFLICT
    assert state.refuses(ended(outcome="done")) is Reason.CONFLICT
    assert state.refuses(ended(outcome="started")) is Reason.CONFLICT
    state.do(ended())
    assert isinstance(state["execution", "exec_1"].body, Execution)
    for outcome in ("executed", "failed", "indeterminate"):
        assert state.refuses(ended(outcome=outcome)) is Reason.CONFLICT


def test_a_hold_is_born_pending_and_alone():
    """One live hold for a task and an action; another action or task may have its own."""
    state = State().do(opened(), opened("task_2"), held())
    assert state.refuses(held()) is Reason.CONFLICT
    assert state.refuses(held("hold_2")) is Reason.CONFLICT
    state.do(held("hold_2", digest=OTHER), held("hold_3", task="task_2"))


@pytest.mark.parametrize("changes", [{"status": HoldStatus.APPROVED}, {"approval": approved().approval}])
def test_a_hold_is_never_born_answered(changes):
    """An approval comes from a person, not with the hold."""
    fields = {name: getattr(hold(), name) for name in hold().__struct_fields__}
    born = type(hold())(**{**fields, **changes})
    assert State().do(opened()).refuses(HoldOpened(hold=born)) is Reason.CONFLICT


def test_an_approval_answers_its_own_hold_in_time():
    """Unknown hold, another action, too late: each has its reason."""
    state = State().do(opened(), held(expires=NOW + 10))
    assert state.refuses(approved("hold_9")) is Reason.UNKNOWN_APPROVAL
    assert state.refuses(approved(digest=OTHER)) is Reason.ACTION_HASH_MISMATCH
    assert state.refuses(approved(), at=NOW + 10) is Reason.APPROVAL_TIMEOUT
    state.do(approved(), at=NOW + 9)
    assert state.hold.answered_by == "bob"
    assert state.refuses(approved()) is Reason.CONFLICT


def test_an_approval_is_spent_once():
    """The commit that starts the execution spends it."""
    state = State().do(opened(), held(), approved(), started("e1", hold="hold_1"))
    assert state.hold.status is HoldStatus.CONSUMED
    assert state.refuses(started("e2", hold="hold_1")) is Reason.APPROVAL_USED
    assert ("live", f"task_1 {DIGEST}") not in state


def test_an_approval_is_for_one_task_and_one_action():
    """Another task, another digest, no hold, no answer yet, too late."""
    state = State().do(opened(), opened("task_2"), held())
    assert state.refuses(started(hold="hold_1")) is Reason.UNKNOWN_APPROVAL
    state.do(approved(expires=NOW + 10))
    assert state.refuses(started(hold="hold_9")) is Reason.UNKNOWN_APPROVAL
    assert state.refuses(started(hold="hold_1", task="task_2")) is Reason.APPROVAL_PRINCIPAL
    assert state.refuses(started(hold="hold_1", digest=OTHER)) is Reason.ACTION_HASH_MISMATCH
    assert state.refuses(started(hold="hold_1"), at=NOW + 10) is Reason.APPROVAL_EXPIRED
    state.do(started(hold="hold_1"), at=NOW + 9)


@pytest.mark.parametrize("end", [HoldDenied(hold="hold_1", by="bob", note="no"), HoldExpired(hold="hold_1")])
@pytest.mark.parametrize("answered", [False, True])
def test_a_hold_that_ended_starts_nothing(end, answered):
    """Denied or expired, before or after an approval: no execution, no approval, no second end."""
    state = State().do(opened(), held(), *([approved()] if answered else []), end)
    assert state.refuses(started(hold="hold_1")) is Reason.UNKNOWN_APPROVAL
    assert state.refuses(approved()) is Reason.CONFLICT
    assert state.refuses(end) is Reason.CONFLICT


def test_a_denied_action_stays_denied_for_the_task():
    """People are not asked again what they have refused; an expired hold makes room for the next, and so does another action."""
    state = State().do(opened(), opened("task_2"), held(), HoldDenied(hold="hold_1", by="bob"))
    assert state.refuses(held("hold_2")) is Reason.CONFLICT
    state.do(held("hold_2", digest=OTHER), held("hold_3", task="task_2"), HoldExpired(hold="hold_3"))
    state.do(held("hold_4", task="task_2"))


def test_a_new_enrolment_replaces_the_old():
    """One secret for a person, one person for a secret."""
    state = State().do(
        ApproverEnrolled(human="bob", secret="s1", by="op"), ApproverEnrolled(human="bob", secret="s2", by="op")
    )
    assert ("secret", "s1") not in state
    assert state["secret", "s2"].body.target == "bob"
    assert state.refuses(ApproverEnrolled(human="eve", secret="s2", by="op")) is Reason.CONFLICT


def test_the_last_bundle_is_in_force():
    """Activation is a pointer."""
    state = State().do(
        BundleActivated(revision="r1", previous=None, files=1), BundleActivated(revision="r2", previous="r1", files=1)
    )
    assert active_revision(state["bundle", "active"]) == "r2"
    assert active_revision(None) is None


def test_rows_survive_storage():
    """What a store writes and reads back is the same row."""
    state = State().do(
        opened(token="t", value={"EUR": 5}), held(), approved(), started("e1", hold="hold_1", labels=("x",))
    )
    for row in state.values():
        assert decode_row(row.kind, row.id, row.status, row.owner, row.at_ms, encode_body(row)) == row


def test_every_state_and_event_is_decided():
    """No pair leads outside the table's own states, and an end is an end."""
    for cycle, ends in (
        (table.TASK, {"closed"}),
        (table.HOLD, {"denied", "expired", "consumed"}),
        (table.EXECUTION, {"executed", "failed", "confirmed", "refuted"}),
    ):
        assert set(cycle.values()) >= ends
        assert not {before for before, _ in cycle} & ends
