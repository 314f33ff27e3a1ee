"""Which task a token is asked for (RFC 9396 `authorization_details`, type `lictor_task`): one that exists, or one to open.

A client that can only send `scope` says `task:<id>` instead; it means the same.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from lictor.model.errors import CallerError
from lictor.model.limits import Limits
from lictor.protocol.json import read
from lictor.protocol.oauth.errors import refuse

TYPE: Final = "lictor_task"
_LIMITS: Final = Limits(json_depth=8, json_members=2_000)
_MAX_BYTES: Final = 48 * 1024
_TASK: Final = re.compile(r"task_[A-Za-z0-9_-]{8,80}", re.ASCII)
_SCOPE: Final = "task:"


_Amount = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
_Name = Annotated[str, Meta(max_length=64)]
_Values = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=2_000)], ...], Meta(max_length=10)]


class Existing(msgspec.Struct, frozen=True):
    """A task that somebody has opened already."""

    task: str


class NewTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to open, or a child to open under one. Bounded like the same members at the task API."""

    type: str
    purpose: _Name = ""
    """Of the declared list; a child has its parent's, and names none."""
    human: Annotated[str, Meta(max_length=200)] = ""
    """On whose behalf; only an application says it: a person opens a task for nobody else."""
    text: str = ""
    """What the person asked for; for a child: what it is asked to do."""
    ttl_s: Annotated[int, Meta(ge=0, le=31 * 86_400)] = 0
    """Seconds; 0: the settings' `task_ttl_s`, and no longer than a parent has left."""
    calls: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """0: the default budget, and no more than a parent has left."""
    value: Annotated[dict[_Currency, _Amount], Meta(max_length=50)] = {}
    """Minor units by currency."""
    declared: Annotated[dict[_Name, _Values], Meta(max_length=50)] = {}
    """Values that whoever opens the task vouches for, by name."""


class _Named(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: str
    task: str


def read_details(text: str) -> Existing | NewTask:
    """The one object of `authorization_details`.

    Raises:
        OAuthError: `invalid_authorization_details` (RFC 9396 5): not a list of one object of our type, an unknown member, a task
            named *and* described.
    """
    try:
        value = read(text.encode("utf-8", "strict"), _LIMITS, max_bytes=_MAX_BYTES).value
    except (CallerError, UnicodeEncodeError) as error:
        refuse("invalid_authorization_details", f"authorization_details is not acceptable JSON: {str(error)[:120]}")
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
        refuse("invalid_authorization_details", "authorization_details is a list of exactly one object")
    if value[0].get("type") != TYPE:
        refuse("invalid_authorization_details", f"the only type is {TYPE!r}")
    try:
        if "task" in value[0]:
            return Existing(_task(msgspec.convert(value[0], _Named, strict=True).task))
        return msgspec.convert(value[0], NewTask, strict=True)
    except msgspec.ValidationError as error:
        refuse("invalid_authorization_details", str(error)[:200])


def read_wanted(details: str, scope: str) -> Existing | NewTask | None:
    """What a request asks for, in one of the two ways; None: it does not say.

    Raises:
        OAuthError: in both, or in a way that cannot be read.
    """
    if details and scope:
        refuse("invalid_scope", "say which task in authorization_details or in scope, not in both")
    if details:
        return read_details(details)
    if scope:
        return read_scope(scope)
    return None


def read_scope(text: str) -> Existing:
    """`task:<id>`, alone.

    Raises:
        OAuthError: `invalid_scope`.
    """
    if not text.startswith(_SCOPE):
        refuse("invalid_scope", "the only scope is task:<id of an open task>")
    if _TASK.fullmatch(text.removeprefix(_SCOPE)) is None:
        refuse("invalid_scope", "the scope names no task")
    return Existing(text.removeprefix(_SCOPE))


def task_of_claims(claims: dict[str, Any]) -> str | None:
    """The task that an authorisation server's own token names: `lictor_task`, or `authorization_details`; None: it names none.

    Raises:
        OAuthError: it names one in a way that cannot be read, or two.
    """
    named = claims.get("lictor_task")
    if named is not None and not isinstance(named, str):
        refuse("invalid_grant", "the token's lictor_task is no text")
    found = [] if named is None else [_task(named)]
    details = claims.get("authorization_details")
    listed = details if isinstance(details, list) else []
    found.extend(_task(one.get("task")) for one in listed if isinstance(one, dict) and one.get("type") == TYPE)
    if len(set(found)) > 1:
        refuse("invalid_grant", "the token names more than one task")
    return found[0] if found else None


def _task(value: object) -> str:
    if not isinstance(value, str) or _TASK.fullmatch(value) is None:
        refuse("invalid_authorization_details", "task is no id of a task")
    return value
