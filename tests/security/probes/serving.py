"""The top level, `[listen]`, `[listen.tls]` and `[bundle]`: asked over real sockets where the setting is about sockets."""

import asyncio
import contextlib
import ipaddress
import ssl
import sys
import time
from collections.abc import Iterator

from cryptography import x509

import svids
from lictor.cli.demonstration.stage import free_port
from lictor.model.record import TaskOpened, decode_entry
from lictor.policy.compile import parse_guarded
from lictor.policy.load import load_bundle
from security.now import lasting
from security.probes.stand import AGENTS, Place, files, reached
from security.probes.table import probe

ELSEWHERE = "https://gateway.example"


# -- top level -----------------------------------------------------------------------------------------------------------


@probe("state", (".lictor", ".lictor"), ("elsewhere", "elsewhere"))
async def state(place: Place) -> object:
    """Where the log is."""
    async with place.house():
        return next(path.parent.name for path in place.folder.rglob("log.db"))


@probe("log_name", ("one.example/log", "one.example/log"), ("other.example/log", "other.example/log"))
async def log_name(place: Place) -> object:
    """What a signed checkpoint says first."""
    async with place.stand() as stand:
        await stand.token()
        return str(stand.house.store.newest_checkpoint()).partition("\n")[0]


@probe("hold_wait_s", (0.0, "answered at once"), (2.0, "waited"))
async def hold_wait_s(place: Place) -> object:
    """A held call of a client that cannot be asked in between."""
    async with place.stand() as stand:
        token = await stand.token()
        await stand.call("echo", token=token)
        began = time.monotonic()
        await stand.call("edit", token=token, asks=False)
        return "waited" if time.monotonic() - began > 1.9 else "answered at once"


@probe("task_ttl_s", (60, 60), (1_200, 1_200))
async def task_ttl_s(place: Place) -> object:
    """The life of the task that `lictor run` opens, as its record says."""
    arguments = ["--bundle", str(place.folder), "--agent", "one", "--server", "stub"]
    program = ["import sys; from lictor.cli.main import main; main(['run', *sys.argv[1:]])", *arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", *program, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    async with place.house() as house:
        opened = [
            one for entry in house.store.entries() if isinstance(one := decode_entry(entry.data).record, TaskOpened)
        ]
        return round((opened[0].task.expires_at_ms - opened[0].task.opened_at_ms) / 1_000)


@probe("connections", (1, ["overloaded", "permitted"]), (4, ["permitted", "permitted"]))
async def connections(place: Place) -> object:
    """Two tasks that need a connection each."""
    async with place.stand() as stand:
        return sorted([(await stand.call("echo")).reason for _ in range(2)])


# -- [listen] ------------------------------------------------------------------------------------------------------------


@probe("listen.host", ("127.0.0.1", ["127.0.0.1"]), ("127.0.0.2", ["127.0.0.2"]), base={"listen.public_url": ELSEWHERE})
async def host(place: Place) -> object:
    """At which of two addresses somebody listens."""
    return await _answering(
        place, [("127.0.0.1", place.settings().listen.port), ("127.0.0.2", place.settings().listen.port)]
    )


async def _answering(place: Place, places: list[tuple[str, int]]) -> list[str]:
    async with place.stand() as stand, stand.listening():
        return [found for found, port in places if await asyncio.to_thread(reached, found, port)]


@contextlib.contextmanager
def _two_ports(place: Place) -> Iterator[None]:
    place.around["ports"] = [free_port(), free_port()]
    yield


@probe(
    "listen.port",
    (lambda place: place.around["ports"][0], [True, False]),
    (lambda place: place.around["ports"][1], [False, True]),
    around=_two_ports,
)
async def port(place: Place) -> object:
    """At which of two ports somebody listens."""
    async with place.stand() as stand, stand.listening():
        return [bool(await asyncio.to_thread(reached, "127.0.0.1", one)) for one in place.around["ports"]]


async def _served_as(place: Place, name: str) -> bool:
    """Whether both doors, and the console, answer to a name."""
    async with place.stand() as stand:
        paths = ("/v1/healthz", "/login", "/mcp")
        refused = [(await stand.get(path, {"Host": name})).status in {400, 421} for path in paths]
        if len(set(refused)) != 1:
            raise LookupError(f"doors disagree: {refused}")
        return not refused[0]


@probe("listen.public_url", (ELSEWHERE, True), ("http://127.0.0.1:8700", False))
async def public_url(place: Place) -> object:
    """Whether a name is served."""
    return await _served_as(place, "gateway.example")


@probe("listen.allowed_hosts", ([], False), (["second.example"], True))
async def allowed_hosts(place: Place) -> object:
    """Whether a second name is served."""
    return await _served_as(place, "second.example")


@probe("listen.allowed_origins", ([], "bad_origin"), (["https://app.example"], "permitted"))
async def allowed_origins(place: Place) -> object:
    """A call from a page."""
    async with place.stand() as stand:
        return (await stand.call("echo", more={"Origin": "https://app.example"})).reason


# -- [listen.tls] --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _certificates(place: Place) -> Iterator[None]:
    """Two certificates for one key, another key, and a client's authority with a client; another authority."""
    times = lasting()
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    one = svids.issue(extra=[(names, False)], **times)
    two = svids.issue(extra=[(names, False)], key=one.key, **times)
    stranger = svids.issue(**times)
    roots = [svids.issue(ca=True, uris=[f"spiffe://{name}.example"], **times) for name in ("a", "b")]
    client = svids.issue(roots[0], uris=["spiffe://a.example/one"], **times)
    place.around["serials"] = {one.certificate.serial_number: "one", two.certificate.serial_number: "two"}
    contents = {"one.pem": one.pem, "two.pem": two.pem, "key.pem": one.key_pem, "other.key": stranger.key_pem}
    contents |= {"roots.pem": roots[0].pem, "others.pem": roots[1].pem, "client.pem": client.key_pem + client.pem}
    for name, data in contents.items():
        (place.folder / name).write_bytes(data)
    yield


_TLS = {"listen.tls.cert": "one.pem", "listen.tls.key": "key.pem"}


def _context(place: Place, *, client: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(place.folder / "one.pem")
    context.load_verify_locations(place.folder / "two.pem")
    if client:
        context.load_cert_chain(place.folder / "client.pem")
    return context


async def _status(place: Place, *, client: bool = False) -> int:
    async with place.stand() as stand, stand.listening():
        listen = place.settings().listen
        return await asyncio.to_thread(reached, "127.0.0.1", listen.port, _context(place, client=client))


@probe(
    "listen.tls.cert",
    ("one.pem", "one"),
    ("two.pem", "two"),
    base={"listen.tls.key": "key.pem"},
    around=_certificates,
)
async def cert(place: Place) -> object:
    """Whose certificate it is in the handshake."""

    def shown() -> str:
        text = ssl.get_server_certificate(("127.0.0.1", place.settings().listen.port))
        return str(place.around["serials"][x509.load_pem_x509_certificate(text.encode()).serial_number])

    async with place.stand() as stand, stand.listening():
        return await asyncio.to_thread(shown)


@probe(
    "listen.tls.key",
    ("key.pem", 200),
    ("other.key", "config_refused"),
    base={"listen.tls.cert": "one.pem"},
    around=_certificates,
)
async def key(place: Place) -> object:
    """A key that belongs to the certificate, and one that does not."""
    return await _status(place)


@probe("listen.tls.client_ca", ("roots.pem", 200), ("others.pem", 0), base=_TLS, around=_certificates)
async def client_ca(place: Place) -> object:
    """A client with a certificate of one authority."""
    return await _status(place, client=True)


@probe(
    "listen.tls.require",
    (False, 200),
    (True, 0),
    base={**_TLS, "listen.tls.client_ca": "roots.pem"},
    around=_certificates,
)
async def require(place: Place) -> object:
    """A client without a certificate."""
    return await _status(place)


# -- [bundle] ------------------------------------------------------------------------------------------------------------


@probe("bundle.second_person", (False, "in force"), (True, "bundle_unapproved"))
async def second_person(place: Place) -> object:
    """A bundle that permits more than the one in force."""
    approvers = (
        'operators = ["ops"]\n[approvers."os:ann"]\ngroups = ["owner"]\n[approvers."os:bob"]\ngroups = ["ops"]\n'
    )
    async with place.house() as house:
        narrow = files(**{"approvers.toml": approvers})
        wide = files(
            **{
                "approvers.toml": approvers,
                "agents.toml": AGENTS + '[agents.four]\nowner = "x"\nreview_by = 2099-12-31\n',
            }
        )
        await house.activate(load_bundle(narrow, parse_guarded(narrow)))
        await house.activate(load_bundle(wide, parse_guarded(wide)))
        return "in force"
