"""Connections to real MCP servers: stdio processes and streamable HTTP, both protocol eras, behind `seam.Upstream`.

What a server says is untrusted: it is read strictly, bounded in size and time, and matched to our own ids. This package
refuses to know policy, tasks and clients; it carries sealed bytes to a server and its reply back, byte for byte.

The HTTP half is imported when it is first asked for: a gateway of stdio servers starts without an HTTP client.
"""

from typing import TYPE_CHECKING, Any

from lictor.pep.mcp.upstream.stdio import StdioUpstream

if TYPE_CHECKING:
    from lictor.pep.mcp.upstream.client import open_session
    from lictor.pep.mcp.upstream.http import HttpUpstream

__all__ = ["HttpUpstream", "StdioUpstream", "open_session"]


def __getattr__(name: str) -> Any:
    """The HTTP half, on demand."""
    if name == "HttpUpstream":
        from lictor.pep.mcp.upstream.http import HttpUpstream  # noqa: PLC0415 - loads the HTTP client

        return HttpUpstream
    if name == "open_session":
        from lictor.pep.mcp.upstream.client import open_session  # noqa: PLC0415 - loads the HTTP client

        return open_session
    raise AttributeError(name)
