"""The Python client and `lictor task --url` against a running gateway, and against one that answers badly."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lictor.client
import warm
from integration import control
from integration.control import Gateway
from lictor.client import Client, RefusedError, Task, UnreachableError
from lictor.model.record import TaskClosed, TaskOpened

ASKED = {"agent": "helper", "human": "os:carol", "purpose": "support"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = control.make(tmp_path_factory.mktemp("client") / "bundle")
    made.start()
    yield made
    made.stop()


def test_a_task_lives_as_long_as_its_block(gateway: Gateway) -> None:
    """Open inside, closed behind it, also when the block fails; the token is no part of any text."""
    with Task.open(gateway.url, gateway.secrets["desk"], **ASKED, text="help", value={"EUR": 100}) as task:
        assert task.token.startswith("lt_")
        assert task.audience == f"{gateway.url}/mcp"
        assert task.state().state == "open"
        assert task.state().value_budget == {"EUR": 100}
        assert [step.action for step in task.story()] == ["task:open support"]
        assert task.token not in f"{task!r} {task._opened!r}"
    assert task.state().state == "closed"
    with pytest.raises(ZeroDivisionError), Task.open(gateway.url, gateway.secrets["desk"], **ASKED) as task:
        _ = 1 / 0
    assert task.state().state == "closed"
    task.close()


def test_a_refusal_says_why(gateway: Gateway) -> None:
    """Reason, sentence and remedy of the gateway."""
    there = Client(gateway.url, gateway.secrets["desk"])
    with pytest.raises(RefusedError) as refused:
        there.open(**{**ASKED, "purpose": "research"})
    assert (refused.value.status, refused.value.reason) == (403, "not_permitted")
    assert refused.value.remedy
    with pytest.raises(RefusedError, match="unauthenticated"):
        list(Client(gateway.url, "lap_wrong").tasks())
    with pytest.raises(RefusedError, match="unknown_task"):
        there.task("task_AAAA")


def test_children_contracts_and_lists(gateway: Gateway) -> None:
    """Everything there is in the API."""
    bob = Client(gateway.url, gateway.secrets["bob"])
    clauses = [{"action": "feature:stub/logging"}]
    opened = bob.open(agent="helper", human="os:bob", purpose="research", bearer=False)
    assert opened.token == ""
    assert bob.bind(opened.task, clauses).contract["source"] == "person"
    assert bob.confirm(opened.task).contract["confirmed_by"] == "os:bob"
    child = bob.delegate(opened.task, agent="clerk", calls=2, clauses=clauses)
    assert child.parents == (opened.task,)
    assert [one.task for one in bob.tasks(state="open")][:2] == [child.task, opened.task]
    with Task(bob, opened) as task, task.delegate(agent="clerk", calls=2, clauses=clauses) as other:
        assert other.state().parents == (opened.task,)
    assert bob.close(opened.task).state == "closed"


def test_a_list_longer_than_a_page(gateway: Gateway) -> None:
    """Every task comes once, newest first, with any size of page."""
    there = Client(gateway.url, gateway.secrets["other"])
    made = [there.open(**ASKED).task for _ in range(7)]
    found, after = [], ""
    while True:
        page = gateway.call("GET", f"/v1/tasks?limit=3&after={after}", who="other").body
        found += [one["task"] for one in page["tasks"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert found == made[::-1] == [one.task for one in there.tasks()]


# -- answers that get lost -------------------------------------------------------------------------------------------------


class Cutting:
    """Between client and gateway: when the answers of the first few requests come back it cuts the connection, or is silent."""

    def __init__(self, port: int, cuts: int, *, silent: bool = False) -> None:
        self._port, self._cuts, self._silent = port, cuts, silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(inside,), daemon=True).start()

    def _one(self, inside: socket.socket) -> None:
        with inside, socket.create_connection(("127.0.0.1", self._port)) as outside:
            threading.Thread(target=self._copy, args=(inside, outside), daemon=True).start()
            data = outside.recv(65_536)
            if self._cuts > 0:
                self._cuts -= 1
                if self._silent:
                    self._over.wait()
                inside.shutdown(socket.SHUT_RDWR)  # to close alone cuts nothing while the other thread reads
                return
            while data:
                inside.sendall(data)
                data = outside.recv(65_536)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        self._over.set()
        self._listener.close()


def through(gateway: Gateway, cuts: int, use: Callable[[Client], Any], *, silent: bool = False) -> Any:
    """Use a client whose first answers get lost."""
    cutting = Cutting(gateway.ports[0], cuts, silent=silent)
    there = Client(f"http://127.0.0.1:{cutting.port}", gateway.secrets["desk"], timeout_s=2 if silent else 30)
    host = there._connection

    def named() -> Any:
        connection = host()
        request = connection.request
        connection.request = lambda m, p, d, h: request(m, p, d, {**h, "Host": f"127.0.0.1:{gateway.ports[0]}"})
        return connection

    there._connection = named  # type: ignore[method-assign]
    try:
        return use(there)
    finally:
        cutting.close()


@pytest.mark.parametrize(("cuts", "silent"), [(0, False), (1, False), (2, False), (2, True)])
def test_a_lost_answer_leaves_no_task_open(gateway: Gateway, cuts: int, silent: bool) -> None:
    """The client gets a task with a token, and what was opened without anybody knowing is closed."""
    before = len(gateway.records())
    opened = through(gateway, cuts, lambda there: there.open(**ASKED), silent=silent)
    assert opened.token
    records = gateway.records()[before:]
    born = {one.task.id for one in records if isinstance(one, TaskOpened)}
    closed = {one.task for one in records if isinstance(one, TaskClosed)}
    assert born - closed == {opened.task}
    assert len(born) == (1 if cuts == 0 else 2)


def test_without_repeating_a_task_is_left_behind(gateway: Gateway) -> None:
    """Control: a client that sends a fresh key each time leaves a task open that nobody knows of."""

    def careless(there: Client) -> str:
        for number in range(3):
            try:
                return there.open(**ASKED, key=f"careless-{os.getpid()}-{number}").task
            except UnreachableError:
                continue
        return ""

    def impatient(there: Client) -> str:
        attempts, lictor.client._ATTEMPTS = lictor.client._ATTEMPTS, 1  # type: ignore[misc]
        try:
            return careless(there)
        finally:
            lictor.client._ATTEMPTS = attempts  # type: ignore[misc]

    before = len(gateway.records())
    task = through(gateway, 1, impatient)
    records = gateway.records()[before:]
    born = {one.task.id for one in records if isinstance(one, TaskOpened)}
    closed = {one.task for one in records if isinstance(one, TaskClosed)}
    assert born - closed > {task}


def test_a_closed_gateway_is_said(gateway: Gateway) -> None:
    """No answer is no refusal."""
    with pytest.raises(UnreachableError):
        Client(f"http://127.0.0.1:{control.free_port()}", "lap_x", timeout_s=2).task("task_x")


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("http://gateway.example", "lap_x"),
        ("ftp://127.0.0.1", "lap_x"),
        ("https://", "lap_x"),
        ("https://user@gateway.example", "lap_x"),
        ("https://gateway.example/?a=b", "lap_x"),
        ("https://gateway.example", ""),
        ("https://gateway.example", "a b"),
        ("https://gateway.example", "a\r\nX: y"),
    ],
)
def test_a_secret_is_not_sent_anywhere_odd(url: str, secret: str) -> None:
    """Plain HTTP is for this machine; a secret is one word of ASCII."""
    with pytest.raises(ValueError):
        Client(url, secret)


# -- the command line --------------------------------------------------------------------------------------------------------


def lictor_task(*words: str, code: int = 0) -> Any:
    done = warm.run("task", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in words and code == 0 else done.stdout + done.stderr


def test_the_command_line_at_a_distance(gateway: Gateway, tmp_path: Path) -> None:
    """Open, list, show, hand on and close with a URL and a file; a file that others can read is refused."""
    file = tmp_path / "secret"
    file.write_text(gateway.secrets["desk"] + "\n")
    file.chmod(0o644)
    there = ("--url", gateway.url, "--token-file", str(file))
    words = ("--agent", "helper", "--human", "os:carol", "--purpose", "support")
    assert "chmod 600" in lictor_task("open", *words, *there, code=3)
    file.chmod(0o600)
    opened = lictor_task("open", *words, *there, "--json", "--calls", "9")
    assert opened["token"].startswith("lt_")
    task = opened["task"]
    assert task in lictor_task("list", *there)
    child = lictor_task("delegate", task, "--agent", "clerk", "--calls", "3", *there, "--json")
    assert child["task"] != task
    told = lictor_task("show", task, *there)
    assert "task:open support" in told
    assert "3 of 9 used" in told
    assert "closed" in lictor_task("close", task, *there)
    assert "not_permitted" in lictor_task("open", *words[:4], "--purpose", "research", *there, code=5)
    assert "--token-file" in lictor_task("list", "--url", gateway.url, code=5)
