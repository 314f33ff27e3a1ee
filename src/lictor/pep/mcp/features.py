"""Which protocol features a task may use with a server, and what capabilities follow from that on either side."""

from typing import Any, Final

from lictor.model.action import ActionKind
from lictor.model.ids import AgentId, ServerName
from lictor.pep.mcp.seam import Offer
from lictor.service.calls.offers import Offers

SERVER_TO_CLIENT: Final = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
"""Requests a server makes of the client, by feature name; any other is refused unseen."""

_LISTED: Final = ("tools", "resources", "prompts")


def client_capabilities(offers: Offers, server: ServerName, agent: AgentId, declared: dict[str, Any]) -> dict[str, Any]:
    """What to tell a server the client can do: what the client declared, cut down to what policy could permit."""
    return {
        feature: declared[feature]
        for feature in SERVER_TO_CLIENT.values()
        if feature in declared and offers.visible(ActionKind.FEATURE, server, feature, agent)
    }


def server_capabilities(
    offers: Offers, agent: AgentId, offered: dict[ServerName, Offer], *, modern: bool
) -> dict[str, Any]:
    """What to tell a client the gateway can do: the union of its servers, without what is never permitted."""
    merged: dict[str, Any] = {}
    for server, offer in offered.items():
        for name in _LISTED:
            if isinstance(offer.capabilities.get(name), dict):
                merged.setdefault(name, {}).update(_flags(offer.capabilities[name]))
        if "completions" in offer.capabilities and offers.visible(ActionKind.FEATURE, server, "completion", agent):
            merged["completions"] = {}
        if (
            not modern
            and "logging" in offer.capabilities
            and offers.visible(ActionKind.FEATURE, server, "logging", agent)
        ):
            merged["logging"] = {}
    return merged


def _flags(capability: dict[str, Any]) -> dict[str, Any]:
    return {name: True for name in ("listChanged", "subscribe") if capability.get(name) is True}
