"""A collector for OTLP over HTTP: real posts, decoded with the protocol's own messages. It can also refuse, or not answer."""

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class Seen:
    """One span as it arrived."""

    service: str
    name: str
    kind: str
    trace: str
    span: str
    parent: str
    attributes: dict[str, Any]
    error: bool
    links: tuple[str, ...]
    start: int
    end: int
    text: str


class Collector:
    """Listens on loopback while the block lasts."""

    def __init__(self, *, status: int = 200, hang: bool = False) -> None:
        self.status, self.hang = status, hang
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        self.free = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                if outer.hang:
                    outer.free.wait(30)
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                if outer.status == 200 and self.path == "/v1/traces":
                    outer.bodies.append(body)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(outer.status if self.path == "/v1/traces" else 404)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def spans(self) -> list[Seen]:
        """Everything so far."""
        return [one for body in tuple(self.bodies) for one in _spans(body)]

    def until(self, enough: Callable[[list[Seen]], bool], within_s: float = 20.0) -> list[Seen]:
        """Wait for spans."""
        ends = time.monotonic() + within_s
        while not enough(found := self.spans()) and time.monotonic() < ends:
            time.sleep(0.02)
        return found

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self._server.shutdown()
        self._server.server_close()


def _spans(body: bytes) -> list[Seen]:
    message = ExportTraceServiceRequest.FromString(body)
    return [
        _span(
            next((one.value.string_value for one in group.resource.attributes if one.key == "service.name"), ""), span
        )
        for group in message.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _span(service: str, span: Any) -> Seen:
    return Seen(
        service=service,
        name=span.name,
        kind=KINDS[span.kind],
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes={one.key: _value(one.value) for one in span.attributes},
        error=span.status.code == 2,
        links=tuple(link.span_id.hex() for link in span.links),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        text=str(span),
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(one) for one in value.array_value.values)
    return getattr(value, kind) if kind else None
