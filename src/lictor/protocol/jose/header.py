"""What a token's header may say (RFC 7515 4.1, RFC 8725 3). Refuses to know keys: nothing in a header ever brings one."""

from collections.abc import Collection
from typing import Any, Final

from lictor.model.reasons import Reason
from lictor.protocol.jose.algs import ALGS, Alg
from lictor.protocol.jose.refusing import refuse

MAX_KID: Final = 256
_KEYS_OF_THE_SENDER: Final = ("jwk", "jku", "x5u", "x5c")
"""Whoever believes these verifies a forger's signature with the forger's key (RFC 8725 3.10; case IDEN-05). They are refused and
not only ignored: no honest issuer sends them, and somebody behind us might believe them."""
_ENCRYPTED: Final = ("enc", "zip", "epk", "b64", "cty")
"""Parts of encryption, compression, detached payloads and nesting: none of it is a token here (RFC 7797, RFC 8725 3.6)."""


def check_header(
    header: dict[str, Any], *, algs: Collection[str], types: Collection[str], jwk: bool = False
) -> tuple[Alg, str | None]:
    """The algorithm and the `kid` of a token's header.

    Args:
        header: as read.
        algs: names that may be used; what is not in `ALGS` is never accepted.
        types: values of `typ` accepted, lower case, without `application/`; the empty text: it may be left out.
        jwk: the profile carries its key in the header (DPoP) and says what that key is worth.

    Raises:
        CallerError: `crit_not_understood`, `alg_not_allowed`, `unauthenticated`.
    """
    if "crit" in header:
        # RFC 7515 4.1.11: understand all of it or refuse. We define no extension, so an empty list is refused as well (IDEN-03).
        refuse("the token asks for an extension that is not understood", Reason.CRIT_NOT_UNDERSTOOD)
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in algs or alg not in ALGS:
        refuse("the token's algorithm is not allowed", Reason.ALG_NOT_ALLOWED)
    for name in (*_ENCRYPTED, *(_KEYS_OF_THE_SENDER[1:] if jwk else _KEYS_OF_THE_SENDER)):
        if name in header:
            refuse(f"the token's header has {name!r}, which is not accepted")
    _check_type(header, types)
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        refuse("the token's kid is no short text")
    return ALGS[alg], kid


def _check_type(header: dict[str, Any], types: Collection[str]) -> None:
    """One kind of token never stands for another (RFC 8725 3.11)."""
    stated = header.get("typ", "")
    if not isinstance(stated, str) or not stated.isascii():
        refuse("the token's type is no text")
    short = stated.lower().removeprefix("application/")
    if short not in types or ("typ" in header and not short):
        refuse("the token is of another type")
