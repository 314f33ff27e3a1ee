"""HTTP/1.1 towards a server: one request at a time on a connection that is kept, everything the server says distrusted.

The reader (`head`, `framing`, `reader`) is sans-io: bytes in, a response out, the same however the bytes were cut. Only
`connection`, `pool` and `tls` touch the network. Refuses to know MCP, JSON and policy; keeps no cookies, follows no redirects,
reads no proxy from the environment, decompresses nothing and sends nothing twice.
"""
