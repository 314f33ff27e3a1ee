"""The strict door: a client's bytes into one typed message, and a refusal into the JSON-RPC error that fits it.

Refuses to know transports and what the methods do.
"""

from typing import Any, Final

import msgspec

from lictor.model.errors import CallerError, LictorError, StoreError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp import answers
from lictor.pep.mcp.seam import LEGACY_VERSIONS, MODERN_VERSIONS, Answer
from lictor.protocol.json import read
from lictor.protocol.jsonrpc import (
    MAX_ID_CHARS,
    Message,
    MessageId,
    Request,
    check_params,
    encode_result,
    parse_message,
)

SUPPORTED_VERSIONS: Final = MODERN_VERSIONS + LEGACY_VERSIONS
"""Every version served, newest first; the legacy ones after `initialize` only."""


class UnsupportedVersionError(CallerError):
    """A version in the request's metadata that is not served that way."""

    def __init__(self, requested: str) -> None:
        """`requested` is the client's own word."""
        super().__init__(Reason.UNSUPPORTED_VERSION, f"protocol version {requested[:64]!r} is not served")
        self.requested = requested[:64]


class Claim(msgspec.Struct):
    """What refused bytes say of themselves, as far as it can be read: only for addressing the refusal."""

    id: int | str | None = None
    method: str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def answerable(self) -> bool:
        """False for notifications and responses: neither is ever answered (JSON-RPC 2.0, 4.1)."""
        if self.method is not None:
            return self.id is not None
        return self.result is msgspec.UNSET and self.error is msgspec.UNSET


_claim = msgspec.json.Decoder(Claim).decode


def read_message(data: bytes, limits: Limits) -> Message:
    """One message, strictly.

    Raises:
        CallerError: what `protocol.json.read`, `parse_message` and `check_params` refuse (cases JSON-01 to -13).
    """
    message = parse_message(read(data, limits))
    if isinstance(message, Request):
        check_params(message.method, message.params)
    return message


def claim_of(data: bytes, limits: Limits) -> Claim:
    """What refused bytes claim to be. Never raises.

    An honest client whose arguments hold a number we refuse waits for an answer to its id; only a request's id is echoed, so
    that a malformed reply is never taken for an answer to a request of the client.
    """
    if len(data) > limits.message_bytes:
        return Claim()
    try:
        claim = _claim(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Claim()
    if isinstance(claim.id, str) and len(claim.id) > MAX_ID_CHARS:
        return Claim()
    if claim.method is None:
        claim.id = None
    return claim


def refusal(error: LictorError) -> Answer:
    """The answer to what the door turned away: code, stable reason and place; versions where that is the fault."""
    answer = answers.failure(error)
    if answer.error is None:
        return answer
    data: dict[str, Any] = answer.error["data"]
    if isinstance(error, UnsupportedVersionError):
        # A legacy version is served, but not to a request with modern metadata: naming it would send the client in a circle.
        legacy = error.requested in LEGACY_VERSIONS
        data["supported"] = list(MODERN_VERSIONS if legacy else SUPPORTED_VERSIONS)
        data["requested"] = error.requested
    elif error.reason is Reason.INVALID_MESSAGE and error.where.startswith("/params/"):
        # Missing or mistyped metadata is "invalid params" (spec 2026-07-28, basic, "_meta").
        answer.error["code"] = answers.INVALID_PARAMS
    return answer


def defect() -> Answer:
    """The answer when we failed: nothing ran on account of it."""
    return answers.failure(StoreError(Reason.INTERNAL, "the gateway failed"))


def encode_answer(identity: MessageId | None, answer: Answer) -> bytes:
    """The JSON-RPC response; a result's bytes are passed on as they are, in one line."""
    if answer.result is not None and identity is not None:
        return encode_result(identity, msgspec.Raw(answer.result))
    return msgspec.json.encode({"jsonrpc": "2.0", "id": identity, "error": answer.error})
