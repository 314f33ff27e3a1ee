"""The log's private key as a file: PKCS #8 in PEM, for its owner's eyes only. Refuses to know what is signed with it."""

from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.stores.private import check_private

LOG_FILE: Final = "log.db"
LOG_KEY_FILE: Final = "log.key"

_MAX_KEY_FILE: Final = 4096


def read_private(path: Path) -> bytes:
    """Content of a key file.

    Raises:
        OperatorError: `config_refused`: others own, read or write it.
        OSError: it is not there, or cannot be read.
    """
    check_private(path)
    with path.open("rb") as file:
        return file.read(_MAX_KEY_FILE)


def new_signing_key() -> bytes:
    """A fresh one, as it is kept."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signing_key(pem: bytes) -> Ed25519PrivateKey:
    """The key in a `log.key`.

    Raises:
        OperatorError: `config_refused`: it is none.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"{LOG_KEY_FILE!r} holds no private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OperatorError(Reason.CONFIG_REFUSED, f"{LOG_KEY_FILE!r} holds a key that is not ed25519")
    return key
