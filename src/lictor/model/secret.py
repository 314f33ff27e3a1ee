"""Text that must not be seen. It does not print, pickle or enter a record; taking it out is a word in the code."""

import hmac
from typing import Final, NoReturn, final

_SHOWN: Final = "Secret(…)"


@final
class Secret:
    """One secret value. `reveal` is called where bytes leave for the one place they are meant for, and nowhere else."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The value."""
        return self.__text

    def __repr__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return _SHOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.__text.encode(), other.reveal().encode())

    def __hash__(self) -> int:
        raise TypeError("a secret is no key")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
