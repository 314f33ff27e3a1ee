"""Who a server is, proved: the one TLS context of a process. Refuses to know addresses; the name is given at each handshake."""

import ssl

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason


def tls_context() -> ssl.SSLContext:
    """The system's authorities, names verified, TLS 1.2 at least. Made once: reading the authorities takes milliseconds.

    Not `create_default_context`: that one writes session keys to a file that the environment names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_context(context: ssl.SSLContext) -> None:
    """Refuse a context that would talk to anybody.

    Raises:
        OperatorError: CONFIG_REFUSED: it does not verify certificates, or not their names.
    """
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise OperatorError(Reason.CONFIG_REFUSED, "the tls context does not verify who the server is")
