"""The typed form of a tool's arguments: what Cedar is told about them, and how a value gets there.

A *shape* is made once per tool definition (`lictor.policy.toolschema`); at decision time only its encoder runs. The
encoder rebuilds the value member by member under names and types that the shape declares, so that nothing an agent
sends is ever read by Cedar as an escape (`__entity`, `__extn`; facts S6). This module refuses to know JSON Schema: it
takes a validated value and a shape, and where the two disagree it refuses.

Names Cedar sees: a member keeps its own name, quoted. Beside each list member `x` stands `x#count`, a Long with the
list's length, because Cedar makes a set of a list and a set has no size (facts 4). No declared member may end in
`#count`, so the two kinds of name never meet.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

SAFE_INTEGER: Final = 2**53
"""Largest magnitude of an integer: sums of under 1,024 such terms cannot overflow Cedar's 64 bits (facts S2)."""
COUNT_SUFFIX: Final = "#count"
"""Ends the name of the Long that carries a list's length."""
_RESERVED: Final = frozenset({"__entity", "__extn", "__expr"})


@dataclass(frozen=True, slots=True)
class Text:
    """A string, as it is: no normalisation."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer, at most `SAFE_INTEGER` in magnitude."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A Boolean."""


@dataclass(frozen=True, slots=True)
class Decimal4:
    """A number with at most four fractional digits; any other number is unmappable, never rounded."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An RFC 3339 date-time in whole milliseconds, told to Cedar in UTC; a leap second or a finer one is unmappable."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 or IPv6 address; an IPv4-mapped IPv6 address counts as the IPv4 address it reaches."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A part that policy cannot see. `reason` says why, for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Many:
    """A list of one kind of item. `nullable`: the list may hold null, and then is unmappable."""

    item: "Shape"
    nullable: bool = False


class Member(NamedTuple):
    """One member of an object; `required` means present and not null in every valid value."""

    shape: "Shape"
    required: bool


@dataclass(frozen=True, slots=True)
class Fields:
    """An object. `closed`: a valid value has no members but these.

    Raises:
        ValueError: a member that policy could see has a name that is reserved (`reserved_name`).
    """

    members: Mapping[str, Member]
    closed: bool = True

    def __post_init__(self) -> None:
        """Refuse a name that could meet one of ours or one of Cedar's."""
        for name, member in self.members.items():
            problem = reserved_name(name)
            if problem and not isinstance(member.shape, Opaque):
                raise ValueError(f"member {name[:80]!r}: {problem}")


Shape: TypeAlias = Text | Whole | Flag | Decimal4 | Moment | Address | Many | Fields | Opaque
Encoder: TypeAlias = Callable[[Mapping[str, Any]], tuple[dict[str, Any], bool]]
"""Takes the arguments, gives the Cedar JSON of the record and whether anything was left out of it."""


def reserved_name(name: str) -> str:
    """Why `name` cannot be a typed member, or an empty string."""
    if name.endswith(COUNT_SUFFIX):
        return f"names ending in {COUNT_SUFFIX} carry list lengths"
    if name in _RESERVED:
        # In JSON given to Cedar these keys are escapes, not names (facts 4, S6).
        return "the name is an escape in Cedar's JSON"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "the name is not valid Unicode"
    return ""


# -- Cedar schema text -----------------------------------------------------------------------------------------------


def quoted(name: str) -> str:
    """`name` as a Cedar string literal in pure ASCII, so that any name at all can stand in a schema."""
    return '"' + "".join(_escaped(letter) for letter in name) + '"'


def _escaped(letter: str) -> str:
    if letter in {'"', "\\"}:
        return "\\" + letter
    return letter if " " <= letter <= "~" else f"\\u{{{ord(letter):x}}}"


def cedar_type(shape: Shape) -> str:
    """Inline Cedar schema type of `shape`; members that policy cannot see are left out.

    Raises:
        ValueError: `shape` is itself `Opaque`, or a list of what is: it has no type.
    """
    match shape:
        case Text():
            return "String"
        case Whole():
            return "Long"
        case Flag():
            return "Bool"
        case Decimal4():
            return "decimal"
        case Moment():
            return "datetime"
        case Address():
            return "ipaddr"
        case Many(item):
            return f"Set<{cedar_type(item)}>"
        case Fields(members):
            return "{" + ", ".join(_attributes(members)) + "}"
        case Opaque(reason):
            raise ValueError(f"an opaque part has no type: {reason[:80]!r}")
        case _:
            assert_never(shape)


def _attributes(members: Mapping[str, Member]) -> list[str]:
    attributes = []
    for name, (shape, required) in members.items():
        if typed(shape):
            mark = "" if required and not _may_fail(shape) else "?"
            attributes.append(f"{quoted(name)}{mark}: {cedar_type(shape)}")
        if isinstance(shape, Many):
            attributes.append(f"{quoted(name + COUNT_SUFFIX)}{'' if required else '?'}: Long")
    return attributes


def typed(shape: Shape) -> bool:
    """Whether policy can see values of `shape` at all (of a list with opaque items it sees only the length)."""
    while isinstance(shape, Many):
        shape = shape.item
    return not isinstance(shape, Opaque)


def _may_fail(shape: Shape) -> bool:
    """Whether a valid value of `shape` can be unmappable, so that its attribute must be optional."""
    while isinstance(shape, Many):
        if shape.nullable:
            return True
        shape = shape.item
    return isinstance(shape, Decimal4 | Moment | Opaque)


# -- values ----------------------------------------------------------------------------------------------------------


class _Refused(Exception):  # noqa: N818 - travels up to the encoder only, gathering the path
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.path: list[str] = []


_LEFT_OUT: Final = object()
_Part: TypeAlias = Callable[[Any, list[bool]], Any]
"""Encodes one part; gives `_LEFT_OUT` for an unmappable one, and marks the list when anything inside was left out."""


def compile_encoder(shape: Fields) -> Encoder:
    """The encoder of `shape`, to be made once and called for every request. It holds no state between calls.

    The encoder raises:
        CallerError: `UNSAFE_INTEGER` beyond `SAFE_INTEGER`; `INVALID_ARGUMENTS` where the value is not of the shape
            (validation comes first, so this is a second lock); `where` is the JSON pointer.
    """
    part = _fields_encoder(shape)

    def encoder(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        marks: list[bool] = []
        try:
            record = part(arguments, marks)
        except _Refused as refused:
            raise CallerError(refused.reason, str(refused), where=pointer(reversed(refused.path))) from None
        return record, bool(marks)

    return encoder


def pointer(steps: Iterable[str | int]) -> str:
    """JSON pointer (RFC 6901) for people: one line, each step at most 80 characters, what does not print escaped."""
    return "".join("/" + _printable(str(step)[:80].replace("~", "~0").replace("/", "~1")) for step in steps)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else f"\\u{{{ord(letter):x}}}" for letter in text)


def encode(shape: Fields, value: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Encode once; see `compile_encoder`, which is faster for more than one value of the same shape."""
    return compile_encoder(shape)(value)


def _part_encoder(shape: Shape) -> _Part:
    match shape:
        case Text():
            return _text
        case Whole():
            return _whole
        case Flag():
            return _flag
        case Decimal4():
            return _decimal
        case Moment():
            return _moment
        case Address():
            return _address
        case Many():
            return _many_encoder(shape)
        case Fields():
            return _fields_encoder(shape)
        case Opaque():
            return _opaque
        case _:
            assert_never(shape)


def _fields_encoder(shape: Fields) -> _Part:
    parts = {
        name: (_part_encoder(member.shape), name + COUNT_SUFFIX if isinstance(member.shape, Many) else "")
        for name, member in shape.members.items()
        if not isinstance(member.shape, Opaque)
    }
    find = parts.get

    def fields(value: Any, marks: list[bool]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        record: dict[str, Any] = {}
        for name, given in value.items():
            found = find(name)
            if found is None:
                marks.append(True)
                continue
            if given is None:
                continue  # null is absence (facts 4); where it is not allowed the schema check has refused it
            part, count = found
            try:
                encoded = part(given, marks)
            except _Refused as refused:
                refused.path.append(name)
                raise
            if count:
                record[count] = len(given)
            if encoded is _LEFT_OUT:
                marks.append(True)
            else:
                record[name] = encoded
        return record

    return fields


def _many_encoder(shape: Many) -> _Part:
    part = _part_encoder(shape.item)
    seen = typed(shape)

    def many(value: Any, marks: list[bool]) -> Any:
        if not isinstance(value, list):
            raise _mismatch("an array", value)
        items = []
        whole = seen
        for index, given in enumerate(value):
            try:
                encoded = _LEFT_OUT if given is None else part(given, marks)
            except _Refused as refused:
                refused.path.append(str(index))
                raise
            # One item missing would make `containsAll` and its kind say something untrue: the list goes as a whole.
            whole = whole and encoded is not _LEFT_OUT
            items.append(encoded)
        return items if whole else _LEFT_OUT

    return many


def _opaque(value: Any, marks: list[bool]) -> Any:  # noqa: ARG001 - one signature for all parts
    return _LEFT_OUT


def _text(value: Any, marks: list[bool]) -> str:  # noqa: ARG001
    if type(value) is not str:
        raise _mismatch("a string", value)
    return value


def _flag(value: Any, marks: list[bool]) -> bool:  # noqa: ARG001
    if type(value) is not bool:
        raise _mismatch("a Boolean", value)
    return value


def _whole(value: Any, marks: list[bool]) -> int:  # noqa: ARG001
    # JSON Schema calls 1.0 an integer, and the canonical bytes say `1`. A huge float is refused as huge, below.
    if type(value) is not int and not (
        type(value) in {float, Decimal} and (abs(value) > SAFE_INTEGER or value % 1 == 0)
    ):
        raise _mismatch("an integer", value)
    if not -SAFE_INTEGER <= value <= SAFE_INTEGER:
        raise _Refused(Reason.UNSAFE_INTEGER, f"an integer is beyond 2^53 in magnitude: {_short(value)}")
    return int(value)


_STEP: Final = Decimal("0.0001")
_EXACT: Final = Context(prec=19, traps=[Inexact, InvalidOperation])
_DECIMAL_MAX: Final = Decimal("922337203685477.5807")
_DECIMAL_MIN: Final = Decimal("-922337203685477.5808")


def _decimal(value: Any, marks: list[bool]) -> Any:  # noqa: ARG001
    kind = type(value)
    if kind is float:
        # The shortest text that gives this float back is what the canonical bytes carry (RFC 8785): that is the value.
        number = Decimal(repr(value))
    elif kind is int or kind is Decimal:
        number = Decimal(value)
    else:
        raise _mismatch("a number", value)
    try:
        exact = number.quantize(_STEP, context=_EXACT)
    except (Inexact, InvalidOperation):
        return _LEFT_OUT
    if not exact.is_finite() or not _DECIMAL_MIN <= exact <= _DECIMAL_MAX:
        return _LEFT_OUT
    text = f"{exact or abs(exact):f}".rstrip("0")
    return {"__extn": {"fn": "decimal", "arg": text + "0" if text.endswith(".") else text}}


_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,64}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def _moment(value: Any, marks: list[bool]) -> Any:  # noqa: ARG001
    if type(value) is not str:
        raise _mismatch("a date-time string", value)
    found = _RFC3339.fullmatch(value)
    if found is None:
        return _LEFT_OUT
    *date, fraction, sign, hours, minutes = found.groups()
    milliseconds = (fraction or "").rstrip("0")
    if len(milliseconds) > 3:
        return _LEFT_OUT
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        year, month, day, hour, minute, second = map(int, date)
        micros = int(milliseconds.ljust(3, "0")) * 1000
        moment = datetime(year, month, day, hour, minute, second, micros, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):  # second 60, year 0, an offset that leaves the calendar
        return _LEFT_OUT
    text = moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    return {"__extn": {"fn": "datetime", "arg": text}}


def _address(value: Any, marks: list[bool]) -> Any:  # noqa: ARG001
    if type(value) is not str or "%" in value or "/" in value:
        raise _mismatch("an IP address", value)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise _mismatch("an IP address", value) from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return {"__extn": {"fn": "ip", "arg": str(mapped or address)}}


def _mismatch(expected: str, value: Any) -> _Refused:
    return _Refused(Reason.INVALID_ARGUMENTS, f"expected {expected}, not {_short(value)}")


def _short(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 256:
        return "a huge integer"  # Python refuses to print the longest of them
    return repr(value)[:60] if isinstance(value, str | int | float | Decimal) else f"a {type(value).__name__}"
