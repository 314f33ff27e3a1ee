"""Whether a token was signed with a key. The one place that asks the library; it raises instead of answering no."""

from joserfc.errors import JoseError

from lictor.model.reasons import Reason
from lictor.protocol.jose.algs import Alg
from lictor.protocol.jose.compact import UnverifiedJws
from lictor.protocol.jose.keys import Key
from lictor.protocol.jose.refusing import refuse


def check_signature(jws: UnverifiedJws, key: Key, alg: Alg) -> None:
    """Check a signature.

    Raises:
        CallerError: `alg_not_allowed`: the algorithm does not fit the key (RFC 8725 3.1); `unauthenticated`: not signed with it.
    """
    if not key.fits(alg):
        refuse("the token's algorithm does not fit the key", Reason.ALG_NOT_ALLOWED)
    try:
        good = alg.model.verify(jws.signing_input, jws.signature, key.native)
    except (JoseError, ValueError, TypeError):
        good = False
    if good is not True:
        refuse("the token's signature is not good")
