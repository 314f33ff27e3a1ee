"""What Python 3.11 lacks."""

from typing import TYPE_CHECKING, TypeVar

__all__ = ["override"]

_T = TypeVar("_T")

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method: _T) -> _T:
        """`typing.override` of Python 3.12: for the type checker only."""
        return method
