"""Contracts before they bind: strict reading, normal forms, cutting down to policy, the proposer without a model."""

import json

import pytest

from bundles import bundle
from lictor.model.contract import Binding, Clause, ContractSource
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle
from lictor.policy.contracts import cards, contract_from, cut, draft, explain, propose

MAIL = {
    "name": "send",
    "inputSchema": {"type": "object", "properties": {"to": {"type": "string"}, "text": {"type": "string"}}},
}
PING = {"name": "archive_folder", "inputSchema": {"type": "object", "properties": {}}}
FILES_MAIL = {
    "catalog/mail.toml": f"""\
[tools.send]
effect = "write"
tags = ["communicates"]
pin = "{pin_of(MAIL)}"
[tools.send.watch.recipient]
pointer = "/to"
kind = "email"

[tools.archive_folder]
effect = "write"
pin = "{pin_of(PING)}"
""",
    "catalog/mail.definitions.json": json.dumps({"tools": [MAIL, PING]}),
}
PDP = compile_bundle(bundle(**FILES_MAIL))


def test_values_take_the_form_of_their_kind():
    """An address is compared in the one form everybody agrees on."""
    data = {"clauses": [{"action": "mail/send", "bind": {"recipient": {"values": ["Bob@EXAMPLE.org"]}}, "calls": 2}]}
    contract = contract_from(data, ContractSource.PERSON, PDP)
    (clause,) = contract.clauses
    assert clause.calls == 2
    assert clause.bind["recipient"].values[0].endswith("@example.org")


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"clauses": [{"action": "mail/send", "colour": 1}]},
        {"clauses": [{"action": "mail/nothing"}]},
        {"clauses": [{"action": "mail/send", "bind": {"cc": {"values": ["a@b.org"]}}}]},
        {"clauses": [{"action": "mail/send", "bind": {"recipient": {"values": ["no address"]}}}]},
        {"clauses": [{"action": "mail/send", "bind": {"recipient": {"sources": ["anywhere"]}}}]},
        {"clauses": [{"action": "mail/send", "calls": -1}]},
        {"clauses": [{"action": "mail/send"}] * 201},
        {"clauses": [], "source": "application"},
    ],
)
def test_what_is_not_a_contract_is_refused(data):
    """A proposer's answer is bytes from a stranger: nothing unknown, nothing malformed, nothing endless."""
    with pytest.raises(CallerError) as refused:
        contract_from(data, ContractSource.DRAFTED, PDP)
    assert refused.value.reason in {Reason.INVALID_ARGUMENTS, Reason.TOO_MANY}


def test_a_draft_is_cut_down_to_policy():
    """What policy permits under no circumstances is not in the contract, whatever a proposer asks for."""
    greedy = {"clauses": [{"action": card.action} for card in cards(PDP)]}
    contract, removed = draft(lambda *_: greedy, "anything", PDP, ["coder"])
    assert contract.source is ContractSource.DRAFTED
    assert "fs/erase" in removed
    assert "fs/read_file" in {clause.action for clause in contract.clauses}
    again, nothing = cut(contract, PDP, ["coder"])
    assert (again, nothing) == (contract, ())


def test_cutting_asks_for_every_agent_of_the_chain():
    """A child's draft holds only what its parents may too: the guest may not read."""
    contract, removed = draft(propose, "read it", PDP, ["coder", "guest"])
    assert "fs/read_file" in removed
    assert "fs/read_file" not in {clause.action for clause in contract.clauses}


def test_the_proposer_binds_what_the_words_name():
    """Recipients come from the person's words; a writing tool whose target nobody named is left out."""
    wanted = propose("Send the notes to bob@example.org, then stop.", cards(PDP))
    send = next(clause for clause in wanted["clauses"] if clause["action"] == "mail/send")
    assert send["bind"]["recipient"]["values"] == ["bob@example.org"]
    assert "mail/archive_folder" not in {clause["action"] for clause in wanted["clauses"]}
    silent = propose("Tidy up: archive old things.", cards(PDP))
    assert {"action": "mail/archive_folder", "calls": 1} in silent["clauses"]
    assert "mail/send" not in {clause["action"] for clause in silent["clauses"]}


def test_a_proposer_sees_the_text_and_the_catalogue_and_nothing_else():
    """No history, no results, no policy."""
    seen = []

    def proposer(*given):
        seen.append(given)
        return {"clauses": []}

    contract, _ = draft(proposer, "the words", PDP, ["coder"])
    assert seen == [("the words", cards(PDP))]
    assert contract.clauses == ()
    assert explain(contract) == ("nothing at all",)


def test_a_contract_explains_itself():
    """One line a clause, with the bounds in plain words."""
    bind = {"recipient": Binding(values=("bob@example.org",), sources=("directory",), optional=True)}
    contract = contract_from({"clauses": []}, ContractSource.PERSON, PDP)
    contract = type(contract)(source=contract.source, clauses=(Clause(action="mail/send", bind=bind, calls=1),))
    assert explain(contract) == (
        "mail/send, at most 1 time: recipient only 'bob@example.org' or in the directory or absent",
    )
