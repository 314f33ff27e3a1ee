"""Rows of origins: where each value was first seen, by keyed digest. Constant work a value.

Rows belong to the root of a tree of tasks, so a child starts with what its parent has seen and cannot shed it. `task` and
`declared` come only from the root itself: what opens a child may have been written by a model.
"""

from collections.abc import Iterable
from typing import Final

from lictor.lifecycle import bounds
from lictor.lifecycle.reading import Changes, Changing, Read, task_state
from lictor.lifecycle.rows import Row, Tally
from lictor.model.errors import ConflictError
from lictor.model.history import Origin
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import ContentSeen, ExecutionEnded, ExecutionStarted, TaskOpened

MAX_ROWS: Final = 50_000
"""Values remembered of one tree; a further one is not (nowhere is the strict reading), but its labels are kept for all."""
MAX_SOURCES: Final = 8
"""Sources of one value; a further one is not added, its labels are."""
INCOMPLETE: Final = "+"
"""Among the values of a record: there were more than were kept."""
ECHO: Final = "~"
"""Before a digest: the call itself named this value, so its result vouches for nothing; labels it carries all the same."""
_FROM_OPENING: Final = {"t": "task", "d": "declared"}


def origin_row(root: TaskId, digest: str) -> tuple[str, str]:
    """Key of one value's row."""
    return ("origin", f"{root} {digest}")


def tally_row(root: TaskId) -> tuple[str, str]:
    """Key of what is known of all values of a tree."""
    return ("origins", root)


def opened(read: Read, record: TaskOpened) -> Changes:
    """The values of the trusted text and the declared ones; of a root only.

    Raises:
        ConflictError: `conflict`: a value is marked neither as text nor as declared.
    """
    if record.task.parents:
        return {}
    noted = _Noted(read, record.task.id)
    for value in record.values:
        source = _FROM_OPENING.get(value[:1])
        if source is None:
            raise ConflictError(Reason.CONFLICT, "a value of a task is from its text or declared")
        noted.note(value[1:], (source,), ())
    return noted.done()


def seen(read: Read, started: ExecutionStarted, ended: ExecutionEnded) -> Changes:
    """The values of a result, and the labels content rules gave it."""
    if not ended.labels and not ended.values:
        return {}
    labels = tuple(sorted({*started.labels, *ended.labels}))
    return _taken(read, started.task, ended.source, ended.labels, labels, ended.values)


def shown(read: Read, record: ContentSeen) -> Changes:
    """The values and labels of what a server sent outside a result."""
    carried = tuple(sorted({*record.labels, *record.carried}))
    return _taken(read, record.task, record.source, record.labels, carried, record.values)


def _taken(
    read: Read,
    task: TaskId,
    source: str,
    found: tuple[str, ...],
    labels: tuple[str, ...],
    values: Iterable[str],
) -> Changes:
    now = Changing(read)
    now.changes.update(bounds.take_labels(now.read, task, found))
    noted = _Noted(now.read, task_state(now.read, task).task.root)
    for value in values:
        if value == INCOMPLETE:
            noted.spill(labels)
        elif value.startswith(ECHO):
            noted.note(value[1:], (), labels)
        else:
            noted.note(value, (source,) if source else (), labels)
    now.changes.update(noted.done())
    return now.changes


class _Noted:
    """Rows of one tree, changed by one record."""

    def __init__(self, read: Read, root: TaskId) -> None:
        self._now = Changing(read)
        self._root = root
        row = read(tally_row(root))
        before = row.body if row is not None and isinstance(row.body, Tally) else Tally()
        self._before = before
        self._count = before.count
        self._spilled = set(before.spilled)

    def note(self, digest: str, sources: tuple[str, ...], labels: tuple[str, ...]) -> None:
        """One value was seen once more."""
        key = origin_row(self._root, digest)
        row = self._now.read(key)
        if row is None and self._count >= MAX_ROWS:
            self.spill(labels)
            return
        old = row.body if row is not None and isinstance(row.body, Origin) else Origin()
        self._count += row is None
        new = Origin(
            sources=old.sources + tuple(s for s in sources if s not in old.sources)[: MAX_SOURCES - len(old.sources)],
            labels=tuple(sorted({*old.labels, *labels})),
        )
        if row is None or new != old:
            self._now.changes[key] = Row(kind=key[0], id=key[1], status="", owner=self._root, at_ms=0, body=new)

    def spill(self, labels: tuple[str, ...]) -> None:
        """Something was not kept: any value may have been in it, so every value carries its labels from now on."""
        self._spilled.update(labels)

    def done(self) -> Changes:
        """Every changed row."""
        tally = Tally(count=self._count, spilled=tuple(sorted(self._spilled)))
        if tally != self._before:
            key = tally_row(self._root)
            self._now.changes[key] = Row(kind=key[0], id=key[1], status="", owner=self._root, at_ms=0, body=tally)
        return self._now.changes
