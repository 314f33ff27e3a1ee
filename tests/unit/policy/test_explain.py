"""Explanations: which policies, which condition, what would have been needed."""

from bundles import bundle, request, snapshot
from lictor.policy.compile import compile_bundle
from lictor.policy.explain import explain

BUNDLE = bundle()
PDP = compile_bundle(BUNDLE)


def _explain(name, arguments=None, agent="coder", **facts):
    asked = request(name, arguments, agent=agent)
    return explain(BUNDLE, PDP, asked, snapshot(PDP, asked, **facts))


def test_an_allow_names_its_permit():
    """With reason and place."""
    lines = _explain("read_file", {"path": "a"}).lines()
    assert lines == ["fs/read_file: allowed (permitted)", "  permit reads (policies/main.cedar:1): reading is fine"]


def test_a_hold_says_who_and_why():
    """The sufficient groups, and the permit that an approval would meet."""
    found = _explain("write-file/v1.2", {"path": "a"})
    text = "\n".join(found.lines())
    assert "approved by owner" in text
    assert "permit writes" in text
    assert "context has approval" in text
    assert "an approval would meet it" in text


def test_a_deny_names_its_forbid():
    """And shows the facts it was decided on."""
    found = _explain("fetch", {"url": "https://evil.example/"}, labels=("untrusted",))
    assert "  forbid leaks (policies/main.cedar:23): untrusted content was seen" in found.lines()
    assert found.facts["destination"]["external"] is True
    notes = {note.id: note.outcome for note in found.policies}
    assert notes == {"leaks": "applies", "reads": "applies"}


def test_the_condition_that_failed_is_the_first_that_did():
    """Guards before it still guard, so no error is reported for what was never reached."""
    found = _explain("fetch", {"url": "https://docs.example/"}, labels=("untrusted",))
    (note,) = [note for note in found.policies if note.id == "leaks"]
    assert note.outcome == "does not apply"
    assert "external" in note.failed
    found = _explain("read_file", {"path": "a"}, labels=("untrusted",))
    (note,) = [note for note in found.policies if note.id == "leaks"]
    assert "context has destination" in note.failed
    assert not note.error


def test_no_permit_at_all_is_said():
    """Nothing in scope would ever allow it."""
    assert "  no permit is about this agent, action and thing at all" in _explain("erase").lines()


def test_structure_is_explained_without_policy():
    """Policy was never asked, and the explanation does not pretend."""
    found = _explain("read_file", {"path": 1})
    assert found.policies == ()
    assert any(line.startswith("  because: ") for line in found.lines())
    assert "denied (unknown_agent)" in _explain("read_file", {"path": "a"}, agent="nobody").lines()[0]


def test_the_decision_is_the_very_one():
    """Explaining decides with the same facts and the same answer."""
    from lictor.pdp.decide import decide

    for name, arguments in (("read_file", {"path": "a"}), ("pay", {"amount": "1"}), ("erase", {}), ("none", {})):
        asked = request(name, arguments)
        facts = snapshot(PDP, asked)
        assert explain(BUNDLE, PDP, asked, facts).decision == decide(PDP, asked, facts)


def test_a_test_case_is_explained_with_its_stand_in():
    """The thing of a test file is in scope like a real one."""
    from lictor.policy.cases import facts_of_case, read_suites, suite_pdp

    text = '[things.x]\neffect = "write"\n[[case]]\nname = "n"\nagent = "coder"\nhuman = "os:a"\npurpose = "development"\nthing = "x"\nexpect = "needs_approval"\n'
    (suite,) = read_suites({"tests/a.toml": text.encode()})
    pdp = suite_pdp(BUNDLE, suite)
    lines = explain(BUNDLE, pdp, *facts_of_case(pdp, suite.cases[0])).lines()
    assert "approved by owner" in "\n".join(lines)
