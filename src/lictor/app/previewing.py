"""What the gateway looks with when it finds out what would become of an action: its own connections, its own secrets.

A server's preview tool is called only while its live definition is the pinned one and nothing stops the server. Refuses to know
how each kind looks.
"""

from collections.abc import Callable
from typing import Any

from lictor.app.house import House
from lictor.app.lines import OWN_TASK
from lictor.model.action import ActionKind, SealedArguments
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.ids import ServerName
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.pep.mcp.connections import Connections
from lictor.pep.mcp.seam import Reply
from lictor.ports import Files, Safe
from lictor.previews.previewer import Parts, Previews
from lictor.service.calls.offers import Offers
from lictor.service.credentials.managed import Managed


class Looking:
    """Asks servers on the gateway's own behalf. `connections` is set once they are there."""

    def __init__(self, house: House, offers: Callable[[], Offers]) -> None:
        self._house = house
        self._offers = offers
        self.connections: Connections | None = None

    async def call(self, server: ServerName, tool: str, arguments: dict[str, Any], timeout_s: float) -> bytes:
        """One `tools/call`; the bytes of its result.

        Raises:
            UpstreamError: the server may not or cannot be asked, or answered with an error.
        """
        self._check(server, tool)
        if self.connections is None:
            raise UpstreamError(Reason.UPSTREAM_DOWN, "no server is connected yet", effect_possible=False)
        upstream = await self.connections.get(server, OWN_TASK, {}, _not_asked, _not_told)
        sealed = SealedArguments.seal(arguments)
        reply = await upstream.request("tools/call", {"name": tool}, sealed_arguments=sealed.data, timeout_s=timeout_s)
        if reply.result is None:
            raise UpstreamError(Reason.UPSTREAM_INVALID, "the server answered with an error", effect_possible=True)
        return reply.result

    def _check(self, server: ServerName, tool: str) -> None:
        pin, live = (
            self._offers().pin(ActionKind.TOOL, server, tool),
            self._offers().definition(ActionKind.TOOL, server, tool),
        )
        if pin is None or live != pin:
            raise UpstreamError(
                Reason.TOOL_CHANGED, f"the definition of {tool[:80]!r} is not the pinned one", effect_possible=False
            )
        for one in self._house.store.containments():
            stops = one.scope is Scope.EVERYTHING or (one.scope is Scope.SERVER and one.target == server)
            if stops and one.restriction is Restriction.SUSPENDED:
                raise UpstreamError(Reason.CONTAINED, "the server is stopped", effect_possible=False)


def previews_of(
    house: House, files: Files, looking: Looking, safe: Callable[[], Safe], managed: Callable[[], Managed]
) -> Previews:
    """The previewer of a process."""

    async def secret(name: str) -> Secret:
        found = await safe().read(name)
        if found is None:
            raise OperatorError(Reason.CONFIG_REFUSED, f"the safe has no {name[:80]!r}")
        return found

    return Previews(
        Parts(
            clock=house.clock,
            store=house.store,
            files=files,
            directory=lambda: house.policy.current().directory,
            authorities=house.settings.previews,
            secrets=secret,
            call=looking.call,
            private=(str(house.state.resolve()),),
            scrub=lambda text: managed().scrubber.scrub_text(text)[0],
        )
    )


async def _not_asked(method: str, params: dict[str, Any]) -> Reply:
    """A preview asks nobody anything."""
    del params
    return Reply(error={"code": -32601, "message": f"{method[:80]} is not answered here"})


async def _not_told(method: str, params: dict[str, Any]) -> None:
    """And has nobody to tell."""
    del method, params
