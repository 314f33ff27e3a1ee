"""Somebody writes to the journal of a log whose process has died: nothing is taken in that the log's key did not make.

Each case is a state folder as a killed gateway leaves it, with groups that only the journal has. Unchanged it is taken in whole
(control); changed it is refused with `log_damaged`, before anything of it is in the tables, and again the next time.
"""

import shutil
import zlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.model.record import encode_entry
from lictor.records.merkle import FrontierBuilder
from lictor.stores import journal, scribe
from lictor.stores.journal import Frame, paths
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import Log
from store_samples import NOW, batch, decided, ended, held, opened, payload, received, started

pytestmark = pytest.mark.skipif(not journal.POSSIBLE, reason="no journal on this platform")
ORIGIN = "test.local/log"
SMALL = 24_576
SIGNER, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@pytest.fixture
def calm(monkeypatch):
    """Every group after the first goes to a journal that does not end by itself."""
    monkeypatch.setattr(journal, "FILE_BYTES", SMALL)
    changed = {"BUSY_AFTER": 0, "QUIET_S": 600.0, "LINGER_S": 600.0, "BEHIND": 10**9, "BEHIND_S": 10.0**9}
    for name, value in changed.items():
        monkeypatch.setattr(scribe, name, value)


@pytest.fixture
def make(tmp_path, calm):
    made = []

    def store(folder="live", *, signer=SIGNER, origin=ORIGIN, anchor=None):
        log = tmp_path / folder / "log.db"
        if not log.parent.exists():
            log.parent.mkdir(0o700)
            journal.make(log)
        made.append(SqliteStore(log, signer=signer, origin=origin, anchor=anchor))
        return made[-1]

    yield store
    for one in made:
        one.close()


def call(number):
    request, execution = f"req_{number}", f"exec_{number}"
    return batch(received(request), decided(request), started(execution, request=request), payloads=[payload(request)])


async def worked(store, *, calls=5):
    """A task whose calls only the journal has."""
    await store.commit(batch(opened()))
    for number in range(calls):
        await store.commit(call(number))
    assert len(store._writer._scribe.unwritten.parts) == calls


def killed(store, folder="dead"):
    """The state folder of its process, killed now."""
    with store._writer._turn:
        log = store._log.path
        target = log.parent.with_name(folder)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(0o700)
        for path in log.parent.glob("log.db*"):
            if not path.name.endswith(("-shm", ".new")):
                shutil.copy2(path, target / path.name)
    return target / "log.db"


def in_tables(log):
    with SqliteStore.open_unverified(log) as view:
        return [entry.data for entry in view.entries()]


def refused(make, log, **kwargs):
    """Twice, and the tables are as they were."""
    before = in_tables(log)
    for _ in range(2):
        with pytest.raises(StoreError) as raised:
            make(log.parent.name, **kwargs)
        assert raised.value.reason is Reason.LOG_DAMAGED
    assert in_tables(log) == before


def taken_in(make, log, size):
    """Control."""
    with make(log.parent.name) as found:
        assert found.size() == size
        assert found.rebuild_rows() == []


# -- frames as somebody can take them apart and put together -----------------------------------------------------------------


def split(data):
    """The frames of a file: (first, last, code, body) each, and where the last one ends."""
    at, found = 0, []
    while data[at : at + 4] == b"lgj1":
        _, length, _, first, last = journal._HEAD.unpack_from(data, at)
        at += journal._HEAD.size
        found.append((first, last, data[at : at + 32], data[at + 32 : at + length]))
        at += length
    return found, at


def joined(parts):
    """A file with these frames, every checksum right."""
    whole = b""
    for first, last, code, body in parts:
        rest = code + body
        whole += journal._HEAD.pack(b"lgj1", len(rest), zlib.crc32(rest), first, last) + rest
    return whole.ljust(SMALL, b"\0")


def rewritten(log, change):
    """Change the frames of the file that has some."""
    path = paths(log)[0]
    parts, _ = split(path.read_bytes())
    assert len(parts) >= 3
    path.write_bytes(joined(change(parts)))


def with_body(part, change):
    first, last, code, body = part
    members = msgspec.msgpack.decode(body)
    change(members)
    return first, last, code, msgspec.msgpack.encode(members)


def changed_entry(members):
    members[1][0] = members[1][0].replace(b"req_1", b"req_9")


def other_ciphertext(members):
    members[2][0][3] = bytes(len(members[2][0][3]))


def no_payload(members):
    members[2] = []


def other_payload_name(members):
    members[2][0][0] = "req_elsewhere"


def fewer_entries(members):
    members[1].pop()


def other_root(members):
    members[3] = bytes(32)


CHANGES = {
    "an entry": lambda parts: [parts[0], with_body(parts[1], changed_entry), *parts[2:]],
    "an entry of the last": lambda parts: [*parts[:-1], with_body(parts[-1], lambda m: m[1].append(m[1][0]))],
    "an entry taken out": lambda parts: [*parts[:-1], with_body(parts[-1], fewer_entries)],
    "a payload": lambda parts: [parts[0], with_body(parts[1], other_ciphertext), *parts[2:]],
    "a payload taken out": lambda parts: [parts[0], with_body(parts[1], no_payload), *parts[2:]],
    "a payload's request": lambda parts: [parts[0], with_body(parts[1], other_payload_name), *parts[2:]],
    "the root": lambda parts: [parts[0], with_body(parts[1], other_root), *parts[2:]],
    "the code": lambda parts: [parts[0], (*parts[1][:2], bytes(32), parts[1][3]), *parts[2:]],
    "codes of each other": lambda parts: [(*parts[0][:2], parts[1][2], parts[0][3]), *parts[1:]],
    "a frame taken out": lambda parts: [parts[0], *parts[2:]],
    "the first taken out": lambda parts: parts[1:],
    "a frame twice": lambda parts: [*parts[:2], parts[1], *parts[2:]],
    "an old one under a new place": lambda parts: [*parts, (parts[-1][1], parts[-1][1] + 3, *parts[0][2:])],
    "a forged one behind": lambda parts: [
        *parts,
        (parts[-1][1], parts[-1][1] + 1, b"c" * 32, msgspec.msgpack.encode([parts[-1][1], [b"{}"], [], bytes(32)])),
    ],
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_changed_is_refused_although_its_checksums_are_right(make, change):
    """Whatever of it was, and nothing of the journal is taken in then."""
    store = make()
    await worked(store)
    log = killed(store)
    rewritten(log, CHANGES[change])
    refused(make, log)
    taken_in(make, killed(store, "control"), 16)


async def test_control_put_together_again_it_is_the_same(make):
    """Taking the frames apart and writing them anew changes nothing: it is the changes above that are refused."""
    store = make()
    await worked(store)
    log = killed(store)
    before = paths(log)[0].read_bytes()
    rewritten(log, list)
    assert paths(log)[0].read_bytes() == before
    rewritten(log, lambda parts: [parts[0]])
    taken_in(make, log, 4)


@pytest.mark.parametrize("change", ["an entry", "a payload", "a forged one behind"])
async def test_control_without_the_code_something_is_taken_in_or_only_the_root_stops_it(make, change, monkeypatch):
    """The same files, read by who does not ask for the code: what the root does not cover comes in."""
    store = make()
    await worked(store)
    log = killed(store)
    rewritten(log, CHANGES[change])
    monkeypatch.setattr(journal.hmac, "compare_digest", lambda *_: True)
    if change == "a payload":
        with make(log.parent.name) as found, pytest.raises(StoreError):
            found.payload("req_1")
    else:
        refused(make, log)


# -- made with another key, or for another log --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["another signer's", "another log's", "the other way round"])
async def test_frames_of_another_key_are_refused(make, key):
    """Made anew by who holds another log's key; and ours for another name, or where another's are expected."""
    store = make()
    await worked(store)
    log = killed(store)
    made_with = {
        "another signer's": Log(log, ORIGIN, STRANGER),
        "another log's": Log(log, "test.local/other", SIGNER),
        "the other way round": Log(log, ORIGIN, SIGNER),
    }[key].journal_key()
    frames = journal.frames(log, 1, store._log.journal_key())
    anew = b"".join(frame.encode(made_with) for frame in frames).ljust(SMALL, b"\0")
    assert (anew == paths(log)[0].read_bytes()) == (
        key == "the other way round"
    )  # control: our own makes the same bytes
    paths(log)[0].write_bytes(anew)
    if key == "the other way round":
        taken_in(make, log, 16)
    else:
        refused(make, log)


async def test_the_journal_of_another_log_is_refused(make):
    """Of one with another name, the same key and the very same records."""
    store, other = make(), make("other", origin="test.local/other")
    await worked(store)
    await worked(other)
    log = killed(store)
    shutil.copyfile(paths(other._log.path)[0], paths(log)[0])
    refused(make, log)


async def test_the_journal_of_another_history_is_refused(make):
    """Of the same log, key and size, by a gateway that was started from a copy: it does not go on from here."""
    one, two = make(), make("two")
    for number, store in enumerate((one, two)):
        await store.commit(batch(opened(calls=100 + number)))
        await store.commit(call(1))
    log = killed(one)
    shutil.copyfile(paths(two._log.path)[0], paths(log)[0])
    refused(make, log)
    taken_in(make, killed(one, "control"), 4)


# -- rows and records --------------------------------------------------------------------------------------------------------


def behind(log, key, *entries, extra=()):
    """A frame behind the last one, as only who holds the log's key can make it."""
    size, tree = 0, FrontierBuilder()
    known = [*in_tables(log), *(data for frame in journal.frames(log, 1, key) for data in frame.entries)]
    for size, data in enumerate([*known, *entries], start=1):  # noqa: B007 - its last value counts
        tree.append(data)
    first = size - len(entries)
    if not extra:
        return Frame(first, entries, [], tree.root()).encode(key)
    body = msgspec.msgpack.encode([first, list(entries), [], tree.root(), *extra])
    body = journal.hmac.digest(key, body, "sha256") + body
    return journal._HEAD.pack(b"lgj1", len(body), zlib.crc32(body), first, size) + body


def add(log, data):
    path = paths(log)[0]
    whole = bytearray(path.read_bytes())
    _, end = split(whole)
    whole[end : end + len(data)] = data
    path.write_bytes(whole)


SMUGGLED = {
    "rows beside entries": ([encode_entry(NOW, held("h"))], [{"task": {"calls_used": 0}}]),
    "what the life cycles refuse": ([encode_entry(NOW, ended("nobody"))], []),
    "an execution twice": ([encode_entry(NOW, started("exec_1"))], []),
    "what is no entry": ([b"{}"], []),
    "no text": ([b"\xff\xfe"], []),
}


@pytest.mark.parametrize("what", SMUGGLED)
async def test_rows_follow_from_entries_and_from_nothing_else(make, what):
    """Even under the right code: there is no place for rows, and entries are judged once more."""
    store = make()
    await worked(store)
    entries, extra = SMUGGLED[what]
    log = killed(store)
    add(log, behind(log, store._log.journal_key(), *entries, extra=extra))
    refused(make, log)


async def test_control_a_frame_by_who_holds_the_key_is_taken_in(make):
    """What the log's key signs is the log: the frame above is refused for what is in it."""
    store = make()
    await worked(store)
    log = killed(store)
    add(log, behind(log, store._log.journal_key(), encode_entry(NOW, held("h"))))
    taken_in(make, log, 17)


# -- older states ------------------------------------------------------------------------------------------------------------


async def test_old_frames_change_nothing(make):
    """Put back where they were, or beside newer ones: what is in the log is not taken in again."""
    store = make()
    await worked(store)
    old = [path.read_bytes() for path in paths(store._log.path)]
    store.close()
    log = store._log.path
    for path, data in zip(paths(log), reversed(old), strict=True):
        path.write_bytes(data)
    assert journal.left_over(log)
    taken_in(make, log, 16)
    with make() as found:
        await found.commit(call(9))
        assert found.task("task_1").calls_used == 6
    for path, data in zip(paths(log), old, strict=True):
        path.write_bytes(data)
    taken_in(make, log, 19)


def put_back(log, older):
    """Another's tables, this one's journal."""
    for name in ("log.db", "log.db-wal"):
        (log.parent / name).unlink(missing_ok=True)
        if (older.parent / name).exists():
            shutil.copy2(older.parent / name, log.parent / name)


async def test_older_tables_under_a_newer_journal_are_refused(make):
    """What lies between them is nowhere any more: acknowledged records are missing, and used approvals would be fresh."""
    store = make()
    await worked(store)
    older = killed(store, "older")
    assert store.size() == 16  # in the tables now
    store.close()
    store = make()
    for number in range(10, 13):
        await store.commit(call(number))
    log = killed(store)
    assert journal.left_over(log)
    put_back(log, older)
    refused(make, log)
    taken_in(make, killed(store, "control"), 25)


async def test_older_tables_that_the_journal_completes_lose_nothing(make):
    """As long as it has everything behind them, they are what they were."""
    store = make()
    await worked(store, calls=2)
    older = killed(store, "older")
    assert store.size() == 7
    await store.commit(call(7))
    log = killed(store)
    put_back(log, older)
    assert len(in_tables(log)) == 1
    taken_in(make, log, 10)


async def test_a_journal_cut_at_its_end_is_found_by_the_anchor(make):
    """It looks like one that a power cut has torn, and only what is kept outside says that more was acknowledged."""
    store = make()
    await worked(store)
    log = killed(store)
    anchor = store.newest_checkpoint()
    rewritten(log, lambda parts: parts[:-1])
    with pytest.raises(StoreError) as raised:
        make(log.parent.name, anchor=anchor)
    assert raised.value.reason is Reason.LOG_DAMAGED
    taken_in(make, log, 13)


# -- a gateway that is running -----------------------------------------------------------------------------------------------


async def reads_a_row(store):
    store.task("task_1")


async def reads_a_list(store):
    store.tasks()


async def records(store):
    await store.commit(call(7))


ACTS = {"row": reads_a_row, "list": reads_a_list, "commit": records}


@pytest.mark.parametrize("act", ACTS)
async def test_who_is_running_does_not_believe_it_either(make, act):
    """Frames that turn up beside an open log: nothing is read or recorded over them until somebody has looked."""
    store = make()
    await worked(store)
    log = killed(store)
    files = {path.name: path.read_bytes() for path in paths(log)}
    for path in (*paths(log), log.with_name("log.db.right")):
        path.unlink()
    found = make(log.parent.name)
    assert found.task("task_1").calls_used == 0
    for path in paths(log):
        path.write_bytes(files[path.name])
        path.chmod(0o600)
    rewritten(log, CHANGES["an entry"])
    with log.with_name("log.db.right").open("r+b") as mark:
        mark.write(b"\0\1")
    for _ in range(2):
        with pytest.raises(StoreError) as raised:
            await ACTS[act](found)
        assert raised.value.reason is Reason.LOG_DAMAGED
    assert len(in_tables(log)) == 1
    rewritten(log, lambda parts: [])
    await found.commit(call(7))
    assert found.task("task_1").calls_used == 1
