"""What a server says it offers, held against the catalogue: digests, quarantine, and what a caller could possibly run.

Only pinned things are ever served; a changed one is quarantined once, recorded once, and stays unusable until re-pinned
(TOOL-01, 02, 05, 07). Refuses to know how the list arrived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from lictor.model.action import ActionKind, action_name
from lictor.model.canonical import canonical, sha256_digest
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, DefinitionDigest, ServerName
from lictor.model.record import ToolQuarantined
from lictor.pdp.decide import PINNED_KINDS, Pdp
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.policy import PolicyInForce

MAX_ALERTS: Final = 16
"""Changes of one thing that are written down; a server that changes at every listing must not fill the log."""
MAX_CHANGED: Final = 64
"""Changed definitions kept for people to look at; the oldest goes first. All of them are in the log, as digests."""
MAX_DEFINITION: Final = 128 * 1_024
"""Bytes of a changed definition that are kept; of a longer one only the size is known."""
_NOT_PINNED: Final = DefinitionDigest("")
"""In a quarantine's record: nobody ever looked at this thing, which has the name of another server's."""
_NO_DIGESTS: Final = frozenset({"ambiguous", "uncanonical"})


def definition_digest(definition: dict[str, Any]) -> DefinitionDigest:
    """Digest over the whole definition in canonical form, so that formatting does not matter and nothing is left out.

    Raises:
        CallerError: the definition has no canonical form.
    """
    return DefinitionDigest(sha256_digest(canonical(definition)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A definition that is not the one a person looked at, as the server said it. For people only: nothing is served from it."""

    kind: ActionKind
    server: ServerName
    name: str
    pinned: DefinitionDigest
    """Empty: nobody ever looked at this thing, which has the name of another server's."""
    live: DefinitionDigest
    """`ambiguous`: the name was offered twice; `uncanonical`: it has no canonical form."""
    definition: bytes
    """Canonical JSON; empty where there is none, or it is too large (`size` is not 0 then)."""
    size: int
    at_ms: int
    """When the server first said so."""


class Offers:
    """Live definitions by server, and who may see what."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._live: dict[tuple[ActionKind, ServerName], dict[str, DefinitionDigest]] = {}
        self._by_source: WeakKeyDictionary[object, dict[tuple[ActionKind, ServerName], dict[str, DefinitionDigest]]] = (
            WeakKeyDictionary()
        )
        self._alerted: dict[tuple[ActionKind, ServerName, str], set[str]] = {}
        self._changed: dict[tuple[ActionKind, ServerName, str], Changed] = {}

    async def learn(
        self, kind: ActionKind, server: ServerName, definitions: Sequence[dict[str, Any]], source: object | None = None
    ) -> None:
        """Take a server's complete list. A name offered twice is offered by nobody; one without canonical form neither.

        Args:
            source: the connection that said so; see `definition`.
        """
        live: dict[str, DefinitionDigest] = {}
        said: dict[str, dict[str, Any]] = {}
        for definition in definitions:
            name = definition.get("name")
            if not isinstance(name, str):
                continue
            live[name] = DefinitionDigest("ambiguous") if name in live else _digest_or_none(definition)
            said[name] = definition
        self._live[kind, server] = live
        if source is not None:
            self._by_source.setdefault(source, {})[kind, server] = live
        await self._alert(kind, server, live, said)

    def definition(
        self, kind: ActionKind, server: ServerName, name: str, source: object | None = None
    ) -> DefinitionDigest | None:
        """Digest of what the server now offers under this name; None when it offers no such thing (or has no definition).

        With `source` only what that very connection said counts: no connection vouches for another.
        """
        if kind not in PINNED_KINDS:
            return None
        if source is not None:
            return self._by_source.get(source, {}).get((kind, server), {}).get(name)
        return self._live.get((kind, server), {}).get(name)

    def pinned(self, kind: ActionKind, server: ServerName, name: str) -> Mapping[str, Any]:
        """The definition a person looked at; empty where there is none."""
        return self._policy.current().definitions.get((kind, server, name), {})

    def pins(self, kind: ActionKind, server: ServerName) -> list[dict[str, Any]]:
        """Every definition of a server that a person looked at."""
        definitions = self._policy.current().definitions
        return [dict(found) for (of, name, _), found in sorted(definitions.items()) if (of, name) == (kind, server)]

    def pin(self, kind: ActionKind, server: ServerName, name: str) -> DefinitionDigest | None:
        """Digest of the definition a person looked at; None where there is none, or the thing has no definition."""
        offering = self._policy.current().offering(kind, server, name)
        return offering.entry.pin if offering is not None and kind in PINNED_KINDS else None

    def known(self, kind: ActionKind, server: ServerName) -> bool:
        """Whether the server's list was learned."""
        return (kind, server) in self._live

    def offered(self, kind: ActionKind, server: ServerName) -> Mapping[str, DefinitionDigest]:
        """What the server said last that it has, by name, catalogued or not; empty where nobody asked yet."""
        return self._live.get((kind, server), {})

    def changed(self) -> tuple[Changed, ...]:
        """Definitions that some connection showed and that are not the pinned ones, oldest first; until they are pinned."""
        return tuple(one for one in self._changed.values() if self.pin(one.kind, one.server, one.name) != one.live)

    def visible(self, kind: ActionKind, server: ServerName, name: str, agent: AgentId) -> bool:
        """Whether this agent could possibly run it: catalogued, unchanged, and some permit's scope reaches it."""
        pdp = self._policy.current()
        offering = pdp.offering(kind, server, name)
        if offering is None:
            return False
        if kind in PINNED_KINDS and self.definition(kind, server, name) != offering.entry.pin:
            return False
        return _may_permit(pdp, agent, action_name(kind, server, name), offering.resource)

    def server_of(self, uri: str, servers: Sequence[ServerName]) -> ServerName | None:
        """The one server whose catalogue lists a resource; when two claim it, none: a guess could be the wrong one."""
        pdp = self._policy.current()
        claimed = [server for server in servers if pdp.offering(ActionKind.RESOURCE, server, uri) is not None]
        return claimed[0] if len(claimed) == 1 else None

    async def _alert(
        self,
        kind: ActionKind,
        server: ServerName,
        live: dict[str, DefinitionDigest],
        said: dict[str, dict[str, Any]],
    ) -> None:
        pdp = self._policy.current()
        for name, digest in live.items():
            offering = pdp.offering(kind, server, name)
            # What is not catalogued cannot be called; but a name that another server's pinned thing has is a try (TOOL-05).
            unlooked = _NOT_PINNED if offering is None and _shadows(pdp, kind, server, name) else None
            pinned = offering.entry.pin if offering is not None else unlooked
            if pinned is None or pinned == digest:
                continue
            self._keep(kind, server, name, (pinned, digest), said[name])
            told = self._alerted.setdefault((kind, server, name), set())
            if digest in told or len(told) >= MAX_ALERTS:
                continue
            record = ToolQuarantined(server=server, kind=kind, name=name, pinned=pinned, live=digest)
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
            told.add(digest)

    def _keep(
        self,
        kind: ActionKind,
        server: ServerName,
        name: str,
        digests: tuple[DefinitionDigest, DefinitionDigest],
        definition: dict[str, Any],
    ) -> None:
        key = (kind, server, name)
        known = self._changed.get(key)
        if known is not None and known.live == digests[1]:
            return
        data = b"" if digests[1] in _NO_DIGESTS else canonical(definition)
        self._changed.pop(key, None)  # so that it stands last
        self._changed[key] = Changed(
            kind=kind,
            server=server,
            name=name,
            pinned=digests[0],
            live=digests[1],
            definition=data if len(data) <= MAX_DEFINITION else b"",
            size=len(data),
            at_ms=self._clock.now_ms(),
        )
        while len(self._changed) > MAX_CHANGED:
            del self._changed[next(iter(self._changed))]


def _digest_or_none(definition: dict[str, Any]) -> DefinitionDigest:
    try:
        return definition_digest(definition)
    except CallerError:
        return DefinitionDigest("uncanonical")


def _shadows(pdp: Pdp, kind: ActionKind, server: ServerName, name: str) -> bool:
    """Whether the catalogue has this name for another server."""
    return any(key[0] is kind and key[1] != server and key[2] == name for key in pdp.exact)


def _may_permit(pdp: Pdp, agent: AgentId, action: str, resource: tuple[str, str]) -> bool:
    return pdp.engine.may_permit(("Agent", agent), action, resource)
