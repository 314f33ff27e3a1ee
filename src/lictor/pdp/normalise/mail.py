"""E-mail addresses: the plain addr-spec of RFC 5321 and nothing else.

Display names, comments, quoted local parts, address literals, source routes, `%` and `!` routing and SMTPUTF8 local parts are
legal somewhere and read differently elsewhere: unknown. Two addresses that differ in case alone are one, as nearly all mail
hosts have it. Refuses to know who reads a mailbox.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.hosts import read_host
from lictor.pdp.normalise.target import Target, domain_of

MAX_ADDRESS: Final = 254
"""RFC 5321 4.5.3.1.3, without the angle brackets."""
MAX_LOCAL: Final = 64
_LOCAL: Final = re.compile(r"(?![-.])(?:[A-Za-z0-9_+'=&#~^-]|\.(?![.@]))+(?<!\.)", re.ASCII)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]+(?<!-)", re.ASCII)


def addresses_in(raw: Any, separator: str, where: str) -> Iterator[str]:
    """The addresses of one argument: itself, or its parts where a separator is declared.

    Raises:
        CallerError: `unknown_destination`: not a string, or an empty part.
    """
    if not isinstance(raw, str):
        raise _unknown("the address is missing or not a string", where)
    if not separator:
        yield raw
        return
    for part in re.split(f"[{re.escape(separator)}]", raw):
        yield part.strip(" ")


def email_target(raw: str, selector: DestinationSelector, directory: Directory, where: str) -> Target:
    """One address.

    Raises:
        CallerError: `unknown_destination`.
    """
    local, at, domain = raw.rpartition("@")
    if not at or len(raw) > MAX_ADDRESS or len(local) > MAX_LOCAL or _LOCAL.fullmatch(local) is None:
        raise _unknown("this is no plain e-mail address", where)
    host = read_host(domain, where)
    if host.ip or domain.endswith(".") or not all(_LABEL.fullmatch(label) for label in host.name.split(".")):
        raise _unknown("the part after the @ is no domain", where)
    if "." not in host.name or host.name.rpartition(".")[2].isdigit():
        raise _unknown("the part after the @ is no domain that mail is sent to", where)
    address = f"{local.lower()}@{host.name}"
    if len(address) > MAX_ADDRESS:
        raise _unknown("the address is too long", where)
    return Target(
        kind="email",
        host=host.name,
        domain=domain_of(host, private_suffixes=selector.private_suffixes),
        address=address,
        directory=directory.names_of_email(address, host.name),
        private=host.private,
        idn=host.idn,
        mixed_script=host.mixed_script,
    )


def _unknown(message: str, where: str) -> CallerError:
    return CallerError(Reason.UNKNOWN_DESTINATION, message, where=where)
