"""No setting is without effect: each key of `lictor.toml` is seen to matter on real parts, and a key that nobody knows refuses the start.

A key without a probe fails, and so does a probe for a key that is gone. The probes are in `probes/`.
"""

import pytest

from lictor.config import Settings
from security.probes import PROBES, findings
from security.probes.broken import BREAKS, Break
from security.probes.keys import keys
from security.probes.stand import Place
from security.probes.table import probe
from security.probes.unknown import FILES, KEY, TABLES, refusal_of_file, refusal_of_table


def test_every_key_has_a_probe_and_every_probe_a_key() -> None:
    """The typed settings and the table of probes name the same keys."""
    assert sorted(keys(Settings)) == sorted(PROBES)


@pytest.mark.parametrize("key", sorted(PROBES))
async def test_a_key_matters(key: str) -> None:
    """Under each value its own thing is seen."""
    assert await findings(PROBES[key]) == []


@pytest.mark.parametrize("table", TABLES)
def test_an_unknown_key_refuses_the_start(table: str) -> None:
    """In every table of `lictor.toml`; the refusal names the key."""
    assert KEY in refusal_of_table(table)


@pytest.mark.parametrize(("path", "text"), FILES)
def test_an_unknown_key_refuses_the_bundle(path: str, text: str) -> None:
    """In every other file, at the top and inside; the refusal names the key."""
    assert KEY in refusal_of_file(path, text)


@pytest.mark.parametrize(("key", "broken"), BREAKS)
async def test_control_a_build_that_ignores_a_key_is_caught(key: str, broken: Break) -> None:
    """Its probe sees the same under both values."""
    with broken():
        assert await findings(PROBES[key]) != []


def test_control_a_probe_that_sees_one_thing_only_is_none() -> None:
    """A table entry cannot be satisfied by looking away."""

    async def looks_away(place: Place) -> object:
        return "always"

    with pytest.raises(ValueError, match="at least two things"):
        probe("limits.new", (1, "always"), (2, "always"))(looks_away)
