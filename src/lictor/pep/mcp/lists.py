"""Lists of many servers as one: every page fetched, pinned things only, names made unambiguous, private to the caller."""

from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind
from lictor.model.errors import UpstreamError
from lictor.model.ids import AgentId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import LEGACY_VERSION, Era, Offer, Upstream
from lictor.service.calls.offers import Offers

LISTS: Final = {
    "tools/list": ("tools", ActionKind.TOOL),
    "prompts/list": ("prompts", ActionKind.PROMPT),
    "resources/list": ("resources", ActionKind.RESOURCE),
    "resources/templates/list": ("resourceTemplates", ActionKind.RESOURCE),
}
"""List methods: member of the result, kind of thing."""

_CAPABILITY: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resources",
}


async def fetch_all(upstream: Upstream, method: str, limits: Limits) -> list[dict[str, Any]]:
    """Every item of a server's list.

    Raises:
        UpstreamError: the server fails, does not answer with a list, or never ends (`upstream_too_large`).
    """
    if _CAPABILITY[method] not in upstream.offer.capabilities:
        return []
    member = LISTS[method][0]
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(limits.list_pages):
        params = {"cursor": cursor} if cursor is not None else {}
        reply = await upstream.request(method, params, timeout_s=limits.upstream_timeout_s)
        if reply.result is None:
            return _none_or_raise(reply.error)
        page = msgspec.json.decode(reply.result)
        found = page.get(member)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise UpstreamError(Reason.UPSTREAM_INVALID, f"{method} gave no list", effect_possible=False)
        items.extend(found)
        cursor = page.get("nextCursor")
        if len(items) > limits.list_items:
            break
        if cursor is None:
            return items
        if not isinstance(cursor, str):
            break
    raise UpstreamError(Reason.UPSTREAM_TOO_LARGE, f"{method} does not end", effect_possible=False)


def _none_or_raise(error: dict[str, Any] | None) -> list[dict[str, Any]]:
    if error is not None and error.get("code") == -32601:
        return []
    raise UpstreamError(Reason.UPSTREAM_INVALID, "the server refused to list what it offers", effect_possible=False)


def shown(
    items: list[dict[str, Any]], method: str, server: ServerName, agent: AgentId, offers: Offers, naming: Naming
) -> list[dict[str, Any]]:
    """The items this caller could possibly use, under their public names; every other member unchanged."""
    kind = LISTS[method][1]
    if method == "resources/list":
        return [item for item in items if offers.visible(kind, server, str(item.get("uri", "")), agent)]
    if method == "resources/templates/list":
        return [item for item in items if offers.visible(kind, server, _fixed(item), agent)]
    return [
        {**item, "name": naming.public(server, item["name"])}
        for item in items
        if isinstance(item.get("name"), str) and offers.visible(kind, server, item["name"], agent)
    ]


def pinned_offer(offers: Offers, server: ServerName) -> Offer:
    """What is known of a server that is connected for calls alone: that it has what people looked at."""
    kinds = (("tools", ActionKind.TOOL), ("prompts", ActionKind.PROMPT))
    has: dict[str, Any] = {name: {} for name, kind in kinds if offers.pins(kind, server)}
    return Offer(era=Era.LEGACY, version=LEGACY_VERSION, capabilities=has, server_info={})


def _fixed(template: dict[str, Any]) -> str:
    """The part of a URI template before its first variable: what a catalogue prefix can be held against."""
    return str(template.get("uriTemplate", "")).partition("{")[0]


def result_of(method: str, items: list[dict[str, Any]], era: Era) -> bytes:
    """The merged list as one page. Filtered for its caller, so never public (MCP 2026-07-28, utilities/caching)."""
    result: dict[str, Any] = {LISTS[method][0]: items}
    if era is Era.MODERN:
        result.update(resultType="complete", ttlMs=0, cacheScope="private")
    return msgspec.json.encode(result)
