"""Whether a context fits its declared type, found without the engine: so that parts nobody reads need not be sent to it.

A record type becomes a struct that `msgspec` converts to, which takes exactly what the engine takes for these types: no number
for a truth value, no float for an integer, nothing undeclared. What cannot be judged here (an address, a decimal, an entity, a
name that would be an escape) passes unlooked at, and is always sent. Whatever is refused here is *not* judged: the caller then
sends everything, and the engine says what is wrong. Refuses to know what policies read.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, Final

import msgspec

from lictor.pdp.engine.schematext import Named, RecordOf, SetOf, Type, render_type

MAX_LONG: Final = 2**63 - 1
MIN_LONG: Final = -(2**63)

_MOMENT: Final = re.compile(
    r"((?!0000)\d{4}-(?:0[1-9]|1[0-2])-(\d\d))T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{3})?Z", re.ASCII
)
_UNNAMED: Final = re.compile(r'["\\\x00-\x1f]')
"""What a struct's member cannot have in its name."""
_encode = msgspec.json.Encoder().encode

Check = Callable[[Any], None]
"""Raises `Unfit`, KeyError, TypeError or ValueError for a value that does not fit."""


class Unfit(Exception):  # noqa: N818 - control flow between here and the engine only
    """The value cannot be judged here: send it all and let the engine judge."""


def judged(type_: Type) -> bool:
    """Whether every part of a value of this type is judged here."""
    match type_:
        case Named(name):
            return name.removeprefix("__cedar::") in _PRIMITIVE
        case SetOf(element):
            return judged(element)
        case RecordOf(attributes):
            # A name like `__extn` would be an escape of the engine's: never judged here.
            return all(judged(one.type) and not name.startswith("__") for name, one in attributes.items())


class Judges:
    """Checks of record types, each made once: what many actions have in common is kept once."""

    __slots__ = ("_structs",)

    def __init__(self) -> None:
        self._structs: dict[str, Any] = {}

    def of(self, type_: RecordOf) -> Check:
        """The check of one type; a struct of some kilobytes for each record in it that was not met before."""
        wanted = self._form(type_)

        def check(value: Any) -> None:
            try:
                msgspec.convert(value, wanted, dec_hook=_hook)
            except msgspec.ValidationError:
                raise Unfit from None
            _encode(value)  # a lone surrogate is a UnicodeEncodeError, which is a ValueError

        return check

    def _form(self, type_: Type) -> Any:
        match type_:
            case Named(name):
                return _PRIMITIVE.get(name.removeprefix("__cedar::"), Any)
            case SetOf(element):
                return list[self._form(element)]  # type: ignore[misc] # a type made at run time
            case RecordOf(attributes):
                text = render_type(type_)
                if text not in self._structs:
                    forms = {name: self._form(attribute.type) for name, attribute in attributes.items()}
                    required = frozenset(name for name, attribute in attributes.items() if not attribute.optional)
                    self._structs[text] = _struct(forms, required)
                return self._structs[text]


class _Looked:
    """A type whose values are looked at by a function of ours."""

    check: Check


def _looked(check: Check) -> Any:
    return type("Looked", (_Looked,), {"check": staticmethod(check)})


def _hook(type_: Any, value: Any) -> Any:
    type_.check(value)
    return type_()


def _struct(forms: Mapping[str, Any], required: frozenset[str]) -> Any:
    if any(_UNNAMED.search(name) for name in forms):
        return _looked(_slow(forms, required))
    names = {f"m{at}": name for at, name in enumerate(forms)}
    # The default of a member that may be absent is never looked at; null is no value of any of these types.
    fields = [
        (own, forms[name]) if name in required else (own, forms[name], None)
        for own, name in sorted(names.items(), key=lambda pair: pair[1] not in required)
    ]
    return msgspec.defstruct("Record", fields, rename=names, forbid_unknown_fields=True, gc=False)


def _slow(forms: Mapping[str, Any], required: frozenset[str]) -> Check:
    """A record with a name that no struct can have."""

    def check(value: Any) -> None:
        if type(value) is not dict or not required <= value.keys():
            raise Unfit
        for name, item in value.items():
            try:
                msgspec.convert(item, forms[name], dec_hook=_hook)  # KeyError: undeclared
            except msgspec.ValidationError:
                raise Unfit from None

    return check


def _check_datetime(value: Any) -> None:
    if type(value) is not dict or len(value) != 1:
        raise Unfit
    call = value["__extn"]
    if type(call) is not dict or len(call) != 2 or call["fn"] != "datetime":
        raise Unfit
    match = _MOMENT.fullmatch(call["arg"])
    if match is None:
        raise Unfit
    if not "01" <= match[2] <= "28":
        date.fromisoformat(match[1])  # the thirty-first of February is a ValueError


_PRIMITIVE: Final[Mapping[str, Any]] = {
    "String": str,
    "Long": Annotated[int, msgspec.Meta(ge=MIN_LONG, le=MAX_LONG)],
    "Bool": bool,
    "datetime": _looked(_check_datetime),
}
