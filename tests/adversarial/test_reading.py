"""What the runner does not know is a failure of its own kind, never a pass; and it knows no case by name."""

import json
import re
from pathlib import Path

import pytest

from adversarial.expand import expand, expanded
from adversarial.expectations import ALIASES
from adversarial.model import OWN_CASES, Case, NoSetup, Unreadable, Wrong, cases_path, read_cases
from adversarial.runner import run_case

CALL = {"op": "mcp.call", "tool": "fs.read_file", "args": {"path": "/srv/ws/a"}}
HERE = Path(__file__).parent


def case(*, precondition: str = "protocol 2026-07-28", given: object = CALL, expected: str = "ALLOW") -> Case:
    """A case that passes, but for what a test changes."""
    return Case("made-up", "-", precondition, given, expected)


def test_a_plain_case_passes() -> None:
    """Otherwise the failures below would prove nothing."""
    assert run_case(case()).passed


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"given": {"op": "teleport"}}, Unreadable),
        ({"given": {**CALL, "quietly": True}}, Unreadable),
        ({"given": {"op": "steps", "steps": [CALL, {"op": "teleport"}]}}, Unreadable),
        ({"given": [CALL, {"op": "teleport"}]}, Unreadable),
        ({"given": {"op": "fault", "what": "gamma_rays", "do": CALL}, "expected": "DENY cannot_record"}, Unreadable),
        ({"expected": "ALLOW; and a rainbow appears"}, Unreadable),
        ({"expected": "DENY because_of_reasons"}, Unreadable),
        ({"expected": "DENY"}, Unreadable),
        ({"expected": ""}, Unreadable),
        ({"precondition": "the moon is full"}, NoSetup),
        ({"expected": "DENY not_permitted"}, Wrong),
        ({"expected": "ALLOW; 0 upstream calls"}, Wrong),
        ({"given": {**CALL, "args": {"path": "/etc/passwd"}}, "expected": "DENY forbidden"}, Wrong),
        ({"given": {**CALL, "args": {"path": "/etc/passwd"}}, "expected": "REJECT not_permitted"}, Wrong),
        ({"given": {**CALL, "args": {"path": "/etc/passwd"}}, "expected": "DENY 400 not_permitted"}, Wrong),
        ({"given": {**CALL, "args": {"path": "/etc/passwd"}}, "expected": "HOLD"}, Wrong),
        ({"given": [CALL, {**CALL, "args": {"path": "/etc/passwd"}}]}, Wrong),
    ],
)
def test_what_is_not_known_or_not_so_fails(changed: dict[str, object], kind: type[Exception]) -> None:
    """Each in its own kind, so that the summary can count them apart."""
    assert isinstance(run_case(case(**changed)).failure, kind)


def test_either_of_two_outcomes_is_right() -> None:
    """`A/B`."""
    assert run_case(case(expected="HOLD/ALLOW permitted")).passed


def test_no_handler_knows_a_case() -> None:
    """No case's id stands anywhere but in the cases and on the list of what comes later."""
    ids = {found.id for found in read_cases(OWN_CASES)}
    pattern = re.compile(r"\b[A-Z]{3,4}-\d\d\b")
    sources = [path for path in HERE.rglob("*.py") if path.name != Path(__file__).name]
    named = {(path.name, name) for path in sources for name in pattern.findall(path.read_text("utf-8")) if name in ids}
    assert not named


def test_the_path_is_a_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Option before environment before our own copy; any file in the format is read."""
    document = json.loads(OWN_CASES.read_text("utf-8"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"cases": document["cases"][:2]}), "utf-8")
    monkeypatch.delenv("LICTOR_CASES", raising=False)
    assert cases_path(None) == OWN_CASES
    monkeypatch.setenv("LICTOR_CASES", str(other))
    assert len(read_cases(cases_path(None))) == 2
    assert cases_path("given.json") == Path("given.json")


def test_aliases_are_justified() -> None:
    """Each has more to say than that it is one."""
    assert all(len(why) > 20 for _, why in ALIASES.values())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'ls' + chr(10)*3 + 'x y'", "ls\n\n\nx y"),
        ('"a"*5+"!"', "aaaaa!"),
        ("A*3", "AAA"),
    ],
)
def test_generated_values(text: str, value: str) -> None:
    """Repetition, concatenation, a character by number."""
    assert expand(text) == value


@pytest.mark.parametrize("text", ["__import__('os')", "'a'*99999999", "1+", "open('x').read()", "'a' 'b'", ""])
def test_nothing_else_is_generated(text: str) -> None:
    """No expression is ever evaluated, and none grows without bound."""
    with pytest.raises(Unreadable):
        expand(text)


def test_ordinary_strings_stay() -> None:
    """An argument that only looks a little like a description is an argument."""
    assert expanded({"a": "SELECT * FROM t", "b": ["2 * x"], "c": 'A*2 + "B"'}) == {
        "a": "SELECT * FROM t",
        "b": ["2 * x"],
        "c": "AAB",
    }
