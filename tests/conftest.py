"""What all tests share: how Hypothesis runs. One fault a run, so that a control can name the error it expects.

What they start keeps its bytecode, whatever the environment says. Tests that share something that is made once for their file
run in one worker (`--dist loadgroup`), so that it is not made by each. What takes long begins first (`--no-loadscope-reorder`),
so that at the end no worker waits for another, and what is short goes out in bundles. Files are made in memory where there is
room: what reaches a disk is the subject of the tests in `power`, which say it themselves.
"""

import gc
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# Tests start some thousand processes: without its bytecode each of them would compile the whole package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

MEMORY, ROOM = Path("/dev/shm"), 2 * 1024**3
"""Where `tmp_path` is, if so many bytes are free there: some hundred megabytes are needed."""

if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

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

BUNDLE = 20
"""So many short tests of a file are handed out together: one at a time, the dispatcher's work grows with their square."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen: Counter[str] = Counter()
    for item in items:
        if item.get_closest_marker("xdist_group") is None and (group := _group(item, seen)):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_turn)


def _group(item: pytest.Item, seen: Counter[str]) -> str | None:
    """What runs with it in one worker; None: nothing has to."""
    file = item.nodeid.partition("::")[0]
    if _shares(item):
        return file
    if _turn(item) < len(LONG):
        return None
    seen[file] += 1
    return f"{file}:{seen[file] // BUNDLE}"


@pytest.hookimpl(trylast=True, specname="pytest_collection_modifyitems")
def pytest_tell_groups(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The dispatcher reads a group from the test's id, which since pytest 9.2 is elsewhere (pytest-xdist's issue 1386)."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        groups = "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")}))
        if groups and not item.nodeid.endswith(f"@{groups}"):
            item._id = type(item._id).parse(f"{item.nodeid}@{groups}")  # type: ignore[attr-defined]


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
