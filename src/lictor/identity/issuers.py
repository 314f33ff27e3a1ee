"""Tokens of the configured issuers.

A token's own word for its issuer only chooses whose keys it is checked with. Refuses to know agents, and requests: whether the
sender may hold a token that is bound to a key is for `front`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from lictor.identity.kept import CAP_MS, Kept, KeptTokens, holds
from lictor.identity.publications import publication
from lictor.identity.replays import Replays
from lictor.identity.settings import IssuerSettings
from lictor.identity.sources import Published, Report, Source
from lictor.model.identity import How, Proven
from lictor.protocol.jose.algs import DEFAULT_ALGS
from lictor.protocol.jose.compact import MAX_TOKEN, UnverifiedJws, read_jws
from lictor.protocol.jose.profiles import Profile, VerifiedToken, header_of, verify_token
from lictor.protocol.jose.refusing import refuse

_HOW: Final[dict[str, How]] = {"oidc": "jwt", "jwks": "jwt", "spiffe": "jwt_svid", "keys": "private_key_jwt"}


class Issuer(msgspec.Struct, frozen=True, eq=False):
    """One issuer at work."""

    name: str
    settings: IssuerSettings
    source: Source

    def profile(self, audience: str) -> Profile:
        """What is asked of its tokens."""
        return Profile(
            how=_HOW[self.settings.kind],
            issuer=self.settings.trust_domain or self.settings.url,
            audience=self.settings.audience or audience,
            algs=self.settings.algs or DEFAULT_ALGS,
            leeway_s=self.settings.leeway_s,
            max_life_s=self.settings.max_life_s,
            client_id=self.settings.client_id,
        )


class Issuers:
    """See the module. Built once, on one event loop."""

    def __init__(
        self, issuers: Mapping[str, IssuerSettings], *, folder: Path, replays: Replays, report: Report
    ) -> None:
        """Nothing is fetched yet.

        Args:
            issuers: by name, checked (`settings.check_issuers`).
            folder: what relative files are relative to.
            replays: remembers assertions.
            report: tells the operator what cannot be read.
        """
        self.by_name: Final[Mapping[str, Issuer]] = {
            name: Issuer(name, settings, Source(name, *publication(settings, folder), report))
            for name, settings in issuers.items()
        }
        self._by_iss = {one.settings.url: one for one in self.by_name.values() if one.settings.kind != "spiffe"}
        self._by_domain = {
            one.settings.trust_domain: one for one in self.by_name.values() if one.settings.kind == "spiffe"
        }
        self._replays = replays
        self._kept = KeptTokens()

    async def verify(self, token: str, *, audience: str, now_ms: int) -> Proven:
        """Check signature, type, issuer, audience and time of a token. An assertion (kind `keys`) is good once.

        `thumbprint` of the result says what the sender must also prove; whoever ignores it takes a bound token for a bearer.

        Raises:
            CallerError: `unauthenticated`, or a more exact code; the text never repeats the token.
        """
        if not token.isascii() or len(token) > MAX_TOKEN:
            refuse(f"a token is at most {MAX_TOKEN} ASCII characters")
        digest = hashlib.sha256(token.encode("ascii")).hexdigest()
        kept = self._kept.find(digest, audience)
        if kept is not None:
            published = await self.by_name[kept.proven.issuer].source.current(now_ms)
            if holds(kept, published.version, now_ms):
                return kept.proven
            self._kept.forget(digest, audience)
        return await self._verify(token, digest, audience, now_ms)

    async def _verify(self, token: str, digest: str, audience: str, now_ms: int) -> Proven:
        jws = read_jws(token)
        issuer = self._issuer_of(jws)
        profile = issuer.profile(audience)
        alg, kid = header_of(jws, profile)
        published, _ = await issuer.source.key(kid, alg, now_ms)
        if published.keys is None:
            refuse("the issuer publishes no keys for tokens")
        verified = verify_token(jws, profile, published.keys, now_ms)
        proven = Proven(
            issuer=issuer.name,
            subject=verified.claims["sub"],
            how=profile.how,
            expires_at_ms=verified.times.expires_at_ms,
            claims=verified.claims,
            thumbprint=verified.binding,
            token_digest=digest,
        )
        if profile.how == "private_key_jwt":
            self._replays.spend(f"iss:{issuer.name}", verified.jti, until_ms=verified.times.until_ms, now_ms=now_ms)
        else:
            self._kept.keep(digest, audience, _kept(proven, published, verified, now_ms, len(token)))
        return proven

    def _issuer_of(self, jws: UnverifiedJws) -> Issuer:
        """Whose token this says it is. Exactly; a wrong word finds keys that do not fit the signature."""
        iss: Any = jws.claims.get("iss")
        if isinstance(iss, str) and iss in self._by_iss:
            return self._by_iss[iss]
        subject: Any = jws.claims.get("sub")
        if isinstance(subject, str) and subject.startswith("spiffe://"):
            domain = subject.removeprefix("spiffe://").partition("/")[0]
            if domain in self._by_domain:
                return self._by_domain[domain]
        return refuse("the token is of no issuer that is known here")

    async def roots(self, trust_domain: str, now_ms: int) -> tuple[Issuer, tuple[bytes, ...]]:
        """Issuer and authorities (DER) of a trust domain.

        Raises:
            CallerError: `unauthenticated`: not configured, or not known now.
        """
        issuer = self._by_domain.get(trust_domain)
        if issuer is None:
            refuse("the certificate is of no trust domain that is known here")
        return issuer, (await issuer.source.current(now_ms)).roots

    def problems(self) -> dict[str, str]:
        """Why an issuer's keys could not be read the last time, by its name."""
        return {name: issuer.source.problem for name, issuer in self.by_name.items() if issuer.source.problem}

    async def close(self) -> None:
        """End what is under way."""
        for issuer in self.by_name.values():
            await issuer.source.close()


def _kept(proven: Proven, published: Published, verified: VerifiedToken, now_ms: int, size: int) -> Kept:
    times = verified.times
    return Kept(proven, published.version, times.from_ms, min(times.until_ms, now_ms + CAP_MS), size)
