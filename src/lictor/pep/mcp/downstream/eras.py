"""What both transports share of the two protocol eras: who is asking, and what the gateway says of itself.

Refuses to know framing, sessions and authentication: the task comes from the transport.
"""

from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from lictor import __version__
from lictor.model.errors import CallerError, LictorError
from lictor.model.reasons import Reason
from lictor.model.task import TaskState
from lictor.pep.mcp.downstream.door import SUPPORTED_VERSIONS, UnsupportedVersionError, defect, refusal
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.seam import LEGACY_VERSION, LEGACY_VERSIONS, MODERN_VERSIONS, Answer, Caller, Channel, Era
from lictor.protocol.headers import VERSION_KEY
from lictor.protocol.jsonrpc import Request

CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_KEY: Final = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"
SERVER_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"
SERVER_INFO: Final = {"name": "lictor", "version": __version__}
DISCOVER_TTL_MS: Final = 60_000
"""How long a client may believe a discovery: as long as a server's lists are believed."""

INITIALIZE: Final = "initialize"
CANCELLED: Final = "notifications/cancelled"
DISCOVER: Final = "server/discover"
LISTEN: Final = "subscriptions/listen"
PING: Final = "ping"


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a legacy client said in `initialize`: the negotiated version, and its unverified word about itself."""

    version: str
    capabilities: dict[str, Any]
    client_info: dict[str, Any]


def meta_of(request: Request) -> dict[str, Any]:
    """`_meta` of a request that passed `check_params`."""
    meta = request.params.get("_meta")
    return meta if isinstance(meta, dict) else {}


def is_modern(request: Request) -> bool:
    """Whether a request carries per-request metadata, complete or not: half of it must not be read as legacy."""
    meta = meta_of(request)
    return VERSION_KEY in meta or CAPABILITIES_KEY in meta


def modern_caller(request: Request, state: TaskState, connection: str) -> Caller:
    """Who sends a modern request.

    Raises:
        CallerError: UNSUPPORTED_VERSION; INVALID_MESSAGE (-32602) for metadata that is missing or mistyped (spec 2026-07-28,
            basic, "_meta").
    """
    meta = meta_of(request)
    version = meta.get(VERSION_KEY)
    if not isinstance(version, str):
        raise _bad_meta("protocolVersion", "must be a string")
    if version not in MODERN_VERSIONS:
        raise UnsupportedVersionError(version)
    capabilities = meta.get(CAPABILITIES_KEY)
    if not isinstance(capabilities, dict):
        raise _bad_meta("clientCapabilities", "must be an object")
    info = meta.get(CLIENT_INFO_KEY, {})
    if not isinstance(info, dict):
        raise _bad_meta("clientInfo", "must be an object")
    return Caller(
        task=state,
        era=Era.MODERN,
        version=version,
        capabilities=capabilities,
        client_info=info,
        connection=connection,
    )


def opening_of(request: Request) -> Opening:
    """Negotiate `initialize` (spec 2025-11-25, lifecycle): a version we do not serve gets our newest legacy one.

    Raises:
        CallerError: INVALID_MESSAGE for mistyped members. Absent ones are empty: that lets a client do less, never more.
    """
    params = request.params
    requested = params.get("protocolVersion")
    if not isinstance(requested, str):
        raise CallerError(Reason.INVALID_MESSAGE, "protocolVersion must be a string", where="/params/protocolVersion")
    capabilities, info = params.get("capabilities", {}), params.get("clientInfo", {})
    if not isinstance(capabilities, dict):
        raise CallerError(Reason.INVALID_MESSAGE, "capabilities must be an object", where="/params/capabilities")
    if not isinstance(info, dict):
        raise CallerError(Reason.INVALID_MESSAGE, "clientInfo must be an object", where="/params/clientInfo")
    version = requested if requested in LEGACY_VERSIONS else LEGACY_VERSION
    return Opening(version=version, capabilities=capabilities, client_info=info)


def legacy_caller(opening: Opening, state: TaskState, connection: str) -> Caller:
    """Who sends a request after `initialize`."""
    return Caller(
        task=state,
        era=Era.LEGACY,
        version=opening.version,
        capabilities=opening.capabilities,
        client_info=opening.client_info,
        connection=connection,
    )


async def initialize_result(gateway: Gateway, caller: Caller, channel: Channel) -> bytes:
    """The result of `initialize`.

    Raises:
        LictorError: what the servers' connections raise, a dead server excepted.
    """
    offered = await gateway.offered(caller, channel)
    result: dict[str, Any] = {
        "protocolVersion": caller.version,
        "capabilities": gateway.capabilities(caller, offered),
        "serverInfo": SERVER_INFO,
    }
    if gateway.instructions:
        result["instructions"] = gateway.instructions
    return msgspec.json.encode(result)


async def discover_result(gateway: Gateway, caller: Caller, channel: Channel) -> bytes:
    """The result of `server/discover`; private, because capabilities depend on what this caller may use.

    Raises:
        LictorError: as `initialize_result`.
    """
    offered = await gateway.offered(caller, channel)
    result: dict[str, Any] = {
        "resultType": "complete",
        "supportedVersions": list(SUPPORTED_VERSIONS),
        "capabilities": gateway.capabilities(caller, offered),
        "_meta": {SERVER_INFO_KEY: SERVER_INFO},
        "ttlMs": DISCOVER_TTL_MS,
        "cacheScope": "private",
    }
    if gateway.instructions:
        result["instructions"] = gateway.instructions
    return msgspec.json.encode(result)


async def guarded(gateway: Gateway, work: Awaitable[bytes]) -> Answer:
    """A result we make ourselves as an answer. Never raises but for cancellation, like `Gateway.handle`."""
    try:
        return Answer(result=await work)
    except LictorError as error:
        return refusal(error)
    except Exception as error:  # noqa: BLE001 - the last door before the client
        gateway.on_defect(error)
        return defect()


def _bad_meta(name: str, fault: str) -> CallerError:
    where = f"/params/_meta/io.modelcontextprotocol~1{name}"
    return CallerError(Reason.INVALID_MESSAGE, f"io.modelcontextprotocol/{name} {fault}", where=where)
