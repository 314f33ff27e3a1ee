"""X.509-SVIDs: a table of chains that are refused, real TLS with client certificates, and checks removed."""

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509 as certificates
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from lictor.identity import x509 as checks
from lictor.identity.issuers import Issuers
from lictor.identity.replays import FileReplays
from lictor.identity.settings import IssuerSettings
from lictor.identity.x509 import peer_chain, thumbprint, verify_chain
from lictor.model.errors import CallerError
from lictor.model.identity import Proven
from lictor.stores.clock import SystemClock
from svids import Issued, at, bundle, issue
from tokens import NOW_MS

ID = "spiffe://t.example/agent/pay"
ROOT = issue(ca=True, uris=["spiffe://t.example"], common_name="root")
MIDDLE = issue(ROOT, ca=True, uris=["spiffe://t.example"], common_name="middle")
OTHER_ROOT = issue(ca=True, uris=["spiffe://other.example"], common_name="other")
FORGED_ROOT = issue(ca=True, uris=["spiffe://t.example"], common_name="root")


def issuers(folder: Path) -> Issuers:
    """Two trust domains."""
    (folder / "t.json").write_bytes(bundle(ROOT))
    (folder / "other.json").write_bytes(bundle(OTHER_ROOT, tokens=["p256-other"]))
    settings = {
        "mesh": IssuerSettings(kind="spiffe", url="spiffe://t.example", file="t.json"),
        "other": IssuerSettings(kind="spiffe", url="spiffe://other.example", file="other.json"),
    }
    return Issuers(settings, folder=folder, replays=FileReplays(folder / "r.db"), report=lambda _: None)


async def proved(folder: Path, chain: Sequence[bytes], now_ms: int = NOW_MS) -> Proven:
    return await verify_chain(chain, issuers(folder), now_ms)


def leaf(by: Issued = ROOT, **changes: Any) -> Issued:
    return issue(by, **{"uris": [ID], **changes})


GOOD: dict[str, Callable[[], Sequence[bytes]]] = {
    "from the root": lambda: [leaf().der],
    "from an intermediate": lambda: [leaf(MIDDLE).der, MIDDLE.der],
    "with the root in the chain": lambda: [leaf(MIDDLE).der, MIDDLE.der, ROOT.der],
    "with DNS names": lambda: [leaf(dns=["pay.example"]).der],
    "without extended key usage": lambda: [leaf(purposes=()).der],
    "P-384": lambda: [leaf(key=ec.generate_private_key(ec.SECP384R1())).der],
    "RSA 2048": lambda: [leaf(key=rsa.generate_private_key(65_537, 2_048)).der],
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_workloads_certificate_proves_it(name: str, tmp_path: Path) -> None:
    """The identity is the URI name, by the trust domain's issuer, until the certificate ends, bound to it."""
    chain = GOOD[name]()
    found = await proved(tmp_path, chain)
    assert (found.issuer, found.subject, found.how) == ("mesh", ID, "x509_svid")
    assert found.expires_at_ms == int(at(3_600).timestamp() * 1_000)
    assert found.thumbprint == thumbprint(chain[0])
    assert found.thumbprint.startswith("x5t:")


def _tampered() -> bytes:
    der = bytearray(leaf().der)
    der[-5] ^= 1
    return bytes(der)


BAD: dict[str, Callable[[], Sequence[bytes]]] = {
    "no chain": list,
    "not a certificate": lambda: [b"garbage"],
    "data behind": lambda: [leaf().der + b"\x00"],
    "huge": lambda: [b"\x30" * 20_000],
    "long chain": lambda: [leaf().der, *[MIDDLE.der] * 6],
    "no URI name": lambda: [leaf(uris=[], dns=["pay.example"]).der],
    "no names": lambda: [leaf(uris=[]).der],
    "two URI names": lambda: [leaf(uris=[ID, "spiffe://t.example/agent/admin"]).der],
    "two equal URI names": lambda: [leaf(uris=[ID, ID]).der],
    "a URI that is no SPIFFE ID": lambda: [leaf(uris=["https://t.example/agent/pay"]).der],
    "trust domain in capitals": lambda: [leaf(uris=["spiffe://T.EXAMPLE/agent/pay"]).der],
    "look-alike trust domain": lambda: [leaf(uris=["spiffe://t.example.evil.example/agent/pay"]).der],
    "trailing slash": lambda: [leaf(uris=[ID + "/"]).der],
    "dot segments": lambda: [leaf(uris=["spiffe://t.example/agent/../agent/pay"]).der],
    "no path": lambda: [leaf(uris=["spiffe://t.example"]).der],
    "another domain's root": lambda: [leaf(OTHER_ROOT).der],
    "another domain's name from our root": lambda: [leaf(uris=["spiffe://other.example/agent/pay"]).der],
    "an unknown domain": lambda: [leaf(uris=["spiffe://unknown.example/agent/pay"]).der],
    "a root that is not published": lambda: [leaf(FORGED_ROOT).der],
    "a root that comes with the chain": lambda: [leaf(FORGED_ROOT).der, FORGED_ROOT.der],
    "signed by itself": lambda: [issue(uris=[ID]).der],
    "the root itself": lambda: [ROOT.der],
    "an authority": lambda: [leaf(ca=True).der],
    "an authority with a path": lambda: [
        issue(MIDDLE, ca=True, uris=[ID], usages=["digital_signature", "key_cert_sign"]).der,
        MIDDLE.der,
    ],
    "a leaf that may certify": lambda: [leaf(usages=["digital_signature", "key_cert_sign"]).der],
    "a leaf that may sign lists": lambda: [leaf(usages=["digital_signature", "crl_sign"]).der],
    "a leaf that may not sign": lambda: [leaf(usages=["key_encipherment"]).der],
    "no key usage": lambda: [leaf(usages=[]).der],
    "issued by a leaf": lambda: _below_leaf(leaf()),
    "missing intermediate": lambda: [leaf(MIDDLE).der],
    "intermediate of another domain": lambda: _by_middle(uris=["spiffe://other.example"]),
    "intermediate with a path": lambda: _by_middle(uris=["spiffe://t.example/x"]),
    "intermediate without key usage": lambda: _by_middle(usages=[]),
    "intermediate expired": lambda: _by_middle(ends=at(-1)),
    "path length spent": lambda: _below(issue(ROOT, ca=True, path_length=0, common_name="short")),
    "expired": lambda: [leaf(ends=at(-1)).der],
    "lives too long": lambda: [leaf(begins=at(-60), ends=at(86_400)).der],
    "lives for years, nearly over": lambda: [leaf(begins=at(-3 * 365 * 86_400)).der],
    "not yet valid": lambda: [leaf(begins=at(60)).der],
    "for servers only": lambda: [leaf(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]).der],
    "tampered": lambda: [_tampered()],
    "weak RSA": lambda: [leaf(key=rsa.generate_private_key(65_537, 1_024)).der],
    "an odd curve": lambda: [leaf(key=ec.generate_private_key(ec.SECP256K1())).der],
    "unknown critical extension": lambda: [
        leaf(
            extra=[(certificates.UnrecognizedExtension(certificates.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), True)]
        ).der
    ],
}


def _below_leaf(above: Issued) -> list[bytes]:
    return [leaf(above).der, above.der]


def _by_middle(**changes: Any) -> list[bytes]:
    middle = issue(ROOT, **{"ca": True, "common_name": "m2", **changes})
    return [leaf(middle).der, middle.der]


def _below(short: Issued) -> list[bytes]:
    lower = issue(short, ca=True, common_name="lower")
    return [leaf(lower).der, lower.der, short.der]


@pytest.mark.parametrize("name", BAD)
async def test_a_chain_with_one_fault_proves_nobody(name: str, tmp_path: Path) -> None:
    """Every row is refused, and the text names nobody."""
    with pytest.raises(CallerError) as caught:
        await proved(tmp_path, BAD[name]())
    assert caught.value.reason == "unauthenticated"
    assert "agent/pay" not in str(caught.value)


CONTROLS: dict[str, tuple[str, Any, set[str]]] = {
    "no path to a root": (
        "_check_path",
        lambda *_: None,
        {"a root that is not published", "expired", "tampered", "signed by itself"},
    ),
    "any leaf": ("_check_leaf", lambda _: None, {"a leaf that may sign lists", "a leaf that may not sign"}),
    "any life": ("_check_life", lambda *_: None, {"lives too long", "lives for years, nearly over"}),
    "any intermediate": (
        "_check_between",
        lambda *_: None,
        {"intermediate of another domain", "intermediate with a path"},
    ),
    "the first name": ("_only_uri", lambda one: checks._uris(one)[0], {"two URI names", "two equal URI names"}),
    "names as they come": ("workload_id", lambda *_: None, {"no path"}),
}


@pytest.mark.parametrize("name", CONTROLS)
async def test_the_table_catches_a_check_that_is_gone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check removed, these rows are accepted."""
    attribute, value, rows = CONTROLS[name]
    monkeypatch.setattr(checks, attribute, value)
    for row in rows:
        assert (await proved(tmp_path, BAD[row]())).how == "x509_svid", row


@pytest.mark.parametrize(("most_s", "good"), [(7_200, True), (7_170, True), (7_169, False), (2_592_000, True)])
async def test_how_long_a_certificate_may_live_is_a_setting(most_s: int, good: bool, tmp_path: Path) -> None:
    """From its first moment to its last, not what is left of it; the issuer's leeway is for dating back."""
    (tmp_path / "t.json").write_bytes(bundle(ROOT))
    mesh = IssuerSettings(kind="spiffe", url="spiffe://t.example", file="t.json", svid_life_s=most_s)
    known = Issuers({"mesh": mesh}, folder=tmp_path, replays=FileReplays(tmp_path / "r.db"), report=lambda _: None)
    lives = leaf(begins=at(-3_600), ends=at(3_600)).der
    if good:
        assert (await verify_chain([lives], known, NOW_MS)).how == "x509_svid"
        return
    with pytest.raises(CallerError, match="lives longer"):
        await verify_chain([lives], known, NOW_MS)


async def test_a_bundle_that_changes_is_believed_within_a_second(tmp_path: Path) -> None:
    """A root that is withdrawn proves nobody any more."""
    known = issuers(tmp_path)
    chain = [leaf().der]
    assert await verify_chain(chain, known, NOW_MS)
    (tmp_path / "t.json").write_bytes(bundle(FORGED_ROOT))
    with pytest.raises(CallerError):
        await verify_chain(chain, known, NOW_MS + 2_000)


@pytest.mark.parametrize(
    "change",
    [
        {"x5c": []},
        {"x5c": "AAAA"},
        {"x5c": ["not base64!"]},
        {"x5c": [base64.b64encode(ROOT.der).decode()] * 2},
        {"x5c": [1]},
    ],
)
async def test_a_bundle_with_a_broken_root_is_refused_whole(change: dict[str, Any], tmp_path: Path) -> None:
    """Nobody is proved by what is left of it."""
    known = issuers(tmp_path)
    document = json.loads(bundle(ROOT))
    document["keys"][-1] |= change
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(CallerError):
        await verify_chain([leaf().der], known, NOW_MS)


# -- real TLS ------------------------------------------------------------------------------------------------------------------


def handshake(folder: Path, client: Issued | None, between: Sequence[Issued] = ()) -> tuple[bytes, ...]:
    """What a TLS server of the standard library sees of a client."""
    now = {"begins": _real(-60), "ends": _real(600)}
    authority = issue(ca=True, common_name="server root", begins=_real(-60), ends=_real(600))
    server = issue(authority, dns=["localhost"], **now)
    for name, issued in (("server", server), ("client", client)):
        if issued is not None:
            chain = between if name == "client" else ()
            (folder / f"{name}.pem").write_bytes(b"".join([issued.pem, *(one.pem for one in chain)]))
            (folder / f"{name}.key").write_bytes(issued.key_pem)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(folder / "server.pem", folder / "server.key")
    ours.verify_mode = ssl.CERT_OPTIONAL
    ours.load_verify_locations(cadata=TLS_ROOT.pem.decode())
    theirs = ssl.create_default_context(cadata=authority.pem.decode())
    if client is not None:
        theirs.load_cert_chain(folder / "client.pem", folder / "client.key")
    seen: list[tuple[bytes, ...]] = []
    left, right = socket.socketpair()

    def serve() -> None:
        with ours.wrap_socket(left, server_side=True) as connection:
            seen.append(peer_chain(connection))
            connection.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    with theirs.wrap_socket(right, server_hostname="localhost") as connection:
        assert connection.recv(1) == b"x"
    thread.join(10)
    return seen[0]


def _real(seconds: int) -> datetime:
    return datetime.fromtimestamp(SystemClock().now_ms() / 1_000 + seconds, UTC)


TLS_ROOT = issue(ca=True, uris=["spiffe://t.example"], common_name="tls root", begins=_real(-60), ends=_real(3_600))


@pytest.mark.parametrize("through", [False, True], ids=["root", "intermediate"])
async def test_over_real_tls_the_client_is_who_its_certificate_says(through: bool, tmp_path: Path) -> None:
    """The chain that the standard library's TLS server saw, intermediates included, proves the workload."""
    ends = {"begins": _real(-60), "ends": _real(600)}
    middle = issue(TLS_ROOT, ca=True, common_name="tls middle", **ends)
    client = issue(middle if through else TLS_ROOT, uris=[ID], **ends)
    chain = handshake(tmp_path, client, [middle] if through else ())
    assert chain[0] == client.der
    (tmp_path / "t.json").write_bytes(bundle(TLS_ROOT))
    known = Issuers(
        {"mesh": IssuerSettings(kind="spiffe", url="spiffe://t.example", file="t.json")},
        folder=tmp_path,
        replays=FileReplays(tmp_path / "r.db"),
        report=lambda _: None,
    )
    found = await verify_chain(chain, known, SystemClock().now_ms())
    assert found.subject == ID


def test_over_real_tls_a_client_without_certificate_has_no_chain(tmp_path: Path) -> None:
    """Nothing to prove anybody with."""
    assert handshake(tmp_path, None) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("06082a8648ce3d030107", "06082a8648ce3d03017f"),  # an unknown curve
        ("06072a8648ce3d0201", "06072a8648ce3d027f"),  # an unknown kind of key
        ("a003020102", "a003020105"),  # an unknown version
    ],
)
async def test_a_certificate_of_an_unknown_kind_is_refused_and_no_defect(old: str, new: str, tmp_path: Path) -> None:
    """Anybody can send such a chain, behind a good leaf too: it is refused like any other, and never an error of ours."""
    strange = leaf().der.replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    for chain in ([strange], [leaf(MIDDLE).der, MIDDLE.der, strange]):
        with pytest.raises(CallerError) as caught:
            await proved(tmp_path, chain)
        assert caught.value.reason.value == "unauthenticated"
