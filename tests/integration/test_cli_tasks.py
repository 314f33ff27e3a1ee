"""Tasks on the command line: bound, confirmed, handed on, restricted and observed, each by a process of its own."""

import getpass
import json
import os
from pathlib import Path
from typing import Any

import pytest

import warm

pytestmark = [pytest.mark.xdist_group("command line"), pytest.mark.timeout(180)]

ME = f"os:{getpass.getuser()}"
OPEN = ("task", "open", "--agent", "assistant", "--purpose", "development")
CATALOGUE = """\
[tools.send]
effect = "write"
tags = ["communicates"]
destination = { email = ["/to"] }
watch = { to = { pointer = "/to", kind = "email" } }
pin = "%s"

[tools.look]
effect = "read"
pin = "%s"

[tools.wipe]
effect = "destructive"
pin = "%s"
"""
HANDING_ON = """\
@id("desk/handing-on") @owner("tests") @reason("an agent hands on a part of its task")
permit (principal, action == Action::"task:open", resource)
when { context.input.opener.kind == "agent" && context.input.calls <= 100 };
"""
SIGNALS = '[signals.injection]\nat_least = 0.8\nlay = "step_up"\n'
MAILS = {"clauses": [{"action": "mail/send", "bind": {"to": {"values": ["Bob@Example.org"]}}, "calls": 2}]}


def definition(name: str, **properties: Any) -> dict[str, Any]:
    """A tool as its server would say it."""
    return {"name": name, "inputSchema": {"type": "object", "properties": properties, "required": sorted(properties)}}


class Desk:
    """A person's desk: a fresh starter bundle with three tools of a mail server and a second agent."""

    def __init__(self, folder: Path) -> None:
        from lictor.policy.catalogue import pin_of

        self.folder = folder
        self.run("init", "--no-approver")
        tools = [definition("send", to={"type": "string"}), definition("look"), definition("wipe")]
        bundle = folder / "lictor"
        (bundle / "catalog").mkdir(exist_ok=True)
        (bundle / "catalog" / "mail.toml").write_text(CATALOGUE % tuple(pin_of(tool) for tool in tools))
        (bundle / "catalog" / "mail.definitions.json").write_text(json.dumps({"tools": tools}))
        (bundle / "signals.toml").write_text(SIGNALS)
        (bundle / "policies" / "handing-on.cedar").write_text(HANDING_ON)
        agents = (bundle / "agents.toml").read_text("utf-8")
        agents = agents.replace("[agents.assistant]\n", '[agents.assistant]\ndelegates_to = ["helper"]\n')
        review = next(line for line in agents.splitlines() if line.startswith("review_by"))
        (bundle / "agents.toml").write_text(f'{agents}\n[agents.helper]\nowner = "{ME}"\n{review}\n')

    def run(self, *words: str, code: int = 0, **env: str) -> str:
        """A command; its standard output, or its standard error where it has to fail."""
        here = {**os.environ, "HOME": str(self.folder), "NO_COLOR": "1", "LICTOR_TASK_TOKEN": "", **env}
        done = warm.run(*words, cwd=self.folder, env=here)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in {0, 1} else done.stderr

    def json(self, *words: str, code: int = 0, **env: str) -> Any:
        """A command's result for programs."""
        return json.loads(self.run(*words, "--json", code=code, **env))

    def file(self, name: str, data: Any) -> str:
        """A file with what a contract says."""
        (self.folder / name).write_text(json.dumps(data) if not isinstance(data, str) else data)
        return name

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What the log holds of a kind."""
        return [entry["record"] for entry in self.json("log", "show", "-n", "0", "--kind", kind)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One for all tests of this file: each opens tasks of its own."""
    return Desk(tmp_path_factory.mktemp("desk"))


def test_a_task_is_bound_by_a_file(desk: Desk) -> None:
    """The clauses are said in plain words, in normal form; `show` says them with what is used; the log has them."""
    told = desk.run(*OPEN, "--contract", desk.file("mails.json", MAILS), "--declare", "recipient=bob@example.org")
    assert "mail/send, at most 2 times: to only 'bob@example.org'" in told
    assert "lictor task confirm" not in told
    task = desk.json("task", "list")[0]
    assert task["contract"]["source"] == "person"
    shown = desk.run("task", "show", task["task"])
    assert "a contract made by the person who opened the task, confirmed by nobody" in shown
    assert "- mail/send, at most 2 times: to only 'bob@example.org' (0 used)" in shown
    opened = next(r for r in desk.records("privilege") if r.get("task", {}) and r["type"] == "privilege.task_opened")
    assert opened["contract"]["clauses"][0]["bind"]["to"]["values"] == ["bob@example.org"]
    assert "bob@example.org" not in json.dumps(opened["values"])


def test_toml_says_the_same(desk: Desk) -> None:
    """A contract in TOML binds as the same in JSON does."""
    text = '[[clauses]]\naction = "mail/send"\ncalls = 2\n[clauses.bind.to]\nvalues = ["bob@example.org"]\n'
    desk.run(*OPEN, "--contract", desk.file("mails.toml", text))
    first = desk.json("task", "list")[0]["contract"]
    desk.run(*OPEN, "--contract", desk.file("mails.json", MAILS))
    assert desk.json("task", "list")[0]["contract"] == first


WRONG = (
    ({"clauses": [{"action": "mail/fly"}]}, "nothing the catalogue knows"),
    ({"clauses": [{"action": "mail/send", "bind": {"cc": {"values": ["a@b.org"]}}}]}, "watched: to"),
    ({"clauses": [{"action": "mail/send", "bind": {"to": {"values": ["Bob <b@b.org>"]}}}]}, "is no email"),
    ({"clauses": [{"action": "mail/send", "bind": {"to": {"sources": ["model"]}}}]}, "is no origin"),
    ({"clauses": [{"action": "mail/send", "more": 1}]}, "this is no contract"),
    ({"clauses": [{"action": "mail/send", "calls": -1}]}, "not negative"),
    ("{", "cannot be read"),
)


def test_what_is_no_contract_opens_no_task(desk: Desk) -> None:
    """Whatever is wrong in the file: no task is opened, exit code 5, and the message says what to mend."""
    before = len(desk.json("task", "list"))
    for data, said in WRONG:
        assert said in desk.run(*OPEN, "--contract", desk.file("wrong.json", data), code=5)
    assert len(desk.json("task", "list")) == before


def test_two_ways_to_bind_are_refused(desk: Desk) -> None:
    """A file or a draft, never both; a word that declares nothing is no declaration."""
    assert "not allowed with" in desk.run(*OPEN, "--draft", "--contract", "x.json", code=2)
    assert "NAME=VALUE" in desk.run(*OPEN, "--declare", "bob@example.org", code=5)
    assert "cannot be read" in desk.run(*OPEN, "--contract", "nowhere.json", code=5)


def test_a_draft_binds_and_is_confirmed_once(desk: Desk) -> None:
    """It names what the words name, leaves out what policy forbids, and asks for a yes, which is given once."""
    told = desk.run(*OPEN, "--draft", "--text", "please wipe the old mails and mail bob@example.org")
    assert "left out, policy permits it under no circumstances: mail/wipe" in told
    assert "mail/send, any number of times: to only 'bob@example.org' or declared with the task" in told
    task = desk.json("task", "list")[0]["task"]
    assert f"lictor task confirm {task}" in told
    assert "drafted from the task's text, confirmed by nobody" in desk.run("task", "show", task)
    assert "mail/look" in desk.run("task", "confirm", task)
    assert f"confirmed by {ME}" in desk.run("task", "show", task)
    assert "conflict" in desk.run("task", "confirm", task, code=5)


def test_only_the_persons_own_task_can_be_confirmed(desk: Desk) -> None:
    """Another person's task, a task without contract and one that does not exist: refused, and nothing is recorded."""
    desk.run(*OPEN, "--draft", "--text", "look", "--human", "os:somebody-else")
    foreign = desk.json("task", "list")[0]["task"]
    assert "not_an_approver" in desk.run("task", "confirm", foreign, code=5)
    assert desk.json("task", "list")[0]["contract"].get("confirmed_by") is None
    desk.run(*OPEN)
    assert "no contract" in desk.run("task", "confirm", desk.json("task", "list")[0]["task"], code=5)
    assert "lictor task list" in desk.run("task", "confirm", "task_no", code=5)


def test_a_task_is_handed_on_by_its_holder(desk: Desk) -> None:
    """With the parent's token a child opens, below it, with part of its budget; it ends with its parent."""
    parent = desk.json(*OPEN, "--calls", "10", "--value", "EUR=100")
    words = ("task", "delegate", parent["task"], "--agent", "helper", "--calls", "4", "--value", "EUR=60")
    child = desk.json(*words, LICTOR_TASK_TOKEN=parent["token"])
    assert child["parents"] == [parent["task"]]
    assert child["token"] != parent["token"]
    shown = desk.json("task", "show", parent["task"])
    assert (shown["calls_used"], shown["value_used"]) == (4, {"EUR": 60})
    assert f"below     {parent['task']}" in desk.run("task", "show", child["task"])
    assert "than its parent has left" in desk.run(*words, code=5, LICTOR_TASK_TOKEN=parent["token"])
    desk.run("task", "close", parent["task"])
    again = ("task", "delegate", child["task"], "--agent", "assistant")
    assert "delegation" in desk.run(*again, code=5, LICTOR_TASK_TOKEN=child["token"])


def test_policy_decides_about_a_part_too(desk: Desk) -> None:
    """A part that is larger than policy permits: no task, exit code 5, and the log has what was asked and answered."""
    parent = desk.json(*OPEN, "--calls", "500")
    before = len(desk.json("task", "list"))
    words = ("task", "delegate", parent["task"], "--agent", "helper", "--calls", "101")
    assert "not_permitted" in desk.run(*words, code=5, LICTOR_TASK_TOKEN=parent["token"])
    assert len(desk.json("task", "list")) == before
    decision = desk.records("decision")[-1]
    assert (decision["outcome"], decision["reason"]) == ("deny", "not_permitted")
    asked = next(r for r in desk.records("request") if r["request"] == decision["request"])
    assert asked["agent"] == "helper"


def test_nobody_else_hands_a_task_on(desk: Desk) -> None:
    """No token, a wrong one, another task's, or an agent that may receive nothing: exit code 5, no task."""
    parent, other = desk.json(*OPEN), desk.json(*OPEN)
    before = len(desk.json("task", "list"))
    for token, agent, said in (
        ("", "helper", "unauthenticated"),
        ("lt_wrong", "helper", "unauthenticated"),
        (other["token"], "helper", "another task's"),
        (parent["token"], "assistant", "may not delegate"),
        (parent["token"], "nobody", "delegates_to"),
    ):
        assert said in desk.run("task", "delegate", parent["task"], "--agent", agent, code=5, LICTOR_TASK_TOKEN=token)
    assert len(desk.json("task", "list")) == before


def test_a_childs_contract_is_within_its_parents(desk: Desk) -> None:
    """A clause that the parent's contract does not cover is refused by name; one that it covers is taken."""
    parent = desk.json(*OPEN, "--contract", desk.file("mails.json", MAILS))
    words = ("task", "delegate", parent["task"], "--agent", "helper", "--contract")
    more = {"clauses": [{"action": "mail/send", "bind": {"to": {"values": ["eve@evil.example"]}}, "calls": 1}]}
    token = parent["token"]
    assert "is more than the contract" in desk.run(
        *words, desk.file("more.json", more), code=5, LICTOR_TASK_TOKEN=token
    )
    less = {"clauses": [{**MAILS["clauses"][0], "calls": 1}]}
    child = desk.json(*words, desk.file("less.json", less), LICTOR_TASK_TOKEN=token)
    assert desk.json("task", "show", child["task"])["contract"]["clauses"][0]["calls"] == 1


def test_restrictions_are_laid_listed_and_lifted(desk: Desk) -> None:
    """Each step is on record with who and why; what does not fit is refused and restricts nothing."""
    assert "nothing is restricted" in desk.run("contain", "list")
    laid = desk.json("contain", "add", "agent:assistant", "step_up", "--why", "odd \x1b[2J mails")
    assert laid["by"] == ME
    assert "may only read, from now on" in desk.run("contain", "add", "action:mail/send", "read_only")
    table = desk.run("contain", "list")
    assert laid["containment"] in table
    assert "\x1b" not in table
    assert [one["scope"] for one in desk.json("contain", "list")] == ["agent", "action"]
    assert "required" in desk.run("contain", "lift", laid["containment"], code=2)
    assert "say why" in desk.run("contain", "lift", laid["containment"], "--why", " ", code=5)
    for one in desk.json("contain", "list"):
        assert "is lifted" in desk.run("contain", "lift", one["containment"], "--why", "looked at it")
    assert "conflict" in desk.run("contain", "lift", laid["containment"], "--why", "again", code=5)
    assert desk.json("contain", "list") == []
    lifted = [r for r in desk.records("privilege") if r["type"] == "privilege.containment_lifted"]
    assert [(r["by"], r["why"]) for r in lifted] == [(ME, "looked at it")] * 2


def test_a_restriction_on_nothing_is_refused(desk: Desk) -> None:
    """An unknown scope, a scope without target, everything with one."""
    for what in ("moon:x", "agent", "everything:x"):
        assert "conflict" in desk.run("contain", "add", what, "suspended", code=5)
    assert desk.json("contain", "list") == []


def test_signals_are_taken_in(desk: Desk) -> None:
    """A high score restricts and opens a finding, a low one is written down, and neither takes the other back."""
    task = desk.json(*OPEN)["task"]
    assert "below what restricts" in desk.run("signal", task, "injection", "0.2", "--source", "guard-2")
    assert "from now on: step_up" in desk.run("signal", task, "injection", "0.93", "--request", "req_1")
    assert desk.json("signal", task, "injection", "0.1")["restricts"] is None
    seen = [r for r in desk.records("signal") if r.get("signal", {}) and r["type"] == "signal.observed"]
    assert [r["signal"]["score"] for r in seen] == [200, 930, 100]
    assert [r["restriction"] for r in desk.records("signal") if r["type"] == "signal.finding_opened"] == ["step_up"]


def test_a_signal_that_cannot_be_read_is_refused_on_record(desk: Desk) -> None:
    """Not a number, out of range, of no kind: exit code 5, and the log says each time that something was refused."""
    task = desk.json(*OPEN)["task"]
    for kind, score in (("injection", "low"), ("injection", "nan"), ("injection", "1.5"), ("x", "1")):
        assert "invalid_arguments" in desk.run("signal", task, kind, score, code=5)
    refused = [r for r in desk.records("signal") if r["type"] == "signal.refused" and r["task"] == task]
    assert len(refused) == 4
    assert "unknown_task" in desk.run("signal", "task_no", "injection", "0.5", code=5)


def test_lifting_needs_an_approver_once_there_is_one(desk: Desk) -> None:
    """An agent that can start programs as the same user tightens, and never loosens; laying needs nobody."""
    secret = desk.json("approver", "enrol", ME)["secret"]
    laid = desk.json("contain", "add", "server:mail", "read_only")["containment"]
    lift = ("contain", "lift", laid, "--why", "I say so")
    assert "unauthenticated" in desk.run(*lift, code=5)
    assert "unauthenticated" in desk.run(*lift, code=5, LICTOR_APPROVER_SECRET="las_wrong")
    assert [one["containment"] for one in desk.json("contain", "list")] == [laid]
    assert desk.json(*lift, LICTOR_APPROVER_SECRET=secret)["by"] == ME


def test_the_log_verifies_afterwards(desk: Desk) -> None:
    """Everything above is in one log that is whole."""
    assert desk.json("log", "verify")["ok"]
