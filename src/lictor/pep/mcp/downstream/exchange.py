"""One authenticated HTTP request on its way through the door."""

from collections.abc import Callable
from dataclasses import dataclass

from lictor.model.task import TaskState
from lictor.pep.mcp.downstream.head import Head, Receive
from lictor.pep.mcp.downstream.stream import ResponseStream
from lictor.protocol.jsonrpc import MessageId


@dataclass(slots=True)
class Exchange:
    """What is known of it so far.

    Attributes:
        head: its header fields.
        receive: the server's, for body and disconnect.
        stream: its response.
        state: the task its token names.
        alive: that task as it is now; raises `CallerError` once it has ended.
        body: what was read of the body.
        identity: the JSON-RPC id to answer.
    """

    head: Head
    receive: Receive
    stream: ResponseStream
    state: TaskState
    alive: Callable[[], TaskState]
    body: bytes = b""
    identity: MessageId | None = None
