"""Limits bound something, always."""

import msgspec
import pytest

from lictor.model.limits import DEPTH_CEILING, Limits


def test_the_defaults_are_valid() -> None:
    """The defaults pass their own checks."""
    assert Limits().json_depth == 64


@pytest.mark.parametrize("name", Limits.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_bounds_nothing_is_refused(name: str, value: float) -> None:
    """Zero, negative, NaN and infinite are refused for every limit."""
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_every_name_carries_its_unit(name: str) -> None:
    """A limit of size or time says in what; the others are counts of what they name."""
    counts = {"members", "depth", "pages", "items", "subschemas", "task", "minute", "queue"}
    assert name.rsplit("_", 1)[1] in {"bytes", "s", *counts}


def test_an_unknown_limit_is_refused() -> None:
    """A misspelt limit in a configuration does not fall back to the default."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"json_dept": 3}, Limits)


def test_a_refused_value_is_refused_from_configuration_too() -> None:
    """Decoding runs the same checks."""
    with pytest.raises(msgspec.ValidationError, match="json_depth"):
        msgspec.convert({"json_depth": 0}, Limits)


def test_contradictions_are_refused() -> None:
    """Deeper than the stack allows, or arguments larger than the message they are in."""
    with pytest.raises(ValueError, match="json_depth"):
        Limits(json_depth=DEPTH_CEILING + 1)
    with pytest.raises(ValueError, match="arguments_bytes"):
        Limits(arguments_bytes=2, message_bytes=1)
