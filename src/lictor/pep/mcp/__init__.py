"""The MCP enforcement point: our own JSON-RPC proxy, stdio and streamable HTTP on both sides, both protocol eras."""
