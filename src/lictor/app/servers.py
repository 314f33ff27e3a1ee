"""The MCP servers behind us: which are configured, and how one is started or reached. Refuses to know tasks and credentials.

Imports are late where a server on standard streams needs no HTTP client.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lictor.config import ServerSettings, Settings
from lictor.model.errors import OperatorError
from lictor.model.ids import ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.pep.mcp.seam import Ask, Notify, Reply, Upstream

Injected = tuple[Mapping[str, Secret], Mapping[str, Secret]]
"""Header fields and variables."""


class HttpPool:
    """The one HTTP client of a process: made on first use, because a stdio server needs none."""

    def __init__(self) -> None:
        self._session: Any = None

    def session(self, limits: Limits) -> Any:
        """The shared session."""
        if self._session is None:
            from lictor.pep.mcp.upstream.client import open_session  # noqa: PLC0415

            self._session = open_session(limits)
        return self._session

    async def close(self) -> None:
        """End it."""
        if self._session is not None:
            await self._session.close()


class ConnectServer(Protocol):
    """See `connect_server`: where a process or a socket begins."""

    async def __call__(
        self,
        name: str,
        server: ServerSettings,
        limits: Limits,
        pool: HttpPool,
        *,
        capabilities: dict[str, Any] | None = None,
        ask: Ask | None = None,
        notify: Notify | None = None,
        legacy_first: bool = False,
        injected: Injected = ({}, {}),
    ) -> Upstream:
        """A negotiated connection."""
        ...


def servers_of(settings: Settings, only: Sequence[str] = ()) -> dict[ServerName, ServerSettings]:
    """The configured servers, or those named.

    Raises:
        OperatorError: a name is not configured, or none is.
    """
    unknown = [name for name in only if name not in settings.servers]
    if unknown:
        raise OperatorError(Reason.UNKNOWN_SERVER, f"server {unknown[0]!r} is not in lictor.toml")
    chosen = {ServerName(n): s for n, s in settings.servers.items() if not only or n in only}
    if not chosen:
        raise OperatorError(
            Reason.UNKNOWN_SERVER, "lictor.toml names no server", remedy="add a [servers.NAME] with command or url"
        )
    return chosen


async def connect_server(
    name: str,
    server: ServerSettings,
    limits: Limits,
    pool: HttpPool,
    *,
    capabilities: dict[str, Any] | None = None,
    ask: Ask | None = None,
    notify: Notify | None = None,
    legacy_first: bool = False,
    injected: Injected = ({}, {}),
) -> Upstream:
    """Start or reach a server and negotiate.

    Args:
        injected: what was lent for this connection: revealed here, where it leaves, and nowhere else.

    Raises:
        UpstreamError: it cannot be started, reached or understood.
    """
    declared, asked, noticed = capabilities or {}, ask or _refuse_ask, notify or _ignore
    fields, variables = ({key: secret.reveal() for key, secret in part.items()} for part in injected)
    if server.url:
        from lictor.pep.mcp.upstream.http import HttpUpstream  # noqa: PLC0415

        return await HttpUpstream.start(
            name,
            server.url,
            headers={**_without(server.headers, fields), **fields},
            limits=limits,
            ask=asked,
            notify=noticed,
            session=pool.session(limits),
            capabilities=declared,
            legacy_first=legacy_first,
        )
    from lictor.pep.mcp.upstream.stdio import StdioUpstream  # noqa: PLC0415

    return await StdioUpstream.start(
        name,
        list(server.command),
        env={**environment(server), **variables},
        cwd=server.cwd or None,
        limits=limits,
        ask=asked,
        notify=noticed,
        capabilities=declared,
        legacy_first=legacy_first,
    )


def environment(server: ServerSettings) -> dict[str, str]:
    """A started server's whole environment: what is named, nothing else of ours."""
    passed = {name: os.environ[name] for name in server.pass_env if name in os.environ}
    return {**passed, **server.env}


def _without(headers: Mapping[str, str], taken: Mapping[str, str]) -> dict[str, str]:
    """Configured fields but those that a credential goes into: a field is sent once."""
    lower = {name.lower() for name in taken}
    return {name: value for name, value in headers.items() if name.lower() not in lower}


async def _refuse_ask(method: str, _: dict[str, Any]) -> Reply:
    return Reply(error={"code": -32601, "message": f"{method[:80]!r} is not available"})


async def _ignore(_method: str, _params: dict[str, Any]) -> None:
    """Nobody listens while a catalogue is drafted."""
