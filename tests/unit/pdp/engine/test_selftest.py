"""The start-up self-test: passes on the real wrapper, and catches each broken one."""

import json
import subprocess
import sys

import cedarpy
import pytest

from lictor.pdp.engine import selftest
from lictor.pdp.engine.cedar import CedarEngine, Mode
from lictor.pdp.engine.judging import Judges
from lictor.pdp.verdict import Verdict


@pytest.mark.parametrize("mode", list(Mode))
def test_this_build_passes(mode):
    """Every check holds on the running build, in every mode."""
    assert selftest.run(lambda *parts: CedarEngine(*parts, mode=mode)) == []


def test_this_build_passes_together():
    """Every check holds of a chain, too."""

    class Twice:
        """Everybody asks with themselves."""

        def __init__(self, *parts):
            self.engine = CedarEngine(*parts)

        def evaluate(self, principal, *asked):
            return self.engine.for_all((principal, principal), *asked)

    assert selftest.run(Twice) == []


def test_control_a_judge_who_takes_everything_is_caught(monkeypatch):
    """What is judged before the engine sees it is not looked at again: the self-test sees a check that checks nothing."""
    monkeypatch.setattr(Judges, "of", lambda _judges, _type: lambda _: None)
    assert any(failure.startswith("S6") for failure in selftest.run())


def test_it_asks_no_more_than_a_start_can_wait_for():
    """It runs at every start: the engines it builds and the questions it asks of them are few. How long that takes is measured."""
    built, asked = [], []

    class Counted:
        """The real engine, counted."""

        def __init__(self, *parts):
            built.append(self)
            self.engine = CedarEngine(*parts)

        def evaluate(self, *question):
            asked.append(question)
            return self.engine.evaluate(*question)

    assert selftest.run(Counted) == []
    assert len(built) <= 12
    assert len(asked) <= 80


class Bare:
    """Cedar used the simple way: what the self-test exists to catch."""

    def __init__(self, policies, schema, entities, *, at_build=True, at_call=True, errors=False, present=False):
        document = {"staticPolicies": policies, "templates": {}, "templateLinks": []}
        self.policies = cedarpy.PolicySet.from_json_str(json.dumps(document))
        self.schema = cedarpy.Schema.from_str(schema) if at_call else None
        self.entities = cedarpy.Entities.from_json_str(json.dumps(entities), schema if at_build else None)
        self.errors = errors
        self.known = {(e["uid"]["type"], e["uid"]["id"]) for e in entities} if present else None

    def evaluate(self, principal, action, resource, context):
        if self.known is not None and not {principal, resource} <= self.known:
            return Verdict(False)
        request = {
            "principal": {"type": principal[0], "id": principal[1]},
            "action": {"type": "Action", "id": action},
            "resource": {"type": resource[0], "id": resource[1]},
            "context": dict(context),
        }
        result = cedarpy.is_authorized(request, self.policies, self.entities, self.schema)
        return Verdict(result.allowed and not (self.errors and result.diagnostics.errors))


@pytest.mark.parametrize(
    ("options", "caught"),
    [
        ({}, {"S1", "S2", "S3"}),
        ({"errors": True}, {"S3"}),
        ({"errors": True, "present": True, "at_build": False}, {"S7"}),
        ({"errors": True, "present": True, "at_call": False}, {"S6"}),
    ],
)
def test_broken_wrappers_are_caught(options, caught):
    """Each thing left out of the wrapper is found under its number."""
    failures = selftest.run(lambda *parts: Bare(*parts, **options))
    assert {failure[:2] for failure in failures if failure.startswith("S") and failure.endswith(": allowed")} == caught


def test_a_sound_wrapper_would_pass():
    """With nothing left out even the small wrapper passes: the failures above are what was left out, not noise."""
    failures = selftest.run(lambda *parts: Bare(*parts, errors=True, present=True))
    assert [f for f in failures if not f.startswith("an action that is not declared")] == []


def test_refusing_everything_fails():
    """An engine that refuses everything is useless and is caught as well."""

    class Stone:
        def evaluate(self, *_):
            return Verdict(False, (), ("no",))

    failures = selftest.run(lambda *_: Stone())
    assert "a plain permit allows: refused: no" in failures
    assert "S7 a permit for an action group: refused: no" in failures


def test_an_engine_that_raises_fails_without_raising():
    """A constructor or an evaluation that raises is a failure, not a crash."""

    def build(*_):
        raise RuntimeError("no engine")

    failures = selftest.run(build)
    assert failures
    assert all("no engine" in failure for failure in failures)


ON_THREAD = """
import sys, threading
from lictor.pdp.engine import selftest
threading.stack_size(int(sys.argv[1]) * 1024)
found = []
thread = threading.Thread(target=lambda: found.append(selftest.run()))
thread.start()
thread.join()
print("passed" if found == [[]] else found)
"""


@pytest.mark.parametrize(("kib", "passes"), [(96, False), (128, False), (160, False), (8192, True)])
def test_a_small_stack_never_passes(kib, passes):
    """S4: where the stack is too small for the deepest policy, the self-test says so or the process dies; it never passes."""
    child = subprocess.run([sys.executable, "-c", ON_THREAD, str(kib)], capture_output=True, text=True, check=False)
    assert (child.returncode == 0 and child.stdout.strip() == "passed") is passes, (child.stdout, child.stderr[-500:])
