"""A record in one line for people. What is untrusted in it is shown so that it can be nothing else (`protocol.display`)."""

from typing import Any

from lictor.cli.output import Out, safe
from lictor.model.action import ActionKind, action_words

SHORT = 120
"""Characters of a line's text that are shown."""


def gist(out: Out, record: dict[str, Any]) -> str:
    """The few members of a record that tell what happened; `record` as decoded from the entry."""
    match record["type"]:
        case "request.received":
            words = action_words(ActionKind(record["kind"]), record["server"], record["name"])
            return safe(f"{record['agent']} asks {words}", 100)
        case "decision.made":
            paint = {"allow": out.good, "deny": out.bad}.get(record["outcome"], out.warm)
            policies = safe(", ".join(record.get("policies", ())), 100)
            return f"{paint(record['outcome'])} {record['reason']} {out.dim(policies)}".rstrip()
        case "execution.ended":
            paint = out.good if record["outcome"] == "executed" else out.warm
            return f"{paint(record['outcome'])} {record.get('reason', '')}".rstrip()
        case "approval.hold_opened":
            hold = record["hold"]
            return safe(f"{hold['id']} {hold['server']}/{hold['name']}", 100)
        case "approval.given":
            return f"{record['approval']['hold']} by {safe(record['approval']['approver'], 60)}"
        case tag if tag.startswith("privilege."):
            return _privilege(record)
        case _:
            return rest(record)


def _privilege(record: dict[str, Any]) -> str:
    match record["type"]:
        case "privilege.task_opened":
            task = record["task"]
            return safe(f"{task['id']} {task['agent']} for {task['human']}: {task['purpose']}", 100)
        case "privilege.approver_enrolled":
            return safe(f"{record['human']} by {record['by']}", 100)
        case "privilege.agent_changed":
            return safe(f"{record['agent']} {record['what']} by {record['by']}", 100)
        case "privilege.bundle_approved":
            ways = len(record["widens"])
            return safe(f"{record['revision'][:19]} by {record['by']}, wider in {ways} ways", 100)
        case "privilege.bundle_activated":
            by = f" by {record['by']}" if record.get("by") else ""
            authors = f", changed by {', '.join(record['authors'])}" if record.get("authors") else ""
            files = f" with {record['files']} policy and catalogue files"
            return safe(f"{record['revision'][:19]}{by}{files}{authors}", 160)
        case "privilege.payloads_erased":
            why = f": {record['why']}" if record.get("why") else ""
            return safe(f"{record['task']} by {record['by']}{why}", 100)
        case "privilege.log_key_changed":
            why = f": {record['why']}" if record.get("why") else ""
            return safe(f"to {record['new']} by {record['by']}{why}", 160)
        case _:
            return rest(record)


def rest(record: dict[str, Any], without: frozenset[str] = frozenset()) -> str:
    """Every member that says something."""
    members = {key: value for key, value in record.items() if key != "type" and key not in without and value}
    return safe(" ".join(f"{key}={value}" for key, value in members.items()), SHORT)
