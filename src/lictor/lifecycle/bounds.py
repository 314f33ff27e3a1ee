"""What binds a task beside its own budget: the chain it was delegated through, and its contract.

A child's budget is carved from its parent's the moment it opens, so no number of children spends more than the parent had
(RFC 8693 `act`; DELG-02, HIST-02). A chain is exactly its parent's chain with the parent in front: nothing can be spliced or
left out (DELG-03, DELG-05).
"""

import msgspec

from lictor.lifecycle.reading import Changes, Read, task_changes, task_state
from lictor.model.contract import Contract, ContractSource
from lictor.model.errors import ConflictError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import ContractSet, ExecutionStarted, TaskClosed, TaskOpened
from lictor.model.task import MAX_DEPTH, Task, TaskState, TaskStatus


def opened(read: Read, record: TaskOpened) -> Changes:
    """A contract from the start, and a child's budget carved from its parent's.

    Raises:
        ConflictError: `delegation`: the child is not less than its parent, or the chain is not the parent's own.
    """
    task = record.task
    changes: Changes = {}
    if record.contract is not None:
        changes |= task_changes(_bind(task_state(read, task.id), record.contract))
    if not task.parents:
        return changes
    parent = task_state(read, task.parents[0])
    _check_child(read, parent, task)
    used = {**parent.value_used}
    for currency, amount in task.budget.value.items():
        used[currency] = used.get(currency, 0) + amount
    carved = msgspec.structs.replace(parent, calls_used=parent.calls_used + task.budget.calls, value_used=used)
    return changes | task_changes(carved)


def closed(read: Read, record: TaskClosed) -> Changes:
    """What a child did not use goes back to its parent, if that still lives."""
    child = task_state(read, record.task)
    if not child.task.parents:
        return {}
    parent = task_state(read, child.task.parents[0])
    if parent.status is not TaskStatus.OPEN:
        return {}
    budget = child.task.budget
    value = {**parent.value_used}
    for currency, amount in budget.value.items():
        value[currency] = value.get(currency, 0) - max(0, amount - child.value_used.get(currency, 0))
    calls = parent.calls_used - max(0, budget.calls - child.calls_used)
    return task_changes(msgspec.structs.replace(parent, calls_used=calls, value_used=value))


def bound(read: Read, record: ContractSet) -> Changes:
    """A contract is set once; after that a person may confirm exactly the same one, and nothing else changes it.

    Raises:
        ConflictError: `conflict`; `task_closed`.
    """
    state = task_state(read, record.task)
    if state.status is not TaskStatus.OPEN:
        raise ConflictError(Reason.TASK_CLOSED, f"task {record.task!r} is closed")
    if state.contract is None:
        return task_changes(_bind(state, record.contract))
    unconfirmed = msgspec.structs.replace(record.contract, confirmed_by=None)
    if state.contract != unconfirmed or record.contract.confirmed_by is None:
        raise ConflictError(Reason.CONFLICT, f"task {record.task!r} is bound already")
    return task_changes(msgspec.structs.replace(state, contract=record.contract))


def used(read: Read, record: ExecutionStarted, at_ms: int) -> Changes:
    """Every task of the chain is open still, and each clause it runs under has a call left.

    Raises:
        ConflictError: `task_closed`, `task_expired`, `contract_used`, `outside_contract`.
    """
    state = task_state(read, record.task)
    chain = (state, *(task_state(read, parent) for parent in state.task.parents))
    clauses = record.clauses or (-1,) * len(chain)
    if len(clauses) != len(chain):
        raise ConflictError(Reason.OUTSIDE_CONTRACT, "one clause for each task of the chain")
    changes: Changes = {}
    for link, clause in zip(chain, clauses, strict=True):
        if link.status is not TaskStatus.OPEN:
            raise ConflictError(Reason.TASK_CLOSED, f"task {link.task.id!r} is closed")
        if at_ms >= link.task.expires_at_ms:
            raise ConflictError(Reason.TASK_EXPIRED, f"task {link.task.id!r} has expired")
        if not record.lease and (link.contract is not None or clause >= 0):
            changes |= task_changes(_spend(link, clause))
    return changes


def take_labels(read: Read, task: TaskId, labels: tuple[str, ...]) -> Changes:
    """Labels go to the task and to the root of its tree, where every task of the tree reads them: they flow both ways."""
    changes: Changes = {}
    state = task_state(read, task)
    for target in {task, state.task.root}:
        found = state if target == task else task_state(read, target)
        if not set(labels).issubset(found.labels):
            changes |= task_changes(msgspec.structs.replace(found, labels=tuple(sorted({*found.labels, *labels}))))
    return changes


def _check_child(read: Read, parent: TaskState, task: Task) -> None:
    above = parent.task
    chain = (above, *(task_state(read, link).task for link in above.parents))
    problem = ""
    if task.parents != (above.id, *above.parents):
        problem = "the chain is not its parent's own"
    elif len(task.parents) > MAX_DEPTH:
        problem = f"a chain has at most {MAX_DEPTH} links"
    elif any(task.agent == link.agent for link in chain):
        problem = "an agent is in its own chain"
    elif task.human != above.human:
        problem = "it is for another human"
    elif task.expires_at_ms > above.expires_at_ms:
        problem = "it would outlive its parent"
    elif any(task_state(read, link.id).status is not TaskStatus.OPEN for link in chain):
        problem = "a task of its chain is closed"
    elif any(task.opened_at_ms >= link.expires_at_ms for link in chain):
        problem = "a task of its chain has expired"
    elif parent.calls_used + task.budget.calls > above.budget.calls:
        problem = "its calls are more than its parent has left"
    elif any(
        amount < 0 or parent.value_used.get(currency, 0) + amount > above.budget.value.get(currency, 0)
        for currency, amount in task.budget.value.items()
    ):
        problem = "its value is more than its parent has left"
    if problem:
        raise ConflictError(Reason.DELEGATION, f"task {task.id!r} is refused: {problem}")


def _bind(state: TaskState, contract: Contract) -> TaskState:
    if contract.source is ContractSource.DRAFTED and (state.calls_used or state.labels):
        # A draft made after the agent has read something may be what it read (DESIGN section 6).
        raise ConflictError(Reason.CONFLICT, "a drafted contract comes before the first call")
    return msgspec.structs.replace(state, contract=contract, contract_used=(0,) * len(contract.clauses))


def _spend(link: TaskState, clause: int) -> TaskState:
    contract = link.contract
    if contract is None or not 0 <= clause < len(contract.clauses):
        raise ConflictError(Reason.OUTSIDE_CONTRACT, f"task {link.task.id!r} has no clause {clause}")
    spent = link.contract_used[clause] + 1
    if 0 < contract.clauses[clause].calls < spent:
        raise ConflictError(Reason.CONTRACT_USED, f"clause {clause} of task {link.task.id!r} is used up")
    counts = (*link.contract_used[:clause], spent, *link.contract_used[clause + 1 :])
    return msgspec.structs.replace(link, contract_used=counts)
