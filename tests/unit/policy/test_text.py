"""Policies under our own ids, with their place in the file."""

import json

import pytest

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.policy.guard import parse_policy_text
from lictor.policy.text import parse_policies, unique

TWO = """// rules
@id("team/one") @owner("ops") @flag
permit(principal, action, resource);

@id("two.b-c_D")
forbid(principal, action, resource)
when { context.s == "; @id" };
"""


def parsed(text, file="p.cedar"):
    return parse_policies(file, text, parse_policy_text(file, text))


def refusal(text):
    with pytest.raises(OperatorError) as refused:
        parsed(text)
    assert refused.value.reason is Reason.BUNDLE_REFUSED
    return str(refused.value)


def test_policies_have_id_effect_place_and_text():
    """All a record or a message needs."""
    one, two = parsed(TWO)
    assert (one.id, one.effect, one.where) == ("team/one", "permit", "p.cedar:2")
    assert one.annotations == {"id": "team/one", "owner": "ops", "flag": ""}
    assert one.text == '@id("team/one") @owner("ops") @flag\npermit(principal, action, resource);'
    assert (two.id, two.effect, two.line) == ("two.b-c_D", "forbid", 5)
    assert two.text.endswith('"; @id" };')


def test_order_is_the_files_order_past_ten():
    """Positions are numbers, not text: `policy10` comes after `policy9`."""
    text = "".join(f'@id("p{n}") permit(principal, action, resource);\n' for n in range(25))
    assert [(p.id, p.line) for p in parsed(text)] == [(f"p{n}", n + 1) for n in range(25)]


def test_digest_follows_meaning_not_layout():
    """Same policy, other layout: same digest; any change of it: another."""
    base = '@id("a") permit(principal, action, resource) when { context.n == 1 };'
    digest = parsed(base)[0].digest
    assert digest.startswith("sha256:")
    assert parsed("\n" + base.replace(" ", "  "))[0].digest == digest
    assert parsed(base.replace("1", "2"))[0].digest != digest
    assert parsed(base.replace("permit", "forbid"))[0].digest != digest
    assert parsed(base.replace('"a"', '"b"'))[0].digest != digest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\npermit(principal, action, resource);", "p.cedar:2: a policy without @id"),
        ('@id("") permit(principal, action, resource);', "p.cedar:1: a policy without @id"),
        ("@id permit(principal, action, resource);", "p.cedar:1: a policy without @id"),
        ('@id("a b") permit(principal, action, resource);', "p.cedar:1: @id('a b') is not"),
        ('@id("a\\n") permit(principal, action, resource);', "p.cedar:1: @id('a\\n') is not"),
        ('@id("é") permit(principal, action, resource);', "p.cedar:1: @id('é') is not"),
        (f'@id("{"x" * 129}") permit(principal, action, resource);', "p.cedar:1: @id('xxx"),
        (TWO + TWO, "p.cedar:9: @id('team/one') is already used at p.cedar:2"),
        (TWO + '@id("t")\npermit(principal == ?principal, action, resource);', "p.cedar:8: templates"),
    ],
)
def test_refusals_name_file_and_line(text, expected):
    """Missing, badly formed and repeated ids, and templates."""
    assert refusal(text).startswith(expected)


def test_longest_id_is_taken():
    """128 characters are in."""
    assert parsed(f'@id("{"x" * 128}") permit(principal, action, resource);')[0].id == "x" * 128


def test_ids_are_unique_across_files():
    """The same id in two files is refused at the second."""
    with pytest.raises(OperatorError, match=r"already used at a\.cedar:2") as refused:
        unique([*parsed(TWO, "a.cedar"), *parsed(TWO, "b.cedar")])
    assert refused.value.where == "b.cedar:2"


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        "[" * 5_000,
        {},
        {"staticPolicies": {"policy0": {}}},
        {"staticPolicies": {"policy0": {}, "policy7": {}}},
        {"staticPolicies": {"policy0": {}, "x": {}}},
        {"staticPolicies": {"policy0": {}, "policy1": {}}, "templateLinks": [{}]},
        {"templates": {"policy9": {}}},
    ],
)
def test_json_of_another_text_is_refused(document):
    """Text and JSON must be of one file: the child's answer is checked, not trusted."""
    with pytest.raises(OperatorError):
        parse_policies("p.cedar", TWO, document if isinstance(document, str) else json.dumps(document))
