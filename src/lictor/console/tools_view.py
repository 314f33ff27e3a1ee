"""Tools and what else servers offer, as the console's pages tell them: the catalogue's word beside what the server says now.

Every `str` is raw: it is rendered when it is drawn. Refuses to know HTML and how lists arrive.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from lictor.console.tools_diff import Diff, definition_lines, diff_of
from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry
from lictor.model.ids import DefinitionDigest, ServerName
from lictor.pdp.decide import PINNED_KINDS, Offering, Pdp
from lictor.service.calls.offers import Changed

KINDS: Final = (ActionKind.TOOL, ActionKind.PROMPT, ActionKind.RESOURCE, ActionKind.FEATURE)
"""What servers offer, in reading order; tasks and credentials are ours."""
MAX_UNKNOWN: Final = 100
"""Names that a server offers and nobody catalogued, on one page; how many more there are is said."""
_SELECTORS: Final = ("destination", "value", "path", "sql", "command", "preview")
Key = tuple[ActionKind, ServerName, str]


class Live(Protocol):
    """What servers said last (`service.calls.offers.Offers`)."""

    def known(self, kind: ActionKind, server: ServerName) -> bool:
        """Whether the list was learned."""
        ...

    def offered(self, kind: ActionKind, server: ServerName) -> Mapping[str, DefinitionDigest]:
        """Digests by name."""
        ...

    def changed(self) -> tuple[Changed, ...]:
        """Definitions that are not the pinned ones."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of the catalogue, with its live state."""

    entry: CatalogEntry
    state: str
    """`as pinned`, `changed`, `not offered`, `not asked yet`; empty where there is nothing to compare."""
    look: str
    """A class."""
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One server."""

    server: str
    items: tuple[Item, ...]
    unknown: tuple[tuple[str, str], ...]
    """Kind and name of what it offers and nobody catalogued: nobody can call it."""
    more_unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One changed definition, for the list."""

    changed: Changed
    address: str
    still: bool
    """Whether the server's newest list still says so."""


def address_of(kind: ActionKind, server: str, name: str) -> str:
    """The page of one thing. Names of tools hold any character, so they stand in the query."""
    return f"/tools/entry?{urlencode({'kind': kind.value, 'server': server, 'name': name}, errors='replace')}"


def shelves_of(pdp: Pdp, live: Live | None) -> list[Shelf]:
    """Servers by name, each with its catalogue, changed things first."""
    by_server: dict[str, list[Offering]] = {}
    for one in _offerings(pdp):
        by_server.setdefault(one.entry.server, []).append(one)
    return [_shelf(server, by_server[server], live) for server in sorted(by_server)]


def _offerings(pdp: Pdp) -> Iterator[Offering]:
    yield from (one for one in pdp.exact.values() if one.entry.kind in KINDS)
    for found in pdp.prefixes.values():
        yield from (one for _, one in found)


def _shelf(server: str, offerings: Iterable[Offering], live: Live | None) -> Shelf:
    items = [item_of(one.entry, live) for one in offerings]
    items.sort(key=lambda item: (item.look != "changed", KINDS.index(item.entry.kind), item.entry.name))
    named = {(item.entry.kind, item.entry.name) for item in items}
    unknown = sorted(
        (kind.value, name)
        for kind in KINDS
        if live is not None and kind in PINNED_KINDS
        for name in live.offered(kind, ServerName(server))
        if (kind, name) not in named
    )
    return Shelf(
        server=server,
        items=tuple(items),
        unknown=tuple(unknown[:MAX_UNKNOWN]),
        more_unknown=max(0, len(unknown) - MAX_UNKNOWN),
    )


def item_of(entry: CatalogEntry, live: Live | None) -> Item:
    """One entry with its state."""
    state, look = _state(entry, live)
    return Item(entry=entry, state=state, look=look, address=address_of(entry.kind, entry.server, entry.name))


def _state(entry: CatalogEntry, live: Live | None) -> tuple[str, str]:
    if entry.kind not in PINNED_KINDS:
        return "", ""
    if live is None or not live.known(entry.kind, entry.server):
        return "not asked yet", "unseen"
    digest = live.offered(entry.kind, entry.server).get(entry.name)
    if digest is None:
        return "not offered", "unseen"
    return ("as pinned", "offered") if digest == entry.pin else ("changed", "changed")


def troubles_of(live: Live | None) -> list[Trouble]:
    """Every changed definition, newest first."""
    if live is None:
        return []
    return [
        Trouble(
            changed=one,
            address=address_of(one.kind, one.server, one.name),
            still=live.offered(one.kind, one.server).get(one.name) == one.live,
        )
        for one in reversed(live.changed())
    ]


# -- one thing ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One thing in full."""

    key: Key
    item: Item | None
    """None: it is not in the catalogue, so nobody can call it."""
    selectors: tuple[tuple[str, str], ...]
    definition: tuple[str, ...]
    """The pinned one, as lines; empty where there is none."""
    left_out: int
    changed: Changed | None
    still: bool
    diff: Diff | None
    undrawn: str
    """Why there is a change and no difference to show."""
    command: str
    """How to look at the change and take it over."""


def sheet_of(pdp: Pdp, key: Key, live: Live | None) -> Sheet | None:
    """Everything about one thing; None: nobody has heard of it. A long difference takes its time: call it off the loop."""
    kind, server, name = key
    offering = pdp.exact.get((kind, server, name)) or next(
        (one for _, one in pdp.prefixes.get(server, ()) if one.entry.name == name and kind is ActionKind.RESOURCE), None
    )
    trouble = next((one for one in troubles_of(live) if _key(one.changed) == key), None)
    if (offering is None or offering.entry.kind not in KINDS) and trouble is None:
        return None
    pinned = pdp.definitions.get((kind, server, name), {})
    lines, left_out = definition_lines(pinned) if pinned else ([], 0)
    diff, undrawn = _difference(pinned, trouble.changed if trouble is not None else None)
    return Sheet(
        key=key,
        item=item_of(offering.entry, live) if offering is not None else None,
        selectors=tuple(_selectors(offering.entry)) if offering is not None else (),
        definition=tuple(lines),
        left_out=left_out,
        changed=trouble.changed if trouble is not None else None,
        still=trouble is not None and trouble.still,
        diff=diff,
        undrawn=undrawn,
        command=f"lictor catalog pull {server} --accept {kind.value}s.{name} --write",
    )


def _key(changed: Changed) -> Key:
    return changed.kind, changed.server, changed.name


def _difference(pinned: Mapping[str, Any], changed: Changed | None) -> tuple[Diff | None, str]:
    if changed is None:
        return None, ""
    if changed.live == "ambiguous":
        return None, "the server offers this name twice, so nobody can tell which one would run"
    if changed.live == "uncanonical":
        return None, "what the server says cannot be written in one canonical way, so it cannot be compared"
    if not changed.definition:
        return None, f"the definition has {changed.size} bytes, which is more than is kept"
    return diff_of(pinned, msgspec.json.decode(changed.definition)), ""


def _selectors(entry: CatalogEntry) -> Iterator[tuple[str, str]]:
    """What the catalogue reads in the arguments, by the name of the selector, in few words."""
    for name in _SELECTORS:
        selector = getattr(entry, name)
        if selector is not None:
            yield name, _brief(selector)
    for name, watch in sorted(entry.watch.items()):
        yield f"watches {name}", f"{watch.pointer}, as {watch.kind}"
    if entry.timeout_s is not None:
        yield "timeout", f"{entry.timeout_s} s"


def _brief(selector: msgspec.Struct) -> str:
    """The members that are not as they would be without saying anything."""
    defaults = dict(zip(selector.__struct_fields__[::-1], selector.__struct_defaults__[::-1], strict=False))
    said = {
        name: value
        for name in selector.__struct_fields__
        if (value := getattr(selector, name)) != defaults.get(name, msgspec.NODEFAULT)
    }
    return ", ".join(f"{name} {_value(value)}" for name, value in said.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()
