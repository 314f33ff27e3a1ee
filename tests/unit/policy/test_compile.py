"""Bundle to Pdp: what was written is what decides."""

import json

import pytest

from bundles import ERASE, FETCH, READ, bundle, files, pdp, request, snapshot
from lictor.model.action import ActionKind
from lictor.model.decision import Allow, Deny, NeedsApproval
from lictor.model.errors import CallerError, OperatorError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason
from lictor.pdp.decide import decide
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle, compile_files
from lictor.policy.load import load_bundle
from lictor.policy.problems import BundleRefused
from lictor.policy.uris import check_uri

PDP = pdp()


def _decide(name, arguments=None, kind=ActionKind.TOOL, agent="coder", **facts):
    asked = request(name, arguments, kind=kind, agent=agent)
    return decide(PDP, asked, snapshot(PDP, asked, **facts))


def test_a_read_is_allowed_by_group():
    """An agent in the group reads; one outside it does not."""
    assert type(_decide("read_file", {"path": "a"})) is Allow
    found = _decide("read_file", {"path": "a"}, agent="guest")
    assert type(found) is Deny
    assert found.reason is Reason.NOT_PERMITTED


def test_a_write_needs_the_named_group():
    """The smallest sufficient group is found from the policy's own words."""
    found = _decide("write-file/v1.2", {"path": "a"})
    assert type(found) is NeedsApproval
    assert found.approvers == (("owner",),)
    assert type(_decide("write-file/v1.2", {"path": "a"}, approved=("owner",))) is Allow


def test_dual_control_needs_both_groups():
    """A value is normalised, and both groups are asked for together."""
    found = _decide("pay", {"amount": "12.50"})
    assert type(found) is NeedsApproval
    assert found.approvers == (("money", "owner"),)
    assert type(_decide("pay", {"amount": "12.50"}, approved=("money", "owner"))) is Allow
    assert _decide("pay", {"amount": "99999.00"}).reason is Reason.BUDGET_VALUE


def test_destructive_is_denied_even_when_approved():
    """A forbid beats every permit."""
    found = _decide("erase", approved=("owner",))
    assert found.reason is Reason.FORBIDDEN
    assert found.policies == ("erases",)


def test_labels_and_destination_meet():
    """A kind of label covers its details; the directory vouches by host and port."""
    assert type(_decide("fetch", {"url": "https://evil.example/"})) is Allow
    assert type(_decide("fetch", {"url": "https://a.docs.example/"}, labels=("untrusted",))) is Allow
    assert type(_decide("fetch", {"url": "http://127.0.0.1:8080/x"}, labels=("untrusted",))) is Allow
    for url in ("https://evil.example/", "https://evildocs.example/", "http://127.0.0.1:8081/"):
        assert _decide("fetch", {"url": url}, labels=("untrusted",)).policies == ("leaks",)


def test_resources_match_exactly_or_by_the_longest_prefix():
    """A URI is matched by prefix only in its plain form."""
    assert type(_decide("file:///docs/a/b", {"uri": "file:///docs/a/b"}, ActionKind.RESOURCE)) is Allow
    one = PDP.offering(ActionKind.RESOURCE, "fs", "file:///docs/one")
    assert one is not None
    assert one.entry.name == "file:///docs/one"
    outside = _decide("file:///etc/passwd", {"uri": "file:///etc/passwd"}, ActionKind.RESOURCE)
    assert outside.reason is Reason.UNKNOWN_RESOURCE
    climbing = "file:///docs/../etc/passwd"
    assert _decide(climbing, {"uri": climbing}, ActionKind.RESOURCE).reason is Reason.INVALID_ARGUMENTS


@pytest.mark.parametrize(
    "hidden",
    [
        "/../x",
        "/./x",
        "/..",
        "/%2e%2e/x",
        "/.%2E/x",
        "/%252e%252e/x",
        "/a%2Fb",
        "/a\\b",
        "/a%00",
        "/a%5c",
        "/a%",
        "/a b",
        "/é",
        "/..#x",
        "/..?x",
    ],
)
def test_uris_that_can_be_read_in_two_ways_are_refused(hidden):
    """Dot segments in every spelling, escaped slashes, controls."""
    with pytest.raises(CallerError):
        check_uri(f"file:///docs{hidden}")


@pytest.mark.parametrize(
    "plain",
    [
        "file:///docs/a.b",
        "file:///docs/.hidden",
        "file:///docs/a..b",
        "git://x/y?z=1",
        "note://a%20b",
        "file:///docs/...x",
    ],
)
def test_plain_uris_pass(plain):
    """Dots inside a name and ordinary escapes are fine."""
    check_uri(plain)


def test_prompts_take_the_strings_they_declare():
    """Undeclared, missing and non-string prompt arguments are refused."""
    assert type(_decide("ask", {"topic": "x"}, ActionKind.PROMPT)) is Allow
    assert _decide("ask", {}, ActionKind.PROMPT).reason is Reason.INVALID_ARGUMENTS
    assert _decide("ask", {"topic": 1}, ActionKind.PROMPT).reason is Reason.INVALID_ARGUMENTS
    assert _decide("ask", {"topic": "x", "y": "z"}, ActionKind.PROMPT).reason in {
        Reason.UNKNOWN_ARGUMENT,
        Reason.INVALID_ARGUMENTS,
    }


def test_features_are_decided_and_always_opaque():
    """A catalogued feature follows its class; any other is denied; policy sees that it cannot see."""
    assert type(_decide("sampling", {"messages": []}, ActionKind.FEATURE)) is NeedsApproval
    assert _decide("roots", {}, ActionKind.FEATURE).reason is Reason.FEATURE_DENIED
    offering = PDP.offering(ActionKind.FEATURE, "fs", "sampling")
    assert offering is not None
    assert offering.encode({"x": 1}) == ({}, True)


def test_what_can_not_run_is_not_offered():
    """An unconditional forbid in scope hides a tool; an unknown agent sees nothing."""
    assert PDP.engine.may_permit(("Agent", "coder"), "fs/read_file", ("Tool", "fs/read_file"))
    assert not PDP.engine.may_permit(("Agent", "guest"), "fs/read_file", ("Tool", "fs/read_file"))
    assert not PDP.engine.may_permit(("Agent", "coder"), "fs/erase", ("Tool", "fs/erase"))
    assert not PDP.engine.may_permit(("Agent", "nobody"), "fs/read_file", ("Tool", "fs/read_file"))


def test_kept_files_compile_to_the_same_revision():
    """Replay gets the same Pdp from the kept files, and refuses any other bytes."""
    made = bundle()
    assert compile_files(made.revision, made.files).revision == made.revision
    with pytest.raises(OperatorError):
        compile_files(PolicyRevision("sha256:" + "0" * 64), made.files)
    with pytest.raises(OperatorError):
        compile_files(made.revision, {**made.files, "policies/x.cedar": b""})
    with pytest.raises(OperatorError):
        compile_files(made.revision, {**made.files, "lictor.toml": b""})


def test_unusable_schemas_refuse_the_bundle_with_every_place():
    """All tools that cannot be typed are named at once, each with its line."""
    bad = {**READ, "inputSchema": {"type": "object", "properties": {"a": {"$ref": "https://x.example/s"}}}}
    worse = {**ERASE, "inputSchema": {"type": "nonsense"}}
    catalogue = f'[tools.read_file]\neffect = "read"\npin = "{pin_of(bad)}"\n[tools.erase]\neffect = "read"\npin = "{pin_of(worse)}"\n'
    made = bundle(**{"catalog/fs.toml": catalogue, "catalog/fs.definitions.json": json.dumps({"tools": [bad, worse]})})
    with pytest.raises(BundleRefused) as refused:
        compile_bundle(made)
    assert [problem.where for problem in refused.value.problems] == ["catalog/fs.toml:1", "catalog/fs.toml:4"]


def test_a_selector_that_points_at_nothing_is_refused():
    """Else every call would be an unknown destination, and nobody would know why."""
    catalogue = f'[tools.fetch]\neffect = "read"\ndestination = {{ url = "/link" }}\npin = "{pin_of(FETCH)}"\n'
    made = bundle(**{"catalog/fs.toml": catalogue})
    with pytest.raises(BundleRefused, match="points at nothing"):
        compile_bundle(made)


def test_no_policy_is_no_bundle():
    """POLE-06: nothing to decide by is a refusal with its own reason."""
    found = files(**{"policies/main.cedar": None})
    with pytest.raises(OperatorError) as refused:
        load_bundle(found, ())
    assert refused.value.reason is Reason.NO_POLICY
