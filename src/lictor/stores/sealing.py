"""Payloads sealed under a task's key, so that they can be erased without touching the log. Knows no place for keys.

AES-256-GCM, random 96-bit nonces (one key seals at most a task's calls, far below 2^32), the request id as associated data:
a payload moved to another request does not open.
"""

import os
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lictor.model.errors import StoreError
from lictor.model.ids import RequestId, TaskId
from lictor.model.reasons import Reason
from lictor.ports import Payload

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_LENGTH_BYTES: Final = 8


def new_key() -> bytes:
    """A fresh task key."""
    return os.urandom(KEY_BYTES)


def nonces(at_once: int) -> Iterator[bytes]:
    """Fresh ones without end, so many drawn at a time: each draw lets go of the interpreter's lock. Never kept across a fork."""
    while True:
        drawn = os.urandom(at_once * _NONCE_BYTES)
        for at in range(0, len(drawn), _NONCE_BYTES):
            yield drawn[at : at + _NONCE_BYTES]


def seal(cipher: AESGCM, payload: Payload, nonce: bytes) -> tuple[bytes, bytes]:
    """Nonce and ciphertext. The nonce is fresh."""
    plain = len(payload.arguments).to_bytes(_LENGTH_BYTES, "big") + payload.arguments + payload.snapshot
    return nonce, cipher.encrypt(nonce, plain, payload.request.encode())


def unseal(key: bytes, request: RequestId, task: TaskId, nonce: bytes, ciphertext: bytes) -> Payload:
    """Inverse of `seal`.

    Raises:
        StoreError: `log_damaged`: not what was sealed under this key for this request.
    """
    try:
        plain = AESGCM(key).decrypt(nonce, ciphertext, request.encode())
    except (InvalidTag, ValueError) as error:
        raise StoreError(Reason.LOG_DAMAGED, f"the payload of request {request!r:.80} does not open") from error
    end = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES <= end <= len(plain):
        raise StoreError(Reason.LOG_DAMAGED, f"the payload of request {request!r:.80} is malformed")
    return Payload(request=request, task=task, arguments=plain[_LENGTH_BYTES:end], snapshot=plain[end:])
