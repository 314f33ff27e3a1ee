"""`requestState`: what travels through a modern client between a hold and its retry. Attacker-controlled by definition.

Sealed with AES-256-GCM, bound to task and action, expiring (MCP 2026-07-28, patterns/mrtr, server requirements
4-6). Single use is not this module's: the approval it leads to is spent in the store.
"""

import base64
import binascii
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lictor.model.errors import CallerError
from lictor.model.ids import ActionDigest, HoldId, TaskId
from lictor.model.reasons import Reason

_NONCE_BYTES: Final = 12
_CONTEXT: Final = b"lictor requestState v1"
MAX_CHARS: Final = 64 * 1024


class RequestState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a retry claims to continue: a hold of ours, a server's own state, or both."""

    task: TaskId
    digest: ActionDigest
    expires_at_ms: int
    hold: HoldId | None = None
    upstream: str | None = None
    asked: tuple[str, ...] = ()
    """Keys of the server's questions: only these may be answered to it."""


class StateSeal:
    """Seals and opens request states."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, state: RequestState, nonce: bytes) -> str:
        """Sealed text; `nonce` is 12 fresh random bytes."""
        sealed = self._aead.encrypt(nonce, msgspec.json.encode(state), _CONTEXT)
        return base64.urlsafe_b64encode(nonce + sealed).decode("ascii")

    def open(self, text: object, *, task: TaskId, digest: ActionDigest, now_ms: int) -> RequestState:
        """The state, if it is ours, of this task, for this action, and fresh.

        Raises:
            CallerError: `bad_state` (forged, malformed, expired), `state_principal` (another task's), `action_hash_mismatch`.
        """
        state = self._decrypt(text)
        if state.task != task:
            raise CallerError(Reason.STATE_PRINCIPAL, "the requestState belongs to another task")
        if state.digest != digest:
            raise CallerError(Reason.ACTION_HASH_MISMATCH, "the requestState is for another action")
        if now_ms >= state.expires_at_ms:
            raise CallerError(Reason.BAD_STATE, "the requestState has expired", remedy="call again without it")
        return state

    def _decrypt(self, text: object) -> RequestState:
        refused = CallerError(Reason.BAD_STATE, "the requestState is not one of ours", remedy="call again without it")
        if not isinstance(text, str) or len(text) > MAX_CHARS or not text.isascii():
            raise refused
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
            plain = self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _CONTEXT)
            return msgspec.json.decode(plain, type=RequestState)
        except (binascii.Error, InvalidTag, ValueError, msgspec.MsgspecError):
            raise refused from None
