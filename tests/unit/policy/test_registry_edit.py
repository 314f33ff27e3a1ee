"""Edits of the registry: exactly the change that was asked for, and not a comment less."""

import tomllib
from datetime import date, timedelta

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.errors import CallerError, OperatorError
from lictor.model.identity import Proof
from lictor.model.reasons import Reason
from lictor.policy import registry_edit
from lictor.policy.registry_edit import NewAgent, add_agent, retire_agent, review_agent, review_date

TODAY = date(2026, 11, 21)
TEXT = """\
purposes = ["d"] # why

# first
[agents.a]
owner = "x"   # who
review_by = 2027-01-01     # last day
groups = [
  "g", # why
]

# The next one is special.
[agents.b]
owner = "y"
review_by = 2027-01-01

[humans."os:alice"]
groups = ["f"]

# out of order
[agents."c.d"]
owner = "z"
review_by = 2027-01-01

[[agents."c.d".proofs]]
issuer = "i"
subject = "s"
# the end
"""
INLINE = '[agents]\na = {owner="x", review_by=2027-01-01} # one\nb.owner="y"\nb.review_by=2027-01-01\n'
NEW = NewAgent(
    name="n.x",
    owner='he said "x"\n',
    review_by=date(2027, 1, 1),
    autonomy=3,
    groups=("g", "h"),
    proofs=(Proof(issuer="i", subject="s", claims={"a.b": "c, d"}), Proof(issuer="j", claims={"q": "1"})),
)


def comments(text: str) -> list[str]:
    """What people wrote for people."""
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("text", "names"), [(TEXT, ("a", "b", "c.d")), (INLINE, ("a", "b"))])
def test_an_edit_changes_one_key_of_one_agent(text: str, names: tuple[str, ...], ending: str) -> None:
    """All else reads as before, and stands as before, whatever way the agent is written."""
    text = text.replace("\n", ending)
    for name in names:
        for after, key, value in (
            (retire_agent(text, name), "active", False),
            (review_agent(text, name, date(2027, 5, 1)), "review_by", date(2027, 5, 1)),
        ):
            expected = tomllib.loads(text)
            expected["agents"][name][key] = value
            assert tomllib.loads(after) == expected
            assert comments(after) == comments(text)
            gone = set(text.splitlines()) - set(after.splitlines())
            assert len(gone) <= 1
            assert all(line.startswith((key, f"b.{key}", f"{name} = ")) for line in gone)


def test_a_new_key_stands_with_its_agent_and_not_under_the_next_ones_remark() -> None:
    """Comments at the end of a table belong to what follows."""
    lines = retire_agent(TEXT, "a").splitlines()
    assert lines[lines.index("active = false") - 1] == "]"
    assert lines[lines.index("# The next one is special.") + 1] == "[agents.b]"


def test_an_agent_is_added_at_the_end() -> None:
    """What stands there is not touched; the new entry reads as it was asked for."""
    for text in (TEXT, INLINE, TEXT.rstrip("\n"), TEXT.replace("\n", "\r\n"), 'purposes = ["d"]\n', ""):
        after = add_agent(text, NEW)
        assert after.startswith(text)
        entry = tomllib.loads(after)["agents"]["n.x"]
        assert entry["owner"] == NEW.owner
        assert entry["proofs"][0] == {"issuer": "i", "subject": "s", "claims": {"a.b": "c, d"}}
        assert "team" not in entry
        assert ("\r\n" in text) == ("\r\n" in after)


@pytest.mark.parametrize("name", ["a", "c.d"])
def test_a_name_is_never_used_again(name: str) -> None:
    """Neither while its agent acts nor after it was taken out of service (NHI1)."""
    for text in (TEXT, retire_agent(TEXT, name)):
        with pytest.raises(CallerError, match="already"):
            add_agent(text, NewAgent(name=name, owner="x", review_by=TODAY))


def test_a_review_does_not_bring_back_and_strangers_are_not_found() -> None:
    """Refused with what to do."""
    with pytest.raises(CallerError, match="out of service"):
        review_agent(retire_agent(TEXT, "a"), "a", TODAY)
    for edit in (retire_agent, lambda text, name: review_agent(text, name, TODAY)):
        with pytest.raises(CallerError) as error:
            edit(TEXT, "os:alice")
        assert error.value.reason is Reason.UNKNOWN_AGENT


@pytest.mark.parametrize("text", ['agents = { a = { owner = "x" } }\n', "[agents\n", "agents = 1\n"])
def test_what_cannot_be_edited_is_left_alone(text: str) -> None:
    """A file that would have to be rewritten is for a person's own hand."""
    with pytest.raises(OperatorError) as error:
        add_agent(text, NEW)
    assert error.value.reason is Reason.BUNDLE_REFUSED


@pytest.mark.parametrize(
    ("asked", "day"),
    [
        ("", TODAY + timedelta(days=90)),
        ("30d", TODAY + timedelta(days=30)),
        ("1d", TODAY + timedelta(days=1)),
        ("366d", TODAY + timedelta(days=366)),
        ("2027-11-21", date(2027, 11, 21)),
        ("367d", None),
        ("0d", None),
        ("2026-11-21", None),
        ("2020-01-01", None),
        ("2099-12-31", None),
        ("soon", None),
        ("90", None),
        ("٩٠d", None),
    ],
)
def test_a_review_date_is_after_today_and_at_most_a_year_ahead(asked: str, day: date | None) -> None:
    """Each way to write one, and what is none."""
    if day is not None:
        assert review_date(asked, TODAY) == day
        return
    with pytest.raises(CallerError):
        review_date(asked, TODAY)


NAMES = st.text(alphabet="abXY09._-", min_size=1, max_size=6).filter(lambda name: name[0].isalnum())
WORDS = st.text(max_size=12).filter(lambda text: "\r" not in text and "\n" not in text and text.isprintable())


@st.composite
def registries(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A registry as somebody may have written it, with remarks in odd places."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    parts = ['purposes = ["d"]\n']
    for name in names:
        quoted = f'"{name}"'
        parts.append(f"# {draw(WORDS)}\n" * draw(st.integers(0, 2)))
        parts.append(f"[agents.{quoted}]{draw(st.sampled_from(['', '  # x']))}\n")
        lines = [
            f"owner = {tomlkit.item(draw(WORDS)).as_string()}\n",
            f"review_by = 2027-01-0{draw(st.integers(1, 9))} # {draw(WORDS)}\n",
        ]
        lines += draw(st.sampled_from([[], ["active = true\n"], ["groups = [ 'g', # g\n 'h' ]\n"]]))
        lines += ["\n"] * draw(st.integers(0, 2)) + [f"# {draw(WORDS)}\n"] * draw(st.integers(0, 1))
        parts += lines
        parts.append(
            draw(
                st.sampled_from(["", f"[[agents.{quoted}.proofs]]\nissuer = 'i'\n", "[humans.'os:x']\ngroups=['g']\n"])
            )
        )
        if parts[-1].startswith("[humans") and sum(part.startswith("[humans") for part in parts) > 1:
            parts.pop()
    return "".join(parts), names


def exact(edit: object, registry: tuple[str, list[str]]) -> bool:
    """Whether an editor of `active` changes that one key of that one agent and keeps every remark."""
    text, names = registry
    for name in names:
        after = edit(text, name)  # type: ignore[operator]
        expected = tomllib.loads(text)
        expected["agents"][name]["active"] = False
        if tomllib.loads(after) != expected or sorted(comments(after)) != sorted(comments(text)):
            return False
    return True


@given(registries())
def test_every_registry_is_edited_exactly(registry: tuple[str, list[str]]) -> None:
    """Whatever it looks like."""
    assert exact(retire_agent, registry)


def test_the_check_notices_an_editor_that_touches_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: an editor that loses remarks is found by the property; one that writes another agent is stopped by the read-back."""

    def careless(text: str, name: str) -> str:
        found = tomllib.loads(text)
        found["agents"][name]["active"] = False
        return tomlkit.dumps(found)

    assert not exact(careless, (TEXT, ["a"]))
    monkeypatch.setattr(
        registry_edit.tomlkit, "dumps", lambda _: TEXT.replace('owner = "y"', 'owner = "y"\nactive = false')
    )
    with pytest.raises(OperatorError, match="touching more"):
        retire_agent(TEXT, "a")
