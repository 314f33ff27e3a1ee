"""What may be used once: by many threads, by two processes, full, with a clock that jumps."""

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lictor.identity.replays import FileReplays
from lictor.model.errors import CallerError, StoreError
from tokens import NOW_MS

SOON = NOW_MS + 60_000
PROCESS = """
import sys
from pathlib import Path
from lictor.identity.replays import FileReplays
from lictor.model.errors import CallerError
replays = FileReplays(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
won = 0
for n in range(300):
    try:
        replays.spend("jkt:a", str(n), until_ms=int(sys.argv[3]), now_ms=int(sys.argv[2]))
        won += 1
    except CallerError as error:
        assert error.reason == "unauthenticated", error
print(won)
"""


def refused(replays: FileReplays, jti: str, *, scope: str = "a", until_ms: int = SOON, now_ms: int = NOW_MS) -> str:
    """The reason, or nothing."""
    try:
        replays.spend(scope, jti, until_ms=until_ms, now_ms=now_ms)
    except CallerError as error:
        return error.reason.value
    return ""


def test_once_and_by_scope(tmp_path: Path) -> None:
    """The same `jti` is good once for each scope, and the scope cannot be moved into the `jti`."""
    replays = FileReplays(tmp_path / "r.db")
    assert refused(replays, "x") == ""
    assert refused(replays, "x") == "unauthenticated"
    assert refused(replays, "x", scope="b") == ""
    assert refused(replays, "bc", scope="a") == ""
    assert refused(replays, "c", scope="ab") == ""
    replays.close()


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    """Whoever could write it could make proofs good again."""
    FileReplays(tmp_path / "r.db").close()
    assert stat.S_IMODE((tmp_path / "r.db").stat().st_mode) == 0o600


def test_it_survives_a_restart(tmp_path: Path) -> None:
    """A new process knows what the old one accepted."""
    first = FileReplays(tmp_path / "r.db")
    first.spend("a", "x", until_ms=SOON, now_ms=NOW_MS)
    first.close()
    assert refused(FileReplays(tmp_path / "r.db"), "x") == "unauthenticated"


def test_full_means_no(tmp_path: Path) -> None:
    """Nothing is forgotten to make room; what has expired makes room by itself."""
    replays = FileReplays(tmp_path / "r.db", max_rows=3)
    assert [refused(replays, str(n)) for n in range(5)] == ["", "", "", "overloaded", "overloaded"]
    assert refused(replays, "0") == "unauthenticated"
    assert refused(replays, "4", until_ms=SOON + 60_000, now_ms=SOON) == ""


def test_a_clock_that_jumps_makes_nothing_good_again(tmp_path: Path) -> None:
    """A day ahead, a sweep, and back: what was swept is not accepted again (R15)."""
    replays = FileReplays(tmp_path / "r.db")
    assert refused(replays, "x") == ""
    day = 86_400_000
    assert refused(replays, "y", until_ms=SOON + day, now_ms=NOW_MS + day) == ""
    assert refused(replays, "x") == "unauthenticated"
    assert refused(FileReplays(tmp_path / "r.db"), "x") == "unauthenticated"


def test_what_has_expired_is_not_spent(tmp_path: Path) -> None:
    """It would be forgotten at once."""
    replays = FileReplays(tmp_path / "r.db")
    assert refused(replays, "x", until_ms=NOW_MS) == "unauthenticated"


def test_64_threads_spend_once(tmp_path: Path) -> None:
    """One of them wins."""
    replays = FileReplays(tmp_path / "r.db")
    for round_ in range(10):
        barrier, won = threading.Barrier(64), []

        def go(name: str = str(round_), barrier: threading.Barrier = barrier, won: list[int] = won) -> None:
            barrier.wait()
            if refused(replays, name) == "":
                won.append(1)

        threads = [threading.Thread(target=go) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


def race(path: Path, program: str = PROCESS) -> int:
    """How often two processes together were let through 300 names."""
    arguments = [sys.executable, "-c", program, str(path), str(NOW_MS), str(SOON)]
    both = [subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(int(process.communicate(timeout=60)[0]) for process in both)


def test_two_processes_spend_once(tmp_path: Path) -> None:
    """Each name is good in one of two gateway processes."""
    assert race(tmp_path / "r.db") == 300


def test_two_memories_would_spend_twice(tmp_path: Path) -> None:
    """Control: with a memory for each process every proof is good twice."""
    apart = PROCESS.replace(
        "FileReplays(Path(sys.argv[1]))", "FileReplays(Path(sys.argv[1] + str(__import__('os').getpid())))"
    )
    assert race(tmp_path / "r.db", apart) == 600


def test_a_memory_that_cannot_be_written_accepts_nothing(tmp_path: Path) -> None:
    """Broken means refused, not forgotten."""
    replays = FileReplays(tmp_path / "r.db")
    replays.close()
    with pytest.raises(StoreError):
        replays.spend("a", "x", until_ms=SOON, now_ms=NOW_MS)
    (tmp_path / "broken.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError):
        FileReplays(tmp_path / "broken.db")
