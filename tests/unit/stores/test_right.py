"""The right to write: one has it at a time, it dies with its process, and who waits for it is seen; with real processes."""

import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from lictor.model.errors import OperatorError
from lictor.stores import right
from lictor.stores.right import Right

pytestmark = pytest.mark.skipif(not right.NEEDED, reason="no journal on this platform")
SOURCE = Path(__file__).parents[3] / "src"
LONG_S = 30.0

OTHER = """
import sys
from pathlib import Path
from lictor.stores.right import Right

own = Right(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    verb, *rest = line.split()
    if verb == "take":
        print(own.take(wait_s=float(rest[0])), flush=True)
    elif verb == "give":
        own.give_back(wanted=own.wanted())
        print("given", flush=True)
    elif verb == "mark":
        own.mark(journal=rest[0] == "on")
        print(own.journal_in_use(), flush=True)
    elif verb == "marked":
        print(own.journal_in_use(), flush=True)
    elif verb == "turns":
        turns = 0
        path = Path(sys.argv[1]).with_name("count")
        for _ in range(int(rest[0])):
            if own.take(wait_s=30.0):
                count = int(path.read_text() or 0)
                path.write_text(str(count + 1))
                own.give_back(wanted=own.wanted())
                turns += 1
        print(turns, flush=True)
"""


class Other:
    """Another process with the same log."""

    def __init__(self, process):
        self.process = process

    def tell(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def ask(self, *words):
        self.tell(*words)
        return self.answer()


@contextmanager
def another(log):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            other = Other(process)
            assert other.answer() == "ready"
            yield other
        finally:
            process.kill()
            process.wait(LONG_S)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log.db"


@pytest.fixture
def own(log):
    made = Right(log)
    yield made
    made.close()


def until(what):
    give_up = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.001)


# -- with another process ----------------------------------------------------------------------------------------------------


def test_one_process_has_it_at_a_time(log, own):
    """Who asks while another has it does not get it, and gets it once it was given back."""
    with another(log) as other:
        assert own.take(wait_s=0)
        assert own.take(wait_s=0)
        assert (own.mine, other.ask("take", "0"), other.ask("take", "0.02")) == (True, "False", "False")
        own.give_back()
        assert (own.mine, other.ask("take", "0")) == (False, "True")
        assert not own.take(wait_s=0)
        assert not own.take(wait_s=0.02)
        assert not own.mine


@pytest.mark.parametrize("broken", [False, True])
def test_processes_that_take_turns_never_meet(log, own, monkeypatch, broken):
    """Counted by reading and writing a file, none is lost; where the lock is none (control) some are."""
    if broken:
        monkeypatch.setattr(right, "try_lock", lambda _: True)
    (log.with_name("count")).write_text("0")
    rounds, lost = 20_000 if broken else 100, 0
    with another(log) as other:
        other.tell("turns", str(rounds))
        for _ in range(rounds):
            assert own.take(wait_s=LONG_S)
            count = int(log.with_name("count").read_text() or 0)
            time.sleep(0.0002)
            lost += int(log.with_name("count").read_text() or 0) != count
            log.with_name("count").write_text(str(count + 1))
            own.give_back(wanted=own.wanted())
            if broken and lost:
                break
        if not broken:
            assert other.answer() == str(rounds)
            assert (lost, log.with_name("count").read_text()) == (0, str(2 * rounds))
        else:
            other.process.kill()
            assert lost


def test_it_dies_with_its_process_and_the_mark_does_not(log, own):
    """Killed where it stands: whoever comes next has the right, and knows that a journal was in use."""
    with another(log) as other:
        assert other.ask("take", "0") == "True"
        assert not own.journal_in_use()
        assert other.ask("mark", "on") == "True"
        assert own.journal_in_use()
        assert not own.take(wait_s=0.02)
        other.process.kill()
        other.process.wait(LONG_S)
        assert own.take(wait_s=LONG_S)
        assert own.journal_in_use()
        own.mark(journal=False)
        assert not own.journal_in_use()
    assert not Right(log).journal_in_use()


def test_who_waits_is_seen_and_let_in(log, own):
    """`wanted` says so while somebody does; giving back with it lets them in before we are back."""
    with another(log) as other:
        assert own.take(wait_s=0)
        assert not own.wanted()
        other.tell("take", str(LONG_S))
        until(own.wanted)
        own.give_back(wanted=True)
        assert not own.take(wait_s=0)
        assert other.answer() == "True"
        until(lambda: not own.wanted())
        assert other.ask("give") == "given"
        assert own.take(wait_s=LONG_S)


@pytest.mark.parametrize("ends", ["gives up", "dies"])
def test_who_has_gone_is_made_way_for_once(log, own, ends):
    """Nobody takes back that they waited: after one time of giving way nobody waits, or no journal would ever last again."""
    with another(log) as other:
        assert own.take(wait_s=0)
        if ends == "gives up":
            assert other.ask("take", "0.02") == "False"
        else:
            other.tell("take", str(LONG_S))
            until(own.wanted)
            other.process.kill()
            other.process.wait(LONG_S)
        assert own.wanted()
        own.give_back(wanted=True)
        assert own.take(wait_s=0)
        assert not own.wanted()


def test_the_mark_is_seen_across_processes(log, own):
    """Set and taken away here, it is there with their next look; theirs is here with ours."""
    with another(log) as other:
        for journal in (True, False, True):
            own.mark(journal=journal)
            assert other.ask("marked") == str(journal)
        other.ask("mark", "off")
        assert not own.journal_in_use()


# -- by itself ---------------------------------------------------------------------------------------------------------------


def test_two_stores_of_one_process_are_two(log, own):
    """It belongs to a store: a second one in this process waits like any other, and is let in."""
    second, got = Right(log), []
    assert own.take(wait_s=0)
    assert not second.take(wait_s=0)
    thread = threading.Thread(target=lambda: got.append(second.take(wait_s=LONG_S)))
    thread.start()
    until(own.wanted)
    own.give_back(wanted=True)
    thread.join(LONG_S)
    assert got == [True]
    second.close()
    assert own.take(wait_s=0)


def test_giving_back_and_closing_more_than_once_is_harmless(log, own):
    """And who never had it takes nobody else's away by it."""
    own.take(wait_s=0)
    second = Right(log)
    second.give_back(wanted=True)
    second.close()
    second.close()
    assert not Right(log).take(wait_s=0)
    own.give_back()
    own.give_back()
    assert second.take(wait_s=0)
    second.close()


def test_its_file_is_made_when_it_is_needed_and_is_ours_alone(log, own):
    """Two bytes, that nobody else can write: who could would keep the gateway from recording."""
    path = log.with_name("log.db.right")
    assert not path.exists()
    assert not own.wanted()
    assert not path.exists()
    assert not own.journal_in_use()
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"\0\0", 0o600)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606])
def test_a_file_that_others_can_read_or_write_is_refused(log, own, mode):
    """Nothing is locked, marked or believed through it; nor is a descriptor kept."""
    path = log.with_name("log.db.right")
    path.write_bytes(b"\0\1")
    path.chmod(mode)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for use in (lambda: own.take(wait_s=0), own.journal_in_use, lambda: own.mark(journal=True)):
        with pytest.raises(OperatorError):
            use()
    assert not own.mine
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    path.chmod(0o600)
    assert own.take(wait_s=0)
    assert own.journal_in_use()


def test_what_is_no_file_is_an_error(log, own):
    """Where the lock would be is something else."""
    log.with_name("log.db.right").mkdir()
    with pytest.raises(OSError, match=r"log\.db\.right"):
        own.take(wait_s=0)
    assert not own.mine


def test_where_nobody_keeps_a_journal_everybody_has_it(log, own, monkeypatch):
    """SQLite's lock is enough there: no file, nobody waits, no journal."""
    monkeypatch.setattr(right, "NEEDED", False)
    second = Right(log)
    assert own.take(wait_s=0)
    assert second.take(wait_s=0)
    assert not own.journal_in_use()
    own.give_back()
    assert not log.with_name("log.db.right").exists()
