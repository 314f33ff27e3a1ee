"""OCSF events against OCSF's own schema; their fingerprints; and what never gets into one.

The packaged schema ends at 1.8. What 1.9 added (`ai_agent`, `attestation_list`, how a fingerprint is written) is taken off for it,
and nothing else is; that part is held against `ocsf_newer`, written from the specification. With LICTOR_OCSF_SCHEMA naming a
compiled schema of 1.9, whole events are held against that as well.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
import rfc8785
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

import told_samples as samples
from lictor.model.record import BundleActivated, Record, ShadowDiffered
from lictor.protocol import ocsf
from lictor.protocol.events import Joins, Told, ascii_json
from lictor.protocol.ocsf import ocsf_event
from lictor.records.merkle import leaf_hash
from unit.protocol import ocsf_newer as newer

PACKAGED = "1.8.0"
NEWER = os.environ.get("LICTOR_OCSF_SCHEMA", "")


@functools.cache
def schema(path: str = "") -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(json.loads(Path(path).read_text()) if path else get_ocsf_schema(version=PACKAGED))


@functools.cache
def validator(class_uid: int, profiles: tuple[str, ...], path: str = "") -> Any:
    name = schema(path).lookup_class_name_from_uid(class_uid=class_uid)
    return jsonschema_rs.validator_for(schema(path).get_class_schema(class_name=name, profiles=list(profiles)))


def without_newer(event: dict[str, Any]) -> dict[str, Any]:
    """What 1.8 knows of an event."""
    return newer.without(json.loads(json.dumps(event)))


def problems(event: dict[str, Any]) -> list[str]:
    older = without_newer(event)
    found = list(validator(event["class_uid"], tuple(older["metadata"]["profiles"])).iter_errors(older))
    found += newer.validator().iter_errors(json.loads(json.dumps(event)))
    if NEWER:
        found += validator(event["class_uid"], tuple(event["metadata"]["profiles"]), NEWER).iter_errors(event)
    return [f"{error.instance_path}: {error.message}"[:200] for error in found]


def everything() -> list[Told]:
    return samples.read(*samples.records())


def test_an_event_of_every_record_fits_the_schema() -> None:
    """Each record type, with all its members and with the fewest, is valid in its class under its profiles."""
    wrong = {(told.tag, problem) for told in everything() for problem in problems(ocsf_event(told))}
    assert wrong == set()
    assert {told.tag for told in everything()} == {str(kind.__struct_config__.tag) for kind in get_args(Record)}


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"activity_id": 55},
        {"time": "today"},
        {"metadata": {"version": "1.9.0"}},
        {"actor": {}},
        {"unmapped": "text"},
    ],
)
def test_the_schema_finds_what_does_not_fit(change: dict[str, Any]) -> None:
    """Control: the same check fails on an event with a member too much, a wrong number or a missing one."""
    event = ocsf_event(next(told for told in everything() if told.tag == "decision.made"))
    broken = {**without_newer(event), **change}
    found = validator(event["class_uid"], ("ai_operation", "security_control"))
    assert found.is_valid(without_newer(event))
    assert not found.is_valid(broken)


BROKEN_NEWER: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda event: event["metadata"].update(version="1.8.0"),
    "a profile nobody knows": lambda event: event["metadata"]["profiles"].append("ai_agents"),
    "no integrity": lambda event: event["metadata"]["profiles"].remove("record_integrity"),
    "no attestation": lambda event: event["attestation_list"].clear(),
    "an attestation of nothing": lambda event: event["attestation_list"][0].pop("fingerprint"),
    "a member nobody knows": lambda event: event["attestation_list"][0].update(sequence=1),
    "a fingerprint in base64": lambda event: event["raw_data_hash"].update(value="qg=="),
    "a caption of another id": lambda event: event["raw_data_hash"].update(serialization_id=2),
    "an encoding nobody knows": lambda event: event["raw_data_hash"].update(encoding_id=7),
    "a fingerprint nobody can check": lambda event: event["raw_data_hash"].pop("serialization_id"),
    "an agent without a name": lambda event: event["ai_agent"].pop("uid"),
    "an agent with an owner": lambda event: event["ai_agent"].update(owner="alice"),
    "an agent that no profile speaks of": lambda event: event["metadata"]["profiles"].remove("ai_operation"),
    "no agent": lambda event: event.pop("ai_agent"),
    "an agent of a finding": lambda event: event.update(class_uid=newer.FINDINGS),
}


@pytest.mark.parametrize("change", BROKEN_NEWER.values(), ids=BROKEN_NEWER.keys())
def test_our_schema_of_the_newer_members_finds_what_does_not_fit(change: Callable[[dict[str, Any]], object]) -> None:
    """Control: each rule of it is broken by an event, and finds it; without the change it fits."""
    event = json.loads(json.dumps(ocsf_event(next(told for told in everything() if told.tag == "decision.made"))))
    event.setdefault("ai_agent", {"uid": "agent"})
    event["metadata"]["profiles"] = ["ai_operation", "record_integrity", "security_control"]
    assert newer.validator().is_valid(event)
    change(event)
    assert not newer.validator().is_valid(event)


def test_a_difference_in_shadow_says_what_it_is() -> None:
    """A finding with words of its own: which bundle, what was and what would have been; one look at it tells that nothing follows."""
    difference = ShadowDiffered(
        request="req_1",
        decision="dec_1",
        task="task_1",
        agent="coder",
        action="fs/write",
        was="allow",
        was_reason="permitted",
        was_policies=("writes",),
        revision="sha256:" + "c" * 64,
        outcome="deny",
        reason="forbidden",
        policies=("leaks", "late"),
        more=4,
    )
    (told,) = samples.read(difference)
    event = ocsf_event(told)
    assert problems(event) == []
    info = event["finding_info"]
    assert info["title"] == "fs/write was allow, would have been deny under the bundle in shadow"
    assert (
        info["desc"] == "permitted (writes); forbidden (leaks, late); 4 more of this sort have no record of their own"
    )
    assert info["analytic"] == {"uid": difference.revision, "name": "bundle in shadow", "type_id": 1, "type": "Rule"}
    assert (event["is_alert"], event["count"], event["severity_id"]) == (False, 5, 1)
    assert {one["type"]: one["uid"] for one in event["resources"]} == {
        "agent": "coder",
        "task": "task_1",
        "action": "fs/write",
    }


def test_a_record_that_no_row_names_is_told_by_its_kind() -> None:
    """A tag that is new tomorrow is exported all the same, and fits."""
    joins = Joins(samples.ORIGIN)
    for kind in ("request", "decision", "approval", "privilege", "signal", "execution", "other"):
        if kind == "decision":
            continue  # its members are what `security_control` tells
        data = json.dumps({"at": 1, "record": {"type": f"{kind}.new", "task": "t"}, "v": 1}).encode()
        event = ocsf_event(joins.read(0, data, leaf_hash(data)))
        assert problems(event) == []
        assert event["metadata"]["event_code"] == f"{kind}.new"


def test_the_raw_data_is_the_leaf() -> None:
    """An event is enough to find its entry in the signed log: leaf hash, index, and the bytes they are of."""
    for told in everything():
        event = ocsf_event(told)
        place = event["unmapped"]["lictor"]
        assert leaf_hash(event["raw_data"].encode()).hex() == place["leaf_hash"]
        assert place["leaf_index"] == event["metadata"]["sequence"] == told.seq
        assert event["raw_data_hash"]["value"] == hashlib.sha256(event["raw_data"].encode()).hexdigest()
        assert event["metadata"]["uid"] == f"{samples.ORIGIN}/{told.seq}"


def intact(event: dict[str, Any]) -> bool:
    """As a receiver checks the attestation: another implementation of RFC 8785, over all but the fingerprint."""
    received = json.loads(ascii_json(event))
    fingerprint = received["attestation_list"][0].pop("fingerprint")
    return bool(hashlib.sha256(rfc8785.dumps(received)).hexdigest() == fingerprint["value"])


def test_a_changed_event_does_not_fit_its_fingerprint() -> None:
    """The fingerprint is over the whole event in RFC 8785 form: any change of any member shows."""
    told = everything()[0]
    event = ocsf_event(told)
    assert intact(event)
    for name, value in event.items():
        if name != "attestation_list":
            changed = {**event, name: (value + 1 if isinstance(value, int) else f"{value}x")}
            assert not intact(changed), name
    assert not intact({**event, "more": 1})


def test_the_fingerprint_is_over_more_than_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: with a fingerprint of the raw data alone, a changed event goes unnoticed, and the check above would say so."""

    def careless(event: dict[str, Any], told: Told) -> None:
        whole = ocsf._sha256(hashlib.sha256(told.data).hexdigest(), 2, "JCS")
        event["attestation_list"] = [{"uid": told.uid, "fingerprint": whole}]

    monkeypatch.setattr(ocsf, "_attest", careless)
    assert not intact(ocsf_event(everything()[0]))


def test_who_and_what_is_told() -> None:
    """A decision and an execution name the agent, the person and the action of the request they only refer to."""
    made = [told for told in everything() if told.tag in {"decision.made", "execution.started", "execution.ended"}]
    for told in made[::2]:
        event = ocsf_event(told)
        assert event["ai_agent"]["uid"] == "word"
        assert event["actor"]["user"] == {"uid": "word"}
        assert event["api"]["operation"] == "word/word"


def test_a_policy_change_says_which() -> None:
    """What an Entity Management event is about is named by its own id."""
    told = samples.read(BundleActivated(revision="sha256:1", previous=None, files=3))[0]  # type: ignore[arg-type]
    event = ocsf_event(told)
    assert (event["class_uid"], event["activity_id"]) == (3004, 10)
    assert event["entity"] == {"uid": "sha256:1", "type": "Policy", "type_id": 5}
