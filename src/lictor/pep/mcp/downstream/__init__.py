"""What MCP clients connect to: standard streams and streamable HTTP, both protocol eras, in front of the gateway.

What a client says is untrusted: it is read strictly, bounded in size and time, and bound to one task before it reaches the
gateway. This package refuses to know policy, catalogue and servers.
"""
