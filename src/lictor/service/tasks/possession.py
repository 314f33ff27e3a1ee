"""Whether the sender of a token holds what the token is bound to (RFC 9449 7.1, RFC 8705 3); without it the token is nothing.

Refuses to know whose token it is.
"""

import hashlib
from typing import Final, Literal, Protocol

import msgspec

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.protocol.jose.base64url import encode
from lictor.protocol.jose.dpop import PossessionProof
from lictor.protocol.jose.refusing import refuse

Scheme = Literal["bearer", "dpop", "body"]


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """A token, as a request carries it. Nothing of it is believed yet."""

    scheme: Scheme
    """Of the `Authorization` header; `body`: the token came in the form."""
    token: str
    method: str
    url: str
    """Of the request as clients call it; never from its `Host`."""
    proof: str | None = None
    """The one value of the `DPoP` header."""
    chain: tuple[bytes, ...] = ()
    """DER chain of the client's certificate, leaf first, from our own TLS layer; never from a header."""


class UnprovedError(CallerError):
    """A token bound to a key came without a good proof of it. The answer has a `DPoP` challenge."""


class Proofs(Protocol):
    """Reads DPoP proofs, and lets each count once."""

    def read(self, proof: str, *, method: str, url: str, token: str, now_ms: int) -> PossessionProof:
        """Everything but single use.

        Raises:
            CallerError: malformed, stale, for another request or token.
        """
        ...

    def spend(self, proof: PossessionProof, *, now_ms: int) -> None:
        """Single use.

        Raises:
            CallerError: used before.
        """
        ...


_SEND: Final = "send it as: Authorization: DPoP …, with a fresh DPoP proof"


def check_held(presented: Presented, binding: str, proofs: Proofs | None, now_ms: int) -> None:
    """Check that the sender holds what a token is bound to.

    Args:
        presented: the request.
        binding: `jkt:…`, `x5t:…`; empty: a bearer.
        proofs: None: nothing that is bound to a key is accepted.
        now_ms: milliseconds since the epoch.

    Raises:
        UnprovedError: `unauthenticated`.
        StoreError: single use cannot be remembered.
    """
    kind = binding.partition(":")[0]
    if kind == "x5t" and (not presented.chain or certificate_binding(presented.chain[0]) != binding):
        raise UnprovedError(Reason.UNAUTHENTICATED, "the token is bound to another client certificate")
    if kind != "jkt":
        if presented.scheme == "dpop" or (presented.scheme == "bearer" and presented.proof is not None):
            # Its sender believes in a protection that is not there.
            raise UnprovedError(Reason.UNAUTHENTICATED, "the token is not bound to a key", remedy="send it as a Bearer")
        return
    if presented.scheme == "bearer" or presented.proof is None:
        raise UnprovedError(Reason.UNAUTHENTICATED, "the token is bound to a key: a proof is needed", remedy=_SEND)
    if proofs is None:
        raise UnprovedError(Reason.UNAUTHENTICATED, "proofs of possession cannot be checked here")
    try:
        proof = proofs.read(
            presented.proof, method=presented.method, url=presented.url, token=presented.token, now_ms=now_ms
        )
        if f"jkt:{proof.thumbprint}" != binding:  # compared before it is spent: a stranger's proof takes no room
            refuse("the token is bound to another key")
        proofs.spend(proof, now_ms=now_ms)
    except CallerError as error:
        raise UnprovedError(error.reason, error.message, remedy=_SEND) from None


def certificate_binding(leaf: bytes) -> str:
    """`x5t:` and the SHA-256 of a certificate (RFC 8705 3.1)."""
    return f"x5t:{encode(hashlib.sha256(leaf).digest())}"
