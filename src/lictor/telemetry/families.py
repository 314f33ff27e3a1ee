"""Every metric there is: its name, its kind, its labels and what it says. Page, dashboard and reference name no other.

A label's values come from sets of ours (reason codes, outcomes, catalogue entries, names in the settings), never from what a
client or a server sent: neither can make up series, nor write into them.
"""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is without the suffixes (`_total`, `_bucket`, …) that the formats add."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    says: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in its unit."""


OTHER: Final = "other"
"""In the place of a value that is in no set of ours."""

_QUICK: Final = (
    0.000_05,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    5.0,
)
_SLOW: Final = (
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
_PEOPLE: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 14_400.0)

FROM_LOG: Final = (
    Family("lictor_records", "counter", ("type",), "Records in the log, by tag."),
    Family("lictor_requests", "counter", ("kind", "server"), "Actions that agents asked for."),
    Family("lictor_refusals", "counter", ("reason",), "Messages refused at the strict door, before policy."),
    Family("lictor_parties_refused", "counter", ("where", "reason"), "Proved identities refused tokens or sign-in."),
    Family("lictor_decisions", "counter", ("outcome", "reason", "effect"), "Decisions."),
    Family(
        "lictor_action_decisions", "counter", ("server", "kind", "name", "outcome"), "Decisions, by catalogue entry."
    ),
    Family("lictor_executions_started", "counter", ("server",), "Grants that became executions."),
    Family("lictor_executions", "counter", ("server", "outcome"), "What became of executions."),
    Family("lictor_execution_errors", "counter", ("server",), "Executed, and the server called the result an error."),
    Family("lictor_reconciliations", "counter", ("outcome",), "Indeterminate executions that a person cleared up."),
    Family("lictor_holds_opened", "counter", (), "Times that people were asked."),
    Family("lictor_approvals", "counter", ("outcome",), "What became of asking."),
    Family("lictor_approval_answer_seconds", "histogram", ("outcome",), "From asking to a person's answer.", _PEOPLE),
    Family("lictor_tasks", "counter", ("event",), "Tasks opened and closed."),
    Family(
        "lictor_leases", "counter", ("event",), "Credentials asked for, given and ended; revocations tried in vain."
    ),
    Family("lictor_containments", "counter", ("event",), "Restrictions laid and lifted."),
    Family("lictor_signals", "counter", ("event",), "Signals observed, and refused as unreadable."),
    Family(
        "lictor_shadow_differences",
        "counter",
        ("was", "would"),
        "Decisions that the bundle in shadow would have made otherwise.",
    ),
    Family("lictor_findings", "counter", (), "Findings opened: somebody has to look."),
    Family("lictor_quarantines", "counter", ("server",), "Live definitions that are not the pinned ones."),
    Family("lictor_bundles_activated", "counter", (), "Policy bundles put in force."),
)
"""Counted from the log as it grows, whichever process wrote it, from when this gateway began to look."""

FROM_CALLS: Final = (
    Family("lictor_decide_seconds", "histogram", (), "Time to decide one action.", _QUICK),
    Family("lictor_record_seconds", "histogram", (), "Time until a decision was durable.", _QUICK),
    Family("lictor_record_failures", "counter", (), "Decisions that could not be recorded; nothing ran."),
    Family("lictor_call_seconds", "histogram", ("method",), "A client's request, from read to answered.", _SLOW),
    Family("lictor_upstream_seconds", "histogram", ("server",), "A granted action at its server.", _SLOW),
    Family("lictor_calls_under_way", "gauge", (), "Client requests not answered yet."),
)
"""Seen in this process."""

NOW: Final = (
    Family("lictor_log_records", "gauge", (), "Entries in the log."),
    Family("lictor_tasks_open", "gauge", (), "Tasks neither closed nor expired."),
    Family("lictor_holds_open", "gauge", (), "Holds that people can still answer."),
    Family("lictor_executions_open", "gauge", (), "Executions started and not ended, of all gateways."),
    Family("lictor_executions_indeterminate", "gauge", (), "Executions nobody has cleared up yet."),
    Family("lictor_leases_live", "gauge", (), "Credentials that may exist."),
    Family("lictor_leases_kept", "gauge", (), "Credentials whose revocation failed so far."),
    Family("lictor_containments_in_force", "gauge", ("restriction",), "Restrictions in force."),
    Family("lictor_ready", "gauge", (), "1 while decisions can be made and recorded."),
    Family("lictor_guard_fault", "gauge", (), "1 while the newest state is unconfirmed or the clock is not believed."),
    Family("lictor_state_age_seconds", "gauge", (), "Since the newest state was confirmed."),
    Family("lictor_record_queue", "gauge", (), "Records that wait for the disk."),
    Family("lictor_connections", "gauge", (), "Connections to servers."),
    Family("lictor_policy_info", "gauge", ("revision",), "1 for the bundle revision in force."),
    Family("lictor_policy_loaded_timestamp_seconds", "gauge", (), "When this process put the bundle in force."),
    Family("lictor_policy_waiting", "gauge", (), "1 while a changed bundle waits for a second person."),
    Family("lictor_sink_lag_records", "gauge", ("sink",), "Records a sink has not taken yet."),
    Family("lictor_sink_failing", "gauge", ("sink",), "1 while a sink takes nothing."),
    Family("lictor_witness_lag_records", "gauge", ("witness",), "Records no cosignature of a witness covers yet."),
    Family("lictor_witness_contradicted", "gauge", ("witness",), "1 if a witness has seen another version of the log."),
    Family("lictor_spans", "counter", ("result",), "Spans sent to the collector, refused by it, or thrown away."),
    Family("lictor_metrics_lag_records", "gauge", (), "Records in the log that are not counted here yet."),
    Family("lictor_build_info", "gauge", ("version",), "1 for this version."),
)
"""Looked up when the page is read."""

FAMILIES: Final = {family.name: family for family in (*FROM_LOG, *FROM_CALLS, *NOW)}
