"""Recorded fixtures: written and read back whole, tampering refused, answers compared, gaps told; and coverage over them."""

import msgspec
import pytest

import bundles
from lictor.policy.casefiles import read_suites
from lictor.policy.compile import compile_bundle
from lictor.policy.coverage import Coverage
from lictor.policy.problems import BundleRefused
from lictor.policy.recorded import Fixture, fixtures_text, run_recorded, toml_string
from recorded_world import ASKED, ERASE, FETCH, MEASURES, READ, STRANGER, WRITE, drive, world_bundle

BUNDLE = world_bundle()
PDP = compile_bundle(BUNDLE)
EXPECTED = ["allow", "allow", "deny", "needs_approval", "deny"]


def fixtures() -> list[Fixture]:
    world = drive(BUNDLE, [READ, FETCH, STRANGER, ASKED, ERASE])
    return [
        Fixture(
            where="",
            name=f"n{i}",
            request=f.request,
            snapshot=f.snapshot,
            basis=f.basis,
            changed=False,
            expect=EXPECTED[i],
        )
        for i, f in enumerate(world.facts())
    ]


def test_fixtures_are_read_back_as_they_were_written():
    """Everything but the place."""
    text = fixtures_text(fixtures())
    (suite,) = read_suites({"tests/r.toml": text.encode()})
    assert [msgspec.json.encode(f.snapshot) for f in suite.recorded] == [
        msgspec.json.encode(f.snapshot) for f in fixtures()
    ]
    assert [(f.request, f.basis, f.expect) for f in suite.recorded] == [
        (f.request, f.basis, f.expect) for f in fixtures()
    ]
    assert [one.problem for one in run_recorded(PDP, suite.recorded)] == [""] * 5


def test_a_changed_bundle_fails_them():
    """The control: a fixture that expects what is no longer answered fails, and says what it got."""
    bundle = world_bundle(bundles.POLICY.replace("context.destination.external", "false"))
    problems = [one.problem for one in run_recorded(compile_bundle(bundle), fixtures())]
    assert problems[2] == "expected deny, got allow (permitted)"
    assert problems[0] == ""


def test_what_cannot_be_told_does_not_pass():
    """A fixture recorded without a measure says so instead of an answer."""
    pdp = compile_bundle(world_bundle(**{"measures.toml": MEASURES.replace('"1h"', '"2h"')}))
    found = run_recorded(pdp, fixtures())
    assert found[0].unknown == ("measure reads",)
    assert not found[0].passed
    assert "cannot tell" in found[0].problem


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"n0"', "3"),
        ('expect = "allow"', 'expect = "yes"'),
        ("basis = ", "bases = "),
        ('\\"kind\\":\\"tool\\"', '\\"kind\\":\\"x\\"'),
        ("[[recorded]]", "[recorded]"),
    ],
)
def test_a_damaged_fixture_is_refused(old, new):
    """With its place; it is never quietly left out."""
    text = fixtures_text(fixtures()[:1]).replace(old, new, 1)
    with pytest.raises(BundleRefused) as refused:
        read_suites({"tests/r.toml": text.encode()})
    assert all(problem.where.startswith("tests/r.toml") for problem in refused.value.problems)


@pytest.mark.parametrize("text", ['a"b\\', "\n\r\t\0", "\x7f", "é\u202e", "\U0001f600", "\ufeff"])
def test_any_text_is_a_toml_string(text):
    """And in the file nothing of it hides."""
    import tomllib

    written = toml_string(text)
    assert written.isascii()
    assert written.isprintable()
    assert tomllib.loads(f"a = {written}") == {"a": text}


def test_coverage_counts_what_made_the_answers():
    """Permits that allowed or that an approval meets, forbids that denied; a permit outweighed is satisfied only."""
    coverage = Coverage(BUNDLE.policies)
    assert coverage.percent == 0
    coverage.ask(BUNDLE, PDP, [(f.request, f.snapshot) for f in fixtures()])
    counts = {one.id: (one.determining, one.satisfied) for one in coverage.policies()}
    assert counts == {
        "reads": (2, 3),
        "writes": (1, 1),
        "pays": (0, 0),
        "erases": (1, 1),
        "leaks": (1, 1),
        "busy": (0, 0),
        "tasks": (0, 0),
    }
    assert round(coverage.percent) == 57
    world = drive(BUNDLE, [WRITE])
    coverage.ask(BUNDLE, PDP, [(f.request, f.snapshot) for f in world.facts()])
    assert {one.id: one.determining for one in coverage.policies()}["writes"] == 3
