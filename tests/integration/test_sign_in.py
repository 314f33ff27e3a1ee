"""People sign in: the console against the development issuer and against a real oidc-provider; and what an issuer must refuse."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from integration import peers
from integration.test_external_as import company
from lictor.cli.demonstration.stage import free_port

OK = "https://ok.example/cb"


@contextlib.contextmanager
def dev_issuer(folder: Path, *clients: str) -> Iterator[str]:
    """`lictor dev-issuer` as a process."""
    port = free_port()
    (folder / "people").write_text("# the team\nann\nbob\nalice\n")
    words = [peers.LICTOR, "dev-issuer", "--people", str(folder / "people"), "--port", str(port)]
    for one in clients:
        words += ["--client", one]
    with (folder / "issuer.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(200):
                with contextlib.suppress(httpx2.HTTPError):
                    if httpx2.get(f"{url}/jwks.json").status_code == 200:
                        break
                assert process.poll() is None, (folder / "issuer.log").read_text()
                asyncio.run(asyncio.sleep(0.05))
            yield url
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One development issuer."""
    with dev_issuer(tmp_path_factory.mktemp("issuer"), f"k={OK}") as url:
        yield url


class Visitor:
    """A browser without scripts: cookies, forms, redirects of one hop."""

    def __init__(self) -> None:
        self.http = httpx2.Client(timeout=20)

    def get(self, url: str, **query: str) -> Any:
        return self.http.get(url, params=query or None)

    def submit(self, page: Any, **fields: str) -> Any:
        """Send the first form of a page."""
        action = re.search(r'<form method="post" action="([^"]*)"', page.text)
        assert action, page.text
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text))
        hidden = {name: value.replace("&amp;", "&") for name, value in hidden.items()}
        return self.http.post(urllib.parse.urljoin(str(page.url), action[1]), data={**hidden, **fields})


def challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


VERIFIER = "v" * 43


def asking(**changes: str) -> dict[str, str]:
    """An authorization request of client k."""
    found = {
        "response_type": "code",
        "client_id": "k",
        "redirect_uri": OK,
        "scope": "openid",
        "state": "s",
        "nonce": "n",
        "code_challenge": challenge(VERIFIER),
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in {**found, **changes}.items() if value != "-"}


def code_of(issuer: str, person: str = "alice", **changes: str) -> str:
    visitor = Visitor()
    page = visitor.submit(visitor.get(f"{issuer}/authorize", **asking(**changes)), person=person)
    back = page if page.status_code == 303 else visitor.submit(page)
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back.headers["location"]).query))
    assert (query["state"], query["iss"]) == ("s", issuer)
    return query["code"]


def redeemed(issuer: str, code: str, **changes: str) -> Any:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": "k",
        "redirect_uri": OK,
        "code_verifier": VERIFIER,
    }
    return httpx2.post(f"{issuer}/token", data={**form, **changes})


def test_it_says_what_it_is(issuer: str) -> None:
    """Page, discovery, token, user info: all of them."""
    assert "DEVELOPMENT ISSUER" in Visitor().get(f"{issuer}/authorize", **asking()).text
    assert "DEVELOPMENT ISSUER" in httpx2.get(f"{issuer}/.well-known/openid-configuration").json()["lictor_dev_issuer"]
    found = redeemed(issuer, code_of(issuer)).json()
    for token in (found["access_token"], found["id_token"]):
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        assert claims["lictor_dev_issuer"] == "not for production"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com", ""])
def test_it_listens_on_loopback_alone(tmp_path: Path, host: str) -> None:
    """Another address is refused before anything is opened."""
    (tmp_path / "people").write_text("ann\n")
    done = peers.lictor("dev-issuer", "--people", str(tmp_path / "people"), "--host", host)
    assert done.returncode == 3, done.stderr
    assert "loopback only" in done.stderr


def test_consent_is_per_client(issuer: str) -> None:
    """OAUT-01: that somebody agreed to one client sends no code to another that registered itself."""
    visitor = Visitor()
    page = visitor.submit(visitor.get(f"{issuer}/authorize", **asking()), person="bob")
    assert visitor.submit(page).status_code == 303
    assert visitor.get(f"{issuer}/authorize", **asking()).status_code == 303
    evil = httpx2.post(
        f"{issuer}/register", json={"redirect_uris": ["https://evil.example/"], "client_name": "<b>M</b>"}
    )
    asked = asking(client_id=evil.json()["client_id"], redirect_uri="https://evil.example/")
    shown = visitor.get(f"{issuer}/authorize", **asked)
    assert shown.status_code == 200
    assert "https://evil.example/" in shown.text
    assert "&lt;b&gt;M" in shown.text


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": f"{OK}/x"},
        {"redirect_uri": "https://ok.example:8443/cb"},
        {"redirect_uri": "https://OK.example/cb"},
        {"redirect_uri": f"{OK}?a=1"},
        {"redirect_uri": "-"},
        {"client_id": "nobody"},
        {"response_type": "token"},
        {"code_challenge": "-"},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
    ],
)
def test_what_is_not_exact_goes_nowhere(issuer: str, changes: dict[str, str]) -> None:
    """OAUT-02: refused on a page of its own; nobody is redirected."""
    answer = Visitor().get(f"{issuer}/authorize", **asking(**changes))
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_a_code_is_good_once_and_its_tokens_die_with_the_second_try(issuer: str) -> None:
    """OAUT-03."""
    code = code_of(issuer)
    token = redeemed(issuer, code).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{issuer}/userinfo", headers=headers).status_code == 200
    again = redeemed(issuer, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert httpx2.get(f"{issuer}/userinfo", headers=headers).status_code == 401


async def test_thirty_two_redeemers_one_token(issuer: str) -> None:
    """OAUT-04: at the same instant."""
    code = code_of(issuer)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": "k",
        "redirect_uri": OK,
        "code_verifier": VERIFIER,
    }
    async with httpx2.AsyncClient(timeout=20) as http:
        answers = await asyncio.gather(*(http.post(f"{issuer}/token", data=form) for _ in range(32)))
    assert sorted(one.status_code for one in answers) == [200] + [400] * 31


@pytest.mark.parametrize(
    "changes", [{"code_verifier": ""}, {"code_verifier": "w" * 43}, {"client_id": "m"}, {"redirect_uri": f"{OK}/"}]
)
def test_a_code_alone_is_worth_nothing(issuer: str, changes: dict[str, str]) -> None:
    """OAUT-05: without its verifier, its client, its address."""
    code = code_of(issuer)
    assert redeemed(issuer, code, **changes).json()["error"] == "invalid_grant"
    assert redeemed(issuer, code).status_code == 200


# -- the console ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def gateway(folder: Path, url: str, client: str, port: int, secret_env: str = "") -> Iterator[peers.Served]:
    tables = f'[issuers.corp]\nkind = "oidc"\nurl = "{url}"\n[sign_in]\nissuer = "corp"\nclient_id = "{client}"\n'
    if secret_env:
        tables += f'client_secret_env = "{secret_env}"\n'
    tables += f'[servers.time]\ncommand = ["{sys.executable}", "-m", "mcp_server_time"]\n'
    approvers = '[approvers."corp:alice"]\ngroups = ["owner"]\n'
    bundle = peers.write_bundle(folder / "b", {}, port=port, servers=tables, approvers=approvers)
    with peers.serving(bundle, port) as served:
        yield served


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[peers.Served, str]]:
    """A console in front of a development issuer."""
    folder, port = tmp_path_factory.mktemp("console"), free_port()
    with (
        dev_issuer(folder, f"console=http://127.0.0.1:{port}/login/callback") as url,
        gateway(folder, url, "console", port) as served,
    ):
        yield served, url


def signed_in(served: peers.Served, person: str) -> tuple[Visitor, Any]:
    """All the way: the visitor, and the page they come back to."""
    visitor = Visitor()
    assert "Sign in with" in visitor.get(f"{served.base}/login").text
    start = visitor.get(f"{served.base}/login/start")
    assert start.status_code == 303
    page = visitor.submit(visitor.get(start.headers["location"]), person=person)
    back = visitor.submit(page) if page.status_code == 200 else page
    return visitor, visitor.get(back.headers["location"])


def test_an_approver_signs_in(console: tuple[peers.Served, str]) -> None:
    """From the button over the issuer to the inbox; the session's name is new, and signing out ends it."""
    served, _ = console
    visitor, page = signed_in(served, "alice")
    assert (page.status_code, page.headers["refresh"]) == (200, "0; url=/")
    inbox = visitor.get(f"{served.base}/")
    assert inbox.status_code == 200
    assert "corp:alice" in inbox.text
    before = visitor.http.cookies["lictor_signin"]
    start = visitor.get(f"{served.base}/login/start")
    back = visitor.get(start.headers["location"])
    visitor.get(back.headers["location"])
    assert visitor.http.cookies["lictor_signin"] != before
    old = httpx2.get(f"{served.base}/", cookies={"lictor_signin": before})
    assert (old.status_code, old.headers["location"]) == (303, "/login")


def test_whoever_is_no_approver_gets_no_session(console: tuple[peers.Served, str]) -> None:
    """The issuer says who it is; approvers.toml says whether that matters."""
    served, _ = console
    visitor, page = signed_in(served, "bob")
    assert page.status_code == 403
    assert "corp:bob" in page.text
    assert "lictor_signin" not in visitor.http.cookies


def test_answers_that_do_not_belong_here(console: tuple[peers.Served, str]) -> None:
    """Another browser's, another state's, another issuer's, twice the same: each ends the round without a session."""
    served, _ = console

    def begun() -> tuple[Visitor, dict[str, str]]:
        visitor = Visitor()
        start = visitor.get(f"{served.base}/login/start")
        page = visitor.submit(visitor.get(start.headers["location"]), person="alice")
        back = visitor.submit(page) if page.status_code == 200 else page
        return visitor, dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back.headers["location"]).query))

    callback = f"{served.base}/login/callback"
    visitor, query = begun()
    assert Visitor().get(callback, **query).status_code == 403
    for change in (
        {"state": "x"},
        {"iss": "https://evil.example"},
        {"iss": ""},
        {"code": "x"},
        {"error": "access_denied"},
    ):
        visitor, query = begun()
        answer = visitor.get(callback, **{**query, **change})
        assert answer.status_code == 403, change
        assert "lictor_signin" not in visitor.http.cookies
        assert visitor.get(callback, **query).status_code == 403
    visitor, query = begun()
    del query["iss"]
    assert visitor.get(callback, **query).status_code == 403
    visitor, query = begun()
    assert visitor.http.get(f"{callback}?{urllib.parse.urlencode([*query.items(), *query.items()])}").status_code == 403
    visitor, query = begun()
    assert visitor.get(callback, **query).status_code == 200
    assert visitor.get(callback, **query).status_code == 403


def test_with_a_real_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same console against oidc-provider, with a client secret."""
    port = free_port()
    client = {
        "client_id": "console",
        "client_secret": "s3cret:%/+",
        "redirect_uris": [f"http://127.0.0.1:{port}/login/callback"],
        "application_type": "native",
    }
    monkeypatch.setenv("CONSOLE_SECRET", "s3cret:%/+")
    with (
        company(f"http://127.0.0.1:{port}/mcp", [client]) as url,
        gateway(tmp_path, url, "console", port, "CONSOLE_SECRET") as served,
    ):
        visitor = Visitor()
        answer = visitor.get(f"{served.base}/login/start")
        for _ in range(10):
            answer = visitor.get(urllib.parse.urljoin(str(answer.url), answer.headers["location"]))
            if answer.status_code == 200:
                break
        assert "corp:alice" in answer.text
        assert "corp:alice" in visitor.get(f"{served.base}/").text


def test_doctor_names_a_development_issuer(console: tuple[peers.Served, str]) -> None:
    """An issuer over plain HTTP is a warning, whoever runs it."""
    served, url = console
    done = peers.lictor("doctor", "--bundle", str(served.bundle), "--json", env={**os.environ})
    found = [check for check in json.loads(done.stdout) if check["name"].startswith("issuer")]
    assert [check["state"] for check in found] == ["warn"]
    assert url in found[0]["text"]
