"""TLS at our own door: the server's context, and a way for a client's certificate from the handshake to the request.

The chain travels in the connection's ASGI state, where no header writes. `X-Forwarded-Client-Cert` and the like are read nowhere:
behind a proxy that ends TLS there are no client certificates. Refuses to know whose certificate it is.
"""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lictor.api.oauth import CHAIN_KEY
from lictor.api.settings import Tls
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

PeerChain = Callable[[ssl.SSLObject], tuple[bytes, ...]]


def server_options(tls: Tls, folder: Path) -> dict[str, Any]:
    """What uvicorn needs for `[listen.tls]`: TLS 1.2 and newer, client certificates where `client_ca` says so.

    Raises:
        OperatorError: `config_refused`: a file is missing or is not what it should be.
    """
    cert, key, roots = folder / tls.cert, folder / tls.key, folder / tls.client_ca if tls.client_ca else None
    trial = ssl.SSLContext(
        ssl.PROTOCOL_TLS_SERVER
    )  # what uvicorn will make, so that what is wrong is said now and in words
    try:
        trial.load_cert_chain(cert, key)
        if roots is not None:
            trial.load_verify_locations(roots)
    except (OSError, ssl.SSLError) as error:
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"[listen.tls]: {type(error).__name__}: {str(error)[:160]}",
            remedy="name PEM files that this process can read",
        ) from error
    asked = ssl.CERT_REQUIRED if tls.require else ssl.CERT_OPTIONAL
    return {
        "ssl_certfile": cert,
        "ssl_keyfile": key,
        "ssl_ca_certs": roots,
        "ssl_cert_reqs": ssl.CERT_NONE if roots is None else asked,
    }


def peer_protocol(peer_chain: PeerChain) -> Any:
    """A uvicorn protocol that hands the client's chain (DER, leaf first) to every request of its connection.

    Args:
        peer_chain: reads it from the connection's TLS object; empty where the client sent none.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415

    class PeerProtocol(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            secured = transport.get_extra_info("ssl_object")
            chain = peer_chain(secured) if secured is not None else ()
            self.app_state = {**self.app_state, CHAIN_KEY: chain}

    return PeerProtocol
