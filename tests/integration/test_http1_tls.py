"""Who the server is: its certificate, for its name, from an authority that is trusted; otherwise nothing is sent."""

import datetime as dt
import ipaddress
import ssl
import time
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.client import Body, open_session, read_body, send
from lictor.pep.mcp.upstream.http1 import tls
from lictor.pep.mcp.upstream.http1.address import check_url
from lictor.pep.mcp.upstream.http1.outgoing import request_head, whole
from servers.scripted_http import GOOD, scripted

LIMITS = Limits(upstream_connect_timeout_s=5.0)


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.certificate = self._sign(self.name, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=0))

    def _sign(self, subject, public, *extensions):
        now = dt.datetime.fromtimestamp(time.time(), dt.UTC)  # noqa: TID251 - a handshake reads the real clock
        builder = (
            x509.CertificateBuilder(issuer_name=self.name, subject_name=subject, public_key=public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def server(self, folder, *names) -> ssl.SSLContext:
        """The context of a server with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = self._sign(subject, key.public_key(), x509.SubjectAlternativeName(names))
        path = folder / "server.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def trusting(self) -> ssl.SSLContext:
        """Our own context, trusting this authority as well."""
        context = tls.tls_context()
        context.load_verify_locations(cadata=self.certificate.public_bytes(serialization.Encoding.PEM).decode())
        return context


LOCALHOST, ADDRESS, ELSEWHERE = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.DNSName("elsewhere.test"),
)


@asynccontextmanager
async def facing(served: ssl.SSLContext, trusted: ssl.SSLContext | None, host: str):
    """A TLS server and a caller of it under this name."""
    async with scripted(GOOD, tls=served) as server, open_session(LIMITS, trusted) as session:
        address = check_url(f"https://{host}:{server.port}/mcp")

        async def call() -> bytes:
            body = Body(b"{}")
            data = whole(request_head("POST", address, []), b"", body.data)
            answer = await send(session.pool(address), data, body)
            found = await read_body(answer, body, LIMITS)
            answer.release()
            return found

        yield server, call


@pytest.mark.parametrize(("name", "host"), [(LOCALHOST, "localhost"), (ADDRESS, "127.0.0.1")])
async def test_a_server_that_proves_its_name(tmp_path, name, host):
    """By name and by address; the name goes into the handshake; the connection is kept."""
    authority, asked = Authority(), []
    served = authority.server(tmp_path, name)
    served.sni_callback = lambda _, asked_for, __: asked.append(asked_for)
    async with facing(served, authority.trusting(), host) as (server, call):
        assert [await call(), await call()] == [b"ok", b"ok"]
        assert server.connections == 1
    assert asked == ["localhost" if host == "localhost" else None]


async def check_stranger(served: ssl.SSLContext, trusted: ssl.SSLContext | None) -> None:
    """Refused before a byte of the request leaves."""
    async with facing(served, trusted, "localhost") as (server, call):
        try:
            await call()
        except UpstreamError as error:
            assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, False)
            assert "secure" in error.message
        else:
            raise AssertionError("accepted")
        assert server.requests == []


async def test_a_server_with_another_name(tmp_path):
    """A certificate for somebody else."""
    authority = Authority()
    await check_stranger(authority.server(tmp_path, ELSEWHERE), authority.trusting())


async def test_a_server_of_an_unknown_authority(tmp_path):
    """The system's authorities did not sign it."""
    await check_stranger(Authority().server(tmp_path, LOCALHOST), None)


async def test_without_the_guard_a_stranger_is_accepted(tmp_path, monkeypatch):
    """Control: a context that verifies nothing, smuggled past the check."""
    monkeypatch.setattr("lictor.pep.mcp.upstream.client.check_context", lambda _: None)
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with pytest.raises(AssertionError):
        await check_stranger(Authority().server(tmp_path, ELSEWHERE), careless)


async def test_a_server_that_speaks_no_tls():
    """Down, nothing sent, no hang."""
    async with scripted(GOOD) as server, open_session(LIMITS) as session:
        address = check_url(f"https://localhost:{server.port}/")
        with pytest.raises(UpstreamError) as caught:
            await send(session.pool(address), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", head_s=1)
        assert caught.value.effect_possible is False


async def test_session_keys_are_not_written(tmp_path, monkeypatch):
    """Not even where the environment says so."""
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    authority = Authority()
    async with facing(authority.server(tmp_path, LOCALHOST), authority.trusting(), "localhost") as (_, call):
        assert await call() == b"ok"
    assert not keys.exists()
