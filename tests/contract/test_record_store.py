"""The contract of `lictor.ports.RecordStore`, on every back end."""

import asyncio

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.approval import HoldStatus
from lictor.model.errors import ConflictError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import (
    ApproverEnrolled,
    BundleActivated,
    BundleApproved,
    HoldDenied,
    HoldExpired,
    TaskClosed,
    decode_entry,
)
from lictor.records.verify import verify_log
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from store_samples import (
    DIGEST,
    NOW,
    OTHER,
    approved,
    batch,
    decided,
    ended,
    erasure,
    held,
    hold,
    opened,
    payload,
    received,
    started,
)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    signer = Ed25519PrivateKey.generate()
    if request.param == "memory":
        made = MemoryStore(signer=signer)
    else:
        made = SqliteStore(tmp_path / "state" / "log.db", signer=signer, origin="test.local/log")
    yield made
    made.close()


async def refused(store, *records, at=NOW, payloads=()):
    """The reason of a refusal that wrote nothing."""
    before = list(store.entries())
    with pytest.raises(ConflictError) as caught:
        await store.commit(batch(*records, at=at, payloads=payloads))
    assert list(store.entries()) == before
    return caught.value.reason


async def test_a_batch_stands_in_the_log_in_order(store):
    """Receipts give the place; entries decode to what was committed, with its time."""
    first = await store.commit(batch(opened(), at=7))
    second = await store.commit(batch(received(), decided(), started(), at=9, payloads=[payload()]))
    assert (first.first, first.size, second.first, second.size) == (0, 1, 1, 4)
    entries = [decode_entry(entry.data) for entry in store.entries()]
    assert [entry.record for entry in entries] == [opened(), received(), decided(), started()]
    assert [entry.at for entry in entries] == [7, 9, 9, 9]
    assert [entry.seq for entry in store.entries(1, 3)] == [1, 2]
    assert [entry.seq for entry in store.entries(3, 99)] == [3]
    assert list(store.entries(4)) == []
    assert store.size() == 4


async def test_the_log_verifies_at_every_size(store):
    """Also the empty log and every log after a commit has a checkpoint that covers it exactly."""
    assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok
    for number in range(9):
        await store.commit(batch(opened(f"task_{number}"), received(), decided()))
        report = verify_log(store.entries(), store.checkpoints(), store.verifier_key)
        assert report.ok, report.findings
        assert report.size == store.size() == 3 * (number + 1)
    assert list(store.checkpoints())[-1] == store.newest_checkpoint()


async def test_concurrent_commits_get_distinct_places(store):
    """Many callers at once: every receipt is its own, none is lost."""
    await store.commit(batch(opened()))
    jobs = [store.commit(batch(received(f"req_{n}"), decided(f"req_{n}"), started(f"exec_{n}"))) for n in range(50)]
    receipts = await asyncio.gather(*jobs)
    assert sorted(receipt.first for receipt in receipts) == list(range(1, 151, 3))
    for number, receipt in enumerate(receipts):
        [entry] = store.entries(receipt.first, receipt.first + 1)
        assert decode_entry(entry.data).record.request == f"req_{number}"
    state = store.task("task_1")
    assert state is not None
    assert state.calls_used == 50
    assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok


async def test_a_refused_batch_leaves_no_trace(store):
    """The whole batch counts: its good first records and its payload are not kept either."""
    await store.commit(batch(opened()))
    assert await refused(store, received(), started("x", task="nobody"), payloads=[payload()]) is Reason.UNKNOWN_TASK
    assert store.payload("req_1") is None
    assert await refused(store, started("e1"), started("e1")) is Reason.CONFLICT
    assert store.execution_outcome("e1") is None
    assert store.task("task_1").calls_used == 0


async def test_one_refusal_does_not_touch_its_neighbours(store):
    """In one group each batch stands for itself, and sees those before it."""
    await store.commit(batch(opened(calls=3)))
    jobs = [store.commit(batch(started(f"exec_{n}"))) for n in range(8)]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(result, ConflictError) for result in results] == [False] * 3 + [True] * 5
    assert {result.reason for result in results[3:]} == {Reason.BUDGET_CALLS}
    assert store.size() == 4
    assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok


@pytest.mark.parametrize(
    "bad",
    [batch(), batch(opened(), at=-1), batch(opened(), at=2**53), batch(HoldDenied(hold="h", by="b", note="\ud800"))],
    ids=["empty", "before-the-epoch", "too-late", "lone-surrogate"],
)
async def test_what_cannot_be_written_is_refused(store, bad):
    """No record without an encoding, no batch without records, no impossible time."""
    with pytest.raises(StoreError) as caught:
        await store.commit(bad)
    assert caught.value.reason is Reason.CANNOT_RECORD
    assert store.size() == 0


async def test_tasks_and_tokens(store):
    """A task is found by id and by token digest; unknown ones are None; the list is newest first."""
    await store.commit(batch(opened("task_1", token="t1", opened=5)))
    await store.commit(batch(opened("task_2", opened=9), opened("task_3", opened=7)))
    assert store.task("task_1").task.id == store.task_by_token("t1").task.id == "task_1"
    assert store.task("nobody") is store.task_by_token("nothing") is None
    assert [state.task.id for state in store.tasks()] == ["task_2", "task_3", "task_1"]
    assert await refused(store, opened("task_4", token="t1")) is Reason.CONFLICT
    await store.commit(batch(TaskClosed(task="task_1", by="operator")))
    assert store.task("task_1").status == "closed"
    assert await refused(store, started()) is Reason.TASK_CLOSED


async def test_use_is_counted_and_labels_taken(store):
    """Calls, value and labels are in the task as soon as an execution has started; failure gives the value back."""
    await store.commit(batch(opened(value={"EUR": 100})))
    await store.commit(batch(started("e1", labels=("b", "a"), value=60, currency="EUR")))
    assert await refused(store, started("e2", value=60, currency="EUR")) is Reason.BUDGET_VALUE
    assert await refused(store, started("e2", value=1, currency="USD")) is Reason.BUDGET_VALUE
    state = store.task("task_1")
    assert (state.calls_used, state.value_used, state.labels) == (1, {"EUR": 60}, ("a", "b"))
    await store.commit(batch(ended("e1", "failed")))
    assert store.task("task_1").value_used == {"EUR": 0}


async def test_executions(store):
    """Open until ended, listed by instance, oldest first; ended once."""
    await store.commit(batch(opened()))
    await store.commit(batch(started("e2", instance="inst_1"), at=NOW))
    await store.commit(batch(started("e1", instance="inst_2"), at=NOW + 1))
    assert [one.execution for one in store.open_executions()] == ["e2", "e1"]
    assert [one.execution for one in store.open_executions("inst_2")] == ["e1"]
    assert store.open_executions("inst_3") == []
    await store.commit(batch(ended("e2", "indeterminate")))
    assert [one.execution for one in store.open_executions()] == ["e1"]
    assert (store.execution_outcome("e2"), store.execution_outcome("e1")) == ("indeterminate", "started")
    assert store.execution_outcome("e9") is None
    assert await refused(store, ended("e2", "executed")) is Reason.CONFLICT


async def test_a_hold_lives_until_it_is_consumed(store):
    """Pending, approved, consumed: live in the first two, spent once."""
    await store.commit(batch(opened()))
    await store.commit(batch(held()))
    assert store.live_hold("task_1", DIGEST) == store.hold("hold_1") == hold()
    assert store.live_hold("task_1", OTHER) is store.live_hold("task_2", DIGEST) is store.hold("hold_2") is None
    assert await refused(store, held("hold_2")) is Reason.CONFLICT
    await store.commit(batch(approved()))
    live = store.live_hold("task_1", DIGEST)
    assert live.status is HoldStatus.APPROVED
    given = approved().approval
    assert live.given == (given,)
    assert live.approval == msgspec.structs.replace(given, met=given.groups)
    await store.commit(batch(started("e1", hold="hold_1")))
    assert store.live_hold("task_1", DIGEST) is None
    assert store.hold("hold_1").status is HoldStatus.CONSUMED
    assert await refused(store, started("e2", hold="hold_1")) is Reason.APPROVAL_USED
    await store.commit(batch(held("hold_2")))
    assert store.live_hold("task_1", DIGEST).id == "hold_2"


async def test_a_denied_hold_stays_found(store):
    """The retry of a denied action finds the denial; after expiry there is nothing to find."""
    await store.commit(batch(opened(), held(), held("hold_2", digest=OTHER)))
    await store.commit(batch(HoldDenied(hold="hold_1", by="bob", note="no"), HoldExpired(hold="hold_2")))
    live = store.live_hold("task_1", DIGEST)
    assert (live.id, live.status, live.note) == ("hold_1", HoldStatus.DENIED, "no")
    assert store.live_hold("task_1", OTHER) is None
    assert await refused(store, held("hold_3")) is Reason.CONFLICT
    await store.commit(batch(held("hold_3", digest=OTHER)))


async def test_hold_lists(store):
    """Newest first, pending only, limited, counted since a moment."""
    await store.commit(batch(opened(), opened("task_2")))
    for number in range(5):
        await store.commit(batch(held(f"hold_{number}", digest=f"d{number}", at=NOW + number)))
    await store.commit(batch(held("hold_x", task="task_2", at=NOW + 9)))
    await store.commit(batch(HoldDenied(hold="hold_1", by="bob", note="no")))
    await store.commit(batch(HoldExpired(hold="hold_3")))
    ids = [one.id for one in store.holds()]
    assert ids == ["hold_x", "hold_4", "hold_3", "hold_2", "hold_1", "hold_0"]
    assert [one.id for one in store.holds(pending_only=True)] == ["hold_x", "hold_4", "hold_2", "hold_0"]
    assert [one.id for one in store.holds(limit=2)] == ids[:2]
    assert store.holds(limit=0) == store.holds(limit=-1) == []
    assert store.holds_opened_since("task_1", NOW + 3) == 2
    assert store.holds_opened_since("task_2", 0) == 1
    assert store.holds_opened_since("task_3", 0) == 0


async def test_approvers(store):
    """A new secret replaces the old one."""
    await store.commit(batch(ApproverEnrolled(human="bob", secret="s1", by="op")))
    assert store.approver_by_secret("s1") == "bob"
    await store.commit(batch(ApproverEnrolled(human="bob", secret="s2", by="op")))
    assert store.approver_by_secret("s1") is None
    assert store.approver_by_secret("s2") == "bob"


async def test_bundles(store):
    """The revision in force is the last one activated; kept files come back; keeping again changes nothing."""
    assert store.revision() is None
    await store.commit(batch(BundleActivated(revision="r1", previous=None, files=2)))
    await store.commit(batch(BundleActivated(revision="r2", previous="r1", files=2)))
    assert store.revision() == "r2"
    store.keep_bundle("r1", {"a": b"1", "b/c": b"\0"})
    store.keep_bundle("r1", {"a": b"other"})
    assert store.bundle("r1") == {"a": b"1", "b/c": b"\0"}
    assert store.bundle("r2") is None
    await store.commit(batch(opened()))  # a write beside the log does not disturb it
    assert store.size() == 3


async def test_a_second_persons_approval(store):
    """It names what it was compared with, and is spent when the revision is put in force."""
    assert store.approved_over("r2") is None
    await store.commit(batch(BundleApproved(revision="r2", previous="r1", by="bob", widens=("more",))))
    assert store.approved_over("r2") == "r1"
    assert store.approved_over("r1") is None
    await store.commit(batch(BundleActivated(revision="r3", previous="r1", files=2)))
    assert store.approved_over("r2") == "r1"
    await store.commit(batch(BundleActivated(revision="r2", previous="r3", files=2)))
    assert store.approved_over("r2") is None


async def test_payloads(store):
    """A payload comes back whole; another under its id is refused; unknown ones are None."""
    await store.commit(batch(opened(), payloads=[payload("task_1", arguments=b"the text", snapshot=b"")]))
    await store.commit(batch(received(), payloads=[payload(), payload("req_2", arguments=b"", snapshot=b"s" * 5000)]))
    assert store.payload("req_1") == payload()
    assert store.payload("req_2") == payload("req_2", arguments=b"", snapshot=b"s" * 5000)
    assert store.payload("task_1").arguments == b"the text"
    assert store.payload("req_3") is None
    assert await refused(store, received(), payloads=[payload(arguments=b"other")]) is Reason.CONFLICT
    assert await refused(store, received(), payloads=[payload("req_4"), payload("req_4")]) is Reason.CONFLICT
    assert store.payload("req_1") == payload()
    assert store.payload("req_4") is None


async def test_a_request_of_an_unknown_task_is_recorded_with_its_payload(store):
    """A refused request names a task that never was; its record and payload are kept all the same."""
    await store.commit(batch(received(task="ghost"), payloads=[payload(task="ghost")]))
    await store.commit(batch(received("req_2", task="ghost"), payloads=[payload("req_2", task="ghost")]))
    assert store.payload("req_1") == payload(task="ghost")
    await store.commit(batch(opened("ghost"), payloads=[payload("req_3", task="ghost")]))
    assert [store.payload(f"req_{n}").task for n in (1, 2, 3)] == ["ghost"] * 3


async def test_erased_payloads_are_gone_for_good(store):
    """Erasing takes all payloads of one task, present and future, and leaves the log whole."""
    await store.commit(batch(opened(), opened("task_2"), payloads=[payload(), payload("req_2", task="task_2")]))
    await store.commit(erasure())
    await store.commit(batch(received("req_3"), payloads=[payload("req_3")]))
    assert store.payload("req_1") is store.payload("req_3") is None
    assert store.payload("req_2") == payload("req_2", task="task_2")
    assert store.size() == 5
    assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok


async def test_what_was_handed_on_below_a_task_is_found(store):
    """At any depth, newest first, nobody else's; also when the clock was set back between, and after everything is closed."""

    def below(name, at, *parents):
        record = opened(name, opened=at, expires=NOW + 3_600_000, calls=100 // (1 + len(parents)))
        return msgspec.structs.replace(
            record, task=msgspec.structs.replace(record.task, agent=f"agent of {name}", parents=parents)
        )

    await store.commit(batch(opened("root"), opened("other"), opened('odd"name')))
    await store.commit(batch(below("kid", NOW + 5, "root"), below("grandkid", NOW + 6, "kid", "root")))
    await store.commit(batch(below("second", NOW - 60_000, "root"), below("stranger", NOW + 7, "other")))
    await store.commit(batch(below("of odd", NOW + 7, 'odd"name')))
    assert [one.task.id for one in store.descendants("root")] == ["grandkid", "kid", "second"]
    assert [one.task.id for one in store.descendants("kid")] == ["grandkid"]
    assert [one.task.id for one in store.descendants('odd"name')] == ["of odd"]
    assert list(store.descendants("grandkid")) == list(store.descendants("nobody")) == []
    await store.commit(batch(*(TaskClosed(task=name, by="test") for name in ("grandkid", "kid", "root")), at=NOW + 9))
    states = store.descendants("root")
    assert [(one.task.id, one.closed_at_ms) for one in states[:2]] == [("grandkid", NOW + 9), ("kid", NOW + 9)]


async def test_a_task_is_over_when_it_was_closed_or_its_time_was_up(store):
    """Whichever came first; a close after that does not make it later."""
    await store.commit(batch(opened(), opened("task_2")))
    assert store.task("task_1").over_at_ms == NOW + 3_600_000
    await store.commit(batch(TaskClosed(task="task_1", by="test"), at=NOW + 7))
    await store.commit(batch(TaskClosed(task="task_2", by="test"), at=NOW + 4_000_000))
    assert (store.task("task_1").over_at_ms, store.task("task_2").over_at_ms) == (NOW + 7, NOW + 3_600_000)


async def test_a_patient_batch_is_recorded_in_its_turn(store):
    """Alone it is recorded soon; before another it keeps its place; closing does not lose it."""
    await store.commit(batch(opened()))
    receipt = await store.commit(msgspec.structs.replace(batch(received("alone")), patient=True))
    assert (receipt.first, store.size()) == (1, 2)
    jobs = [store.commit(msgspec.structs.replace(batch(received(f"r{n}")), patient=n % 2 == 0)) for n in range(10)]
    receipts = await asyncio.gather(*jobs)
    assert [receipt.first for receipt in receipts] == list(range(2, 12))
    last = asyncio.create_task(store.commit(msgspec.structs.replace(batch(received("last")), patient=True)))
    await asyncio.sleep(0)
    store.close()
    assert (await last).first == 12


async def test_a_closed_store_records_nothing(store):
    """Closing is idempotent; a commit after it is `cannot_record`."""
    await store.commit(batch(opened()))
    store.close()
    store.close()
    with pytest.raises(StoreError) as caught:
        await store.commit(batch(opened("task_2")))
    assert caught.value.reason is Reason.CANNOT_RECORD
