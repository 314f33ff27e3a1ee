"""Where values come from, gathered before a decision; and what a server sent, looked at before the agent gets it.

A value counts as seen only when its record is durable, and the agent gets content only after that: whatever a crash leaves,
the agent never knows a value or has read labelled content that history does not. Refuses to know policy and transports.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from lictor.lifecycle.origins import ECHO, INCOMPLETE
from lictor.model.action import ActionKind, ActionRequest, action_name
from lictor.model.catalog import CatalogEntry
from lictor.model.content import Content
from lictor.model.errors import StoreError
from lictor.model.history import Origin
from lictor.model.ids import ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import ContentSeen
from lictor.pdp.decide import Pdp
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.origins.content import labels_of
from lictor.pdp.origins.digest import Found, origin_key, value_digest, value_digests
from lictor.pdp.origins.find import values_declared, values_of_result, values_of_text
from lictor.pdp.origins.watched import forms_once
from lictor.ports import Batch, Clock, RecordStore

MAX_FORMS: Final = 1_000
"""Different values of all watched arguments of one call that are looked up; more come from nowhere."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one piece of content holds: labels by the content rules, digests of its values, and whose it is."""

    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """What content outside a result belongs to: one thing of a server; for a resource, any of the server's."""

    kind: ActionKind
    server: ServerName
    name: str
    given: tuple[bytes, ...] = ()
    """What the client said for it: JSON texts, of whose values this content is no source."""
    vouches: bool = True
    """False where nobody can tell which call it repeats: then it is no source of anything."""

    @property
    def action(self) -> str:
        """Its name in policy."""
        return action_name(self.kind, self.server, self.name)

    def labels(self, pdp: Pdp) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What the catalogue labels it with; and, where it has no entry of its own, what its values may carry."""
        offering = pdp.offering(self.kind, self.server, self.name)
        if offering is not None:
            return offering.entry.labels, ()
        if not pdp.content.kinds:
            return (), ()
        entries = [other.entry for (_, server, _), other in pdp.exact.items() if server == self.server]
        entries += [other.entry for _, other in pdp.prefixes.get(self.server, ())]
        return (), tuple(sorted({label for entry in entries for label in entry.labels}))


class Origins:
    """Origins of the tasks of one store."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    def gather(
        self, entry: CatalogEntry, directory: Directory, request: ActionRequest, root: TaskId
    ) -> dict[str, Origin]:
        """The origin of every watched argument that is there, by name: at most one read for each different value.

        Raises:
            StoreError: history cannot be read; nothing may run.
        """
        if not entry.watch:
            return {}
        forms = forms_once(request, entry.watch)
        spilled = self._store.spilled(root)
        known: dict[tuple[str, str | None], Origin] = {}
        found: dict[str, Origin] = {}
        key = self._store.origin_key(root)
        for name, values in forms.items():
            kind = entry.watch[name].kind
            origins: list[Origin] = []
            for form in values:
                origin = known.get((kind, form))
                if origin is None:
                    full = len(known) >= MAX_FORMS
                    origin = Origin() if form is None or full else self._one(key, directory, root, kind, form)
                    known[kind, form] = origin
                origins.append(origin)
            if origins:
                found[name] = _together(origins, spilled)
        return found

    def observe(
        self,
        content: Content,
        action: str,
        root: TaskId,
        body: bytes,
        given: Iterable[bytes] = (),
        *,
        vouches: bool = True,
    ) -> Observed:
        """Look at content from a server.

        Args:
            action: what the agent did to get it (`ActionRequest.action`).
            given: the arguments it was got with, and whatever else the client said for it. A result is no source of what
                its own call named: an agent could otherwise have any value vouched for by a search that repeats its
                query. If not all of it can be read, the result is no source of anything.
            vouches: see `Sender`. Labels go with the values all the same.

        Raises:
            StoreError: the digest key cannot be read; the content must not be handed on.
        """
        labels = labels_of(content.rules, action, body) if content.rules else ()
        values: tuple[str, ...] = ()
        if content.kinds and body:
            key = self._store.origin_key(root)
            found, complete = values_of_result(body, content.kinds)
            # Without a key nothing can be remembered, so everything is missing.
            own, own_complete = _named_by(given, content.kinds)
            echoes = own if vouches and own_complete else set(found)
            values = tuple(_remembered(key, one, echoes) for one in found) if key is not None else ()
            values += () if complete and key is not None else (INCOMPLETE,)
        return Observed(labels, values, f"tool:{action}" if values else "")

    def new(self, task: TaskId, observed: Observed) -> bool:
        """Whether history does not have all of it yet, as far as can be told quickly."""
        if observed.values or not observed.labels:
            return bool(observed.values)
        state = self._store.task(task)
        return state is None or not set(observed.labels).issubset(state.labels)

    async def show(self, clock: Clock, pdp: Pdp, origin: "Sender", task: TaskId, body: bytes) -> None:
        """Look at content outside a result (a notice, progress, a question) and make what it holds durable.

        Raises:
            StoreError: it cannot be recorded; the content must not be handed on.
        """
        content = pdp.content
        labels, carried = origin.labels(pdp)
        if not (content.rules or content.kinds or labels):
            return
        state = self._store.task(task)
        if state is None:
            raise StoreError(Reason.UNKNOWN_TASK, f"no task {task!r:.80} to show content to")
        root, given, vouches = state.task.root, origin.given, origin.vouches
        observed = self.observe(content, origin.action, root, body, given, vouches=vouches)
        observed = replace(observed, labels=tuple(sorted({*observed.labels, *labels})))
        if self.new(task, observed):
            record = ContentSeen(
                task=task,
                source=observed.source,
                labels=observed.labels,
                carried=carried,
                values=observed.values,
            )
            await self._store.commit(Batch(at_ms=clock.now_ms(), records=(record,)))

    def _one(self, key: bytes | None, directory: Directory, root: TaskId, kind: str, form: str) -> Origin:
        seen = self._store.origin(root, value_digest(key, (kind, form))) if key is not None else None
        vouched = ("directory",) if directory.lists(kind, form) else ()
        if seen is None:
            return Origin(sources=vouched)
        if not vouched and len(seen.sources) <= 1:
            return seen
        return Origin(sources=tuple(sorted({*seen.sources, *vouched})), labels=seen.labels)


def opening_values(
    sealing_key: bytes, trusted_text: str, declared: tuple[str, ...], kinds: frozenset[str]
) -> tuple[str, ...]:
    """The values of a task that is about to be opened, of the kinds that are watched, as `TaskOpened.values` has them."""
    key = origin_key(sealing_key)
    text = [f"t{digest}" for digest in value_digests(key, values_of_text(trusted_text, kinds))]
    return (*text, *(f"d{digest}" for digest in value_digests(key, values_declared(declared, kinds))))


def _named_by(given: Iterable[bytes], kinds: frozenset[str]) -> tuple[set[Found], bool]:
    """The values a client named itself, and whether that is all of them."""
    named: set[Found] = set()
    whole = True
    for text in given:
        found, complete = values_of_result(text, kinds)
        named.update(found)
        whole = whole and complete
    return named, whole


def _remembered(key: bytes, found: Found, echoes: set[Found]) -> str:
    digest = value_digest(key, found)
    return ECHO + digest if found in echoes else digest


def _together(origins: list[Origin], spilled: tuple[str, ...]) -> Origin:
    """Of several values: the sources all of them share, the labels any of them carries."""
    if len(origins) == 1 and not spilled:
        return origins[0]
    sources = set(origins[0].sources).intersection(*(origin.sources for origin in origins[1:]))
    labels = set(spilled).union(*(origin.labels for origin in origins))
    return Origin(sources=tuple(sorted(sources)), labels=tuple(sorted(labels)))
