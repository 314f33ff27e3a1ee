"""Every reason code there is, once.

A code is stable and machine-readable: agents, tests and dashboards key on it. It says *what kind* of refusal this is and
never reveals how policy is built. A code is never reused for another meaning.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused, held or allowed. The value is the wire form (`snake_case`)."""

    # -- the strict door: the bytes were not acceptable, policy was never asked -----------------------------------------
    INVALID_JSON = "invalid_json"
    NOT_UTF8 = "not_utf8"
    DUPLICATE_KEY = "duplicate_key"
    INVALID_UNICODE = "invalid_unicode"
    TRAILING_DATA = "trailing_data"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY = "too_many_members"
    NUMBER_RANGE = "number_out_of_range"
    UNSAFE_INTEGER = "unsafe_integer"
    UNKNOWN_MEMBER = "unknown_member"
    BATCH_NOT_SUPPORTED = "batch_not_supported"
    INVALID_MESSAGE = "invalid_message"
    HEADER_MISMATCH = "header_mismatch"
    DUPLICATE_HEADER = "duplicate_header"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_METHOD = "unknown_method"
    UNKNOWN_ARGUMENT = "unknown_argument"
    INVALID_ARGUMENTS = "invalid_arguments"
    BAD_STATE = "bad_state"
    STATE_PRINCIPAL = "state_principal"

    # -- who is asking ---------------------------------------------------------------------------------------------------
    UNAUTHENTICATED = "unauthenticated"
    ALG_NOT_ALLOWED = "alg_not_allowed"
    CRIT_NOT_UNDERSTOOD = "crit_not_understood"
    AUDIENCE = "audience"
    BAD_ORIGIN = "bad_origin"
    BAD_HOST = "bad_host"
    UNKNOWN_AGENT = "unknown_agent"
    AGENT_INACTIVE = "agent_inactive"
    AGENT_NO_OWNER = "agent_no_owner"
    AGENT_REVIEW_OVERDUE = "agent_review_overdue"
    UNKNOWN_TASK = "unknown_task"
    TASK_CLOSED = "task_closed"
    TASK_EXPIRED = "task_expired"
    KEY_REUSED = "key_reused"
    BUDGET_CALLS = "budget_calls"
    BUDGET_VALUE = "budget_value"

    # -- structure: what is asked ----------------------------------------------------------------------------------------
    UNKNOWN_TOOL = "unknown_tool"
    UNKNOWN_RESOURCE = "unknown_resource"
    UNKNOWN_PROMPT = "unknown_prompt"
    UNKNOWN_SERVER = "unknown_server"
    UNKNOWN_CREDENTIAL = "unknown_credential"
    CREDENTIAL_IN_ARGUMENTS = "credential_in_arguments"
    TOOL_CHANGED = "tool_changed"
    TOOL_UNUSABLE = "tool_unusable"
    UNKNOWN_DESTINATION = "unknown_destination"
    UNKNOWN_VALUE = "unknown_value"
    UNKNOWN_PATH = "unknown_path"
    UNKNOWN_QUERY = "unknown_query"
    UNKNOWN_COMMAND = "unknown_command"
    FEATURE_DENIED = "feature_denied"

    # -- policy ----------------------------------------------------------------------------------------------------------
    PERMITTED = "permitted"
    FORBIDDEN = "forbidden"
    NOT_PERMITTED = "not_permitted"
    NO_POLICY = "no_policy"
    POLICY_ERROR = "policy_error"
    POLICY_TIMEOUT = "policy_timeout"
    NEEDS_APPROVAL = "needs_approval"
    OVERRIDDEN = "overridden"

    OUTSIDE_CONTRACT = "outside_contract"
    CONTRACT_USED = "contract_used"
    CONTAINED = "contained"
    DELEGATION = "delegation"
    UNKNOWN_MEASURE = "unknown_measure"

    # -- approval --------------------------------------------------------------------------------------------------------
    ACTION_HASH_MISMATCH = "action_hash_mismatch"
    APPROVAL_USED = "approval_used"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_TIMEOUT = "approval_timeout"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_PRINCIPAL = "approval_principal"
    APPROVAL_RATE = "approval_rate"
    APPROVAL_UNAVAILABLE = "approval_unavailable"
    UNKNOWN_APPROVAL = "unknown_or_foreign_approval"
    NOT_AN_APPROVER = "not_an_approver"
    APPROVER_IS_REQUESTER = "approver_is_requester"
    APPROVAL_TOO_WEAK = "approval_too_weak"
    PRECONDITION_CHANGED = "precondition_changed"

    # -- passkeys --------------------------------------------------------------------------------------------------------
    PASSKEY_UNKNOWN = "passkey_unknown"
    PASSKEY_CHALLENGE = "passkey_challenge"
    PASSKEY_ORIGIN = "passkey_origin"
    PASSKEY_UNVERIFIED = "passkey_unverified"
    PASSKEY_REFUSED = "passkey_refused"
    PASSKEY_REPLAYED = "passkey_replayed"
    PASSKEY_REQUIRED = "passkey_required"

    # -- the world behind us ---------------------------------------------------------------------------------------------
    CANNOT_RECORD = "cannot_record"
    STATE_UNCONFIRMED = "state_unconfirmed"
    CLOCK_UNSOUND = "clock_unsound"
    SINK_BEHIND = "sink_behind"
    UPSTREAM_DOWN = "upstream_down"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_TOO_LARGE = "upstream_too_large"
    UPSTREAM_INVALID = "upstream_invalid"
    OUTCOME_UNKNOWN = "outcome_unknown"
    CANCELLED = "cancelled"
    OVERLOADED = "overloaded"
    INTERNAL = "internal_error"

    # -- administration --------------------------------------------------------------------------------------------------
    BUNDLE_REFUSED = "bundle_refused"
    BUNDLE_UNAPPROVED = "bundle_unapproved"
    CONFIG_REFUSED = "config_refused"
    LOG_DAMAGED = "log_damaged"
    RESTORED_SEALED = "restored_sealed"
    LOG_KEY_CHANGED = "log_key_changed"
    CONFLICT = "conflict"
