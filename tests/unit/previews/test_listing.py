"""Patterns: the names they stand for now, and nothing else later."""

import glob
from pathlib import Path

import pytest

from lictor.model.preview_rule import ListPreview
from previews_world import Bench, entry, told

NAMES = ["a.txt", "b.txt", ".hidden", ".agent/policy", "d/c.txt", "d/e/f.txt", "[x]", "z"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    for name in NAMES:
        made.write(f"/ws/{name}", "x")
    made.write("/other/secret", "x")
    Path(f"{made.base}/ws/link").symlink_to(f"{made.base}/other")
    return made


def rule(**members):
    return entry(preview=ListPreview(pattern="/glob", roots={"ws": "/ws"}, base="ws", **members))


@pytest.mark.parametrize(
    "pattern", ["*", "*.txt", "d/*", "**/*.txt", "**", "?.txt", "[ab].txt", "d/**", ".*", "z", "*/*"]
)
async def test_a_pattern_stands_for_what_another_reader_says(bench: Bench, pattern: str) -> None:
    """The standard library's, links apart: through those nothing is looked at."""
    made = await bench.preview(rule(), {"glob": f"/ws/{pattern}"})
    table = next((part for part in made.parts if part.rows), None)
    mine = {row[0].rstrip("/") for row in table.rows[1:]} if table else set()
    found = glob.glob(f"{bench.base}/ws/{pattern}", recursive=True)  # noqa: PTH207 - the other reader
    theirs = {name.removeprefix(str(bench.base)).rstrip("/") for name in found}
    assert mine == {name for name in theirs if not name.startswith("/ws/link/")}


async def test_hidden_names_count_where_the_catalogue_says_so(bench: Bench) -> None:
    """PATH-14: what a denied name hides behind is in the list."""
    assert ".agent" not in told(await bench.preview(rule(), {"glob": "/ws/*"}))
    assert "/ws/.agent/" in told(await bench.preview(rule(hidden=True), {"glob": "/ws/*"}))


async def test_more_than_the_limit_stands_first(bench: Bench) -> None:
    """The count comes before the list."""
    made = await bench.preview(rule(limit=2), {"glob": "*.txt"})
    assert not made.parts[0].warning
    made = await bench.preview(rule(limit=1), {"glob": "*.txt"})
    assert made.parts[0].warning
    assert made.parts[0].text == "2 names now, which is more than 1"


async def test_a_name_that_comes_or_goes_voids(bench: Bench) -> None:
    """The very list was approved."""
    made = await bench.preview(rule(), {"glob": "*.txt"})
    assert await bench.changed(made) == ""
    bench.write("/ws/readme.md", "no match")
    assert await bench.changed(made) == ""
    place = bench.write("/ws/c.txt", "x")
    assert "directory" in await bench.changed(made)
    place.unlink()
    assert await bench.changed(made) == ""
    Path(f"{bench.base}/ws/a.txt").unlink()
    assert await bench.changed(made)


@pytest.mark.parametrize(
    "pattern",
    [
        "/etc/*",
        "/ws/../etc/*",
        "/ws/{a,b}.txt",
        "/ws/$HOME",
        "~/x",
        "-rf",
        "",
        7,
        None,
        "/ws/[!a]*",
        "/ws",
        "/ws/[z-a]",
    ],
)
async def test_what_readers_take_differently_is_not_expanded(bench: Bench, pattern) -> None:
    """Braces, variables, climbing, options: said to be unknown."""
    made = await bench.preview(rule(), {"glob": pattern})
    assert not made.whole
    assert made.parts[0].warning


async def test_no_match_is_said(bench: Bench) -> None:
    """And what comes to match voids it."""
    made = await bench.preview(rule(), {"glob": "*.none"})
    assert "0 names now" in told(made)
    bench.write("/ws/x.none", "x")
    assert await bench.changed(made)
