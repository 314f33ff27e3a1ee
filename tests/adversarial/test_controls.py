"""A class that still passes on a broken build tests nothing; neither does an assertion that holds for everything."""

import pytest

from adversarial.controls import BY_CLASS, UNIVERSAL
from adversarial.model import OWN_CASES, Case, Wrong, read_cases
from adversarial.runner import run_case
from adversarial.test_cases import NOW, later


def test_every_class_of_this_milestone_has_a_control() -> None:
    """None is forgotten."""
    assert BY_CLASS.keys() == NOW


@pytest.mark.parametrize("class_id", sorted(BY_CLASS))
def test_a_broken_build_turns_its_class_red(class_id: str) -> None:
    """At least one case that passes on the whole build ends wrong on the broken one."""
    cases = [case for case in read_cases(OWN_CASES) if case.class_id == class_id and case.id not in later()]
    with BY_CLASS[class_id]():
        assert any(isinstance(run_case(case).failure, Wrong) for case in cases)


@pytest.mark.parametrize("name", sorted(UNIVERSAL))
def test_a_universal_assertion_notices_what_it_is_for(name: str) -> None:
    """The same call passes on the whole build, and fails on the broken one by that assertion, or because nothing that counts as an answer came."""
    broken, tool, expected = UNIVERSAL[name]
    case = Case("control", "control", "protocol 2026-07-28", {"op": "mcp.call", "tool": tool, "args": {}}, expected)
    assert run_case(case).passed
    with broken():
        failure = run_case(case).failure
    assert isinstance(failure, Wrong)
    assert name in str(failure) or "no outcome" in str(failure)
