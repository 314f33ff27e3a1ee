"""Names of many servers behind one endpoint: `server__tool`, so that two servers' `read_file` are never the same name.

Server names hold no `__`, so the first one splits. With a single server (`lictor run`) names pass unchanged.
"""

from collections.abc import Sequence

from lictor.model.ids import ServerName

SEPARATOR = "__"


class Naming:
    """Public names of things."""

    def __init__(self, servers: Sequence[ServerName], *, prefixed: bool) -> None:
        self._servers = frozenset(servers)
        self._only = None if prefixed else servers[0]

    def public(self, server: ServerName, name: str) -> str:
        """The name a client sees."""
        return name if self._only is not None else f"{server}{SEPARATOR}{name}"

    def split(self, public: str) -> tuple[ServerName, str] | None:
        """(server, its own name), or None when the name is nobody's. No fuzzy, no prefix match (MCPH-14)."""
        if self._only is not None:
            return self._only, public
        server, found, name = public.partition(SEPARATOR)
        if not found or server not in self._servers or not name:
            return None
        return ServerName(server), name
