"""Connections to real MCP servers: stdio processes and streamable HTTP, both protocol eras, behind `seam.Upstream`.

What a server says is untrusted: it is read strictly, bounded in size and time, and matched to our own ids. This package
refuses to know policy, tasks and clients; it carries sealed bytes to a server and its reply back, byte for byte.
"""

from lictor.pep.mcp.upstream.client import open_session
from lictor.pep.mcp.upstream.http import HttpUpstream
from lictor.pep.mcp.upstream.stdio import StdioUpstream

__all__ = ["HttpUpstream", "StdioUpstream", "open_session"]
