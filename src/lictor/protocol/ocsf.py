"""A log entry as an OCSF 1.9 event (https://schema.ocsf.io), for SIEMs. It refuses to know transports and what is interesting.

Which class a record is told as is a table below. Each event carries the entry's own bytes in `raw_data`, so that whoever has an
inclusion proof can hold the event against the signed log: the leaf hash is SHA-256 over a zero byte and `raw_data`. The
`record_integrity` profile's fingerprint is over the event itself (RFC 8785 form, without the fingerprint), and is not signed:
it finds accidents; against people the log is what counts. Nothing else of a record is repeated but names, ids and reasons.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from lictor.model.canonical import canonical_trusted
from lictor.protocol.events import Told

VERSION: Final = "1.9.0"
"""Of the schema."""

_API: Final = (6003, "API Activity", 6, "Application Activity")
_ENTITY: Final = (3004, "Entity Management", 3, "Identity & Access Management")
_SESSION: Final = (3003, "Authorize Session", 3, "Identity & Access Management")
_LOGON: Final = (3002, "Authentication", 3, "Identity & Access Management")
_FINDING: Final = (2004, "Detection Finding", 2, "Findings")
_OTHER: Final = 99
_SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}

_Class = tuple[int, str, int, str]


class _Row(msgspec.Struct, frozen=True):
    """How a record is told: its class, the class's activity (99: by the record's own word), its severity."""

    of: _Class
    activity: int = _OTHER
    word: str = ""
    severity: int = 1
    entity: str = ""
    """What kind of thing an Entity Management event is about."""


_ROWS: Final[dict[str, _Row]] = {
    "request.refused": _Row(_API, severity=2),
    "request.identity_claimed": _Row(_API, severity=2),
    "request.party_refused": _Row(_LOGON, 1, "Logon", severity=2),
    "approval.hold_opened": _Row(_ENTITY, 1, "Create", entity="hold"),
    "approval.given": _Row(_ENTITY, 8, "Enable", entity="hold"),
    "approval.withdrawn": _Row(_ENTITY, 9, "Disable", entity="hold"),
    "approval.denied": _Row(_ENTITY, 11, "Deactivate", entity="hold"),
    "approval.expired": _Row(_ENTITY, 11, "Deactivate", entity="hold"),
    "approval.refused": _Row(_API, severity=2),
    "approval.overridden": _Row(_ENTITY, 8, "Enable", severity=4, entity="hold"),
    "approval.allowance_given": _Row(_ENTITY, 1, "Create", entity="allowance"),
    "approval.allowance_revoked": _Row(_ENTITY, 4, "Delete", entity="allowance"),
    "privilege.task_opened": _Row(_SESSION, 1, "Assign Privileges"),
    "privilege.task_closed": _Row(_ENTITY, 11, "Deactivate", entity="task"),
    "privilege.contract_set": _Row(_ENTITY, 3, "Update", entity="task"),
    "privilege.token_issued": _Row(_LOGON, 3, "Authentication Ticket"),
    "privilege.token_revoked": _Row(_ENTITY, 4, "Delete", entity="token"),
    "privilege.signed_in": _Row(_LOGON, 1, "Logon"),
    "privilege.signed_out": _Row(_LOGON, 2, "Logoff"),
    "privilege.passkey_added": _Row(_ENTITY, 6, "Enroll", entity="passkey"),
    "privilege.passkey_removed": _Row(_ENTITY, 7, "Unenroll", entity="passkey"),
    "privilege.approver_enrolled": _Row(_ENTITY, 6, "Enroll", entity="approver"),
    "privilege.application_enrolled": _Row(_ENTITY, 6, "Enroll", entity="application"),
    "privilege.containment_laid": _Row(_ENTITY, 12, "Suspend", severity=3, entity="containment"),
    "privilege.containment_lifted": _Row(_ENTITY, 13, "Resume", severity=2, entity="containment"),
    "privilege.lease_given": _Row(_ENTITY, 1, "Create", entity="lease"),
    "privilege.lease_ending": _Row(_ENTITY, 9, "Disable", entity="lease"),
    "privilege.lease_ended": _Row(_ENTITY, 4, "Delete", entity="lease"),
    "privilege.lease_asked": _Row(_ENTITY, entity="lease"),
    "privilege.bundle_activated": _Row(_ENTITY, 10, "Activate", severity=2, entity="policy"),
    "privilege.bundle_approved": _Row(_ENTITY, 8, "Enable", severity=2, entity="policy"),
    "privilege.agent_changed": _Row(_ENTITY, 3, "Update", severity=2, entity="agent"),
    "privilege.epoch_raised": _Row(_ENTITY, 3, "Update", severity=4, entity="log"),
    "privilege.log_key_changed": _Row(_ENTITY, 3, "Update", severity=3, entity="log"),
    "privilege.payloads_erased": _Row(_ENTITY, 4, "Delete", severity=2, entity="payloads"),
    "signal.log_contradicted": _Row(_FINDING, 1, "Create", severity=4),
    "signal.shadow_differed": _Row(_FINDING, 1, "Create"),
    "signal.observed": _Row(_FINDING, 1, "Create", severity=2),
    "signal.refused": _Row(_FINDING, 1, "Create", severity=2),
    "signal.finding_opened": _Row(_FINDING, 1, "Create", severity=4),
    "signal.tool_quarantined": _Row(_FINDING, 1, "Create", severity=4),
    "signal.lease_kept": _Row(_FINDING, 2, "Update", severity=3),
}
"""Records that are told otherwise than their kind says."""

_BY_KIND: Final = {
    "request": _Row(_API),
    "decision": _Row(_API),
    "execution": _Row(_API),
    "approval": _Row(_ENTITY, entity="approval"),
    "privilege": _Row(_ENTITY, severity=2, entity="privilege"),
    "signal": _Row(_FINDING, 1, "Create", severity=2),
}
"""How a record that no row names is told: none is left out because it is new."""

_ENTITY_ID: Final = {
    "hold": ("hold",),
    "allowance": ("allowance",),
    "task": ("task",),
    "token": ("jti",),
    "passkey": ("passkey",),
    "approver": ("human",),
    "application": ("application",),
    "containment": ("containment",),
    "lease": ("lease",),
    "policy": ("revision",),
    "agent": ("agent",),
    "payloads": ("task",),
}
_SECURITY: Final = {"allow": (1, "Allowed", 1, "Allowed"), "deny": (2, "Denied", 2, "Blocked")}
_HELD: Final = (_OTHER, "Held", 14, "Delayed")
"""`action_id`, its caption, `disposition_id`, its caption."""


def ocsf_event(told: Told) -> dict[str, Any]:
    """The event, complete. Times are milliseconds since the epoch."""
    row = _ROWS.get(told.tag) or _BY_KIND.get(told.kind) or _Row(_API)
    number, name, category, category_name = row.of
    activity = row.word or told.tag
    event: dict[str, Any] = {
        "class_uid": number,
        "class_name": name,
        "category_uid": category,
        "category_name": category_name,
        "activity_id": row.activity,
        "activity_name": activity,
        "type_uid": number * 100 + row.activity,
        "type_name": f"{name}: {'Other' if row.activity == _OTHER else activity}",
        "severity_id": row.severity,
        "severity": _SEVERITIES[row.severity],
        "time": told.at_ms,
        "message": _message(told),
        "metadata": _metadata(told),
        **_SHAPES[number](told, row),
        **_status(told, number),
    }
    _profiles(event, told, number)
    _raw(event, told)
    _attest(event, told)
    return event


def _metadata(told: Told) -> dict[str, Any]:
    found: dict[str, Any] = {
        "version": VERSION,
        "product": {"name": "Lictor", "vendor_name": "Lictor"},
        "uid": told.uid,
        "event_code": told.tag,
        "log_name": told.origin,
        "log_provider": "Lictor",
        "log_format": "JSON",
        "original_event_uid": str(told.seq),
        "sequence": told.seq,
    }
    about = told.names.request or told.names.task
    return {**found, "correlation_uid": about} if about else found


def _message(told: Told) -> str:
    record = told.record
    words = [told.tag, *(str(record[name]) for name in ("outcome", "reason") if isinstance(record.get(name), str))]
    return " ".join(word for word in words if word)


# -- classes ---------------------------------------------------------------------------------------------------------------


def _api_activity(told: Told, _: _Row) -> dict[str, Any]:
    """Class 6003: who asked what of which server."""
    names = told.names
    api: dict[str, Any] = {"operation": names.action or told.tag}
    if names.server:
        api["service"] = {"name": names.server}
    if names.request:
        api["request"] = {"uid": names.request}
    if isinstance(told.record.get("reason"), str) and told.record["reason"]:
        api["response"] = {"message": told.record["reason"]}
    found: dict[str, Any] = {"actor": _actor(told), "api": api, "src_endpoint": _endpoint(told)}
    if names.server:
        found["dst_endpoint"] = {"svc_name": names.server}
    if names.name:
        found["resources"] = [{"name": names.name, "type": names.kind or "tool"}]
    return found


def _entity_management(told: Told, row: _Row) -> dict[str, Any]:
    """Class 3004: what came into being, changed or ended, and who did it."""
    entity: dict[str, Any] = {"uid": _entity_uid(told, row.entity), "type": row.entity}
    if row.entity == "policy":
        entity["type_id"], entity["type"] = 5, "Policy"
    containment = told.record.get("containment")
    if isinstance(containment, dict):
        target = containment.get("target") or "everything"
        entity["name"] = f"{containment.get('restriction')} of {containment.get('scope')} {target}"
    found: dict[str, Any] = {"entity": entity, "actor": _actor(told)}
    note = told.record.get("note") or told.record.get("why")
    return {**found, "comment": note} if isinstance(note, str) and note else found


def _authorize_session(told: Told, _: _Row) -> dict[str, Any]:
    """Class 3003: an agent was given authority for a task."""
    task = told.record["task"]
    names = told.names
    session = {"uid": names.task, "created_time": task["opened_at_ms"], "expiration_time": task["expires_at_ms"]}
    return {
        "user": {"uid": names.agent, "type_id": _OTHER, "type": "AI agent"},
        "privileges": [f"purpose {task['purpose']}", f"calls {task['budget'].get('calls', 1_000)}"],
        "session": {**session, "issuer": told.origin},
        "actor": _actor(told),
    }


def _authentication(told: Told, _: _Row) -> dict[str, Any]:
    """Class 3002: somebody proved who they are, or failed to."""
    record = told.record
    who = record.get("human") or record.get("agent") or record.get("by") or "unknown"
    found: dict[str, Any] = {"user": {"uid": str(who)}, "service": {"name": "Lictor"}, "actor": _actor(told)}
    if record.get("passkey"):
        found["user"]["credential_uid"] = record["passkey"]
    if record.get("jti"):
        found["session"] = {"uid": record["jti"], "issuer": record["issuer"]}
    return found


def _detection_finding(told: Told, _: _Row) -> dict[str, Any]:
    """Class 2004: something that somebody may have to look at."""
    record, names = told.record, told.names
    signal = record.get("signal")
    title, uid = told.tag, str(record.get("finding") or told.uid)
    if isinstance(signal, dict):
        title, uid = f"{told.tag} {signal.get('kind', '')}".strip(), str(signal.get("id") or told.uid)
    info: dict[str, Any] = {"uid": uid, "title": title, "created_time": told.at_ms, "data_sources": [told.origin]}
    found: dict[str, Any] = {"finding_info": info}
    if told.tag == "signal.shadow_differed":
        return found | _difference(told, info)
    about = {"server": names.server, "agent": names.agent, "task": names.task, "lease": names.lease}
    resources = [{"uid": value, "type": kind} for kind, value in about.items() if value]
    return {**found, "resources": resources} if resources else found


def _difference(told: Told, info: dict[str, Any]) -> dict[str, Any]:
    """What the bundle in shadow would have answered otherwise: nothing follows from it, so it is no alert."""
    record, more = told.record, told.record.get("more", 0)
    info["title"] = (
        f"{record['action']} was {record['was']}, would have been {record['outcome']} under the bundle in shadow"
    )
    then, now = record.get("was_policies", ()), record.get("policies", ())
    words = [_by(record["was_reason"], then), _by(record["reason"], now)]
    words += [record["why"]] if record.get("why") else []
    words += [f"{more} more of this sort have no record of their own"] if more else []
    info["desc"] = "; ".join(words)
    info["analytic"] = {"uid": record["revision"], "name": "bundle in shadow", "type_id": 1, "type": "Rule"}
    about = {"agent": record["agent"], "task": record["task"], "action": record["action"]}
    resources = [{"uid": value, "type": kind} for kind, value in about.items() if value]
    return {"is_alert": False, "count": 1 + more, **({"resources": resources} if resources else {})}


def _by(reason: str, policies: Sequence[str]) -> str:
    return f"{reason} ({', '.join(policies)})" if policies else reason


_SHAPES: Final[dict[int, Callable[[Told, _Row], dict[str, Any]]]] = {
    _API[0]: _api_activity,
    _ENTITY[0]: _entity_management,
    _SESSION[0]: _authorize_session,
    _LOGON[0]: _authentication,
    _FINDING[0]: _detection_finding,
}


def _entity_uid(told: Told, kind: str) -> str:
    for member in _ENTITY_ID.get(kind, ()):
        value = told.record.get(member)
        if isinstance(value, dict):
            value = value.get("id")
        found = value or getattr(told.names, member, "")
        if isinstance(found, str) and found:
            return found
    return told.uid


def _actor(told: Told) -> dict[str, Any]:
    """Who did it: the person that the record names, else the agent with the person it works for, else the gateway."""
    names = told.names
    actor: dict[str, Any] = {"app_name": "Lictor"}
    if names.agent:
        actor |= {"app_name": names.agent, "app_uid": names.agent}
    person = told.by or names.human
    if person:
        actor["user"] = {"uid": person}
    if names.task:
        actor["session"] = {"uid": names.task}
    return actor


def _endpoint(told: Told) -> dict[str, Any]:
    instance = told.record.get("instance")
    if isinstance(instance, str) and instance:
        return {"svc_name": "lictor", "instance_uid": instance}
    return {"uid": told.names.agent} if told.names.agent else {"svc_name": "lictor"}


# -- what is the same for several classes ----------------------------------------------------------------------------------


_OUTCOMES: Final = {
    "allow": (1, "Success"),
    "executed": (1, "Success"),
    "confirmed": (1, "Success"),
    "deny": (2, "Failure"),
    "failed": (2, "Failure"),
    "refuted": (2, "Failure"),
    "needs_approval": (_OTHER, "Held"),
    "indeterminate": (0, "Unknown"),
}
_TURNED_AWAY: Final = frozenset({"request.refused", "request.party_refused", "approval.refused"})


def _status(told: Told, number: int) -> dict[str, Any]:
    """How it ended. A finding's status is another thing: a new one."""
    if number == _FINDING[0]:
        return {"status_id": 1, "status": "New"}
    outcome, reason = told.record.get("outcome"), told.record.get("reason")
    default = (2, "Failure") if told.tag in _TURNED_AWAY else (1, "Success")
    found, text = _OUTCOMES.get(outcome, default) if isinstance(outcome, str) else default
    status: dict[str, Any] = {"status_id": found, "status": text}
    return {**status, "status_code": reason} if isinstance(reason, str) and reason else status


def _profiles(event: dict[str, Any], told: Told, number: int) -> None:
    """`ai_operation`: the agent. `security_control`: what was decided, under which policy. `record_integrity`: always."""
    profiles = ["record_integrity"]
    names, record = told.names, told.record
    if names.agent and number != _FINDING[0]:
        profiles.append("ai_operation")
        event["ai_agent"] = {"uid": names.agent, **({"instance_uid": names.task} if names.task else {})}
    if told.tag == "decision.made":
        profiles.append("security_control")
        action, word, disposition, caption = _SECURITY.get(str(record.get("outcome")), _HELD)
        event |= {"action_id": action, "action": word, "disposition_id": disposition, "disposition": caption}
        policy = {"uid": record["revision"], "type": "Cedar", "version": record["engine"], "is_applied": True}
        event["policy"] = policy
        event["authorizations"] = [
            {"decision": record["outcome"], "policy": {"uid": one, "type": "Cedar"}}
            for one in record.get("policies", ())
        ]
        if not event["authorizations"]:
            del event["authorizations"]
    event["metadata"]["profiles"] = sorted(profiles)


def _raw(event: dict[str, Any], told: Told) -> None:
    """The entry itself, and where it stands in the log."""
    event["raw_data"] = told.data.decode("utf-8")
    event["raw_data_size"] = len(told.data)
    event["raw_data_hash"] = _sha256(sha256(told.data).hexdigest(), 1, "Flat")
    ids = {member: getattr(told.names, member) for member in ("task", "request", "hold", "execution", "lease")}
    place = {"leaf_index": told.seq, "leaf_hash": told.leaf.hex(), "tree_size": told.seq + 1}
    event["unmapped"] = {"lictor": {**place, **{member: value for member, value in ids.items() if value}}}


def _attest(event: dict[str, Any], told: Told) -> None:
    """Profile `record_integrity`: a fingerprint over the whole event, everything of the attestation but itself included."""
    attestation: dict[str, Any] = {"uid": told.uid, "chain_uid": told.origin, "authority_uid": told.origin}
    event["attestation_list"] = [attestation]
    digest = sha256(canonical_trusted(event, plain=True)).hexdigest()
    attestation["fingerprint"] = _sha256(digest, 2, "JCS")


def _sha256(value: str, serialization: int, name: str) -> dict[str, Any]:
    form = {"encoding_id": 1, "encoding": "Hex", "serialization_id": serialization, "serialization": name}
    return {"algorithm_id": 3, "algorithm": "SHA-256", **form, "value": value}
