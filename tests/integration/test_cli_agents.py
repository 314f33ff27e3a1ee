"""The registry on the command line: every change shown, checked whole, recorded; and nobody widens what is permitted alone."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from integration.test_cli_tasks import ME, OPEN, Desk
from lictor.cli import agents
from lictor.cli.main import main
from lictor.stores.clock import SystemClock

pytestmark = [pytest.mark.xdist_group("command line"), pytest.mark.timeout(180)]

TODAY = datetime.fromtimestamp(SystemClock().now_ms() / 1_000, UTC).date()
SECRET = "LICTOR_APPROVER_SECRET"


class Near(Desk):
    """The same desk, its commands run in this process: the real ones, without a start for each."""

    def run(self, *words: str, code: int = 0, **env: str) -> str:
        """A command; its standard output, or its standard error where it has to fail."""
        out, err = io.StringIO(), io.StringIO()
        here = {"HOME": str(self.folder), "NO_COLOR": "1", "LICTOR_BUNDLE": str(self.folder / "lictor"), **env}
        words = (*words, str(self.folder / "lictor")) if words[0] == "init" else words
        with patch.dict(os.environ, here), redirect_stdout(out), redirect_stderr(err):
            returned = main(words)
        assert returned == code, (words, returned, out.getvalue(), err.getvalue())
        return (err.getvalue() or out.getvalue()) if code else out.getvalue()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A fresh one, on the day these tests began: they change its registry, and may go on past midnight."""
    monkeypatch.setattr(agents, "_today", lambda: TODAY)
    return Near(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One for all that change nothing."""
    return Near(tmp_path_factory.mktemp("kept"))


def agents_file(desk: Desk) -> Path:
    """The registry."""
    return desk.folder / "lictor" / "agents.toml"


def privileges(desk: Desk) -> list[dict[str, Any]]:
    """What the log says of privilege, oldest first."""
    shown = json.loads(desk.run("log", "show", "-n", "0", "--kind", "privilege", "--json"))
    return [one.get("record", one) for one in shown]


def listed(desk: Desk, code: int = 0) -> dict[str, str]:
    """State by agent."""
    return {one["agent"]: one["state"] for one in json.loads(desk.run("agents", "list", "--json", code=code))}


def test_an_agent_is_shown_then_registered_reviewed_and_taken_out_of_service(desk: Desk) -> None:
    """Its whole life; the file changes by the lines that are shown, and each step is a record beside the bundle's own."""
    before = agents_file(desk).read_text("utf-8")
    words = ("agents", "add", "builder", "--owner", "team-x", "--autonomy", "2", "--group", "coders")
    shown = desk.run(*words)
    assert "+[agents.builder]" in shown
    assert "nothing was written" in shown
    assert agents_file(desk).read_text("utf-8") == before
    desk.run(*words, "--review-by", "30d", "--write")
    text = agents_file(desk).read_text("utf-8")
    assert text.startswith(before)
    assert f"review_by = {TODAY + timedelta(days=30)}" in text
    desk.run("agents", "review", "builder", "--by", str(TODAY + timedelta(days=300)), "--write")
    task = json.loads(desk.run("task", "open", "--agent", "builder", "--purpose", "development", "--json"))["task"]
    assert json.loads(desk.run("agents", "show", "builder", "--json"))["tasks"] == [task]
    gone = json.loads(desk.run("agents", "offboard", "builder", "--write", "--json"))
    assert gone["tasks"] == [task]
    assert "active = false" in agents_file(desk).read_text("utf-8")
    assert listed(desk) == {"assistant": "ok", "builder": "offboarded", "helper": "ok"}
    assert "[agent_inactive]" in desk.run("task", "open", "--agent", "builder", "--purpose", "development", code=5)
    assert "suspended" in desk.run("agents", "show", "builder")
    found = privileges(desk)
    changes = [one for one in found if one["type"] == "privilege.agent_changed"]
    assert [(one["agent"], one["what"], one["by"]) for one in changes] == [
        ("builder", what, ME) for what in ("added", "reviewed", "offboarded")
    ]
    assert "before" not in changes[0]
    assert changes[1]["before"] == changes[0]["after"] != changes[1]["after"]
    for change in changes:
        assert "privilege.bundle_activated" in [one["type"] for one in found[found.index(change) :]]
    types = [one["type"] for one in found]
    assert types.index("privilege.containment_laid") < types.index("privilege.task_closed") < found.index(changes[2])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("agents", "add", "assistant", "--owner", "x"), 5, "already"),
        (("agents", "add", "new one", "--owner", "x"), 5, "a name is"),
        (("agents", "add", "new", "--owner", " "), 3, "no owner"),
        (("agents", "add", "new", "--owner", "x", "--autonomy", "9"), 3, "autonomy is 0 to 5"),
        (("agents", "add", "new", "--owner", "x", "--delegates-to", "nobody"), 3, "cannot delegate"),
        (("agents", "add", "new", "--owner", "x", "--review-by", "400d"), 5, "at most one year ahead"),
        (("agents", "add", "new", "--owner", "x", "--proof", "issuer=x"), 5, "neither subject nor claim"),
        (("agents", "review", "assistant", "--by", "2020-01-01"), 5, "after today"),
        (("agents", "review", "nobody"), 5, "no agent"),
        (("agents", "offboard", "nobody"), 5, "no agent"),
        (("agents", "show", "nobody"), 5, "no agent"),
        (("agents", "unused", "nobody"), 5, "no agent"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    kept: Desk, words: tuple[str, ...], code: int, says: str
) -> None:
    """The whole bundle is checked before the file is replaced."""
    before = agents_file(kept).read_bytes()
    write = ("--write",) if words[1] in {"add", "review", "offboard"} else ()
    assert says in kept.run(*words, *write, code=code)
    assert agents_file(kept).read_bytes() == before


def test_an_overdue_agent_has_no_authority_until_somebody_has_looked(desk: Desk) -> None:
    """REVO-12: said in the list, refused at the opening, and put right by a review."""
    text = agents_file(desk).read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("review_by"))
    agents_file(desk).write_text(text.replace(line, f"review_by = {TODAY - timedelta(days=1)}", 1))
    assert listed(desk, code=1)["assistant"] == "OVERDUE"
    assert "[agent_review_overdue]" in desk.run(*OPEN, code=5)
    desk.run("agents", "review", "assistant", "--write")
    assert listed(desk)["assistant"] == "ok"
    desk.run(*OPEN)


def test_giving_authority_needs_an_enrolled_person_and_taking_it_needs_nobody(desk: Desk) -> None:
    """ADR 0008: an agent that can start our command line can stop an agent, and neither register nor review one."""
    secret = json.loads(desk.run("approver", "enrol", ME, "--json"))["secret"]
    add = ("agents", "add", "builder", "--owner", "x", "--write")
    assert "secret" in desk.run(*add, code=5)
    assert "secret" in desk.run("agents", "review", "assistant", "--write", code=5)
    assert "not known" in desk.run(*add, code=5, **{SECRET: "guess"})
    desk.run(*add, **{SECRET: secret})
    desk.run("agents", "offboard", "assistant", "--write")


def test_leaving_works_beside_a_broken_bundle(desk: Desk) -> None:
    """The agent is stopped first; what is wrong with the folder is said after."""
    desk.run(*OPEN)
    (desk.folder / "lictor" / "policies" / "broken.cedar").write_text("permit (")
    assert "broken.cedar" in desk.run("agents", "offboard", "assistant", "--write", code=3)
    assert [one["target"] for one in json.loads(desk.run("contain", "list", "--json"))] == ["assistant"]


def test_what_is_never_used_is_shown_with_the_line_that_permits_it(kept: Desk) -> None:
    """Nothing was used: every permit that reaches the agent is named, with its place."""
    found = json.loads(kept.run("agents", "unused", "assistant", "--json", code=1))
    assert {action["action"] for one in found["unused"] for action in one["unused"]} >= {"mail/look"}
    assert all(one["where"].startswith("policies/baseline.cedar:") and one["change"] for one in found["unused"])
    assert found["covered_days"] <= 1
    shown = kept.run("policy", "check", "--unused", "90")
    assert "[unused]" in shown


def test_others_must_not_write_what_decides(kept: Desk) -> None:
    """ADMN-08: each file and folder of the bundle, and the settings; the message has the command."""
    bundle = kept.folder / "lictor"
    for path, mode in ((bundle / "lictor.toml", 0o666), (bundle / "agents.toml", 0o646), (bundle / "policies", 0o777)):
        usual = path.stat().st_mode & 0o777
        path.chmod(mode)
        told = kept.run("task", "open", "--agent", "assistant", "--purpose", "development", code=3)
        assert "can be written by others" in told
        assert f"chmod go-w '{path}'" in told
        path.chmod(usual)
    kept.run(*OPEN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_file_is_refused(kept: Desk) -> None:
    """ADMN-08: a file that the agent's own user has does not decide what it may do."""
    os.chown(agents_file(kept), 12345, 0)
    try:
        assert "belongs to another user (uid 12345)" in kept.run(*OPEN, code=3)
    finally:
        os.chown(agents_file(kept), 0, 0)


APPROVERS = f"""\
operators = ["ops"]

[approvers."{ME}"]
groups = ["owner", "ops"]

[approvers."os:bob"]
groups = ["owner", "ops"]

[approvers."os:carol"]
groups = ["owner"]
"""


def test_a_wider_bundle_waits_for_a_second_person(desk: Desk) -> None:
    """ADMN-06: the last good bundle stays until an operator who did not make the change has approved exactly it."""
    bundle = desk.folder / "lictor"
    (bundle / "approvers.toml").write_text(APPROVERS)
    mine = json.loads(desk.run("approver", "enrol", ME, "--json"))["secret"]
    bobs, carols = (
        json.loads(desk.run("approver", "enrol", who, "--json", **{SECRET: mine}))["secret"]
        for who in ("os:bob", "os:carol")
    )
    with (bundle / "lictor.toml").open("a") as settings:
        settings.write("\n[bundle]\nsecond_person = true\n")
    told = json.loads(desk.run("agents", "add", "builder", "--owner", "x", "--write", "--json", **{SECRET: mine}))
    assert "policy approve" in told["waiting"]
    builder = ("task", "open", "--agent", "builder", "--purpose", "development")
    assert "[unknown_agent]" in desk.run(*builder, code=5)
    desk.run(*OPEN)  # what was in force still is
    approve = ("policy", "approve", told["revision"], "--yes")
    assert "made the change" in desk.run(*approve, code=5, **{SECRET: mine})
    assert "no group of operators" in desk.run(*approve, code=5, **{SECRET: carols})
    assert "secret" in desk.run(*approve, code=5)
    assert "not what is in the folder" in desk.run("policy", "approve", "0" * 64, "--yes", code=5, **{SECRET: bobs})
    desk.run(*approve, **{SECRET: bobs})
    desk.run(*builder)
    (given,) = [one for one in privileges(desk) if one["type"] == "privilege.bundle_approved"]
    assert given["by"] == "os:bob"
    assert given["revision"] == told["revision"]
    assert given["widens"] == ["agent 'builder' is new"]
    desk.run("agents", "offboard", "builder", "--write")  # taking away needs no second person
    assert "[agent_inactive]" in desk.run(*builder, code=5)
