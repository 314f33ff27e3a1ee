"""Lictor as a resource server of somebody else's authorisation server: a real oidc-provider, and official MCP clients."""

import contextlib
import json
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl

from integration import peers
from integration.token_world import POLICY
from lictor.cli.demonstration.stage import free_port

REDIRECT = "http://127.0.0.1:1/callback"
CLIENT = {
    "client_id": "helper-client",
    "redirect_uris": [REDIRECT],
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "application_type": "native",
}
AGENTS = """
purposes = ["test"]
[agents.helper]
owner = "os:ann"
review_by = 2099-12-31
[[agents.helper.proofs]]
issuer = "corp"
claims = { client_id = "helper-client" }
"""


@contextlib.contextmanager
def company(resource: str, clients: list[dict[str, Any]]) -> Iterator[str]:
    """The authorisation server, as a process."""
    script = Path(__file__).parents[1] / "servers" / "node" / "company.mjs"
    words = [peers.node(), str(script), json.dumps({"resource": resource, "clients": clients})]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[peers.Served, str]]:
    """Company and gateway."""
    folder, port = tmp_path_factory.mktemp("external"), free_port()
    with company(f"http://127.0.0.1:{port}/mcp", [CLIENT]) as url:
        tables = f'[issuers.corp]\nkind = "oidc"\nurl = "{url}"\n[oauth]\nmcp_clients = ["corp"]\n'
        tables += f'[servers.time]\ncommand = ["{peers.BIN}/python", "-m", "mcp_server_time", "--local-timezone", "Europe/Rome"]\n'
        bundle = peers.write_bundle(
            folder / "bundle", {"agents.toml": AGENTS}, port=port, servers=tables, policy=POLICY
        )
        with peers.serving(bundle, port) as served:
            yield served, url


class Storage:
    """A client's memory."""

    def __init__(self, info: dict[str, Any] | None, issuer: str) -> None:
        self.tokens: Any = None
        self.info = OAuthClientInformationFull.model_validate({**info, "issuer": issuer}) if info else None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.info

    async def set_client_info(self, client_info: Any) -> None:
        self.info = client_info


class Browser:
    """A person's browser that follows redirects until the client's own address."""

    def __init__(self) -> None:
        self.result: AuthorizationCodeResult | None = None

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient(timeout=20) as http:
            for _ in range(10):
                answer = await http.get(url)
                assert answer.status_code in {302, 303}, answer.text
                url = urllib.parse.urljoin(url, answer.headers["location"])
                if url.startswith(REDIRECT):
                    break
        found = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        self.result = AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))

    async def back(self) -> AuthorizationCodeResult:
        assert self.result is not None
        return self.result


def provider(served: peers.Served, storage: Storage) -> OAuthClientProvider:
    """The official client's OAuth."""
    browser = Browser()
    return OAuthClientProvider(
        server_url=served.url,
        client_metadata=OAuthClientMetadata(
            client_name="helper", redirect_uris=[AnyUrl(REDIRECT)], token_endpoint_auth_method="none"
        ),
        storage=storage,
        redirect_handler=browser.visit,
        callback_handler=browser.back,
    )


def open_task(served: peers.Served) -> str:
    words = ("task", "open", "--bundle", str(served.bundle), "--agent", "helper", "--purpose", "test", "--json")
    done = peers.lictor(*words)
    assert done.returncode == 0, done.stderr
    task: str = json.loads(done.stdout)["task"]
    return task


async def test_the_python_client_finds_its_way(made: tuple[peers.Served, str]) -> None:
    """From a 401 over both metadata documents to a JWT of the company that names the agent's task, and a call."""
    served, url = made
    task = open_task(served)
    httpx2.post(f"{url}/desk", json={"task": task})
    storage = Storage(CLIENT, url)
    async with (
        httpx2.AsyncClient(auth=provider(served, storage), timeout=20) as http,
        mcp.Client(streamable_http_client(served.url, http_client=http)) as client,
    ):
        await client.list_tools()
    assert storage.tokens.access_token.count(".") == 2
    peers.lictor("task", "close", "--bundle", str(served.bundle), task)
    answer = httpx2.post(
        served.url,
        headers={
            "Authorization": f"Bearer {storage.tokens.access_token}",
            "Accept": "application/json, text/event-stream",
        },
        json={},
    )
    assert (answer.status_code, answer.json()["error"]["data"]["reason"]) == (401, "task_closed")


async def test_a_client_that_registered_itself_is_no_agent(made: tuple[peers.Served, str]) -> None:
    """Dynamic registration gets a token from the company, and nothing here: no agent's proofs hold."""
    served, url = made
    httpx2.post(f"{url}/desk", json={"task": open_task(served)})
    storage = Storage(None, url)
    with pytest.raises(BaseExceptionGroup):
        async with (
            httpx2.AsyncClient(auth=provider(served, storage), timeout=20) as http,
            mcp.Client(streamable_http_client(served.url, http_client=http)) as client,
        ):
            await client.list_tools()
    assert storage.tokens is not None
    answer = httpx2.post(served.url, headers={"Authorization": f"Bearer {storage.tokens.access_token}"}, json={})
    assert (answer.status_code, answer.json()["error"]["data"]["reason"]) == (401, "unknown_agent")


async def test_the_javascript_client_finds_its_way(made: tuple[peers.Served, str]) -> None:
    """The npm SDK does the same: 401, metadata, sign-in, token, tools."""
    served, url = made
    httpx2.post(f"{url}/desk", json={"task": open_task(served)})
    script = Path(__file__).parents[1] / "servers" / "node" / "mcp_client.mjs"
    said = {"url": served.url, "client": {"client_id": "helper-client"}, "redirect": REDIRECT}
    words = [peers.node(), str(script), json.dumps(said)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tools"] == 0
