"""A browser's answer of a passkey, checked: the one module that knows the `webauthn` library.

What is asked of it is `service.people.passkeys.Ceremony`. Every check of W3C WebAuthn level 3, sections 7.1 and 7.2, that has a
reason code of its own is made here first; the library then checks all of them again, and the signature. It is loaded at the first
answer. Refuses to know whose a passkey is and what its signature is for.
"""

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from lictor.model.approval import Passkey
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.protocol.jose.base64url import decode, encode
from lictor.service.people.passkey_site import Site
from lictor.service.people.passkeys import ALGORITHMS, Created

if TYPE_CHECKING:
    from webauthn.helpers.structs import AuthenticatorData

MAX_JSON: Final = 12_000
"""Characters of one answer. The largest that is accepted, an RSA key with a long id, has some 3,000."""
MAX_ID: Final = 1_023
"""Bytes of a credential id (level 3, section 4)."""
_FORMATS: Final = frozenset({"none", "packed"})
"""We ask for no attestation; `packed` is left over where an authenticator signs for itself. No other statement is read."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`AuthenticatorAssertionResponseJSON` or `AuthenticatorAttestationResponseJSON`, as far as it is read."""

    client: str = msgspec.field(name="clientDataJSON")
    authenticator: str = msgspec.field(name="authenticatorData", default="")
    signature: str = ""
    attestation: str = msgspec.field(name="attestationObject", default="")


class _Credential(msgspec.Struct, frozen=True, kw_only=True):
    """`AuthenticationResponseJSON` or `RegistrationResponseJSON`."""

    id: str
    type: str
    response: _Answer


class _ClientData(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser says, and the authenticator signs (section 5.8.1)."""

    type: str
    challenge: str
    origin: str
    cross: bool = msgspec.field(name="crossOrigin", default=False)
    top: str | None = msgspec.field(name="topOrigin", default=None)


_CREDENTIALS: Final = msgspec.json.Decoder(_Credential)
_CLIENT_DATA: Final = msgspec.json.Decoder(_ClientData)


class WebAuthn:
    """Checks answers for one site. Stateless."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def claimed(self, assertion: str) -> str:
        """See `service.people.passkeys.Ceremony`."""
        credential = _credential(assertion)
        _bytes(credential.id, MAX_ID)
        return credential.id

    def asserted(self, assertion: str, challenge: bytes, passkey: Passkey) -> int:
        """See `service.people.passkeys.Ceremony`."""
        credential = _credential(assertion)
        answer = credential.response
        if credential.id != passkey.id:
            raise CallerError(Reason.PASSKEY_UNKNOWN, "another passkey answered than was asked")
        self._check_client(_bytes(answer.client), "webauthn.get", challenge)
        data = _bytes(answer.authenticator)
        self._check_authenticator(_authenticator_data(data))
        uses = self._verified(
            name=credential.id,
            client=_bytes(answer.client),
            data=data,
            signature=_bytes(answer.signature),
            challenge=challenge,
            public_key=_bytes(passkey.public_key),
        )
        # After the signature (section 7.2, step 22): only then is it the authenticator that says so.
        if (uses or passkey.uses) and uses <= passkey.uses:
            raise CallerError(
                Reason.PASSKEY_REPLAYED,
                "the passkey's counter has not gone forward: this was used before, or there is a copy of the passkey",
                remedy="remove this passkey if it happens again",
            )
        return uses

    def created(self, credential: str, challenge: bytes) -> Created:
        """See `service.people.passkeys.Ceremony`."""
        made = _credential(credential)
        client, attestation = _bytes(made.response.client), _bytes(made.response.attestation)
        self._check_client(client, "webauthn.create", challenge)
        self._check_authenticator(_attested(attestation))
        found = self._registered(name=made.id, client=client, attestation=attestation, challenge=challenge)
        if not 0 < len(found.credential_id) <= MAX_ID or encode(found.credential_id) != made.id:
            _malformed("the passkey's id is not the one that was made")
        return Created(id=made.id, public_key=encode(found.credential_public_key), uses=found.sign_count)

    # -- our own checks, each with its reason ----------------------------------------------------------------------------

    def _check_client(self, data: bytes, kind: str, challenge: bytes) -> None:
        """Sections 7.1 and 7.2: type, challenge, origin, and that no other site's page is round it."""
        try:
            client = _CLIENT_DATA.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _malformed("what the browser says cannot be read")
        given = decode(client.challenge)
        if client.type != kind or given is None or not hmac.compare_digest(given, challenge):
            raise CallerError(Reason.PASSKEY_CHALLENGE, "something else was signed", remedy="open the page again")
        if client.origin != self._site.origin or client.cross or client.top is not None:
            raise CallerError(
                Reason.PASSKEY_ORIGIN, f"it was made at {client.origin[:100]!r}", remedy=f"open {self._site.origin}"
            )

    def _check_authenticator(self, data: "AuthenticatorData") -> None:
        """Made for this site, by a person who was there and showed who they are."""
        if not hmac.compare_digest(data.rp_id_hash, hashlib.sha256(self._site.rp_id.encode()).digest()):
            raise CallerError(Reason.PASSKEY_ORIGIN, "it was made for another site", remedy=f"open {self._site.origin}")
        if not (data.flags.up and data.flags.uv):
            raise CallerError(
                Reason.PASSKEY_UNVERIFIED,
                "the device did not check who you are",
                remedy="use one with a PIN, a finger or a face",
            )

    # -- the library's ---------------------------------------------------------------------------------------------------

    def _verified(
        self,
        *,
        name: str,
        client: bytes,
        data: bytes,
        signature: bytes,
        challenge: bytes,
        public_key: bytes,
    ) -> int:
        from webauthn import verify_authentication_response  # noqa: PLC0415
        from webauthn.helpers.structs import AuthenticationCredential, AuthenticatorAssertionResponse  # noqa: PLC0415

        response = AuthenticatorAssertionResponse(client_data_json=client, authenticator_data=data, signature=signature)
        try:
            found = verify_authentication_response(
                credential=AuthenticationCredential(id=name, raw_id=_bytes(name), response=response),
                expected_challenge=challenge,
                expected_rp_id=self._site.rp_id,
                expected_origin=self._site.origin,
                credential_public_key=public_key,
                credential_current_sign_count=0,
                require_user_verification=True,
            )
        except Exception as error:  # noqa: BLE001 - whatever a library stumbles over is no good answer
            _malformed(f"the passkey's answer is not good ({type(error).__name__})")
        return found.new_sign_count

    def _registered(self, *, name: str, client: bytes, attestation: bytes, challenge: bytes) -> Any:
        from webauthn import verify_registration_response  # noqa: PLC0415
        from webauthn.helpers.cose import COSEAlgorithmIdentifier  # noqa: PLC0415
        from webauthn.helpers.structs import AuthenticatorAttestationResponse, RegistrationCredential  # noqa: PLC0415

        response = AuthenticatorAttestationResponse(client_data_json=client, attestation_object=attestation)
        try:
            return verify_registration_response(
                credential=RegistrationCredential(id=name, raw_id=_bytes(name), response=response),
                expected_challenge=challenge,
                expected_rp_id=self._site.rp_id,
                expected_origin=self._site.origin,
                require_user_verification=True,
                supported_pub_key_algs=[COSEAlgorithmIdentifier(alg) for alg in ALGORITHMS],
            )
        except Exception as error:  # noqa: BLE001 - as above
            _malformed(f"the new passkey is not good ({type(error).__name__})")


def _credential(text: str) -> _Credential:
    try:
        credential = _CREDENTIALS.decode(text) if len(text) <= MAX_JSON else None
    except msgspec.DecodeError:
        credential = None
    if credential is None or credential.type != "public-key":
        _malformed("there is no answer of a passkey" if not text else "this is no answer of a passkey")
    return credential


def _bytes(text: str, most: int = MAX_JSON) -> bytes:
    data = decode(text)
    if not data or len(data) > most:
        _malformed("a part of the passkey's answer cannot be read")
    return data


def _authenticator_data(data: bytes) -> "AuthenticatorData":
    from webauthn.helpers import parse_authenticator_data  # noqa: PLC0415

    try:
        return parse_authenticator_data(data)
    except Exception as error:  # noqa: BLE001 - as above
        _malformed(f"the authenticator's data cannot be read ({type(error).__name__})")


def _attested(data: bytes) -> "AuthenticatorData":
    from webauthn.helpers import parse_attestation_object  # noqa: PLC0415

    try:
        found = parse_attestation_object(data)
    except Exception as error:  # noqa: BLE001 - as above
        _malformed(f"the new passkey cannot be read ({type(error).__name__})")
    if found.fmt not in _FORMATS or found.att_stmt.x5c:
        _malformed("a statement about the authenticator that nobody asked for")
    return found.auth_data


def _malformed(message: str) -> NoReturn:
    raise CallerError(Reason.PASSKEY_REFUSED, message, remedy="try again with a passkey of this site")
