"""File previews: what people are shown is what the file will be, and it has to stay so."""

import asyncio
import os
from pathlib import Path

import pytest

from lictor.model.preview_rule import FilePreview
from previews_world import Bench, entry, paths, told


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "ws").mkdir()
    return Bench(tmp_path)


def write(action: str = "write"):
    return entry(path=paths("/path"), preview=FilePreview(action=action, path="/path", content="/text"))


async def test_a_write_is_shown_as_the_difference(bench: Bench) -> None:
    """Old lines and new ones, and how many."""
    bench.write("/ws/a.txt", "one\ntwo\nthree\n")
    made = await bench.preview(write(), {"path": "/ws/a.txt", "text": "one\nTWO\nthree\nfour\n"})
    assert "2 lines more, 1 line less" in told(made)
    assert "\n-two\n+TWO\n three\n+four" in told(made)
    assert made.whole
    assert await bench.changed(made) == ""


async def test_a_new_file_is_called_new_and_rests_on_there_being_none(bench: Bench) -> None:
    """Somebody else's file at the same place voids it."""
    made = await bench.preview(write("create"), {"path": "/ws/new", "text": "x"})
    assert "new file: 1 byte" in told(made)
    assert await bench.changed(made) == ""
    bench.write("/ws/new", "theirs")
    assert "file" in await bench.changed(made)


async def test_the_same_content_is_called_unchanged(bench: Bench) -> None:
    """No empty difference."""
    bench.write("/ws/a", "x\n")
    made = await bench.preview(write(), {"path": "/ws/a", "text": "x\n"})
    assert "unchanged" in told(made)


async def test_create_over_a_file_warns(bench: Bench) -> None:
    """It stands first."""
    bench.write("/ws/a", "x\n")
    made = await bench.preview(write("create"), {"path": "/ws/a", "text": "y"})
    assert made.parts[0].warning
    assert "there already" in made.parts[0].text


@pytest.mark.parametrize("new", ["", "changed", "one\n", "one\ntwo"])
async def test_other_content_voids(bench: Bench, new: str) -> None:
    """By content, not by time."""
    place = bench.write("/ws/a", "one\n")
    made = await bench.preview(write(), {"path": "/ws/a", "text": "two\n"})
    os.utime(place, (1, 1))
    assert await bench.changed(made) == ""
    place.write_text(new)
    assert bool(await bench.changed(made)) is (new != "one\n")


async def test_a_link_on_the_way_that_moves_voids(bench: Bench) -> None:
    """BIND-13: the directory that was approved, and no other of the same content."""
    bench.write("/ws/one/a", "x")
    bench.write("/ws/two/a", "x")
    link = Path(f"{bench.base}/ws/link")
    link.symlink_to("one")
    made = await bench.preview(write(), {"path": "/ws/link/a", "text": "y"})
    assert "/ws/link/a leads to /ws/one/a" in told(made)
    assert await bench.changed(made) == ""
    link.unlink()
    link.symlink_to("two")
    assert "link" in await bench.changed(made)


async def test_binary_content_is_said_by_size_and_digest(bench: Bench) -> None:
    """No mangled text."""
    bench.write("/ws/a", b"\x00\xff" * 10)
    made = await bench.preview(write(), {"path": "/ws/a", "text": "plain"})
    assert "not text" in told(made)
    assert "20 bytes | sha256:" in told(made)
    assert not made.whole


async def test_a_large_file_is_hashed_and_not_shown(bench: Bench) -> None:
    """And still held to its content."""
    place = bench.write("/ws/a", "x" * (2 * 1024 * 1024))
    made = await bench.preview(write(), {"path": "/ws/a", "text": "y"})
    assert "too large to be shown" in told(made)
    assert len(made.encode()) < 4_096
    with place.open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"!")
    assert await bench.changed(made)


@pytest.mark.parametrize("action", ["write", "delete", "append"])
async def test_a_pipe_is_never_opened(bench: Bench, action: str) -> None:
    """It would block; it is said instead."""
    os.mkfifo(f"{bench.base}/ws/pipe")
    rule = FilePreview(action=action, path="/path", content="" if action == "delete" else "/text")
    made = await asyncio.wait_for(
        bench.preview(entry(path=paths("/path"), preview=rule), {"path": "/ws/pipe", "text": "x"}), 1
    )
    assert not made.whole
    assert made.parts[0].warning


async def test_nothing_is_read_through_a_link_that_was_put_there_later(bench: Bench, tmp_path: Path) -> None:
    """The resolved path is walked again, through no link (CVE-2025-53109)."""
    bench.write("/secret/key", "hidden\n")
    bench.write("/ws/dir/key", "x")
    of = write()
    arguments = {"path": "/ws/dir/key", "text": "y"}
    Path(f"{bench.base}/ws/dir").rename(f"{bench.base}/ws/old")
    Path(f"{bench.base}/ws/dir").symlink_to(f"{bench.base}/secret")
    from previews_world import request

    made = await bench.previews.preview(request(of, arguments), of, {"/path": "/ws/dir/key"})
    assert made is not None
    assert "hidden" not in told(made)
    assert not made.whole


async def test_appended_text_is_shown_at_the_end(bench: Bench) -> None:
    """With the last line as it becomes."""
    bench.write("/ws/a", "one\ntwo")
    made = await bench.preview(write("append"), {"path": "/ws/a", "text": "!\nthree\n"})
    assert "-two\n@no line end after the line above\n+two!\n+three" in told(made)


async def test_a_delete_shows_what_goes(bench: Bench) -> None:
    """A file by its lines, a directory by its names."""
    bench.write("/ws/a", "gone\n")
    bench.write("/ws/d/x", "1")
    bench.write("/ws/d/e/y", "1")
    of = entry(path=paths("/path"), preview=FilePreview(action="delete", path="/path"))
    assert "-gone" in told(await bench.preview(of, {"path": "/ws/a"}))
    made = await bench.preview(of, {"path": "/ws/d"})
    assert "with 2 names in it" in told(made)
    assert not made.whole
    assert "nothing to delete" in told(await bench.preview(of, {"path": "/ws/none"}))


async def test_a_move_says_what_it_overwrites(bench: Bench) -> None:
    """And rests on both ends."""
    bench.write("/ws/a", "new\n")
    target = bench.write("/ws/b", "old\n")
    rule = FilePreview(action="move", path="/from", to="/to")
    made = await bench.preview(entry(path=paths("/from", "/to"), preview=rule), {"from": "/ws/a", "to": "/ws/b"})
    assert "is there already and goes" in told(made)
    assert "-old\n+new" in told(made)
    target.write_text("other")
    assert await bench.changed(made)


EDIT = FilePreview(action="edit", path="/path", edits="/edits")


@pytest.mark.parametrize(
    ("old", "edits", "said", "whole"),
    [
        ("a\nb\n", [{"oldText": "a", "newText": "c"}], "-a\n+c", True),
        ("a\nb\n", [{"oldText": "a", "newText": "b"}, {"oldText": "b\nb", "newText": "z"}], "+z", True),
        ("a\n", [{"oldText": "missing", "newText": "c"}], "not in the file", False),
        ("a\na\n", [{"oldText": "a", "newText": "c"}], "2 times", False),
        ("a\r\n", [{"oldText": "a", "newText": "c"}], "carriage returns", False),
        ("a\n", [{"oldText": "a", "newText": "$&"}], "$ signs", False),
        ("a\n", "nonsense", "no list", False),
        ("a\n", [{"oldText": 1}], "no old and new text", False),
    ],
)
async def test_edits_are_applied_in_turn_and_doubts_said(bench: Bench, old, edits, said, whole) -> None:
    """What a server may do otherwise is said."""
    bench.write("/ws/a", old)
    made = await bench.preview(entry(path=paths("/path"), preview=EDIT), {"path": "/ws/a", "edits": edits})
    assert said in told(made)
    assert made.whole is whole


async def test_base64_content_is_decoded(bench: Bench) -> None:
    """And what is none is said."""
    of = entry(path=paths("/path"), preview=FilePreview(action="write", path="/path", content="/text", base64=True))
    assert "+hi" in told(await bench.preview(of, {"path": "/ws/a", "text": "aGk="}))
    assert "no base64" in told(await bench.preview(of, {"path": "/ws/a", "text": "%%"}))


async def test_what_cannot_be_read_is_never_no_effect(bench: Bench) -> None:
    """Nothing resolved, no text, a directory in its place."""
    Path(f"{bench.base}/ws/d").mkdir()
    for arguments in (
        {"path": "/ws/../etc", "text": "x"},
        {"path": "/ws/a", "text": 7},
        {"path": "/ws/d", "text": "x"},
    ):
        made = await bench.preview(write(), arguments)
        assert not made.whole
        assert made.parts[0].warning
