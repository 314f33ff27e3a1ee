"""The socket and its TLS: one uvicorn server for what `web` puts together."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn

from lictor.app.runtime import Runtime
from lictor.app.web import http_app


class Server(uvicorn.Server):
    """As it is, but a signal ends `serve()` and nothing more: what has to be closed after it is closed."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn; streams are told first, so that nobody waits for them."""
        self._runtime.ending = True
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for the end, on the loop."""
        if threading.current_thread() is threading.main_thread():
            for one in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(one, self.handle_exit, one, None)
        yield


def http_server(runtime: Runtime) -> Server:
    """A server for `http_app`; the caller awaits its `serve()`."""
    listen = runtime.house.settings.listen
    return Server(
        uvicorn.Config(
            http_app(runtime),
            host=listen.host,
            port=listen.port,
            log_level="warning",
            lifespan="off",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # who asks is known by the token; an address somebody wrote into a header is not believed
            timeout_graceful_shutdown=5,
            **tls_options(runtime),
        ),
        runtime,
    )


def tls_options(runtime: Runtime) -> dict[str, Any]:
    """What uvicorn needs for `[listen.tls]`; nothing without it."""
    tls = runtime.house.settings.listen.tls
    if not tls.cert:
        return {}
    from lictor.api.tls import peer_protocol, server_options  # noqa: PLC0415
    from lictor.identity.x509 import peer_chain  # noqa: PLC0415

    return {**server_options(tls, runtime.house.folder.path), "http": peer_protocol(peer_chain)}
