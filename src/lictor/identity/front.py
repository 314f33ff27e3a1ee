"""What a door asks: who is this? One answer, or a refusal; no default, no second try with weaker evidence.

The order of evidence is fixed. A token that is sent is what counts, good or bad: a bad token is never made good by a
certificate. A certificate speaks for itself only where no token was sent. A token that is bound to a key or a certificate
(`cnf`) is worth nothing without it (RFC 9449 7.1, RFC 8705 3), and a proof beside a token that is not bound is refused: its
sender believes in a protection that is not there.

For any door: nothing here knows HTTP beyond the values of two headers.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lictor.identity.issuers import Issuers
from lictor.identity.possession import Possession
from lictor.identity.replays import FileReplays, Replays
from lictor.identity.settings import IssuerSettings
from lictor.identity.x509 import thumbprint, verify_chain
from lictor.model.identity import Proven
from lictor.ports import Clock
from lictor.protocol.jose.refusing import refuse

REPLAYS_FILE: Final = "replays.db"
_SCHEME: Final = re.compile(r"(?i:(bearer|dpop)) ([A-Za-z0-9._~+/-]+=*)", re.ASCII)
"""RFC 9110 11.4, RFC 6750 2.1, RFC 9449 7.1: one blank, nothing around."""


class Front:
    """See the module. On one event loop."""

    def __init__(self, *, issuers: Issuers, replays: Replays, clock: Clock, audience: str) -> None:
        """Args: `audience`: what tokens must be for where their issuer's settings do not say."""
        self.issuers: Final = issuers
        self.possession: Final = Possession(replays)
        self._replays = replays
        self._clock = clock
        self._audience = audience

    async def identify(
        self,
        *,
        authorization: str | None,
        dpop: str | None = None,
        method: str,
        url: str,
        chain: Sequence[bytes] = (),
        audience: str = "",
    ) -> Proven:
        """Who sends a request.

        Args:
            authorization: the one value of the `Authorization` header (two are the door's to refuse); None: there is none.
            dpop: the one value of the `DPoP` header.
            method: of the request.
            url: of the request as clients call it: public scheme and host, path.
            chain: DER chain of the client's certificate, leaf first, from the TLS layer that faces the client
                (`x509.peer_chain`); never from a header.
            audience: what the token must be for; empty: as built.

        Raises:
            CallerError: `unauthenticated`, `alg_not_allowed`, `crit_not_understood`, `audience`, `overloaded`.
            StoreError: single use cannot be remembered.
        """
        if authorization is None:
            if dpop is not None:
                refuse("a proof of possession without a token")
            if not chain:
                refuse("no token and no client certificate")
            return await verify_chain(chain, self.issuers, self._clock.now_ms())
        found = _SCHEME.fullmatch(authorization)
        if found is None:
            refuse("the Authorization header is not `Bearer TOKEN` or `DPoP TOKEN`")
        return await self._sent(
            found[2], found[1].lower() == "dpop", dpop=dpop, method=method, url=url, chain=chain, audience=audience
        )

    async def prove(
        self,
        token: str,
        *,
        dpop: str | None = None,
        method: str,
        url: str,
        chain: Sequence[bytes] = (),
        audience: str = "",
    ) -> Proven:
        """Whose token this is, sent by other means than the header (`subject_token`, `client_assertion`): the same rules.

        Where it is not bound, a DPoP proof is not looked at: it may be meant for what is issued; check it with `possession` then.
        """
        return await self._sent(token, None, dpop=dpop, method=method, url=url, chain=chain, audience=audience)

    async def _sent(
        self,
        token: str,
        by_dpop: bool | None,
        *,
        dpop: str | None,
        method: str,
        url: str,
        chain: Sequence[bytes],
        audience: str,
    ) -> Proven:
        now = self._clock.now_ms()
        proven = await self.issuers.verify(token, audience=audience or self._audience, now_ms=now)
        bound = proven.thumbprint.partition(":")[0]
        if bound == "x5t" and (not chain or thumbprint(chain[0]) != proven.thumbprint):
            refuse("the token is bound to another client certificate")
        if by_dpop is not None and (by_dpop != (bound == "jkt") or (dpop is not None) != by_dpop):
            refuse("a token that is bound to a key is sent as DPoP with one proof, any other as Bearer without")
        if bound == "jkt":
            if dpop is None:
                refuse("the token is bound to a key, and there is no proof of it")
            in_body = by_dpop is None
            proof = self.possession.read(dpop, method=method, url=url, token=token, now_ms=now, in_body=in_body)
            if proven.thumbprint != f"jkt:{proof.thumbprint}":
                refuse("the token is bound to another key")
            self.possession.spend(proof, now_ms=now)
        return proven

    async def close(self) -> None:
        """Release what is held."""
        await self.issuers.close()
        self._replays.close()


def open_front(
    issuers: dict[str, IssuerSettings],
    *,
    folder: Path,
    state: Path,
    audience: str,
    clock: Clock,
    report: Callable[[str], None],
) -> Front:
    """The front of one gateway process.

    Args:
        issuers: `Settings.issuers`, checked.
        folder: the bundle folder.
        state: the state folder; used proofs are remembered there, for all processes of this host.
        audience: what tokens must be for.
        clock: the time.
        report: tells the operator one line.

    Raises:
        StoreError: the memory of used proofs cannot be opened.
    """
    replays = FileReplays(state / REPLAYS_FILE)
    return Front(
        issuers=Issuers(issuers, folder=folder, replays=replays, report=report),
        replays=replays,
        clock=clock,
        audience=audience,
    )
