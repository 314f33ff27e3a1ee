"""How a hold reaches a person through the client: the protocol's own ways first, a sentence with a link for everybody else.

Only URL mode is used: a client on the model's side could forge form answers, so "accept" means no more than "the person was
shown the link"; the answer itself is given on the gateway's page or command line, by an authenticated approver.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.approval import Hold, HoldStatus
from lictor.model.errors import CallerError
from lictor.model.ids import HoldId
from lictor.pep.mcp.seam import Answer, Caller, Channel, Era
from lictor.pep.mcp.state import RequestState, StateSeal
from lictor.ports import Clock, RecordStore

INPUT_KEY: Final = "lictor_approval"
POLL_S: Final = 0.05


class Holding:
    """Brings holds before people and waits, boundedly, for their answer."""

    def __init__(
        self,
        *,
        store: RecordStore,
        clock: Clock,
        seal: StateSeal,
        approval_url: Callable[[HoldId], str],
        wait_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._seal = seal
        self.url = approval_url
        self._wait_s = wait_s

    def can_round_trip(self, caller: Caller) -> bool:
        """Whether this client takes a multi-round-trip URL elicitation."""
        return caller.era is Era.MODERN and _takes_urls(caller)

    def round_trip(self, request: ActionRequest, hold: Hold, what: str) -> Answer:
        """`InputRequiredResult` with a URL elicitation and our sealed state (MCP 2026-07-28, MRTR)."""
        # Outlives the hold: an approval given at the last moment has a life of its own, and whoever comes too late is told
        # that nobody answered in time, not that the state is none of ours (case BIND-16).
        expires = 2 * hold.expires_at_ms - hold.opened_at_ms
        state = RequestState(task=request.task, digest=request.digest, expires_at_ms=expires, hold=hold.id)
        result = {
            "resultType": "input_required",
            "inputRequests": {
                INPUT_KEY: {
                    "method": "elicitation/create",
                    "params": {"mode": "url", "message": _message(what), "url": self.url(hold.id)},
                }
            },
            "requestState": self._seal.seal(state, os.urandom(12)),
        }
        return Answer(result=msgspec.json.encode(result))

    def reopen(self, caller: Caller, request: ActionRequest, state: object) -> RequestState:
        """Open the state of a retry (see `StateSeal.open` for what it raises)."""
        return self._seal.open(state, task=caller.task.task.id, digest=request.digest, now_ms=self._clock.now_ms())

    def seal_upstream(
        self, request: ActionRequest, upstream_state: str | None, asked: tuple[str, ...], ttl_s: float
    ) -> str:
        """Wrap a server's own request state, so that only this task can bring it back, for this action."""
        expires = self._clock.now_ms() + int(ttl_s * 1_000)
        state = RequestState(
            task=request.task, digest=request.digest, expires_at_ms=expires, upstream=upstream_state, asked=asked
        )
        return self._seal.seal(state, os.urandom(12))

    def can_elicit(self, caller: Caller, channel: Channel) -> bool:
        """Whether a legacy client can be shown a link while its call waits."""
        return caller.era is Era.LEGACY and _takes_urls(caller) and channel.can_ask

    async def elicit(self, channel: Channel, hold: Hold, what: str) -> bool:
        """Show the link to a legacy client, then wait for the answer. True when there is one."""
        params = {"mode": "url", "message": _message(what), "url": self.url(hold.id), "elicitationId": hold.id}
        try:
            reply = await channel.ask("elicitation/create", params, timeout_s=self._remaining_s(hold))
        except CallerError:
            return False
        if reply.result is None or msgspec.json.decode(reply.result).get("action") != "accept":
            return False
        return await self.answered(hold)

    async def answered(self, hold: Hold) -> bool:
        """Wait up to the configured time; True when the hold is no longer pending."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(self._wait_s, self._remaining_s(hold))
        while True:
            current = self._store.hold(hold.id)
            if current is None or current.status is not HoldStatus.PENDING:
                return True
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(POLL_S)

    def _remaining_s(self, hold: Hold) -> float:
        return max(0.0, (hold.expires_at_ms - self._clock.now_ms()) / 1_000)


def declined(params: dict[str, Any]) -> bool:
    """Whether the person closed the link's prompt instead of following it."""
    responses = params.get("inputResponses")
    answer = responses.get(INPUT_KEY) if isinstance(responses, dict) else None
    return isinstance(answer, dict) and answer.get("action") in {"decline", "cancel"}


def _takes_urls(caller: Caller) -> bool:
    elicitation = caller.capabilities.get("elicitation")
    return isinstance(elicitation, dict) and isinstance(elicitation.get("url"), dict)


def _message(what: str) -> str:
    return f"An agent wants to run {what}. Look at exactly what it would do, then approve or deny it there."
