"""What the access-request routes take and answer: AuthZEN Authorization API 1.0, and its Access Request and Approval Profile.

The request's own members are read strictly; `properties`, and what else stands in `context`, is a caller's word of itself: it is
taken, and counts for nothing. Times are RFC 3339 in UTC.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

CAPABILITY: Final = "urn:openid:authzen:capability:access-request"

_Word = Annotated[str, Meta(min_length=1, max_length=100)]
_Id = Annotated[str, Meta(min_length=1, max_length=400)]
_Moment = Annotated[str, Meta(min_length=1, max_length=40)]


class _In(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class _Out(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class AccessSubject(_In, frozen=True):
    """Who asks: the task's agent, the person it is for, or the agent at the top of its chain (`sub` of a signed token)."""

    type: _Word
    id: _Id
    properties: dict[str, Any] = {}


class AccessAction(_In, frozen=True):
    """`tools/call` (COAZ-MCP, default mapping); anything else is denied."""

    name: _Word
    properties: dict[str, Any] = {}


class AccessResource(_In, frozen=True):
    """A `tool`, by the name the MCP endpoint shows (`server__tool`) or by policy's (`server/tool`)."""

    type: _Word
    id: _Id
    properties: dict[str, Any] = {}


class ApprovalReference(_In, frozen=True):
    """What came of a request, handed back as it was given. It names an approval and is none."""

    id: _Id
    approved_at: _Moment | UnsetType = UNSET
    approved_until: _Moment | UnsetType = UNSET
    state: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET


class AccessContext(msgspec.Struct, frozen=True, kw_only=True):
    """`arguments` is what is judged and bound; it is required, so that a misspelt one is never taken for none."""

    arguments: dict[str, Any]
    agent: _Id | UnsetType = UNSET
    """If it is there: the task's agent (`client_id` of a signed token)."""
    approval: ApprovalReference | UnsetType = UNSET


class Evaluation(_In, frozen=True):
    """An Access Evaluation."""

    subject: AccessSubject
    action: AccessAction
    resource: AccessResource
    context: AccessContext


class Denial(_In, frozen=True):
    """What the requestable denial said, echoed."""

    evaluation_id: _Id
    expires_at: _Moment
    evaluated_at: _Moment | UnsetType = UNSET
    reason: Annotated[str, Meta(max_length=100)] | UnsetType = UNSET


class AccessRequest(_In, frozen=True):
    """A submission, for one action. Bundles (`items`) and callbacks are not taken."""

    subject: AccessSubject
    action: AccessAction
    resource: AccessResource
    context: AccessContext
    denial: Denial
    requested_access: dict[str, Any] = {}
    """Taken, and without effect: an approval is for exactly one action, once."""
    client: dict[str, Any] = {}
    """Taken, and believed in nothing."""


class Requestable(_Out, frozen=True):
    """People can approve it."""

    endpoint: str
    expires_at: str


class DecisionContext(_Out, frozen=True):
    """Why, and what to do next; nothing where it is allowed without an approval."""

    reason: str = ""
    """The stable code (docs/reference/reason-codes.md)."""
    evaluation_id: str = ""
    evaluated_at: str = ""
    access_request: Requestable | UnsetType = UNSET
    approval: ApprovalReference | UnsetType = UNSET
    next_action: str = ""
    retry_after: int = 0


class EvaluationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A decision. It is made again when the call itself comes; this one grants nothing."""

    decision: bool
    context: DecisionContext = DecisionContext()


class Links(_Out, frozen=True):
    """Pages for people."""

    review: str
    """Where an approver answers, after signing in."""


AccessStatus = Literal["pending", "approved", "denied", "expired", "cancelled"]


class TaskHandle(_Out, frozen=True):
    """What became of a request so far."""

    id: str
    status: AccessStatus
    status_endpoint: str
    expires_at: str
    links: Links


class Completion(_Out, frozen=True):
    """Ask for another evaluation, with this in `context.approval`."""

    approval: ApprovalReference
    mode: Literal["reevaluate"]


class AccessTask(_Out, frozen=True):
    """A task handle, and once it is approved the result."""

    task: TaskHandle
    result: Completion | UnsetType = UNSET
