"""What all tests share: how Hypothesis runs. One fault a run, so that a control can name the error it expects.

What they start keeps its bytecode, whatever the environment says. Tests that share something that is made once for their file
run in one worker (`--dist loadgroup`), so that it is not made by each. What takes long begins first (`--no-loadscope-reorder`),
so that at the end no worker waits for another.
"""

import gc
import os

import pytest
from hypothesis import HealthCheck, Phase, settings

# Tests start some thousand processes: without its bytecode each of them would compile the whole package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile(
    "lictor",
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.explain],  # it traces each line of what a control breaks
)
settings.register_profile("ci", settings.get_profile("lictor"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "lictor")


LONG = (
    "tests/browser/",
    "tests/crash/",
    "tests/integration/test_real_servers.py",
    "tests/integration/test_credentials.py",
    "tests/power/",
    "tests/yardsticks/",
    "tests/integration/",
    "tests/property/",
    "tests/adversarial/",
    "tests/examples/",
)
"""What begins first, in this order. One worker has the browser and mostly waits for it, the others compute meanwhile."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("xdist_group") is None and _shares(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: nobody looks through it again, and through what tests make less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _shares(item: pytest.Item) -> bool:
    """Whether a fixture of its own file lives longer than the test."""
    file = item.nodeid.partition("::")[0]
    known = getattr(item, "_fixtureinfo", None)
    found = known.name2fixturedefs.values() if known is not None else ()
    return any(one.scope != "function" and one.baseid == file for some in found for one in some)
