"""`[metrics]` and `[telemetry]`: what is refused, so that nothing is shown to everybody by a slip."""

import pytest

from lictor.config import load_settings
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason


@pytest.mark.parametrize(
    "text",
    [
        '[metrics]\nlisten = "0.0.0.0:9464"',
        '[metrics]\nlisten = "[::]:9464"',
        '[metrics]\nlisten = "10.1.2.3:9464"',
        '[metrics]\nlisten = "localhost:9464"',
        '[metrics]\nlisten = "127.0.0.1"',
        '[metrics]\nlisten = "127.0.0.1:65536"',
        '[metrics]\nlisten = ":9464"',
        '[metrics]\ntoken_env = "T"',
        '[telemetry]\notlp = "collector:4318"',
        '[telemetry]\notlp = "ftp://collector"',
        '[telemetry]\notlp = "https://user:secret@collector"',
        '[telemetry]\notlp = "https://collector/?key=secret"',
        "[telemetry]\nsample = 0.0",
        "[telemetry]\nsample = 1.5",
        "[telemetry]\nsample = nan",
        "[telemetry]\nqueue = 0",
        '[telemetry]\nservice = ""',
        '[telemetry]\nservice = "a\\nb"',
        '[telemetry]\npropagate = "both"',
        "[telemetry]\narguments = true",
    ],
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    """An address for everybody without a token, no address, a collector's secret in the file, a share that is none."""
    with pytest.raises(OperatorError) as caught:
        load_settings(text)
    assert caught.value.reason is Reason.CONFIG_REFUSED


@pytest.mark.parametrize(
    ("listen", "address", "loopback"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464), True),
        ("[::1]:1", ("::1", 1), True),
        ("10.0.0.1:80", ("10.0.0.1", 80), False),
    ],
)
def test_addresses(listen: str, address: tuple[str, int], loopback: bool) -> None:
    """An address is a literal, and it is known who reaches it."""
    found = load_settings(f'[metrics]\nlisten = "{listen}"\ntoken_env = "T"').metrics
    assert (found.address, found.loopback) == (address, loopback)


def test_both_are_off_by_default() -> None:
    """Nobody looks on unless asked."""
    found = load_settings("")
    assert (found.metrics.listen, found.telemetry.otlp) == ("", "")
