"""What every provider is made from: typed options, secrets by name, addresses that may be spoken to, facts put in their place.

Options come from `credentials.toml` and hold no secret: they name secrets of the safe. Refuses to know any provider.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.reasons import Reason
from lictor.model.secret import Secret

Secrets = Callable[[str], Awaitable[Secret]]
"""Reads a named secret of the safe. Raises `LictorError` where there is none."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
"""The name of a secret."""
_URL_CHARS: Final = re.compile(r"[A-Za-z0-9._~:/\[\]%-]{1,2048}", re.ASCII)
_LEASE: Final = re.compile(r"[A-Za-z0-9_-]{8,56}", re.ASCII)
_FIELD: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}", re.ASCII)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one provider. A subclass states its fields; what it does not state is refused."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Options as typed.

        Raises:
            OperatorError: `config_refused`: unknown key, wrong type, a contradiction. No value is repeated.
        """
        try:
            made = msgspec.convert(dict(options), cls, strict=True)
        except msgspec.ValidationError as error:
            # A misplaced secret must not come back in the message: msgspec quotes values of enumerations.
            raise unfit(re.sub(r"enum value .*? - at", "choice - at", str(error))[:200]) from None
        made.check()
        return made

    def check(self) -> None:
        """What types cannot say.

        Raises:
            OperatorError: `config_refused`.
        """


def unfit(message: str) -> OperatorError:
    """The error for options that cannot be used."""
    return OperatorError(
        Reason.CONFIG_REFUSED, f"options: {message}", remedy="see docs/how-to/credentials-providers.md"
    )


def need(condition: bool, message: str) -> None:
    """Refuse options unless a condition holds.

    Raises:
        OperatorError: `config_refused`.
    """
    if not condition:
        raise unfit(message)


def need_name(name: str, key: str) -> None:
    """Refuse what names no secret.

    Raises:
        OperatorError: `config_refused`.
    """
    need(NAME.fullmatch(name) is not None, f"{key} names a secret of the safe")


class Url(msgspec.Struct, frozen=True):
    """An address that may be spoken to: TLS, or this machine."""

    tls: bool
    host: str
    port: int
    path: str
    """Without a slash at its end."""

    @property
    def authority(self) -> str:
        """The Host field, and what messages call it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host as written is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_url(text: str, key: str) -> Url:
    """An `https` URL, or `http` to this machine; neither user, query nor fragment.

    Raises:
        OperatorError: `config_refused`.
    """
    wrong = f"{key} is an https URL without user, query and fragment (http only to this machine)"
    need(_URL_CHARS.fullmatch(text) is not None, wrong)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise unfit(wrong) from None
    tls = parts.scheme == "https"
    need(bool(host) and (tls or (parts.scheme == "http" and is_loopback(host))), wrong)
    need("@" not in parts.netloc and "%" not in parts.netloc and ".." not in parts.path, wrong)
    return Url(tls, host, port or (443 if tls else 80), parts.path.rstrip("/"))


def lease_name(prefix: str, lease: LeaseId) -> str:
    """The name that a lease's credential bears at its provider, so that it is found again.

    Raises:
        UpstreamError: `internal_error`: the id has other characters than ours have; nothing was asked.
    """
    if _LEASE.fullmatch(lease) is None:
        raise UpstreamError(Reason.INTERNAL, "the lease's id cannot be part of a name", effect_possible=False)
    return f"{prefix}{lease}"


def need_template(template: str, key: str) -> None:
    """Refuse a template with braces that name no fact.

    Raises:
        OperatorError: `config_refused`.
    """
    rest = _FIELD.sub("", template)
    need("{" not in rest and "}" not in rest, f"{key}: braces stand only round the name of a fact")


def place(template: str, narrow: Mapping[str, str], allowed: re.Pattern[str]) -> str:
    """A template with facts of the grant in the place of `{name}`.

    Raises:
        UpstreamError: `unknown_value`: the grant does not say the fact, or it has a character that could mean more than
            itself in this place. Nothing was asked.
    """

    def fact(match: re.Match[str]) -> str:
        value = narrow.get(match[1])
        if value is None:
            raise too_wide(f"the grant says nothing about {match[1]!r}, which this credential is narrowed to")
        if allowed.fullmatch(value) is None:
            raise too_wide(f"{match[1]!r} of the grant has characters that are not put into a credential's bounds")
        return value

    return _FIELD.sub(fact, template)


def too_wide(message: str) -> UpstreamError:
    """The error for a credential that cannot be narrowed as it has to be; nothing was asked."""
    return UpstreamError(Reason.UNKNOWN_VALUE, message, effect_possible=False)
