"""Who is alive."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lictor.model.errors import OperatorError
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance, dead_instances
from lictor.testing.ids import SequenceIds

CHILD = """
import sys
from pathlib import Path
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance
print(Instance.register(Path(sys.argv[1]), RandomIds()).id, flush=True)
sys.stdin.read()
"""


def start(folder):
    source = Path(__file__).parents[3] / "src"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    return child, child.stdout.readline().strip()


def test_alive_until_closed(tmp_path):
    """One's own instance is alive too; closing ends it, twice is once."""
    instance = Instance.register(tmp_path, RandomIds())
    assert dead_instances(tmp_path, [instance.id]) == []
    assert (tmp_path / "instances").stat().st_mode & 0o777 == 0o700
    instance.close()
    instance.close()
    assert dead_instances(tmp_path, [instance.id]) == [instance.id]
    assert list((tmp_path / "instances").iterdir()) == []


def test_a_killed_process_is_dead_at_once(tmp_path):
    """Alive while it runs, seen from another process; dead after kill -9, without any waiting; found again and again."""
    child, name = start(tmp_path)
    other, living = start(tmp_path)
    with child, other:
        assert dead_instances(tmp_path, [name, living]) == []
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        assert dead_instances(tmp_path, [name, living]) == [name]
        assert dead_instances(tmp_path, [living, name]) == [name]
        other.stdin.close()
        other.wait(10)
        assert dead_instances(tmp_path, [name, living]) == [name, living]


def test_what_never_was_is_dead(tmp_path):
    """An id without a file, before the folder exists too, and one that could not be a file's name."""
    (tmp_path / "precious.lock").touch()
    ids = ["inst_unknown", "../precious", "a/b", "", "x" * 500]
    assert dead_instances(tmp_path, ids) == ids
    assert (tmp_path / "precious.lock").exists()


def test_in_doubt_alive(tmp_path):
    """What cannot be opened is not proved dead."""
    (tmp_path / "instances" / "inst_x.lock").mkdir(parents=True)
    assert dead_instances(tmp_path, ["inst_x"]) == []


def test_an_id_is_taken_once(tmp_path):
    """Two instances never share a lock."""
    first = Instance.register(tmp_path, SequenceIds())
    with pytest.raises(OperatorError):
        Instance.register(tmp_path, SequenceIds())
    first.close()
