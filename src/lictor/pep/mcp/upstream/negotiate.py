"""Which era and version a server speaks (spec 2026-07-28, versioning, stdio and streamable HTTP "Backward Compatibility").

Probe with `server/discover`; a modern answer or a recognised modern error means a modern server, anything else a legacy one.
Refuses to know transports: it speaks through a `Line`.
"""

from typing import Any, Final, Protocol

import msgspec

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import LEGACY_VERSION, LEGACY_VERSIONS, MODERN_VERSION, MODERN_VERSIONS, Era, Offer, Reply
from lictor.pep.mcp.upstream.failures import invalid, quoted
from lictor.pep.mcp.upstream.wire import IDENTITY, SERVER_INFO

PROBE_S: Final = 5.0
"""How long a server may keep silent on the probe before it is taken for a legacy one."""
UNSUPPORTED_VERSION: Final = -32022
MODERN_ERRORS: Final = frozenset({-32020, -32021, UNSUPPORTED_VERSION})
"""Errors only a modern server gives: HeaderMismatch, MissingRequiredClientCapability, UnsupportedProtocolVersion."""


class Line(Protocol):
    """A connection on which nothing is agreed yet."""

    async def send(self, method: str, params: dict[str, Any], *, version: str | None, timeout_s: float) -> Reply:
        """Send a request as a modern one of `version`, or, with None, as a legacy one."""
        ...

    async def announce(self, method: str, *, version: str) -> None:
        """Send a notification without parameters to a legacy server of `version`."""
        ...


async def negotiate(
    line: Line, limits: Limits, *, capabilities: dict[str, Any], probe: bool = True, legacy_first: bool = False
) -> Offer:
    """Agree on an era and a version.

    Args:
        line: the connection.
        limits: `upstream_connect_timeout_s` bounds each step.
        capabilities: what to declare to a legacy server on behalf of the client.
        probe: False goes straight to the handshake, for a server that the probe kills.
        legacy_first: the handshake before the probe, so that a server of both eras speaks the older one.

    Raises:
        UpstreamError: not reachable, no common version, or an answer that is none.
    """
    if legacy_first:
        return await _legacy_first(line, limits, capabilities)
    silent = False
    if probe:
        try:
            offer = await _discover(line, limits)
        except UpstreamError as error:
            # A byte was written and the answer was silence or nonsense: that is what legacy servers do.
            if not error.effect_possible:
                raise
            silent = error.reason is Reason.UPSTREAM_TIMEOUT
            offer = None
        if offer is not None:
            return offer
    try:
        return await _initialize(line, limits, capabilities)
    except UpstreamError:
        # A modern server that was only slow to start refuses the handshake; by now it answers the probe.
        offer = await _discover(line, limits) if silent else None
        if offer is None:
            raise
        return offer


async def _legacy_first(line: Line, limits: Limits, capabilities: dict[str, Any]) -> Offer:
    """The handshake; the probe only for a server that is there and refuses it."""
    try:
        return await _initialize(line, limits, capabilities)
    except UpstreamError as refused:
        if refused.reason is not Reason.UPSTREAM_INVALID:
            raise
        offer = await _discover(line, limits)
        if offer is None:
            raise
        return offer


async def _discover(line: Line, limits: Limits) -> Offer | None:
    """The offer of a modern server; None for a legacy one."""
    timeout_s = min(PROBE_S, limits.upstream_connect_timeout_s)
    reply = await line.send("server/discover", {}, version=MODERN_VERSION, timeout_s=timeout_s)
    if reply.result is not None:
        result = _result(reply)
        if "supportedVersions" not in result:
            return None
        return _modern_offer(result) if _choose(result["supportedVersions"]) == MODERN_VERSION else None
    error_object = reply.error or {}
    if error_object.get("code") not in MODERN_ERRORS:
        return None
    data = error_object.get("data")
    supported = data.get("supported") if isinstance(data, dict) else None
    if error_object["code"] == UNSUPPORTED_VERSION and _choose(supported) != MODERN_VERSION:
        return None
    # It names our version as supported and refuses it, or finds fault with a request that has none.
    raise invalid(f"the server refuses the protocol: {quoted(error_object)}", effect_possible=False)


def _choose(supported: Any) -> str:
    """The newest version both sides speak.

    Raises:
        UpstreamError: UPSTREAM_INVALID: there is none.
    """
    if isinstance(supported, list):
        for version in (*MODERN_VERSIONS, *LEGACY_VERSIONS):
            if version in supported:
                return version
    raise invalid(f"no protocol version in common; the server speaks {quoted(supported)}", effect_possible=False)


def _modern_offer(result: dict[str, Any]) -> Offer:
    meta = result.get("_meta")
    info = result.get("serverInfo") or (meta.get(SERVER_INFO) if isinstance(meta, dict) else None)
    return _offer(Era.MODERN, MODERN_VERSION, result, info)


async def _initialize(line: Line, limits: Limits, capabilities: dict[str, Any]) -> Offer:
    params = {"protocolVersion": LEGACY_VERSION, "capabilities": capabilities, "clientInfo": IDENTITY}
    reply = await line.send("initialize", params, version=None, timeout_s=limits.upstream_connect_timeout_s)
    if reply.result is None:
        raise invalid(f"the server refuses to initialize: {quoted(reply.error)}", effect_possible=False)
    result = _result(reply)
    version = result.get("protocolVersion")
    if version not in LEGACY_VERSIONS:
        raise invalid(f"no protocol version in common; the server speaks {quoted(version)}", effect_possible=False)
    offer = _offer(Era.LEGACY, version, result, result.get("serverInfo"))
    await line.announce("notifications/initialized", version=offer.version)
    return offer


def _offer(era: Era, version: str, result: dict[str, Any], server_info: Any) -> Offer:
    capabilities = result.get("capabilities", {})
    instructions = result.get("instructions") or ""
    info = {} if server_info is None else server_info
    if not isinstance(capabilities, dict) or not isinstance(info, dict) or not isinstance(instructions, str):
        raise invalid("the server's description of itself is malformed", effect_possible=False)
    return Offer(era=era, version=version, capabilities=capabilities, server_info=info, instructions=instructions)


def _result(reply: Reply) -> dict[str, Any]:
    """A result as an object; the strict reader has judged it already."""
    value: dict[str, Any] = msgspec.json.decode(reply.result or b"{}")
    return value
