"""Permission for one action, once. Comes from an `Allow` whose record is durable, from nowhere else."""

from lictor.model.action import ActionRequest, SealedArguments
from lictor.model.catalog import CatalogEntry
from lictor.model.content import Content
from lictor.model.decision import Allow
from lictor.model.errors import ConflictError
from lictor.model.ids import ExecutionId, TaskId
from lictor.model.reasons import Reason
from lictor.ports import Receipt


class Grant:
    """One claim on one action. Durable single use is the store's; this object adds that a process cannot send twice."""

    __slots__ = ("_claimed", "content", "counted", "decision", "entry", "execution", "request", "root")

    def __init__(
        self,
        request: ActionRequest,
        entry: CatalogEntry,
        decision: Allow,
        execution: ExecutionId,
        content: Content,
        root: TaskId,
        counted: bool,
    ) -> None:
        self.counted = counted
        self.request = request
        self.content = content
        self.root = root
        self.entry = entry
        self.decision = decision
        self.execution = execution
        self._claimed = False

    @classmethod
    def issue(
        cls,
        allow: Allow,
        receipt: Receipt,
        request: ActionRequest,
        entry: CatalogEntry,
        execution: ExecutionId,
        *,
        content: Content,
        root: TaskId,
        counted: bool = False,
    ) -> "Grant":
        """Issue a grant; the receipt is the proof that decision and execution start are durable.

        Args:
            content: what the bundle that decided looks for in the reply.
            root: of the task's tree, where history is kept.
            counted: whether a measure counts that it was executed.

        Raises:
            ConflictError: the decision is for another action, or the receipt is not one.
        """
        if allow.request != request.digest:
            raise ConflictError(Reason.ACTION_HASH_MISMATCH, "the decision is for another action")
        if receipt.size <= receipt.first:
            raise ConflictError(Reason.CANNOT_RECORD, "no record stands behind this grant")
        return cls(request, entry, allow, execution, content, root, counted)

    def claim(self) -> SealedArguments:
        """The bytes to send, once.

        Raises:
            ConflictError: claimed before.
        """
        if self._claimed:
            raise ConflictError(Reason.APPROVAL_USED, "the grant was claimed before")
        self._claimed = True
        return self.request.arguments
