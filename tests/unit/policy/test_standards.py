"""Identifiers of frameworks: what the map, the policies and the pages name is published, and what is not is found."""

import re
from collections import Counter
from pathlib import Path

import pytest

import bundles
from lictor.policy.lint import lint_bundle
from lictor.policy.standards import identifiers, instead_of, named, standards, unknown
from lictor.policy.topics import TOPICS, topics_of
from lictor.service.evidence.reporting.titles import TOPICS as WORDS

ROOT = Path(__file__).parents[3]
ANNOTATION = re.compile(r'@control\(\\?"([^"\\]*)\\?"\)')
SEEN_WRONG = (
    "A01",
    "A03",
    "AAI001",
    "AT01",
    "ASI15",
    "ASI16",
    "TRUST",
    "MAESTRO-3",
    "28",
    "AC-03(08)",
    "NHI1",
    "NHI-01",
    "GOVERN 4",
)
"""Labels that are often seen and that nobody published."""


def annotations() -> list[tuple[str, str]]:
    """Every `@control` of the sources, the pages and the examples: where, and what it names."""
    folders = ("src", "docs", "examples")
    files = [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".md", ".cedar"}
    ]
    return [
        (str(path), text)
        for path in [*files, *ROOT.glob("*.md")]
        for text in ANNOTATION.findall(path.read_text("utf-8"))
    ]


def faults(found: list[tuple[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """Annotations that name nothing, or something that is not known."""
    return [(where, unknown(named(text))) for where, text in found if unknown(named(text)) or not named(text)]


def test_every_annotation_names_something_published() -> None:
    """No page, example or source names a control that no framework has."""
    assert len(annotations()) > 40
    assert faults(annotations()) == []


def test_a_wrong_annotation_is_found() -> None:
    """Control: each label that is often seen and wrong, and an empty one, is a fault."""
    assert [text for text in (*SEEN_WRONG, "", "ASI01, NHI1") if not faults([("x", text)])] == []


def test_an_identifier_is_in_one_framework() -> None:
    """A bare identifier is enough to say which framework is meant."""
    names = [name for ids in standards().identifiers.values() for name in ids]
    assert [name for name, many in Counter(names).items() if many > 1] == []
    assert len(identifiers()) == len(names) > 250


def test_the_map_names_only_what_is_published() -> None:
    """Each control's identifiers stand under their framework; closest and loose ones are among them."""
    known = standards()
    assert [one.id for one in known.controls] == [f"C{place}" for place in range(1, 22)]
    assert set(known.identifiers) == set(known.frameworks)
    for control in known.controls:
        mapped = {name for names in control.maps.values() for name in names}
        assert all(name in known.identifiers[key] for key, names in control.maps.items() for name in names), control.id
        assert {*control.primary, *control.loose} <= mapped
        assert not set(control.primary) & set(control.loose)


@pytest.mark.parametrize(
    ("written", "meant"), [("NHI1", "NHI1:2025"), ("AC-03", "AC-3"), ("asi02", "ASI02"), ("zzz", "")]
)
def test_what_somebody_may_have_meant(written: str, meant: str) -> None:
    """A near miss is told what it is near to."""
    assert meant in instead_of(written)
    assert bool(meant) == bool(instead_of(written))


def test_the_check_warns_of_an_unknown_control() -> None:
    """It is a warning at the policy, with what may be meant; a known one is none."""
    policy = bundles.POLICY.replace('@id("leaks")', '@id("leaks")\n@control("ASI01, NHI1")')
    [found] = [one for one in lint_bundle(bundles.bundle(policy)) if one.rule == "unknown_control"]
    assert (found.severity, found.policy) == ("warning", "leaks")
    assert "NHI1:2025" in found.fix
    good = bundles.POLICY.replace('@id("leaks")', '@id("leaks")\n@control("ASI01, NHI1:2025")')
    assert [one for one in lint_bundle(bundles.bundle(good)) if one.rule == "unknown_control"] == []


def test_topics_are_what_a_policy_reads() -> None:
    """Facts that are read or asked for, and classes that a scope names."""
    found = {policy.id: topics_of(policy.json) for policy in bundles.bundle().policies}
    assert found["leaks"] == {"labels", "destination"}
    assert found["erases"] == {"effect"}
    assert "approval" in found["writes"]
    assert set(TOPICS) == set(WORDS)
