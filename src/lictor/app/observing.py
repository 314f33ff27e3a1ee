"""Who looks on in one process: figures, traces, or nobody. What nobody asked for is not even imported.

Refuses to know sockets: the page of figures is served by `metrics`.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from lictor.app.house import House
from lictor.config import ServerSettings, Settings
from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry
from lictor.model.errors import OperatorError
from lictor.model.ids import ServerName
from lictor.model.reasons import Reason
from lictor.ports import Watch
from lictor.service.calls.unwatched import UNWATCHED

if TYPE_CHECKING:
    from lictor.telemetry.export import Export
    from lictor.telemetry.figures import Figures
    from lictor.telemetry.tracing import Place

CLOSE_S: Final = 3.0
"""How long the end waits for the collector."""

A = TypeVar("A")


class Observing:
    """Who looks on.

    Attributes:
        watch: what calls are shown to.
        figures: what is counted; None: nothing is.
        export: where traces go; None: nowhere.
        defects: what went wrong in who looks on, so often.
    """

    def __init__(self, house: House, servers: Mapping[ServerName, ServerSettings]) -> None:
        """As the settings say.

        Raises:
            OperatorError: `config_refused`: what they ask for is not installed, or names no collector.
        """
        self._house = house
        self.figures: Figures | None = None
        self.export: Export | None = None
        self.defects = 0
        each: list[Watch] = []
        if house.settings.metrics.listen:
            each.append(self._timing(frozenset(servers)))
        if house.settings.telemetry.otlp:
            each.append(self._tracing(servers))
            self.watch: Watch = self._several(each)
        else:
            self.watch = each[0] if each else UNWATCHED

    def catalogue(self, kind: ActionKind, server: str, name: str) -> CatalogEntry | None:
        """A thing's entry in the catalogue in force."""
        offering = self._house.policy.current().offering(kind, server, name) if self._house.policy.ready else None
        return None if offering is None else offering.entry

    def carrying(self, app: A) -> A:
        """The HTTP application, with what traces need to know of each request."""
        if self.export is None:
            return app
        from lictor.telemetry.context import carrying  # noqa: PLC0415

        carried: Any = carrying
        wrapped: A = carried(app)
        return wrapped

    async def close(self) -> None:
        """Send what waits, if that is possible in time."""
        if self.export is not None:
            await asyncio.to_thread(self.export.end().join, CLOSE_S)

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _timing(self, servers: frozenset[str]) -> Watch:
        _needs("prometheus_client", "metrics")
        from lictor.telemetry.figures import Figures  # noqa: PLC0415
        from lictor.telemetry.timing import Timing  # noqa: PLC0415

        self.figures = Figures()
        return Timing(self.figures, servers)

    def _tracing(self, servers: Mapping[ServerName, ServerSettings]) -> Watch:
        _needs("opentelemetry.exporter.otlp.proto.http", "otel")
        from lictor.telemetry.export import open_export  # noqa: PLC0415
        from lictor.telemetry.tracing import Tracing  # noqa: PLC0415

        settings = self._house.settings.telemetry
        self.export = open_export(settings, self._house.say)
        return Tracing(self.export.tracer, self.catalogue, places_of(servers), ours=settings.propagate == "gateway")

    def _several(self, each: list[Watch]) -> Watch:
        from lictor.telemetry.several import Several  # noqa: PLC0415

        return Several(each, self._defect)

    def _defect(self, error: BaseException) -> None:
        self.defects += 1
        if self.defects == 1:
            self._house.say(f"defect in what looks on, calls go on: {type(error).__name__}")


def check_observing(settings: Settings, environment: Mapping[str, str]) -> None:
    """What the start of a gateway would refuse, without starting anything.

    Raises:
        OperatorError: `config_refused`: what the settings ask for is not installed, or the environment lacks what they name.
    """
    if settings.metrics.listen:
        _needs("prometheus_client", "metrics")
        name = settings.metrics.token_env
        if name and not environment.get(name):
            raise OperatorError(Reason.CONFIG_REFUSED, f"[metrics]: the environment has no {name[:80]!r}")
    if settings.telemetry.otlp:
        _needs("opentelemetry.exporter.otlp.proto.http", "otel")
        from lictor.telemetry.export import endpoint_of  # noqa: PLC0415

        endpoint_of(settings.telemetry)


def places_of(servers: Mapping[ServerName, ServerSettings]) -> dict[str, "Place"]:
    """Where each server is, without path and user: a path may hold a secret."""
    from lictor.telemetry.tracing import Place  # noqa: PLC0415

    found: dict[str, Place] = {}
    for name, server in servers.items():
        parts = urlsplit(server.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found[name] = Place("tcp", parts.hostname or "", port) if server.url else Place("pipe")
    return found


def _needs(module: str, extra: str) -> None:
    """Refuse to start without what was asked for.

    Raises:
        OperatorError: `config_refused`.
    """
    import importlib  # noqa: PLC0415

    try:
        importlib.import_module(module)
    except ImportError:
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"lictor.toml asks for what is not installed: {module.partition('.')[0]}",
            remedy=f"pip install 'lictor[{extra}]'",
        ) from None
