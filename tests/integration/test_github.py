"""Installation tokens against a server that checks as GitHub's documentation says: narrowed, compared, given back."""

from collections.abc import Iterator
from typing import Any

import pytest

from lictor.credentials.github import GitHub as Provider
from lictor.credentials.github import GitHubOptions
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.reasons import Reason
from servers import github
from servers.github import GitHub
from servers.hop import hop
from servers.lending import Lender, Wall, fresh_lease, vault


@pytest.fixture
def server() -> Iterator[GitHub]:
    with github.running() as running:
        yield running


def lender(server: GitHub, clock: Wall | None = None, key: str = github.PEM, **changed: Any) -> Lender:
    said = {"app_id": server.app, "installation_id": server.installation, "key_secret": "key", "owner": "shop"}
    more = {"repositories": ["{repository}"], "permissions": {"contents": "read"}, "api_url": server.url}
    options = {**said, **more, **changed}
    provider = Provider(GitHubOptions.read(options), vault(key=key), clock or Wall())
    return Lender("github", options, provider=provider)


async def fails(work: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await work
    return caught.value


@pytest.mark.parametrize("fact", ["lamps", "Shop/lamps", "shop/lamps"])
async def test_a_token_is_for_the_grants_repository_alone(server: GitHub, fact: str) -> None:
    """One repository, the permissions of the options, GitHub's hour; given back it is gone; twice is once."""
    lent, lease = lender(server), fresh_lease()
    issued = await lent.issue(lease, repository=fact)
    (made,) = server.tokens.values()
    assert [one["name"] for one in made["repositories"]] == ["lamps"]
    assert made["permissions"] == {"metadata": "read", "contents": "read"}
    assert abs(issued.expires_at_ms - Wall().now_ms() - 3_600_000) < 5_000
    assert issued.secret["token"].reveal() not in issued.handle
    await lent.revoke(lease, issued)
    await lent.revoke(lease, issued)
    assert server.tokens == {}


@pytest.mark.parametrize("fact", ["other/lamps", "a/b/c", "*", "", "lamps secret-plans", "..", "shop/..", "läm"])
async def test_a_fact_that_is_no_repository_of_the_owner_is_refused(server: GitHub, fact: str) -> None:
    """Before anything is asked; a missing one too."""
    lent = lender(server)
    for facts in ({"repository": fact}, {}):
        error = await fails(lent.issue(fresh_lease(), **facts))
        assert (error.reason, error.effect_possible) == (Reason.UNKNOWN_VALUE, False)
    assert server.tokens == {}


async def test_what_the_installation_does_not_have_is_not_made(server: GitHub) -> None:
    """Another repository, more permission, another installation, another key, a statement from yesterday: nothing was made."""
    stranger = github.rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        github.serialization.Encoding.PEM,
        github.serialization.PrivateFormat.PKCS8,
        github.serialization.NoEncryption(),
    )
    late = Wall()
    late.ahead_ms = -86_400_000
    for lent, status in (
        (lender(server, repositories=["nowhere"]), 422),
        (lender(server, permissions={"administration": "write"}), 422),
        (lender(server, installation_id=1), 404),
        (lender(server, key=stranger.decode()), 401),
        (lender(server, clock=late), 401),
    ):
        error = await fails(lent.issue(fresh_lease(), repository="lamps"))
        assert (str(status) in error.message, error.effect_possible) == (True, False)
    assert server.tokens == {}


@pytest.mark.parametrize(
    "more",
    [
        {"repository_selection": "all"},
        {"repositories": [{"full_name": "Shop/lamps"}, {"full_name": "Shop/secret-plans"}]},
        {"permissions": {"contents": "write"}},
        {"permissions": {"contents": "read", "administration": "read"}},
        {"permissions": {"contents": "owner"}},
        {"repositories": "lamps"},
        {"expires_at": "2199-01-01T00:00:00Z"},
        {"expires_at": "soon"},
        {"expires_at": "2026-01-01T00:00:00"},
    ],
    ids=str,
)
async def test_a_token_for_more_is_given_back(server: GitHub, more: dict[str, Any]) -> None:
    """What came back is compared with what was asked for: not lent, and given back."""
    server.generous = more
    error = await fails(lender(server).issue(fresh_lease(), repository="lamps"))
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_INVALID, False)
    assert server.tokens == {}


class TakesWhatComes(Provider):
    """Control: lends a token without looking at what it is for."""

    def _checked(self, answer: Any, names: list[str]) -> str:
        return ""


async def test_a_provider_that_does_not_compare_would_be_noticed(server: GitHub) -> None:
    """Control: the wider token is lent by a provider that takes what comes."""
    server.generous = {"permissions": {"contents": "write"}}
    lent = lender(server)
    lent.provider = TakesWhatComes(GitHubOptions.read(lent.credential.options), vault(key=github.PEM), Wall())
    assert (await lent.issue(fresh_lease(), repository="lamps")).secret["token"].reveal() in server.tokens


async def test_a_token_that_never_arrived_stays_visible(server: GitHub) -> None:
    """The reply is cut off: it may exist, and no revocation is called done."""
    async with hop(int(server.url.rpartition(":")[2])) as way:
        way.spoil = lambda _, reply: reply[:60]
        lease = fresh_lease()
        lent = lender(server, api_url=way.url)
        error = await fails(lent.issue(lease, repository="lamps"))
        assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, True)
        assert len(server.tokens) == 1
        assert (await fails(lent.revoke(lease))).reason is Reason.OUTCOME_UNKNOWN


async def test_a_revocation_that_fails_is_told(server: GitHub) -> None:
    """A broken answer, a redirect, a server that is gone: not confirmed."""
    lent, lease = lender(server), fresh_lease()
    issued = await lent.issue(lease, repository="lamps")
    async with hop(int(server.url.rpartition(":")[2])) as way:
        for reply in (b"HTTP/1.1 500 Oh", b"HTTP/1.1 404 No", b"HTTP/1.1 200 OK", b"HTTP/1.1 302 There\r\nLocation: /"):
            way.spoil = lambda _, __, reply=reply: reply + b"\r\nContent-Length: 0\r\n\r\n"
            error = await fails(lender(server, api_url=way.url).revoke(lease, issued))
            assert error.reason in (Reason.UPSTREAM_DOWN, Reason.UPSTREAM_INVALID)
    assert (await fails(lender(server, api_url=way.url).revoke(lease, issued))).effect_possible


def test_options_that_leave_it_to_the_installation_are_refused(server: GitHub) -> None:
    """No repositories or no permissions would mean all of them."""
    for changed in (
        {"repositories": []},
        {"permissions": {}},
        {"permissions": {"contents": "all"}},
        {"permissions": {"Contents": "read"}},
        {"api_url": "http://github.test"},
        {"installation_id": 0},
        {"app_id": "a b"},
        {"token": "x"},
    ):
        with pytest.raises(OperatorError) as caught:
            lender(server, **changed)
        assert caught.value.reason is Reason.CONFIG_REFUSED
