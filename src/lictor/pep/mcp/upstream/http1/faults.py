"""What a server did that no correct HTTP/1.1 server does. Refuses to know whose request suffers."""


class HttpFault(Exception):  # noqa: N818 - the server's fault, not an error of ours
    """The bytes of a server cannot be read as one response; its connection must be closed. The message says why."""


class TruncatedFault(HttpFault):
    """The connection ended before the response did."""
