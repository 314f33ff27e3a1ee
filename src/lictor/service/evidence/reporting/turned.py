"""Reasons in groups, for people who count: every reason with which something is turned away is in exactly one.

By their wire form: this module gives none of them. Refuses to know where a reason is given.
"""

from collections.abc import Mapping
from typing import Final

from lictor.model.reasons import Reason

_GROUPS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "door": (
        "bytes that are no acceptable message",
        (
            "invalid_json",
            "not_utf8",
            "duplicate_key",
            "invalid_unicode",
            "trailing_data",
            "number_out_of_range",
            "unsafe_integer",
            "unknown_member",
            "batch_not_supported",
            "invalid_message",
            "header_mismatch",
            "duplicate_header",
            "unsupported_version",
            "unknown_method",
            "bad_state",
        ),
    ),
    "size": (
        "too large, too deep or too many",
        ("too_large", "too_deep", "too_many_members", "overloaded", "approval_rate"),
    ),
    "arguments": (
        "arguments that the tool's schema does not have",
        ("unknown_argument", "invalid_arguments", "credential_in_arguments"),
    ),
    "identity": (
        "nobody who proved who they are",
        (
            "unauthenticated",
            "alg_not_allowed",
            "crit_not_understood",
            "audience",
            "bad_origin",
            "bad_host",
        ),
    ),
    "foreign": (
        "somebody else's state, hold or approval",
        ("state_principal", "approval_principal", "unknown_or_foreign_approval"),
    ),
    "agent": (
        "an agent that is unknown, ownerless, not reviewed or out of service",
        ("unknown_agent", "agent_inactive", "agent_no_owner", "agent_review_overdue"),
    ),
    "task": (
        "no task, or one that is over",
        ("unknown_task", "task_closed", "task_expired", "key_reused"),
    ),
    "budget": ("the task's budget", ("budget_calls", "budget_value")),
    "catalogue": (
        "a tool, server or credential that the catalogue does not have",
        (
            "unknown_tool",
            "unknown_resource",
            "unknown_prompt",
            "unknown_server",
            "unknown_credential",
            "feature_denied",
        ),
    ),
    "definition": ("a tool whose definition is not the pinned one", ("tool_changed", "tool_unusable")),
    "meaning": (
        "an address, value, path, query or command that cannot be read with certainty",
        (
            "unknown_destination",
            "unknown_value",
            "unknown_path",
            "unknown_query",
            "unknown_command",
        ),
    ),
    "forbidden": ("a policy forbids it", ("forbidden",)),
    "default": ("no policy permits it", ("not_permitted", "no_policy")),
    "failing": (
        "something was broken, late or unknown: fail closed",
        (
            "policy_error",
            "policy_timeout",
            "unknown_measure",
            "cannot_record",
            "state_unconfirmed",
            "clock_unsound",
            "internal_error",
            "conflict",
            "restored_sealed",
            "log_key_changed",
        ),
    ),
    "contract": ("outside the task's contract", ("outside_contract", "contract_used")),
    "contained": ("a restriction in force", ("contained",)),
    "delegation": ("more than was handed on", ("delegation",)),
    "approval": (
        "an approval that is not for exactly this, now, by such people",
        (
            "action_hash_mismatch",
            "approval_used",
            "approval_expired",
            "approval_timeout",
            "not_an_approver",
            "approver_is_requester",
            "approval_too_weak",
            "approval_unavailable",
            "precondition_changed",
        ),
    ),
    "refused_by_people": ("a person said no", ("approval_denied",)),
    "passkey": (
        "a passkey's answer that does not check out",
        (
            "passkey_unknown",
            "passkey_challenge",
            "passkey_origin",
            "passkey_unverified",
            "passkey_refused",
            "passkey_replayed",
            "passkey_required",
        ),
    ),
}
OTHER: Final = "other"
GROUPS: Final[Mapping[str, str]] = {name: words for name, (words, _) in _GROUPS.items()} | {OTHER: "other reasons"}
"""What each group says, in words."""
_OF: Final[Mapping[str, str]] = {Reason(reason): name for name, (_, reasons) in _GROUPS.items() for reason in reasons}
NO_REFUSALS: Final = frozenset(
    Reason(reason)
    for reason in (
        "permitted",
        "needs_approval",
        "overridden",
        "upstream_down",
        "upstream_timeout",
        "upstream_too_large",
        "upstream_invalid",
        "outcome_unknown",
        "cancelled",
        "bundle_refused",
        "bundle_unapproved",
        "config_refused",
        "log_damaged",
        "sink_behind",
    )
)
"""Reasons with which nobody who asks for an action is turned away: they say yes, what a server did, or what a command found."""


def group_of(reason: str) -> str:
    """The group of a reason's wire form; `other` where it is in none."""
    return _OF.get(reason, OTHER)  # a reason is its wire form
