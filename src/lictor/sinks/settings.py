"""`[sinks.NAME]` of `lictor.toml`: where the log is sent, and as what. Never a secret itself."""

import re
from pathlib import PurePath
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.model.record import Record

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TAGS: Final = frozenset(str(one.__struct_config__.tag) for one in get_args(Record))
KINDS: Final = _TAGS | {tag.partition(".")[0] for tag in _TAGS}
"""What can be asked for: a word that is none of these would send nothing for ever."""
_OF: Final = {"path": "file", "url": "webhook", "secret": "webhook", "address": "syslog"}
"""Settings that belong to one kind, which needs them."""


class SinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sink."""

    kind: Literal["file", "webhook", "syslog"]
    """JSON lines in a file; signed POSTs to a URL of yours; RFC 5424 over TCP or TLS."""
    format: Literal["ocsf", "cloudevents", "lictor"] = "ocsf"
    """OCSF 1.9; CloudEvents 1.0; our own entries with their place in the log."""
    path: str = ""
    """`file` only: absolute, or relative to the state folder, in a folder of its own there."""
    url: str = ""
    """`webhook` only: https, or http on this machine."""
    secret: str = ""
    """`webhook` only: name in the safe (`lictor secret set NAME`) of the key that signs."""
    address: str = ""
    """`syslog` only: `tls://host:port`, or `tcp://host:port` on this machine."""
    ca_file: str = ""
    """`syslog` over TLS only: PEM certificates of a private authority, instead of the system's."""
    kinds: tuple[str, ...] = ()
    """Kinds (`decision`) or tags (`decision.made`) of the records that are sent; empty: all."""
    begin: Literal["start", "now"] = "start"
    """Where a sink that has taken nothing yet begins: with the first record, or behind the newest."""
    rotate_bytes: int = 104_857_600
    """`file` only: a file that would get longer is put aside."""
    rotate_keep: int = 10
    """`file` only: how many that were put aside are kept; the oldest goes. 0: all."""
    max_behind: int = 0
    """Records that may wait for it; while more do, nothing runs (`sink_behind`). 0: no bound, and nothing ever waits for it."""


def check_sinks(sinks: dict[str, SinkSettings], where: str) -> None:
    """Refuse contradictions.

    Raises:
        OperatorError: `config_refused`.
    """
    paths: set[str] = set()
    for name, one in sinks.items():
        problem = _problem(name, one) or ("two sinks write the same file" if one.path and one.path in paths else "")
        paths.add(one.path)
        if problem:
            raise OperatorError(Reason.CONFIG_REFUSED, problem, where=f"{where} [sinks.{name[:64]}]")


def _problem(name: str, one: SinkSettings) -> str:
    if _NAME.fullmatch(name) is None:
        return "a sink's name is lower case letters, digits, `-` and `_`"
    for member, kind in _OF.items():
        if bool(getattr(one, member)) is not (one.kind == kind):
            return f"`{member}` belongs to kind = {kind!r}, and is needed there"
    for kind in one.kinds:
        if kind not in KINDS:
            return f"{kind[:60]!r} in `kinds` is neither a kind nor a tag of records"
    if one.kind == "webhook" and not _postable(one.url):
        return "`url` is https, or http on this machine"
    if one.kind == "file" and (PurePath(one.path).name in {"", "..", "."} or "\0" in one.path):
        return "`path` must name a file"
    if one.kind == "syslog":
        return _address_problem(one)
    if one.ca_file:
        return "`ca_file` belongs to kind = 'syslog'"
    if min(one.rotate_bytes, one.rotate_keep, one.max_behind) < 0 or one.rotate_bytes == 0:
        return "`rotate_bytes` is above zero, `rotate_keep` and `max_behind` are not below"
    return ""


def _postable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    here = parts.scheme == "http" and parts.hostname in _LOCAL
    return bool(parts.hostname) and not parts.username and (parts.scheme == "https" or here)


def _address_problem(one: SinkSettings) -> str:
    wrong = "`address` is tls://host:port, or tcp://host:port on this machine"
    try:
        parts = urlsplit(one.address)
        port, host = parts.port, parts.hostname
    except ValueError:
        return wrong
    if parts.scheme not in {"tls", "tcp"} or not host or not port or parts.path or parts.query or parts.username:
        return wrong
    if parts.scheme == "tcp" and host not in _LOCAL:
        return "without TLS the log leaves no machine: tcp:// is for this one only"
    return "`ca_file` belongs to tls://" if one.ca_file and parts.scheme == "tcp" else ""
