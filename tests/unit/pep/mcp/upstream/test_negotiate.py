"""Which era a server speaks, from what it answers."""

import msgspec
import pytest

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Era, Reply
from lictor.pep.mcp.upstream.failures import down, invalid, late
from lictor.pep.mcp.upstream.negotiate import negotiate


class Script:
    """A line that answers from a script: `method -> replies in order`."""

    def __init__(self, **answers) -> None:
        self.answers = {"server/discover": answers.get("discover", []), "initialize": answers.get("initialize", [])}
        self.sent: list[str] = []

    async def send(self, method, params, *, version, timeout_s) -> Reply:
        self.sent.append(method)
        answer = self.answers[method].pop(0)
        if isinstance(answer, UpstreamError):
            raise answer
        return answer

    async def announce(self, method, *, version) -> None:
        self.sent.append(method)


def result(**members) -> Reply:
    return Reply(result=msgspec.json.encode(members))


def error(code: int, **data) -> Reply:
    return Reply(error={"code": code, "message": "m", **({"data": data} if data else {})})


INIT = result(protocolVersion="2025-11-25", capabilities={}, serverInfo={"name": "s"})
MODERN = result(
    supportedVersions=["2026-07-28"],
    capabilities={"tools": {}},
    _meta={"io.modelcontextprotocol/serverInfo": {"name": "s"}},
)


@pytest.mark.parametrize(
    ("discover", "era"),
    [
        (MODERN, Era.MODERN),
        (result(supportedVersions=["2025-11-25"]), Era.LEGACY),
        (result(), Era.LEGACY),
        (error(-32601), Era.LEGACY),
        (error(-32602), Era.LEGACY),
        (error(0), Era.LEGACY),
        (error(-32022, supported=["2025-06-18"]), Era.LEGACY),
        (late("x", effect_possible=True), Era.LEGACY),
        (invalid("x", effect_possible=True), Era.LEGACY),
    ],
)
async def test_the_era(discover, era):
    """A modern answer means modern; anything else means the handshake."""
    line = Script(discover=[discover], initialize=[INIT])
    offer = await negotiate(line, Limits(), capabilities={})
    assert (offer.era, offer.server_info) == (era, {"name": "s"})
    assert line.sent[1:] == ([] if era is Era.MODERN else ["initialize", "notifications/initialized"])


@pytest.mark.parametrize(
    "discover",
    [
        error(-32022, supported=["2099-01-01"]),
        error(-32022),
        error(-32022, supported="2026-07-28"),
        error(-32022, supported=["2026-07-28"]),
        error(-32020),
        error(-32021),
        result(supportedVersions=["2099-01-01"]),
        result(supportedVersions=[]),
        result(supportedVersions=["2026-07-28"], capabilities=[]),
        result(supportedVersions=["2026-07-28"], instructions=1),
        down("x", effect_possible=False),
    ],
)
async def test_no_handshake_after_a_modern_refusal(discover):
    """A modern server without a common version is refused, not talked into the handshake."""
    line = Script(discover=[discover])
    with pytest.raises(UpstreamError):
        await negotiate(line, Limits(), capabilities={})
    assert line.sent == ["server/discover"]


@pytest.mark.parametrize("version", ["2024-11-05", "2026-07-28", "", None, 1, ["2025-11-25"]])
async def test_versions_of_the_handshake(version):
    """Only versions we speak."""
    line = Script(discover=[error(-32601)], initialize=[result(protocolVersion=version, capabilities={})])
    with pytest.raises(UpstreamError) as caught:
        await negotiate(line, Limits(), capabilities={})
    assert caught.value.reason is Reason.UPSTREAM_INVALID


async def test_a_modern_server_that_was_slow_to_start():
    """Silent on the probe and refusing the handshake: it is asked once more."""
    line = Script(discover=[late("x", effect_possible=True), MODERN], initialize=[error(-32601)])
    assert (await negotiate(line, Limits(), capabilities={})).era is Era.MODERN
    assert line.sent == ["server/discover", "initialize", "server/discover"]
