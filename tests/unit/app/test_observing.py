"""What nobody asked for is not loaded; what was asked for and is not installed refuses the start."""

import subprocess
import sys
from pathlib import Path

import pytest

from lictor.app import observing
from lictor.app.observing import check_observing, places_of
from lictor.config import ServerSettings, load_settings
from lictor.model.errors import OperatorError
from lictor.model.ids import ServerName
from lictor.model.reasons import Reason

STARTED = """
import asyncio, sys
from pathlib import Path
from lictor.app import Runtime, open_house, servers_of
from lictor.app.web import http_app
from lictor.app.metrics import metrics_served
from lictor.service.calls.unwatched import UNWATCHED

async def main():
    house = await open_house(Path(sys.argv[1]))
    runtime = Runtime(house, servers_of(house.settings), prefixed=True)
    assert runtime.gateway.watch is UNWATCHED
    async with runtime.running(), metrics_served(runtime) as page:
        http_app(runtime)
        assert page == ""

asyncio.run(main())
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "prometheus_client", "requests"})
print("loaded:", *loaded)
"""


def test_off_is_off(tmp_path: Path) -> None:
    """A gateway without figures and traces loads nothing of either."""
    from lictor.cli.main import main

    bundle = tmp_path / "bundle"
    assert main(["init", str(bundle)]) == 0
    settings = bundle / "lictor.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[servers.x]\ncommand = ["true"]\n', "utf-8")
    done = subprocess.run([sys.executable, "-c", STARTED, str(bundle)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "loaded:", done.stderr


@pytest.mark.parametrize(("module", "extra"), [("prometheus_client", "metrics"), ("opentelemetry.x.y", "otel")])
def test_what_is_not_installed_is_named(module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OperatorError) as caught:
        observing._needs(module, extra)
    assert caught.value.reason is Reason.CONFIG_REFUSED
    assert f"lictor[{extra}]" in caught.value.remedy


def test_what_would_refuse_the_start_is_found_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same refusals, with nothing started: for `lictor doctor`."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    check_observing(load_settings(""), {})
    metrics = load_settings('[metrics]\nlisten = "10.0.0.1:1"\ntoken_env = "T"')
    check_observing(metrics, {"T": "sesame"})
    for settings in (metrics, load_settings('[telemetry]\notlp = "environment"')):
        with pytest.raises(OperatorError):
            check_observing(settings, {})
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(OperatorError):
        check_observing(metrics, {"T": "sesame"})


def test_places_hold_no_secret() -> None:
    """Of a server's URL only host and port are told."""
    secret = "https://me:pass@mcp.example:8443/hooks/T0/secret?key=secret"
    servers = {
        ServerName("a"): ServerSettings(url=secret),
        ServerName("b"): ServerSettings(url="http://[::1]/x"),
        ServerName("c"): ServerSettings(command=("true",)),
    }
    found = places_of(servers)
    assert [(one.transport, one.address, one.port) for one in found.values()] == [
        ("tcp", "mcp.example", 8443),
        ("tcp", "::1", 80),
        ("pipe", "", 0),
    ]
