"""Commands: the files they name, by content, and the directory they run in."""

from pathlib import Path

import pytest

from lictor.model.catalog import CommandSelector
from lictor.model.preview_rule import CommandPreview
from previews_world import Bench, entry, told

ARGV = entry(command=CommandSelector(argv="/command", unclear="fact"), preview=CommandPreview(cwd="/cwd", base="/ws"))
TEXT = entry(command=CommandSelector(text="/command"), preview=CommandPreview(base="/ws"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.write("/ws/job.py", "print('hello')\n")
    return made


@pytest.mark.parametrize("word", ["/ws/job.py", "job.py", "./job.py", "--file=job.py", "X=job.py"])
async def test_an_operand_is_held_to_its_content(bench: Bench, word: str) -> None:
    """BIND-12: replaced content voids the approval."""
    made = await bench.preview(ARGV, {"command": ["python", word]})
    assert " print('hello')" in told(made)
    assert await bench.changed(made) == ""
    bench.write("/ws/job.py", "import os; os.system('rm -rf /')\n")
    assert "job.py" in await bench.changed(made)


async def test_a_name_that_names_nothing_has_to_go_on_so(bench: Bench) -> None:
    """A file that turns up under an approved word is not what was approved."""
    made = await bench.preview(ARGV, {"command": ["run", "later"]})
    assert await bench.changed(made) == ""
    bench.write("/ws/later", "x")
    assert await bench.changed(made)


async def test_the_directory_is_canonical(bench: Bench) -> None:
    """BIND-13: a link that is pointed elsewhere voids."""
    bench.write("/ws/one/x", "")
    bench.write("/etc/x", "")
    link = Path(f"{bench.base}/ws/link")
    link.symlink_to("one")
    made = await bench.preview(ARGV, {"command": ["ls"], "cwd": "/ws/link"})
    assert "/ws/link leads to /ws/one" in told(made)
    link.unlink()
    link.symlink_to("../etc")
    assert "link" in await bench.changed(made)


async def test_shell_text_is_read_word_by_word(bench: Bench) -> None:
    """Redirections too."""
    bench.write("/ws/in.txt", "data\n")
    made = await bench.preview(TEXT, {"command": "sort in.txt | uniq > out.txt"})
    assert "in.txt | /ws/in.txt | 5 bytes" in told(made)
    bench.write("/ws/in.txt", "other\n")
    assert await bench.changed(made)


@pytest.mark.parametrize("command", ["cat $(ls)", "cd / && cat job.py", 7, ["a", 1], None, "cat *.txt"])
async def test_a_command_that_is_not_certain_is_said_so(bench: Bench, command) -> None:
    """Never "no files"."""
    made = await bench.preview(TEXT, {"command": command})
    assert not made.whole


async def test_without_a_directory_relative_names_are_unknown(bench: Bench) -> None:
    """They could be anywhere."""
    made = await bench.preview(
        entry(command=CommandSelector(argv="/c"), preview=CommandPreview()), {"c": ["cat", "job.py"]}
    )
    assert not made.whole
    assert "not looked at" in told(made)
