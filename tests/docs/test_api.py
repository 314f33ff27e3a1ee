"""The reference of the HTTP API says what the table of routes says; and the how-to's program runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from integration import control
from lictor.api import access_shapes, problem, shapes
from lictor.api.access import AccessParts, access_routes
from lictor.api.access_told import BINDING, DUPLICATE, EXPIRED, UNKNOWN
from lictor.api.caller import ANYBODY, OPERATORS
from lictor.api.containment import containment_routes
from lictor.api.openapi import _SAID
from lictor.api.table import health
from lictor.api.tasks import task_routes
from lictor.model.record import TaskClosed, TaskOpened

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
HOW_TO = (ROOT / "docs" / "how-to" / "open-tasks.md").read_text("utf-8")


def section(heading: str) -> str:
    """What stands below a heading."""
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """Table rows whose first cell is code or a number."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("\n") if line.startswith("|")]
    return [row for row in rows if re.fullmatch(r"`[^`]+`|\d{3}", row[0])]


def test_every_route_has_its_row_with_who_may_call_it() -> None:
    """Each row of the table, once; and the health pair in its own."""
    nothing: Any = None
    rows = [*task_routes(nothing), *containment_routes(nothing, dict, nothing)]
    who = {ANYBODY: "anybody", OPERATORS: "operator"}
    real = {(f"`{row.method} {row.path}`", who[row.who]) for row in rows}
    assert sorted((row[0], row[1]) for row in cells(section("Routes"))) == sorted(real)
    pair = {f"`{row.method} {row.path}`" for row in health(lambda: True)}
    assert {row[0] for row in cells(section("Who calls"))} == pair


def test_every_access_route_has_its_row_and_every_word_of_the_profile() -> None:
    """Routes that agents call, and the profile's names for refusals with their statuses."""

    class Parts:
        """Nothing is called."""

        public_url = "https://gateway.example"

        def door(self, handler: Any) -> Any:
            return handler

    rows = access_routes(cast("AccessParts", Parts()))
    text = section("Access requests")
    found = cells(text)
    assert [row[0] for row in found if row[0].startswith("`")] == [f"`{row.method} {row.path}`" for row in rows]
    told = {(int(row[0]), row[1].partition(":")[0].strip("`")) for row in found if row[0].isdigit()}
    assert told == {(status, word) for word, status, _ in (BINDING, UNKNOWN, DUPLICATE, EXPIRED)}


def test_the_examples_of_access_requests_are_read_by_the_routes() -> None:
    """Each JSON block of the how-to is what a route takes or answers, to the last member."""
    page = (ROOT / "docs" / "how-to" / "access-requests.md").read_text("utf-8")
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    structs = [
        access_shapes.Evaluation,
        access_shapes.EvaluationAnswer,
        access_shapes.AccessRequest,
        access_shapes.AccessTask,
    ]
    for block, struct in zip(blocks, structs, strict=True):
        value = msgspec.json.decode(block)
        assert msgspec.to_builtins(msgspec.convert(value, struct)) == value


@pytest.mark.parametrize(("heading", "struct"), [("Opening a task", shapes.Opening), ("Delegating", shapes.Delegation)])
def test_every_member_has_its_row_with_its_default(heading: str, struct: type[msgspec.Struct]) -> None:
    """Names and defaults are the struct's own."""
    documented = {row[0].strip("`"): row[1].strip("`") for row in cells(section(heading))}
    real = {}
    for field in msgspec.structs.fields(struct):
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        real[field.encode_name] = "required" if default is msgspec.NODEFAULT else msgspec.json.encode(default).decode()
    assert documented == real


def test_every_status_has_its_row() -> None:
    """What a refusal can be, by the code: the table of reasons, the door's own, and the last resort."""
    folder = ROOT / "src" / "lictor" / "api"
    turned = {
        int(code)
        for name in ("web.py", "tasks.py", "containment.py")
        for code in re.findall(r"Turned\((\d+)", (folder / name).read_text("utf-8"))
    }
    real = turned | set(problem._STATUS.values()) | {status for status in _SAID if status >= 400} | {400, 500}
    assert {int(row[0]) for row in cells(section("Refusals"))} == real


def test_the_example_is_an_opening() -> None:
    """The JSON of the page is read by the struct of the route."""
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block
    assert msgspec.json.decode(block[1], type=shapes.Opening).calls == 50


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Gateway]:
    policy = re.findall(r"```cedar\n(.*?)```", HOW_TO, re.DOTALL)
    files = {
        "agents.toml": 'purposes = ["development"]\n[agents.assistant]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
        "policies/test.cedar": "\n".join(policy),
        "applications.toml": control.FILES["applications.toml"].replace("desks", "portals"),
    }
    made = control.make(tmp_path_factory.mktemp("howto") / "bundle", files)
    made.start()
    yield made
    made.stop()


def test_the_program_of_the_how_to_runs(gateway: control.Gateway) -> None:
    """As it stands on the page, but for the port: a task is open inside its block, and closed behind it."""
    block = re.search(r"```python\n(.*?)```", HOW_TO, re.DOTALL)
    assert block
    text = (
        block[1].replace("http://127.0.0.1:8700", gateway.url).replace("files/read_text_file", "feature:stub/logging")
    )
    seen: list[tuple[str, str]] = []
    exec(text, {"secret": gateway.secrets["desk"], "run_the_agent": lambda *parts: seen.append(parts)})
    ((audience, token),) = seen
    assert audience == f"{gateway.url}/mcp"
    assert token.startswith("lt_")
    assert [type(one) for one in gateway.records()[-2:]] == [TaskOpened, TaskClosed]
