"""Registered domains by the Public Suffix List that the library brings; nothing is fetched. Refuses to know addresses.

The list is read once, at the first question (about 50 ms); `warm` asks it, for whoever loads a bundle that needs it.
"""

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@cache
def _suffixes(private: bool) -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - only where a bundle has destinations

    return PublicSuffixList(accept_unknown=True, only_icann=not private)


def warm(*, private: bool = True) -> None:
    """Read the list now."""
    _suffixes(private)


@lru_cache(maxsize=4096)
def registered_domain(host: str, *, private: bool = True) -> str:
    """The domain somebody registered, that a host lies in; empty for a public suffix itself and for a name of one label.

    Args:
        host: ASCII, lower case, no trailing dot; not an address.
        private: count `github.io` and the like as public suffixes.
    """
    return _suffixes(private).privatesuffix(host) or ""


def is_public_suffix(host: str) -> bool:
    """Whether strangers can register directly below this domain."""
    return _suffixes(private=True).privatesuffix(host) is None
