"""How labels look: the same colour wherever one is shown, and none that another one says already.

A colour is a class name; the style sheet has the colours, the page the words. Refuses to know what labels mean to policy.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

HUES: Final = 5
_WARNING: Final = frozenset({"untrusted", "confidential"})


def hue(label: str) -> str:
    """The colour class of a label: by what it warns of, else by its name."""
    family = label.partition(":")[0]
    if family in _WARNING:
        return family
    return f"{sha256(label.encode('utf-8', 'surrogatepass')).digest()[0] % HUES}"


def telling(labels: Iterable[str]) -> list[str]:
    """Labels, sorted, without a kind where one of its details is there: `untrusted:web` says `untrusted` as well."""
    found = sorted(set(labels))
    return [label for label in found if not any(other.startswith(f"{label}:") for other in found)]
