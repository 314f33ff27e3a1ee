"""One call's arguments against the tool's schema, before policy sees them.

Compiled once for a tool definition: formats are checked, patterns run in linear time, no reference leaves the document,
and members that the schema does not declare are refused. This module refuses to know what the arguments mean.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import jsonschema_rs

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.shapes import pointer
from lictor.policy.closing import close
from lictor.policy.subschemas import SCHEMA_DEPTH, SCHEMA_SUBSCHEMAS, survey, unusable

_BOUND: Final = 80
"""Longest piece of foreign text in a message, in characters."""
_PATTERNS: Final = jsonschema_rs.RegexOptions()
"""The engine without backtracking: `^(a+)+$` costs what it reads. Patterns it cannot run make the tool unusable."""
_NOTHING: Final[Mapping[str, Any]] = {"type": "object", "additionalProperties": False}
_UNKNOWN_MEMBER: Final = (
    jsonschema_rs.ValidationErrorKind.AdditionalProperties,
    jsonschema_rs.ValidationErrorKind.UnevaluatedProperties,
)
_FALSE: Final = jsonschema_rs.ValidationErrorKind.FalseSchema
_CONTEXT: Final = (
    jsonschema_rs.ValidationErrorKind.AnyOf,
    jsonschema_rs.ValidationErrorKind.OneOfNotValid,
    jsonschema_rs.ValidationErrorKind.OneOfMultipleValid,
)
_Validator: TypeAlias = jsonschema_rs.Validator


class ArgumentsValidator:
    """A tool's compiled argument schema.

    Args:
        input_schema: the tool's `inputSchema` as parsed JSON; None means no arguments. 2020-12 unless `$schema` names
            draft 4, 6, 7 or 2019-09. Not changed, not kept.
        schema_depth: nested subschemas, references expanded.
        schema_subschemas: subschemas altogether, references expanded.

    Raises:
        OperatorError: `TOOL_UNUSABLE`, with the reason.
    """

    def __init__(
        self,
        input_schema: dict[str, Any] | bool | None,
        *,
        schema_depth: int = SCHEMA_DEPTH,
        schema_subschemas: int = SCHEMA_SUBSCHEMAS,
    ) -> None:
        schema = dict(_NOTHING) if input_schema is None else {} if input_schema is True else input_schema
        if schema is False:
            raise unusable("the schema allows no call at all")
        found = survey(schema, depth=schema_depth, subschemas=schema_subschemas)
        self._explains = not found.tangled
        self._given = _compiled(schema)
        self._closed = _compiled(close(schema))

    def check(self, arguments: dict[str, Any]) -> None:
        """Return if the arguments are valid and hold nothing undeclared.

        Raises:
            CallerError: `INVALID_ARGUMENTS` or `UNKNOWN_ARGUMENT`; `where` is the JSON pointer of the first fault.
        """
        try:
            if not self._given.is_valid(arguments):
                raise self._refusal(self._given, arguments, Reason.INVALID_ARGUMENTS)
            if not self._closed.is_valid(arguments):
                raise self._refusal(self._closed, arguments, Reason.UNKNOWN_ARGUMENT)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            # A value that is no JSON (the strict door lets none in): unknown is refused.
            raise CallerError(Reason.INVALID_ARGUMENTS, f"arguments are not JSON: {_bounded(error)}") from error

    def _refusal(self, validator: _Validator, arguments: dict[str, Any], otherwise: Reason) -> CallerError:
        error = _first_error(validator, arguments) if self._explains else None
        if error is None:
            return CallerError(otherwise, _GENERIC[otherwise])
        # Inside the branches of a choice an undeclared member is one reason of many, unless closing is all that failed.
        unknown = _find_unknown(error, inside=otherwise is Reason.UNKNOWN_ARGUMENT)
        if unknown is not None:
            where, names = unknown
            shown = ": " + ", ".join(_bounded(repr(name)) for name in sorted(names)[:3]) if names else ""
            return CallerError(Reason.UNKNOWN_ARGUMENT, f"not declared by the tool{shown}", where=where)
        message = _GENERIC[otherwise] if otherwise is Reason.UNKNOWN_ARGUMENT else _description(error)
        return CallerError(otherwise, message, where=pointer(error.instance_path))


_GENERIC: Final[Mapping[Reason, str]] = {
    Reason.INVALID_ARGUMENTS: "the arguments do not match the tool's schema",
    Reason.UNKNOWN_ARGUMENT: "the arguments hold a member that the tool does not declare",
}


def _compiled(schema: dict[str, Any]) -> _Validator:
    try:
        return jsonschema_rs.validator_for(schema, offline=True, validate_formats=True, pattern_options=_PATTERNS)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        text = getattr(error, "message", None) or str(error)
        raise unusable(f"the schema does not compile: {_bounded(text)}") from error


def _first_error(validator: _Validator, arguments: dict[str, Any]) -> jsonschema_rs.ValidationError | None:
    try:
        validator.validate(arguments)
    except jsonschema_rs.ValidationError as error:
        return error
    return None


def _find_unknown(error: jsonschema_rs.ValidationError, *, inside: bool) -> tuple[str, list[str]] | None:
    """Place and names of undeclared members, if that is what `error` (or, `inside`, one of its branches) says."""
    if isinstance(error.kind, _UNKNOWN_MEMBER):
        return pointer(error.instance_path), error.kind.unexpected
    # Where nothing at all is declared the library calls `additionalProperties: false` a false schema, and names nobody.
    if isinstance(error.kind, _FALSE) and error.schema_path[-1:] == ["additionalProperties"]:
        return pointer(error.instance_path), []
    if inside and isinstance(error.kind, _CONTEXT):
        for branch in error.kind.context:
            for inner in branch:
                found = _find_unknown(inner, inside=True)
                if found is not None:
                    return found
    return None


def _description(error: jsonschema_rs.ValidationError) -> str:
    """What the schema wants; never what was sent, which may be long or secret."""
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        return f"missing required argument {_bounded(repr(kind.property))}"
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Type):
        return f"expected {_bounded(' or '.join(kind.types))}"
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Enum):
        return f"expected one of {_bounded(kind.options)}"
    if isinstance(kind, _CONTEXT):
        return f"does not satisfy {kind.name}"
    return f"does not satisfy {kind.name} {_bounded(kind.value)}"


def _bounded(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= _BOUND else line[: _BOUND - 1] + "…"
