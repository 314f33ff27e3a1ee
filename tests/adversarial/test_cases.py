"""Every case of the file ends as it says, except those whose machinery comes with later work; that list may only shrink."""

import functools
from pathlib import Path

import pytest

from adversarial.model import OWN_CASES, TALLY, Case, read_cases
from adversarial.runner import run_case

LATER = Path(__file__).with_name("later.txt")
NOW = frozenset(
    {
        *("JSON", "MCPH", "TOOL", "APRV", "BIND", "NUMB", "PATH", "URLS", "SQLQ", "CMD"),
        *("POLE", "HIST", "DELG", "BEHV", "FAIL", "AUDT", "LOGI", "IDEN", "OAUT"),
    }
)
"""Classes of this milestone: a case of them is on the list only for machinery that is not built yet, each with its reason."""
MAX_LATER_NOW = 4
"""How many of them are on it. Lower it when one comes off."""


@functools.cache
def later() -> dict[str, str]:
    """Ids on the list, with their reason."""
    lines = [line for line in LATER.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return {name: why.strip() for name, _, why in (line.partition(" ") for line in lines)}


def test_case(case: Case) -> None:
    """The case passes; or it is on the list, and then it fails: what passes comes off."""
    verdict = run_case(case)
    TALLY["passed" if verdict.failure is None else verdict.failure.kind] += 1
    if case.id in later():
        if verdict.passed:
            pytest.fail(f"{case.id} passes: take it off later.txt")
        pytest.xfail(f"{later()[case.id]} ({verdict.failure.kind})")
    assert verdict.passed, verdict.report()


def test_the_list_names_cases_that_exist_and_says_why() -> None:
    """A list entry is an id of our own copy, and a reason."""
    known = {case.id for case in read_cases(OWN_CASES)}
    assert later().keys() <= known
    assert all(why for why in later().values())


def test_the_list_keeps_this_milestone_short() -> None:
    """It only shrinks: a new exception within the classes of now is a decision, made here."""
    classes = {case.id: case.class_id for case in read_cases(OWN_CASES)}
    assert sum(classes[name] in NOW for name in later()) <= MAX_LATER_NOW
