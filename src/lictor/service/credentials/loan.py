"""What the broker hands out, and how a secret gets into the place that a credential names. Values; nothing is asked or recorded.

Refuses to know where a loan goes from here: whoever injects it reveals it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.approval import Hold
from lictor.model.errors import StoreError, UpstreamError
from lictor.model.ids import LeaseId, PolicyRevision
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.model.task import Task
from lictor.ports import Issued

_FIELD: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}", re.ASCII)


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ending a lease needs, kept sealed: the credential as it was when it was asked for, whatever the bundle says later."""

    credential: Credential
    revocation: str | None = None


def note_name(lease: LeaseId) -> str:
    """Where the note of a lease is sealed."""
    return f"lease:{lease}"


class CredentialRefusedError(UpstreamError):
    """A server cannot be used, for want of a credential. No secret was read for it.

    Attributes:
        hold: where people are asked.
    """

    def __init__(self, reason: Reason, message: str, *, hold: Hold | None = None, remedy: str = "") -> None:
        super().__init__(reason, message, effect_possible=False, remedy=remedy)
        self.hold = hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """What to inject at the egress, at the one destination it was asked for; and how long it may be used."""

    headers: Mapping[str, Secret] = field(default_factory=dict)
    env: Mapping[str, Secret] = field(default_factory=dict)
    leases: tuple[LeaseId, ...] = ()
    until_ms: int | None = None
    """From when on it is replaced; None: nothing was lent, so nothing ends."""
    ends_ms: int | None = None
    """When the first of its leases ends: nothing is done with it afterwards."""
    single: bool = False
    """For one request of the client: it is given back with `done`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a server connection leads: what a credential is bound to (CRED-02, CRED-03)."""

    destination: str
    """The origin of the URL, or `command`."""
    url: str = ""


@dataclass(slots=True, kw_only=True)
class Lent:
    """One credential in this process's hands."""

    lease: LeaseId
    credential: Credential
    request: ActionRequest
    task: Task
    secret: Mapping[str, Secret]
    until_ms: int
    renew_ms: int
    seen: tuple[PolicyRevision, int]
    """(bundle, changes of restrictions) under which its use was last decided."""


def key_of(credential: Credential) -> str:
    """What a credential is called: `server/name`."""
    return f"{credential.server}/{credential.name}"


def refused(credential: Credential, reason: Reason, why: str, *, hold: Hold | None = None) -> CredentialRefusedError:
    """The error for a credential that is not lent; `why` holds no secret."""
    message = f"credential {credential.name!r} of server {credential.server!r} is not lent: {why}"
    return CredentialRefusedError(reason, message, hold=hold)


def sealed_note(note: Note) -> Secret:
    """A note as the safe keeps it."""
    return Secret(msgspec.json.encode(note).decode())


def open_note(secret: Secret) -> Note:
    """Inverse of what the broker seals.

    Raises:
        StoreError: `conflict`: it is no note of ours.
    """
    try:
        return msgspec.json.decode(secret.reveal(), type=Note)
    except msgspec.MsgspecError:
        raise StoreError(Reason.CONFLICT, "the sealed note of a lease is not readable") from None


def loan_of(found: list[Lent]) -> Loan:
    """Fields and variables, filled in.

    Raises:
        UpstreamError: `config_refused`: a template names what the secret has not, or two credentials want one place.
    """
    headers: dict[str, Secret] = {}
    env: dict[str, Secret] = {}
    for lent in found:
        for place, templates in ((headers, lent.credential.headers), (env, lent.credential.env)):
            for name, template in templates.items():
                if name.lower() in {taken.lower() for taken in place}:
                    raise refused(lent.credential, Reason.CONFIG_REFUSED, f"another one is in {name!r} already")
                place[name] = Secret(_filled(lent.credential, template, lent.secret))
    return Loan(
        headers=headers,
        env=env,
        leases=tuple(lent.lease for lent in found),
        until_ms=min((lent.renew_ms for lent in found), default=None),
        ends_ms=min((lent.until_ms for lent in found), default=None),
        single=any(lent.credential.lease == "grant" for lent in found),
    )


def _filled(credential: Credential, template: str, secret: Mapping[str, Secret]) -> str:
    def value(match: re.Match[str]) -> str:
        found = secret.get(match[1])
        if found is None:
            raise refused(credential, Reason.CONFIG_REFUSED, f"its secret has no field {match[1]!r}")
        return found.reveal()

    text = _FIELD.sub(value, template)
    if any(character in text for character in "\r\n\0"):
        raise refused(credential, Reason.CONFIG_REFUSED, "a line break or NUL cannot be sent")
    return text


def values_of(credential: Credential, issued: Issued) -> list[str]:
    """Everything of it that must not be seen: its fields, and what they are written into."""
    fields = [secret.reveal() for secret in issued.secret.values()]
    filled = [
        _FIELD.sub(lambda match: issued.secret[match[1]].reveal(), template)
        for template in (*credential.headers.values(), *credential.env.values())
        if set(_FIELD.findall(template)) <= set(issued.secret)
    ]
    return [*fields, *filled]
