"""Previews never fail silently, differences tell the whole change, and nothing that changes goes unnoticed."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor.model.catalog import CommandSelector, DestinationSelector, SqlSelector, ValueSelector
from lictor.model.preview import Line, Part, Preview
from lictor.model.preview_rule import (
    CommandPreview,
    FilePreview,
    HttpPreview,
    ListPreview,
    MessagePreview,
    PaymentPreview,
    SqlPreview,
    ToolPreview,
)
from lictor.previews import file
from lictor.previews.difference import NO_END, difference
from lictor.previews.disk import Disk, Seen
from lictor.previews.parts import MAX_BYTES, Found
from lictor.previews.previewer import Previews
from previews_world import Bench, entry, paths

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LINES = st.lists(st.sampled_from(["a", "b", "", "a b", "-x", "+y", "\r", "\u2028", "@"]), max_size=12).map("\n".join)
NAMES = ["path", "to", "text", "edits", "glob", "command", "cwd", "sql", "url", "amount", "currency", "iban"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**50)
    | st.text(max_size=12)
    | st.sampled_from(["/ws/a", "/ws/d", "/ws/*", "EUR", "1.00", "/etc"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, "oldText", "newText"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)


def file_rule(action: str) -> Any:
    content = "/text" if action in {"write", "create", "append"} else ""
    rule = FilePreview(
        action=action,
        path="/path",
        content=content,
        to="/to" if action == "move" else "",
        edits="/edits" if action == "edit" else "",
    )
    return entry(path=paths("/path", "/to"), preview=rule)


ENTRIES = [
    *(file_rule(action) for action in ("write", "create", "append", "delete", "move", "edit", "directory")),
    entry(preview=ListPreview(pattern="/glob", roots={"ws": "/ws"}, base="ws")),
    entry(command=CommandSelector(argv="/command"), preview=CommandPreview(cwd="/cwd", base="/ws")),
    entry(command=CommandSelector(text="/command"), preview=CommandPreview()),
    entry(sql=SqlSelector(text="/sql", dialect="sqlite"), preview=SqlPreview()),
    entry(destination=DestinationSelector(url="/url"), preview=HttpPreview(lookup="none")),
    entry(
        destination=DestinationSelector(email="/to"), preview=MessagePreview(subject="/text", attachments="/edits/*")
    ),
    entry(
        destination=DestinationSelector(account="/iban"),
        value=ValueSelector(amount="/amount", currency="/currency", currencies=("EUR",)),
        preview=PaymentPreview(),
    ),
    entry(preview=ToolPreview(tool="plan", put={"/to/dry": True}, drop=("/text",))),
]


def applied(old: str, lines: tuple[Line, ...]) -> str:
    """A reader of differences of our own: by the places that the hunks name."""
    before = old.split("\n")
    before = [f"{line}\n" for line in before[:-1]] + ([before[-1]] if before[-1] else [])
    after: list[str] = []
    at = 0
    for index, line in enumerate(lines):
        bare = index + 1 < len(lines) and lines[index + 1] == Line(mark="@", text=NO_END)
        text = line.text if bare else f"{line.text}\n"
        match line.mark:
            case "@" if line.text != NO_END:
                start = int(line.text.split(",")[0].removeprefix("-")) - 1
                after += before[at:start]
                at = start
            case "+":
                after.append(text)
            case "-" | " ":
                assert before[at] == text
                at += 1
                after += [text] if line.mark == " " else []
            case _:
                pass
    return "".join([*after, *before[at:]])


def forgetful(old: str, new: str) -> tuple[Line, ...]:
    """The control: a difference that leaves out what comes."""
    return tuple(line for line in difference(old, new) if line.mark != "+")


def tells_all(make: Callable[[str, str], tuple[Line, ...]], old: str, new: str) -> bool:
    return applied(old, make(old, new)) == new


@given(LINES, LINES)
def test_a_difference_applied_to_the_old_text_gives_the_new(old: str, new: str) -> None:
    """To the byte, line ends included."""
    assert tells_all(difference, old, new)
    assert (difference(old, new) == ()) is (old == new)


def test_control_a_forgetful_difference_is_caught() -> None:
    """The check above sees it."""
    assert not tells_all(forgetful, "a\n", "a\nb\n")


@pytest.mark.parametrize("of", ENTRIES, ids=lambda of: f"{type(of.preview).__name__}")
def test_a_preview_never_raises_and_always_says_something(of: Any) -> None:
    """For any arguments: parts, bounded, and not whole without a reason that stands first."""

    @FEW
    @given(ARGUMENTS)
    def check(arguments: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder))
            bench.write("/ws/a", "x\n")
            bench.write("/ws/d/b", "y\n")

            async def run() -> Preview:
                made = await bench.preview(of, arguments)
                await bench.changed(made)
                bench.previews.close()
                return made

            made = asyncio.run(run())
        assert made.parts
        assert len(made.encode()) <= MAX_BYTES
        assert Preview.decode(made.encode()) == made
        if not made.whole:
            assert any(part.warning or part.left_out or part.rows for part in made.parts)

    check()


class Blind(Disk):
    """The control: it does not hash."""

    def look(self, path: str, *, most: int = 1024 * 1024) -> Seen:
        seen = super().look(path, most=most)
        return Seen(what=seen.what, size=seen.size, digest="sha256:0" if seen.digest else "", data=seen.data)


def notices(before: str | None, after: str | None, *, blind: bool = False) -> bool:
    """Whether an approval of a write rests on the file as it was."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        place = bench.write("/ws/a", before or "")
        if before is None:
            place.unlink()
        if blind:
            bench.previews = _blinded(bench.previews, folder)

        async def run() -> bool:
            made = await bench.preview(file_rule("write"), {"path": "/ws/a", "text": "new"})
            if after is None:
                place.unlink(missing_ok=True)
            else:
                place.write_text(after)
            different = bool(await bench.changed(made))
            bench.previews.close()
            return different

        return asyncio.run(run())


def _blinded(previews: Previews, folder: str) -> Previews:
    previews._file = file.FilePreviews(Blind(str(Path(folder).resolve())), previews._parts.files, previews._workers)
    previews._again |= {"file": previews._file.look_again, "link": previews._file.look_again}
    return previews


CONTENT = st.none() | st.text("ab\n", max_size=6)


@FEW
@given(CONTENT, CONTENT)
def test_any_change_of_what_an_approval_rests_on_is_noticed(before: str | None, after: str | None) -> None:
    """Other content, gone, or there where nothing was."""
    assert notices(before, after) is (before != after)


def test_control_a_look_that_does_not_hash_is_caught() -> None:
    """The check above sees it."""
    assert not notices("a", "b", blind=True)
    assert notices("a", "b")


@FEW
@given(st.lists(st.text(max_size=400), max_size=30), st.integers(1, 400))
def test_whatever_is_said_fits_and_says_what_is_missing(texts: list[str], times: int) -> None:
    """Sixty-four kibibytes, with the number of lines that are left out."""
    found = Found()
    lines = [Line(mark="+", text=text) for text in texts] * times
    found.lines("many", lines)
    found.table("rows", ("a",), [(text,) for text in texts])
    made = found.preview("file", 0, str)
    assert len(made.encode()) <= MAX_BYTES
    kept = sum(_count(part) for part in made.parts)
    assert made.whole is (kept == sum(_count(part) for part in found.parts))


def _count(part: Part) -> int:
    return len(part.lines) + len(part.rows)


def shows(scrub: Callable[[str], str], secret: str) -> bool:
    """Whether a secret comes through into a preview that says it everywhere."""
    found = Found()
    found.say(f"t{secret}", f"x {secret}")
    found.lines("l", [Line(mark="+", text=f"a{secret}b")])
    found.table("r", (secret,), [(f"{secret}!",)])
    found.rests_on("file", f"/{secret}", "absent")
    made = found.preview("file", 0, scrub)
    assert scrub(secret) == secret or not made.whole
    return secret in made.encode().decode()


@FEW
@given(st.from_regex(r"sk-[0-9a-f]{8}", fullmatch=True))
def test_no_secret_is_in_a_preview(secret: str) -> None:
    """Wherever it stands; and what cannot be looked at again without it is said."""
    assert not shows(lambda text: text.replace(secret, "#"), secret)


def test_control_an_unscrubbed_secret_is_caught() -> None:
    """The check above sees it."""
    assert shows(str, "sk-01234567")
