"""What gives or takes a way in, and is confirmed with a passkey: the nouns, and how a form carries them.

The challenge of a confirmation is for exactly this text. Refuses to know who may do what.
"""

from typing import Final

import msgspec

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

MAX_ACT: Final = 4_096


class AddKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="add"):
    """One more key of one's own."""

    id: str
    public_key: str
    uses: int
    name: str


class RemoveKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="remove"):
    """A key of one's own is good for nothing any more; never the last."""

    passkey: str


class EnrolPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="enrol"):
    """A person of `approvers.toml` gets a fresh secret."""

    human: str


class ForgetKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="forget"):
    """Somebody else has lost their passkeys: none of them counts any more."""

    human: str


Act = AddKey | RemoveKey | EnrolPerson | ForgetKeys
"""What gives or takes a way in, and is confirmed with a passkey."""
_ACTS: Final = msgspec.json.Decoder(Act)
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


def encode_act(act: Act) -> str:
    """As a form carries it."""
    return _ENCODER.encode(act).decode()


def decode_act(text: str) -> Act:
    """Inverse of `encode_act`.

    Raises:
        CallerError: `passkey_challenge`: it is none.
    """
    try:
        found: Act = _ACTS.decode(text[:MAX_ACT])
    except msgspec.DecodeError:
        raise CallerError(Reason.PASSKEY_CHALLENGE, "nothing is asked for", remedy="open the page again") from None
    return found
