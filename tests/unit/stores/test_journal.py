"""The journal's files: a frame is there whole or not at all, in order or `log_damaged`, and no file is written over too early."""

import hmac
import os
import stat
import threading
import zlib
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.stores import journal
from lictor.stores.journal import Frame, Journal, frames, left_over, make, paths

pytestmark = pytest.mark.skipif(not journal.POSSIBLE, reason="no journal on this platform")
SMALL = 4_096
KEY = b"k" * 32
PLACE = range(12, 28)
"""Of the head: sizes of the log before and after. What is before them, and the rest, is under the checksum."""


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Where a log would be, with its journal made and nothing in it."""
    monkeypatch.setattr(journal, "FILE_BYTES", SMALL)
    path = tmp_path / "log.db"
    make(path)
    return path


def frame(first, count=1, *, data=b"{}", payloads=()):
    return Frame(first, [data] * count, payloads, bytes([first % 256]) * 32)


def bare(one):
    """A frame in one shape, whether it was read or made."""
    return (one.first, list(one.entries), [tuple(payload) for payload in one.payloads], one.root)


def found(log, head=0):
    return [bare(one) for one in frames(log, head, KEY)]


def put(path, *parts):
    """Let a file begin with these bytes, zeros behind them."""
    path.write_bytes(b"".join(parts).ljust(SMALL, b"\0"))


def written(log, *many):
    """Frames one after the other, as a journal writes them."""
    own = Journal(log)
    assert own.open()
    for one in many:
        own.append(one.encode(KEY), one.first + len(one.entries))
    own.close(clear=False)


# -- what a frame is -------------------------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
sealed = st.tuples(names, names, st.binary(max_size=12), st.binary(max_size=40))


@settings(max_examples=60, deadline=None)
@given(
    first=st.integers(0, 2**40),
    entries=st.lists(st.binary(max_size=60), min_size=1, max_size=5),
    payloads=st.lists(sealed, max_size=3),
    root=st.binary(max_size=32),
)
def test_a_frame_comes_back_as_it_was(tmp_path_factory, first, entries, payloads, root):
    """Whatever is in it, bytes for bytes."""
    log = tmp_path_factory.mktemp("journal") / "log.db"
    whole = Frame(first, entries, payloads, root)
    paths(log)[0].write_bytes(whole.encode(KEY) + bytes(64))
    assert found(log, first) == [bare(whole)]


def test_frames_come_back_in_order(log):
    """Several of one file."""
    many = [frame(0), frame(1, 3, payloads=[("req", "task", b"n", b"c")]), frame(4)]
    written(log, *many)
    assert found(log) == [bare(one) for one in many]


def test_a_frame_torn_at_any_length_is_dropped_with_all_behind_it(log):
    """What is before it stays; that none of its bytes may be missing is seen at each of them."""
    before, torn, behind = (frame(number).encode(KEY) for number in range(3))
    path = paths(log)[0]
    for length in range(len(torn)):
        put(path, before, torn[:length])
        assert found(log) == [bare(frame(0))], length
        put(path, before, torn[:length] + bytes(len(torn) - length), behind)
        assert found(log) == [bare(frame(0))], length
    put(path, before, torn, behind)
    assert [one[0] for one in found(log)] == [0, 1, 2]


def test_a_frame_with_any_byte_changed_is_dropped_with_all_behind_it(log):
    """What is before it stays. Only where its head names another place it is not torn but made so, and that is damage."""
    before, torn, behind = (frame(number).encode(KEY) for number in range(3))
    path = paths(log)[0]
    for at in range(len(torn)):
        for bit in (0x01, 0x80):
            changed = bytearray(torn)
            changed[at] ^= bit
            put(path, before, bytes(changed), behind)
            if at in PLACE:
                with pytest.raises(StoreError):
                    frames(log, 0, KEY)
            else:
                assert found(log) == [bare(frame(0))], at


def test_control_without_the_checksum_a_torn_frame_is_called_damage(log, monkeypatch):
    """The same changed frame, read by who does not look: a log that nobody damaged would not open after a power cut."""
    changed = bytearray(frame(0).encode(KEY))
    changed[-1] ^= 1
    put(paths(log)[0], bytes(changed))
    assert found(log) == []
    monkeypatch.setattr(journal.zlib, "crc32", lambda _: int.from_bytes(changed[8:12]))
    with pytest.raises(StoreError):
        frames(log, 0, KEY)


def headed(first, last, data, *, key=KEY, length=None):
    """A frame with a head of somebody's choice, whose checksum is right."""
    body = hmac.digest(key, data, "sha256") + data
    return journal._HEAD.pack(b"lgj1", len(body) if length is None else length, zlib.crc32(body), first, last) + body


GOOD = msgspec.msgpack.encode([0, [b"x"], [], b""])


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(headed(1, 2, GOOD), id="head of another place"),
        pytest.param(headed(0, 9, GOOD), id="head of more entries"),
        pytest.param(headed(0, 1, GOOD, key=b"j" * 32), id="another key"),
        pytest.param(headed(0, 1, GOOD, key=b""), id="no key"),
        pytest.param(headed(0, 1, b"\xc1"), id="no msgpack"),
        pytest.param(headed(0, 1, msgspec.msgpack.encode([0, [b"x"], []])), id="too few members"),
        pytest.param(headed(0, 1, msgspec.msgpack.encode([0, [b"x"], [], b"", "rows"])), id="too many members"),
        pytest.param(headed(0, 1, msgspec.msgpack.encode([0, ["x", 1], [], b""])), id="entries that are none"),
        pytest.param(headed(0, 1, msgspec.msgpack.encode({"first": 0})), id="a map"),
    ],
)
def test_what_is_whole_and_not_ours_is_damage(log, forged):
    """Its checksum is right, so it is not torn: somebody has made it."""
    put(paths(log)[0], headed(0, 1, GOOD))
    assert len(found(log)) == 1
    put(paths(log)[0], forged)
    with pytest.raises(StoreError) as raised:
        frames(log, 0, KEY)
    assert raised.value.reason is Reason.LOG_DAMAGED


@pytest.mark.parametrize("length", [0, 32, SMALL + 1, 2**31, 2**32 - 1])
def test_a_length_that_no_frame_has_ends_the_file(log, length):
    """Nothing so long is read; and a torn head, zeros behind the magic, is not taken for a frame without a body."""
    put(paths(log)[0], headed(0, 1, GOOD, length=length))
    assert found(log) == []
    put(paths(log)[0], journal._HEAD.pack(b"lgj1", length, zlib.crc32(b""), 0, 1))
    assert found(log) == []


# -- which frames count ----------------------------------------------------------------------------------------------------


def test_older_frames_left_over_are_ignored(log):
    """Those of before the head, at the beginning and behind what has been written over them."""
    put(paths(log)[0], frame(7).encode(KEY), frame(8).encode(KEY), frame(1).encode(KEY), frame(2).encode(KEY))
    put(paths(log)[1], frame(3).encode(KEY), frame(4).encode(KEY))
    assert [one[0] for one in found(log, 7)] == [7, 8]
    assert found(log, 9) == []


def test_an_older_frame_is_passed_over_unread(log):
    """Nobody needs it, so what became of its bytes does not matter."""
    old, new = bytearray(frame(0).encode(KEY)), frame(1).encode(KEY)
    old[-1] ^= 1
    put(paths(log)[0], bytes(old), new)
    assert [one[0] for one in found(log, 1)] == [1]
    assert found(log, 0) == []


def test_a_half_overwritten_frame_ends_the_file(log):
    """New frames are followed by the rest of an old one, which begins anywhere."""
    old = frame(0, data=b"x" * 500).encode(KEY)
    new = frame(9).encode(KEY)
    put(paths(log)[0], new + old[len(new) :], frame(1).encode(KEY))
    assert [one[0] for one in found(log, 9)] == [9]


def test_frames_of_both_files_are_put_in_order(log):
    """Whichever was written first."""
    put(paths(log)[0], frame(5).encode(KEY), frame(6).encode(KEY))
    put(paths(log)[1], frame(3, 2).encode(KEY))
    assert [one[0] for one in found(log, 3)] == [3, 5, 6]


@pytest.mark.parametrize("head", [0, 2, 3])
def test_a_gap_is_damage(log, head):
    """Behind the head, or between two frames: what was acknowledged is missing."""
    put(paths(log)[0], *([frame(3).encode(KEY)] if head == 3 else []), frame(5).encode(KEY))
    with pytest.raises(StoreError) as raised:
        frames(log, head, KEY)
    assert raised.value.reason is Reason.LOG_DAMAGED


def test_two_frames_of_one_place_are_damage(log):
    """A log went on in two ways: nobody chooses one of them."""
    put(paths(log)[0], frame(0).encode(KEY))
    put(paths(log)[1], frame(0, data=b"[]").encode(KEY))
    with pytest.raises(StoreError, match="goes on at entry 0, the log ends at 1"):
        frames(log, 0, KEY)


def test_no_files_are_no_frames(tmp_path):
    """A log that never had a journal, and one that has one file of it."""
    log = tmp_path / "log.db"
    assert (frames(log, 0, KEY), left_over(log)) == ([], False)
    paths(log)[1].write_bytes(frame(0).encode(KEY))
    assert (found(log), left_over(log)) == ([bare(frame(0))], True)


def test_who_looks_for_frames_stops_at_the_first_once_it_was_cleared(log):
    """A journal that ended as it should leaves nothing that looks like one; one that did not, does."""
    assert not left_over(log)
    own = Journal(log)
    own.open()
    own.append(frame(0).encode(KEY), 1)
    assert left_over(log)
    own.close(clear=True)
    own.close(clear=True)
    assert not left_over(log)
    assert found(log) == []
    written(log, frame(0))
    assert left_over(log)


def test_discarded_files_are_gone(log):
    """And are made again when they are needed."""
    own = Journal(log)
    own.open()
    own.append(frame(0).encode(KEY), 1)
    own.discard()
    assert not own.is_open
    assert not any(path.exists() for path in paths(log))
    assert not own.open()
    make(log)
    assert own.open()
    own.close(clear=True)


# -- how the files are made ------------------------------------------------------------------------------------------------


def test_they_are_of_their_size_full_of_zeros_and_ours_alone(log):
    """And nothing else is left in the folder."""
    for path in paths(log):
        assert path.read_bytes() == bytes(SMALL)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(log.parent.iterdir()) == sorted(paths(log))


def test_files_that_are_there_are_left_as_they_are(log):
    """`make` makes what is not there: frames are not lost by it."""
    written(log, frame(0))
    paths(log)[1].unlink()
    make(log)
    assert found(log) == [bare(frame(0))]
    assert paths(log)[1].stat().st_size == SMALL


@pytest.mark.parametrize("fails", ["write", "sync"])
def test_a_file_has_its_name_once_it_is_whole(tmp_path, monkeypatch, fails):
    """A disk that is full leaves no part of one."""
    real, calls = getattr(journal, fails), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(28, "no space left on device")
        real(*arguments)

    monkeypatch.setattr(journal, fails, failing)
    monkeypatch.setattr(journal, "_ZEROS", bytes(1024))
    monkeypatch.setattr(journal, "FILE_BYTES", SMALL)
    with pytest.raises(OSError, match="space"):
        make(tmp_path / "log.db")
    assert list(tmp_path.iterdir()) == []
    make(tmp_path / "log.db")
    assert Journal(tmp_path / "log.db").open()


def test_several_make_them_at_once(tmp_path, monkeypatch):
    """Each finds them whole when it is done, and what another has already written into them stays."""
    monkeypatch.setattr(journal, "FILE_BYTES", SMALL)
    monkeypatch.setattr(journal, "_ZEROS", bytes(256))
    log, wrong = tmp_path / "log.db", []
    together = threading.Barrier(4)

    def work():
        try:
            for _ in range(5):
                together.wait(30)
                make(log)
                wrong.extend(path for path in paths(log) if path.stat().st_size != SMALL)
                if together.wait(30) == 0:
                    for path in paths(log):
                        path.unlink()
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            wrong.append(error)
            together.abort()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert list(tmp_path.iterdir()) == []


# -- who may open them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
@pytest.mark.parametrize("which", [0, 1])
def test_files_that_others_can_read_or_write_are_refused(log, which, mode):
    """They hold what was decided; who writes to them writes the log."""
    paths(log)[which].chmod(mode)
    with pytest.raises(OperatorError) as raised:
        Journal(log).open()
    assert raised.value.reason is Reason.CONFIG_REFUSED
    paths(log)[which].chmod(0o600)
    own = Journal(log)
    assert own.open()
    own.close(clear=False)


def test_files_that_are_not_whole_are_not_used(log):
    """Missing, short or long; and something else under the name is refused."""
    own = Journal(log)
    for size in (0, SMALL - 1, SMALL + 1):
        os.truncate(paths(log)[1], size)
        assert not own.open()
        assert not own.is_open
    paths(log)[1].unlink()
    assert not own.open()
    paths(log)[1].mkdir(0o700)
    with pytest.raises(OperatorError):
        own.open()


# -- no file is written over while it is needed ------------------------------------------------------------------------------


class Careless(Journal):
    """Control: goes on in the other file whatever is in it."""

    def turn(self, durable, frame):
        del durable
        return super().turn(2**62, frame)


STEPS = st.lists(st.one_of(st.integers(1, 1_500), st.just("catch up"), st.just("move")), min_size=10, max_size=40)


def run(kind, log, steps):
    """What a scribe does, against a model of which frames the tables could not give back; the complaint, if there is one.

    A size is a frame of about so many bytes; the tables take in what there is with `catch up`, and are durable up to there
    with `move`. After each step a power cut must leave everything: durable tables and the frames behind them.
    """
    own = kind(log)
    assert own.open()
    size = in_tables = durable = 0
    try:
        for step in steps:
            if step == "catch up":
                in_tables = size
            elif step == "move":
                durable = in_tables
            else:
                encoded = frame(size, data=b"x" * step).encode(KEY)
                if own.fits(encoded) or own.turn(durable, encoded):
                    own.append(encoded, size + 1)
                else:
                    in_tables = durable = size + 1
                size += 1
            try:
                behind = [one.first for one in frames(log, durable, KEY)]
            except StoreError as error:
                return str(error)
            if behind != list(range(durable, size)):
                return f"{behind} behind {durable} of {size}"
    finally:
        own.close(clear=True)
    return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("turns")


def anew(folder):
    log = folder / "log.db"
    for path in paths(log):
        path.unlink(missing_ok=True)
    make(log)
    return log


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_a_file_is_never_written_over_while_it_holds_frames_that_only_it_has(folder, steps):
    """In any order of frames of any size, catching up and moving, every frame the tables could lose can be read back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "FILE_BYTES", SMALL)
        assert run(Journal, anew(folder), steps) == ""


def test_control_who_turns_without_looking_loses_frames(log):
    """The same check on a journal that does not ask what is durable."""
    assert run(Careless, log, [1_000] * 20) != ""


def test_a_turn_says_no_as_long_as_the_other_file_is_needed(log):
    """At the size up to which it has frames, not before."""
    own = Journal(log)
    own.open()
    big = [frame(number, data=b"x" * 3_000).encode(KEY) for number in range(3)]
    own.append(big[0], 1)
    assert not own.fits(big[1])
    assert own.turn(0, big[1])
    own.append(big[1], 2)
    assert not own.fits(big[2])
    assert not own.turn(0, big[2])
    assert own.turn(1, big[2])
    own.append(big[2], 3)
    own.close(clear=False)
    assert [one[0] for one in found(log, 1)] == [1, 2]


def test_what_is_larger_than_a_file_fits_nowhere(log):
    """And the frames before it stay."""
    own = Journal(log)
    own.open()
    own.append(frame(0).encode(KEY), 1)
    large = frame(1, data=b"x" * SMALL).encode(KEY)
    assert not own.fits(large)
    assert not own.turn(1, large)
    assert [one[0] for one in found(log)] == [0]
    own.append(frame(2).encode(KEY), 3)
    own.close(clear=False)
    assert [one[0] for one in found(log, 2)] == [2]


def test_a_file_is_filled_to_its_last_byte(log):
    """No byte of it is behind the end: blocks that are there are all that is written to."""
    own = Journal(log)
    own.open()
    rest = SMALL - len(frame(0, data=b"").encode(KEY))
    one = next(f for n in range(rest, 0, -1) if len((f := frame(0, data=b"x" * n)).encode(KEY)) == SMALL)
    assert own.fits(one.encode(KEY))
    own.append(one.encode(KEY), 1)
    assert not own.fits(b"x")
    own.close(clear=False)
    assert found(log) == [bare(one)]
    assert [path.stat().st_size for path in paths(log)] == [SMALL, SMALL]


def test_a_write_that_is_done_in_parts_is_whole(log, monkeypatch):
    """A system may take fewer bytes than it was given."""
    real = os.pwrite
    monkeypatch.setattr(journal.os, "pwrite", lambda file, data, at: real(file, data[:7], at))
    many = [frame(0), frame(1, 4)]
    written(log, *many)
    assert found(log) == [bare(one) for one in many]
    assert all(a[0] < b[0] for a, b in pairwise(found(log)))
