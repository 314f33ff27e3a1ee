"""A running gateway and a bundle that is wider: the last good one stays, and the new one comes by itself once somebody approved it."""

import asyncio
from datetime import date
from pathlib import Path

import pytest

from lictor import app as application
from lictor.model.errors import OperatorError
from lictor.model.ids import AgentId, HumanId
from lictor.model.reasons import Reason
from lictor.policy.starter import starter_files

APPROVERS = """\
operators = ["ops"]

[approvers."test:ann"]
groups = ["owner"]

[approvers."test:bob"]
groups = ["ops"]
"""
WIDER = '\n[agents.builder]\nowner = "x"\nreview_by = 2099-01-01\n'
BOB = HumanId("test:bob")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A bundle that was in force before its gateway was told to want a second person."""
    files = starter_files("test:ann", date(2098, 11, 1))
    files["approvers.toml"] = APPROVERS.encode()
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (await application.open_house(tmp_path)).close()
    settings = tmp_path / "lictor.toml"
    settings.write_text(settings.read_text() + "\n[bundle]\nsecond_person = true\n")
    return tmp_path


async def until(house: application.House, agent: str, *, within_s: float) -> bool:
    """Whether an agent comes into the registry in force in time."""
    for _ in range(int(within_s / 0.02)):
        if AgentId(agent) in house.policy.current().agents:
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize("when", ["while it runs", "before it starts"])
async def test_the_new_bundle_waits_and_then_comes(folder: Path, when: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Reported, not in force; another process approves it; in force without a restart and without a touched file."""
    agents = folder / "agents.toml"
    if when == "before it starts":
        agents.write_text(agents.read_text() + WIDER)
    house = await application.open_house(folder)
    runtime = application.Runtime(house, {}, prefixed=True)
    runtime.reload.every_s, runtime.reload.retry_s = 0.02, 0.1
    async with runtime.running():
        if when == "while it runs":
            agents.write_text(agents.read_text() + WIDER)
        assert not await until(house, "builder", within_s=1.5)
        assert "the last good" in capsys.readouterr().err
        assert AgentId("assistant") in house.policy.current().agents
        other = await application.open_house(folder)
        assert other.waits
        bundle = other.folder.load()
        with pytest.raises(OperatorError) as error:
            await other.activate(bundle)
        assert error.value.reason is Reason.BUNDLE_UNAPPROVED
        await other.second_person.approve(bundle, other.policy.current().approvers, by=BOB, authors=())
        other.close()
        assert await until(house, "builder", within_s=5)
        assert not house.waits


async def test_a_broken_bundle_is_refused_as_ever(folder: Path) -> None:
    """Only what waits is stepped back from; a fault refuses the start."""
    (folder / "policies" / "broken.cedar").write_text("permit (")
    with pytest.raises(OperatorError) as error:
        await application.open_house(folder)
    assert error.value.reason is Reason.BUNDLE_REFUSED
