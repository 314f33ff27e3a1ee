"""What is asked of Lictor itself: that a task is opened, that a credential is used. As catalogue entries, so that policy decides.

Both are outside the effect classes: a rule about everything that reads is not about authority. Refuses to know who asks.
"""

from collections.abc import Iterable
from typing import Any, Final

from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry, DestinationSelector, EffectClass
from lictor.model.ids import ServerName
from lictor.model.lease import Credential

AUTHORITY: Final = frozenset({ActionKind.CREDENTIAL, ActionKind.TASK})
NO_SERVER: Final = ServerName("")
COMMAND: Final = "command"
"""The destination of a credential for a server that the gateway starts."""


def _closed(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TEXTS: Final = {"type": "array", "items": _TEXT}

OPENING_OF_TASK: Final = _closed(
    {
        "opener": _closed({"kind": _TEXT, "name": _TEXT, "groups": _TEXTS}),
        "ttl_s": _COUNT,
        "calls": _COUNT,
        "currencies": _TEXTS,
        "largest": _COUNT,
        "contract": {"type": "boolean"},
    }
)
"""`input` of `task:open`. `opener.kind` is that of `Opener`; `largest` is the largest budget, in minor units."""

USE_OF_CREDENTIAL: Final = _closed(
    {"provider": _TEXT, "lease": _TEXT, "ttl_s": _COUNT, "destination": _TEXT, "narrow": _TEXTS, "url": _TEXT},
    optional=("narrow", "url"),
)
"""`input` of a `credential:…` action. `url` is there when the credential goes to one, and is then `context.destination` too.
`narrow` has a text `name=value` for each thing that it is narrowed to, where there is one."""


def purpose_entries(purposes: Iterable[str]) -> list[CatalogEntry]:
    """One entry a declared purpose."""
    return [
        CatalogEntry(server=NO_SERVER, kind=ActionKind.TASK, name=purpose, effect=EffectClass.READ)
        for purpose in purposes
    ]


def credential_entries(credentials: Iterable[Credential]) -> list[CatalogEntry]:
    """One entry a credential."""
    return [
        CatalogEntry(
            server=credential.server,
            kind=ActionKind.CREDENTIAL,
            name=credential.name,
            effect=EffectClass.READ,
            destination=None if credential.destination == COMMAND else DestinationSelector(url="/url"),
        )
        for credential in credentials
    ]
