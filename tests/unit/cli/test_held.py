"""The terminal shows the effect that an approval there is for, as truthfully as the page."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.cli import held
from lictor.cli.held import _fields
from lictor.console.views import FieldView, HoldView, PartView, PreviewView, WayView
from lictor.protocol.display_frame import frame

HOLD = HoldView(
    id="hold_1",
    agent="reporter",
    human="dana",
    task="task_1",
    purpose="weekly report",
    server="files",
    kind="tool",
    tool="write",
    effect="write",
    reversible=False,
    digest="sha256:" + "0a" * 32,
    seal="sha256:" + "1b" * 32,
    groups=(("leads",),),
    ways=(WayView(groups=("leads", "ops"), people=2, proof="a passkey"),),
    opened_at="now",
    expires_at="later",
    arguments=(),
)


def screen(*parts: PartView, whole: bool = True) -> str:
    """What a terminal shows of a hold with this preview."""
    preview = PreviewView(kind="file", made_at="now", parts=parts, whole=whole)
    return frame(_fields(replace(HOLD, preview=preview)), 100)


def test_the_effect_is_shown_with_what_is_not_known() -> None:
    """Warnings first, every line with its mark, tables, and what is left out; the seal is named."""
    alarm = PartView(title="protected", text="/ws/.git", warning=True)
    diff = PartView(title="/ws/a", lines=(("-", "old"), ("+", "n\u202eew")), left_out=3)
    table = PartView(title="rows", rows=(("table", "n"), ("orders", "3")))
    text = screen(diff, alarm, table, whole=False)
    assert text.index("not all of it could be found out") < text.index("WARNING: effect (file): protected")
    assert text.index("protected") < text.index("/ws/a")
    assert "[U+202E]" in text
    for said in (
        "- old",
        "3 more not shown here",
        '["orders","3"]',
        HOLD.seal,
        "2 people of leads and ops with a passkey",
    ):
        assert said in text, said


def test_who_has_answered_is_said() -> None:
    """Whoever said yes before."""
    view = replace(HOLD, answered=(FieldView(label="os:bob", text="approved signed in, now"),))
    assert "os:bob has" in frame(_fields(view), 100)


@pytest.mark.parametrize("title", ["t", "a\nb"])
def test_a_part_of_nothing_is_still_there(title: str) -> None:
    """Its title is shown, and that there is nothing else."""
    assert "0 more not shown here" in screen(PartView(title=title))


PARTS = st.builds(
    PartView,
    title=st.sampled_from(["a", "b"]),
    text=st.sampled_from(["", "a", "+ a"]),
    lines=st.lists(st.tuples(st.sampled_from("+- "), st.sampled_from(["a", "a\n+ b", "b", "a\\n+ b"])), max_size=2).map(
        tuple
    ),
    rows=st.lists(st.tuples(st.sampled_from(["a", 'a","b', "b"]), st.sampled_from(["", "b"])), max_size=2).map(tuple),
    warning=st.booleans(),
    left_out=st.sampled_from([0, 1]),
)


@given(PARTS, PARTS)
@settings(max_examples=300)
def test_two_effects_never_look_alike(one: PartView, other: PartView) -> None:
    """Injective: a line with a line break in it is not two lines, a cell with a comma is not two cells."""
    assert (screen(one) == screen(other)) is (one == other)


def test_the_check_finds_lines_that_are_joined() -> None:
    """Control experiment: without escaping, these two differences are one text."""
    one, other = (("+", "a\n+ b"),), (("+", "a"), ("+", "b"))
    assert len({"\n".join(f"{mark} {text}" for mark, text in lines) for lines in (one, other)}) == 1
    assert screen(PartView(title="t", lines=one)) != screen(PartView(title="t", lines=other))


def test_the_check_finds_a_text_that_looks_like_a_difference() -> None:
    """Control experiment: without its form before the title, a text is a line that was added; a title cannot feign the form."""
    text, lines = PartView(title="t", text="+ a"), PartView(title="t", lines=(("+", "a"),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "_difference", lambda lines: ("", "\n".join(f"{mark} {line}" for mark, line in lines)))
        assert screen(text) == screen(lines)
    assert screen(text) != screen(lines)
    feigned = PartView(title="t, line by line", text="+ a")
    assert screen(feigned) != screen(lines)
