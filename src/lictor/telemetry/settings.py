"""`[metrics]` and `[telemetry]` of `lictor.toml`: who may look on, and where traces go. Both are off unless named."""

import ipaddress
from typing import Final, Literal, NoReturn
from urllib.parse import urlsplit

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

ENVIRONMENT: Final = "environment"
"""Instead of a URL: the endpoint stands in `OTEL_EXPORTER_OTLP_ENDPOINT`, as other programs have it."""


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures for Prometheus. They stand on a listener of their own: nobody who reaches the gateway reaches them by that."""

    listen: str = ""
    """`address:port` of `GET /metrics`, beside `lictor serve`; empty: none."""
    token_env: str = ""
    """Environment variable with the bearer token that a reader shows; needed where `listen` is not loopback."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`.

        Raises:
            ValueError: it is none.
        """
        host, _, port = self.listen.rpartition(":")
        literal = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if not (port.isascii() and port.isdigit() and int(port) < 65_536):
            raise ValueError("no port")
        return str(literal), int(port)

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine reaches it."""
        return ipaddress.ip_address(self.address[0]).is_loopback


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traces for OpenTelemetry."""

    otlp: str = ""
    """URL of a collector that takes OTLP over HTTP; `environment`: as `OTEL_EXPORTER_OTLP_ENDPOINT` says; empty: no traces."""
    service: str = "lictor"
    """`service.name` of what is sent."""
    sample: float = 1.0
    """Share of the calls that are traced. We choose; what a client's `traceparent` says of it is not obeyed."""
    queue: int = 2_048
    """Spans that may wait for the collector; what comes on top is thrown away."""
    propagate: Literal["client", "gateway"] = "client"
    """Which trace context a server gets: the client's, unchanged; or ours, as the parent of what the server traces."""


def check_telemetry(metrics: MetricsSettings, telemetry: TelemetrySettings, where: str) -> None:
    """Refuse what cannot be meant, and figures for everybody.

    Raises:
        OperatorError: `config_refused`.
    """
    if metrics.listen:
        try:
            loopback = metrics.loopback
        except ValueError:
            _refuse(f"{metrics.listen!r:.80} is no address:port, like 127.0.0.1:9464", f"{where} [metrics] listen")
        if not loopback and not metrics.token_env:
            _refuse("figures that others can reach need token_env", f"{where} [metrics]")
    elif metrics.token_env:
        _refuse("token_env belongs to listen", f"{where} [metrics]")
    if telemetry.otlp not in {"", ENVIRONMENT}:
        parts = urlsplit(telemetry.otlp)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            _refuse("otlp is http(s)://host[:port][/path], without a user", f"{where} [telemetry] otlp")
    if not 0 < telemetry.sample <= 1:
        _refuse("sample is more than 0 and at most 1", f"{where} [telemetry] sample")
    if not 1 <= telemetry.queue <= 1_000_000:
        _refuse("queue is 1 to 1000000 spans", f"{where} [telemetry] queue")
    if not telemetry.service or len(telemetry.service) > 120 or not telemetry.service.isprintable():
        _refuse("service is 1 to 120 printable characters", f"{where} [telemetry] service")


def _refuse(message: str, where: str) -> NoReturn:
    raise OperatorError(Reason.CONFIG_REFUSED, message, where=where, remedy="see docs/how-to/observe.md")
