"""Where a URL or host leads: addresses, each marked if it leads inwards, and, if the operator says so, redirects.

To ask is to tell: a name's owner sees the look-up, a server sees the URL. So by default only what the directory lists is looked
up, and only that is ever followed; a private address is never dialled (URLS-11). Refuses to know what the server behind us does
with the answer: it looks up for itself.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urljoin

import httptools

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.preview_rule import HttpPreview
from lictor.pdp.normalise.addresses import inward_4, inward_6
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.pointers import point
from lictor.pdp.normalise.select import destination_of
from lictor.pdp.normalise.target import Target
from lictor.pdp.normalise.url import url_target
from lictor.previews.asking import Ask, NotFoundOutError, Workers
from lictor.previews.parts import Found, counted, cut
from lictor.protocol.display_hosts import host_display

MAX_HOSTS: Final = 20
MAX_ADDRESSES: Final = 16
MAX_REDIRECTS: Final = 5
HOP_S: Final = 1.0
_HEAD_BYTES: Final = 16 * 1024
_METADATA: Final = frozenset({"169.254.169.254", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"})
"""Addresses at which clouds hand out credentials."""
_SELECTOR: Final = DestinationSelector(url=("/url",))
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

Resolve = Callable[[str], Awaitable[list[str]]]
"""A name's addresses. Raises `OSError`."""


class AddressPreviews:
    """Makes them, and looks again at addresses.

    Args:
        resolve: in place of this host's own look-ups.
        tls: in place of the system's trust.
    """

    def __init__(
        self,
        workers: Workers,
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        inwards: bool = False,
    ) -> None:
        self._workers = workers
        self._resolve = resolve or self._system
        self._tls = tls
        self._inwards = inwards
        """For tests alone: whether loopback may be dialled."""

    async def make(self, ask: Ask, rule: HttpPreview, directory: Directory, found: Found) -> None:
        """Say where it leads.

        Raises:
            NotFoundOutError: the destination cannot be read.
        """
        selector = ask.entry.destination
        if selector is None:
            raise NotFoundOutError("the catalogue does not say where the destination stands")
        try:
            destination = destination_of(selector, ask.arguments, directory)
        except CallerError as error:
            raise NotFoundOutError(error.message) from None
        targets = {target.text: target for target in destination.targets}
        for target in list(targets.values())[:MAX_HOSTS]:
            await self._one(target, rule, found)
        if len(targets) > MAX_HOSTS:
            found.unknown("More", f"{counted(len(targets) - MAX_HOSTS, 'more host')} were not looked at")
        if rule.follow and selector.kind == "url":
            for pointer in selector.targets:
                url = point(ask.arguments, pointer)
                if isinstance(url, str):
                    await self._follow(url, directory, found)

    async def look_again(self, kind: str, target: str) -> str:
        """The value of a precondition of kind `address` now: of one name."""
        del kind
        return ",".join(await self._addresses(target))

    async def _one(self, target: Target, rule: HttpPreview, found: Found) -> None:
        _named(target, found)
        if target.ip:
            _marked(target.text, [target.host.strip("[]")], found)
            return
        if rule.lookup == "none" or (rule.lookup == "listed" and not target.directory):
            found.unknown(target.host, "its addresses were not looked up: to ask for a name tells its owner")
            return
        try:
            addresses = await self._addresses(target.host)
        except OSError:
            found.unknown(target.host, "the name has no address now, or cannot be looked up")
            return
        _marked(target.host, addresses, found)
        if rule.strict:
            found.rests_on("address", target.host, ",".join(addresses))

    async def _addresses(self, host: str) -> list[str]:
        found = sorted(set(await self._resolve(host)))
        if not found or len(found) > MAX_ADDRESSES:
            raise OSError("no address, or too many")
        return found

    async def _system(self, host: str) -> list[str]:
        infos = await self._workers.run(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        return [str(info[4][0]) for info in infos]

    async def _follow(self, url: str, directory: Directory, found: Found) -> None:
        """Redirects of listed hosts, one by one. The first that is not listed, not public or not understood is the end."""
        hops: list[tuple[str, str]] = []
        for _ in range(MAX_REDIRECTS + 1):
            try:
                target = url_target(url, _SELECTOR, directory, "")
                if not target.directory:
                    hops.append((cut(url, 300), "not asked: its host is in no group of the directory"))
                    break
                status, location = await self._ask(url, target)
            except (CallerError, OSError, TimeoutError, ValueError, NotFoundOutError) as error:
                message = error.message if isinstance(error, CallerError) else str(error) or type(error).__name__
                hops.append((cut(url, 300), f"not found out: {cut(message, 120)}"))
                found.whole = False
                break
            if status not in _REDIRECTS or not location:
                hops.append((cut(url, 300), f"answers {status}"))
                break
            hops.append((cut(url, 300), f"redirects ({status})"))
            url = urljoin(url, location)
        else:
            hops.append((cut(url, 300), f"not asked: more than {MAX_REDIRECTS} redirects"))
            found.whole = False
        found.table("Redirects, asked with HEAD and no credentials", ("url", "what it does"), hops)

    async def _ask(self, url: str, target: Target) -> tuple[int, str]:
        """Status and `Location` of one HEAD, to an address that was checked."""
        addresses = [target.host.strip("[]")] if target.ip else await self._addresses(target.host)
        if any(_where(address) for address in addresses) and not self._inwards:
            raise OSError("an address of it leads inwards")
        async with asyncio.timeout(HOP_S):
            return await _head(url, target, addresses[0], self._tls)


async def _head(url: str, target: Target, address: str, tls: ssl.SSLContext | None) -> tuple[int, str]:
    secure = target.scheme == "https"
    context = (tls or ssl.create_default_context()) if secure else None
    reader, writer = await asyncio.open_connection(
        address, target.port, ssl=context, server_hostname=target.host if secure else None, limit=_HEAD_BYTES
    )
    try:
        parsed = httptools.parse_url(url.encode("ascii"))
        path = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        default = 443 if secure else 80
        host = target.host if target.port == default else f"{target.host}:{target.port}"
        writer.write(b"HEAD " + path + b" HTTP/1.1\r\nHost: " + host.encode("ascii") + b"\r\nConnection: close\r\n\r\n")
        await writer.drain()
        answer = _Answer()
        answer.feed(await reader.readuntil(b"\r\n\r\n"))
        return answer.status, answer.location
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, httptools.HttpParserError, UnicodeError):
        raise OSError("the answer is no HTTP") from None
    finally:
        writer.transport.abort()


class _Answer:
    """Status and place of a reply's head."""

    def __init__(self) -> None:
        self.location = ""
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of `httptools`."""
        if name.lower() == b"location":
            self.location = value.decode("latin-1")

    def feed(self, data: bytes) -> None:
        """The whole head."""
        self._parser.feed_data(data)
        self.status = self._parser.get_status_code()


def _where(address: str) -> str:
    """Where an address leads that is no ordinary public one; empty for those."""
    try:
        ip: Any = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if str(ip) in _METADATA:
        return "metadata service"
    if ip.is_loopback:
        return "this machine"
    inward = inward_4(ip) if ip.version == 4 else inward_6(ip)
    return "private" if inward else ""


def _marked(name: str, addresses: list[str], found: Found) -> None:
    rows = [(address, _where(address) or "public") for address in addresses]
    inward = [f"{address} ({where})" for address, where in rows if where != "public"]
    if inward:
        found.say("Leads inwards", f"{name}: {', '.join(inward)}", warning=True)
    found.table(f"Addresses of {name} now", ("address", "where"), rows)


def _named(target: Target, found: Found) -> None:
    shown, warnings = host_display(target.host)
    told = f"in {', '.join(target.directory)}" if target.directory else "in no group of the directory"
    domain = f", registered domain {target.domain}" if target.domain else ""
    spelled = f" ({shown})" if shown != target.host else ""
    safe = "" if target.scheme in {"https", "wss"} or not target.scheme else ", not encrypted"
    found.say("Host", f"{target.text}{spelled}{domain}{safe}; {told}", warning=not target.directory or bool(safe))
    for warning in warnings:
        found.say("Host", warning, warning=True)
