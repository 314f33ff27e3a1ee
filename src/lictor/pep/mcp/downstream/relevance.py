"""Which notices a modern client may get on the stream of its request (spec 2026-07-28): progress, and logs it asked for."""

from typing import Any, Final

from lictor.pep.mcp.downstream.eras import LOG_LEVEL_KEY, meta_of
from lictor.pep.mcp.downstream.notices import MESSAGE, PROGRESS
from lictor.protocol.jsonrpc import Request

_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def passes_to_modern(request: Request, method: str, params: dict[str, Any]) -> bool:
    """Whether a notice belongs to this request; anything else has to be subscribed to (transports, "Receiving Messages")."""
    if method == PROGRESS:
        return True
    if method != MESSAGE:
        return False
    asked, level = meta_of(request).get(LOG_LEVEL_KEY), params.get("level")
    return asked in _LEVELS and level in _LEVELS and _LEVELS.index(level) >= _LEVELS.index(asked)
