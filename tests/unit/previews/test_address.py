"""Where URLs lead: addresses marked, names not given away, redirects followed only where somebody vouches."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lictor.model.catalog import DestinationSelector
from lictor.model.preview_rule import HttpPreview
from lictor.pdp.normalise.directory import Directory
from lictor.previews.address import AddressPreviews
from previews_world import Bench, entry, told


class Names:
    """A resolver, and what it was asked."""

    def __init__(self, **known: list[str]) -> None:
        self.known = known
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        found = self.known.get(host.replace(".", "_"))
        if found is None:
            raise OSError("no such name")
        return found


DIRECTORY = Directory(hosts={"api": ("api.example.org", "127.0.0.1:*")}, domains={"docs": ("docs.example",)})


def fetch(**members: Any):
    return entry(destination=DestinationSelector(url="/url"), preview=HttpPreview(**members))


@pytest.fixture
def names() -> Names:
    return Names(
        api_example_org=["93.184.216.34"],
        evil_example_com=["10.0.0.7", "93.184.216.34"],
        metadata_docs_example=["169.254.169.254"],
    )


@pytest.fixture
def bench(tmp_path, names: Names) -> Bench:
    return Bench(tmp_path, DIRECTORY, resolve=names)


async def test_a_listed_host_is_looked_up(bench: Bench) -> None:
    """Its addresses, its registered domain."""
    made = await bench.preview(fetch(), {"url": "https://api.example.org/x"})
    assert "93.184.216.34 | public" in told(made)
    assert "registered domain example.org; in api" in told(made)
    assert made.whole
    assert not any(part.warning for part in made.parts)


async def test_a_stranger_is_not_asked_for(bench: Bench, names: Names) -> None:
    """A look-up would already tell its owner what stands in the name."""
    made = await bench.preview(fetch(), {"url": "https://c2VjcmV0.evil.example.com/"})
    assert names.asked == []
    assert "to ask for a name tells its owner" in told(made)
    assert "in no group of the directory" in made.parts[0].text
    assert not made.whole


async def test_addresses_that_lead_inwards_stand_first(bench: Bench) -> None:
    """Private ones and those that hand out credentials."""
    made = await bench.preview(fetch(lookup="any"), {"url": "https://evil.example.com/"})
    assert any("10.0.0.7 (private)" in part.text and part.warning for part in made.parts)
    made = await bench.preview(fetch(), {"url": "https://metadata.docs.example/"})
    assert "169.254.169.254 (metadata service)" in told(made)
    made = await bench.preview(fetch(), {"url": "http://127.0.0.1:9/"})
    assert "127.0.0.1 (this machine)" in told(made)
    assert "not encrypted" in told(made)


async def test_strict_addresses_void_and_others_only_inform(bench: Bench, names: Names) -> None:
    """As the catalogue says."""
    loose = await bench.preview(fetch(), {"url": "https://api.example.org/"})
    strict = await bench.preview(fetch(strict=True), {"url": "https://api.example.org/"})
    assert await bench.changed(strict) == ""
    names.known["api_example_org"] = ["10.0.0.1"]
    assert await bench.changed(loose) == ""
    assert "address" in await bench.changed(strict)
    names.known.clear()
    assert await bench.changed(strict)


async def test_an_international_name_is_spelled_out(bench: Bench) -> None:
    """With what it may be mistaken for."""
    made = await bench.preview(fetch(), {"url": "https://xn--pple-43d.example/"})
    assert "xn--pple-43d.example" in told(made)
    assert "may be mistaken for" in told(made)


@pytest.mark.parametrize("url", ["javascript:x", 7, None, "https://a b/", "https://user@api.example.org/"])
async def test_what_is_no_url_is_said(bench: Bench, url: Any) -> None:
    """Not known, and never nowhere."""
    made = await bench.preview(fetch(), {"url": url})
    assert not made.whole


# -- redirects --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(answers: dict[str, str]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server of this machine that answers paths with a place to go to, or 200."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        path = head.split(b" ")[1].decode()
        place = answers.get(path)
        writer.write(f"HTTP/1.1 302 x\r\nLocation: {place}\r\n\r\n".encode() if place else b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


def follower(bench: Bench, names: Names, *, inwards: bool) -> None:
    bench.previews._address = AddressPreviews(
        bench.previews._workers, resolve=names, tls=ssl.create_default_context(), inwards=inwards
    )


async def test_redirects_of_listed_hosts_are_followed_without_credentials(bench: Bench, names: Names) -> None:
    """One by one, to the first that nobody vouches for."""
    async with serving({"/a?q=1": "/b", "/b": "https://evil.example.com/?stolen"}) as (port, seen):
        bench.directory = Directory(hosts={"me": (f"127.0.0.1:{port}",)})
        follower(bench, names, inwards=True)
        made = await bench.preview(fetch(follow=True), {"url": f"http://127.0.0.1:{port}/a?q=1"})
    said = told(made)
    assert "/a?q=1 | redirects (302)" in said
    assert "https://evil.example.com/?stolen | not asked: its host is in no group" in said
    assert [head.split(b"\r\n")[0] for head in seen] == [b"HEAD /a?q=1 HTTP/1.1", b"HEAD /b HTTP/1.1"]
    assert not any(b"authorization" in head.lower() or b"cookie" in head.lower() for head in seen)


async def test_a_loop_ends(bench: Bench, names: Names) -> None:
    """After five."""
    async with serving({"/": "/"}) as (port, seen):
        bench.directory = Directory(hosts={"me": (f"127.0.0.1:{port}",)})
        follower(bench, names, inwards=True)
        made = await bench.preview(fetch(follow=True), {"url": f"http://127.0.0.1:{port}/"})
    assert len(seen) == 6
    assert "more than 5 redirects" in told(made)
    assert not made.whole


async def test_a_private_address_is_never_dialled(bench: Bench, names: Names) -> None:
    """Not even where the directory lists it."""
    async with serving({}) as (port, seen):
        bench.directory = Directory(hosts={"me": (f"127.0.0.1:{port}",)})
        follower(bench, names, inwards=False)
        made = await bench.preview(fetch(follow=True), {"url": f"http://127.0.0.1:{port}/"})
    assert seen == []
    assert "leads inwards" in told(made)
    assert not made.whole
