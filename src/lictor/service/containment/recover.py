"""After a crash: every execution a dead instance left open becomes *Indeterminate*. Never run again by itself."""

from collections.abc import Callable, Iterable

from lictor.model.errors import ConflictError
from lictor.model.ids import InstanceId
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionEnded, ExecutionStarted
from lictor.ports import Batch, Clock, RecordStore


async def recover(
    store: RecordStore, clock: Clock, dead: Callable[[Iterable[InstanceId]], Iterable[InstanceId]]
) -> list[ExecutionStarted]:
    """Mark what nobody can finish.

    Args:
        dead: of the given instances, those that are provably not running.

    Returns:
        The executions that became indeterminate, oldest first.

    Raises:
        StoreError: it cannot be recorded; the caller must not serve.
    """
    started = store.open_executions()
    gone = set(dead({execution.instance for execution in started}))
    marked = []
    for execution in started:
        if execution.instance not in gone:
            continue
        ended = ExecutionEnded(
            execution=execution.execution,
            outcome="indeterminate",
            reason=Reason.OUTCOME_UNKNOWN.value,
            sent=execution.arguments,
        )
        try:
            await store.commit(Batch(at_ms=clock.now_ms(), records=(ended,)))
        except ConflictError:
            continue  # another gateway recovered it first
        marked.append(execution)
    return marked
