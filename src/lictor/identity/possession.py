"""DPoP (RFC 9449) at our doors: read, then spent. Refuses to know tokens beyond their text."""

from lictor.identity.replays import Replays
from lictor.protocol.jose.dpop import PossessionProof, read_proof


class Possession:
    """Checks proofs.

    A door that knows which key a token is bound to compares before it spends: a stranger's proof takes no room.
    """

    def __init__(self, replays: Replays) -> None:
        self._replays = replays

    def read(
        self, proof: str, *, method: str, url: str, token: str, now_ms: int, in_body: bool = False
    ) -> PossessionProof:
        """Everything but single use (`dpop.read_proof`).

        Raises:
            CallerError: malformed, stale, for another request or token.
        """
        return read_proof(proof, method=method, url=url, token=token, now_ms=now_ms, in_body=in_body)

    def spend(self, proof: PossessionProof, *, now_ms: int) -> None:
        """Single use.

        Raises:
            CallerError: `unauthenticated`: used before; `overloaded`.
            StoreError: it cannot be remembered.
        """
        self._replays.spend(f"jkt:{proof.thumbprint}", proof.jti, until_ms=proof.until_ms, now_ms=now_ms)
