"""What people are shown of an effect, and what their yes rests on: files, links, rows, lists."""

from pathlib import Path
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import Observed, Word
from adversarial.run import Run, precondition, verb
from lictor.model.ids import HoldId
from lictor.model.preview import Preview
from lictor.model.reasons import Reason
from lictor.service.calls.requests import held_preview

LINK = "/srv/ws/link"
DENIED = "/srv/ws/.agent/"
"""Below it nothing may be written or deleted, by the fixture's policy."""


def put(run: Run, path: str, text: str) -> None:
    """A file of the servers' file system."""
    place = Path(f"{run.world.host}{path}")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, "utf-8")


def preview_of(run: Run, name: str) -> Preview:
    """The preview that is sealed with a hold, by the name a case gives it."""
    hold = run.world.store.hold(HoldId(run.world.approvals[name].hold))
    found = held_preview(run.world.store, hold)
    if found is None:
        raise AssertionError("the hold has no preview")
    return found


def listed(preview: Preview) -> set[str]:
    """The names a list preview has."""
    return {row[0] for part in preview.parts for row in part.rows[1:]}


@precondition(r"file approved by path, content replaced before the run")
async def script(run: Run, _: Any) -> None:
    put(run, "/srv/ws/job.py", "print('what was looked at')\n")


@precondition(r"working directory is a symlink re-pointed after approval")
async def linked(run: Run, _: Any) -> None:
    put(run, "/srv/ws/real/x", "x")
    run.world.links[LINK] = "/srv/ws/real"


@precondition(r"glob that expands to a denied file")
async def many(run: Run, _: Any) -> None:
    for name in ("a", "b", "c", "d", ".agent/policy"):
        put(run, f"/srv/ws/{name}", "x")


@precondition(r"side effects: db\.query UPDATE without WHERE")
async def update(_run: Run, _: Any) -> None:
    """It is in the input."""


@verb("host.write", "path")
async def write(run: Run, step: dict[str, Any]) -> Observed:
    """Somebody on the servers' host replaces a file's content."""
    put(run, step["path"], "print('something else')\n")
    return Observed(word=None)


@verb("host.symlink", "to")
async def point(run: Run, step: dict[str, Any]) -> Observed:
    """Somebody on the servers' host points the link elsewhere."""
    require(LINK in run.world.links, "there is no link")
    run.world.links[LINK] = step["to"]
    return Observed(word=None)


@phrase(r"canonical cwd without symlink components required")
async def canonical(run: Run, seen: Observed, match: Any) -> None:
    """People were shown where the link led, and their yes rests on that place; nothing ran anywhere else."""
    shown = preview_of(run, "a1")
    held = {one.target: one.value for one in shown.preconditions if one.kind == "link"}
    require(held.get(LINK) == "/srv/ws/real", f"the approval rests on {held}")
    said = [part for part in shown.parts if part.warning and f"{LINK} leads to /srv/ws/real" in part.text]
    require(said, "nobody was told where the link leads")
    require(not run.effects(), "something ran")


@phrase(r'effect preview states "all rows \(N=…\)" from a dry run or "unknown number of rows"')
async def rows(run: Run, seen: Observed, match: Any) -> None:
    """On every surface, before everything else."""
    require(preview_of(run, "shown").parts[0].warning, "it does not stand first")
    for surface, screen in seen.facts["screens"].items():
        require("all rows" in screen, f"{surface} does not say that it is about all rows")
        require("unknown number of rows" in screen or "all rows (N =" in screen, f"{surface} does not say how many")


@phrase(r"decision on the expanded list")
async def expanded(run: Run, seen: Observed, match: Any) -> None:
    """What people decide on is the list, and their yes is good for that list alone: a further name voids it."""
    world = run.world
    require(not run.effects(), "something happened before anybody decided")
    held = await world.hold("list", tool="fs.delete", arguments={"glob": "/srv/ws/*"})
    require(listed(preview_of(run, "list")) >= {"/srv/ws/a", DENIED}, "the list is not whole")
    await world.approve(held)
    put(run, "/srv/ws/zz", "another")
    again = await world.redeem(held)
    require(again.word is Word.DENY and again.reason == Reason.PRECONDITION_CHANGED, again.summary())
    require(not run.effects(), "another list ran")


@phrase(r"with the list")
async def with_the_list(run: Run, seen: Observed, match: Any) -> None:
    """Every name, the denied one too; and that there are more than the limit stands before it."""
    hold = next(one for one in run.world.store.holds() if one.name == "delete")
    found = held_preview(run.world.store, hold)
    if found is None:
        raise AssertionError("the hold has no preview")
    require(listed(found) >= {"/srv/ws/a", "/srv/ws/d", DENIED}, "the list is not in the hold")
    require("more than 3" in found.parts[0].text, "that it is over the limit does not stand first")
