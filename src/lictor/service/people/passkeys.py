"""People prove who they are with a passkey: for a sign-in, for one answer, and for giving others a way in. ADR 0013.

A challenge says what is signed: for an answer it is the seal of what was shown, so the signature is for that and nothing else.
Who has a passkey lets nobody in without it: neither another key, nor another person. Refuses to know how a browser's answer is
written and checked (`Ceremony`), cookies and pages.
"""

import asyncio
import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec

from lictor.model.approval import Passkey, Strength
from lictor.model.errors import CallerError
from lictor.model.ids import HumanId, SealDigest
from lictor.model.reasons import Reason
from lictor.model.record import PasskeyAdded, PasskeyRemoved, Record
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.protocol.jose.base64url import encode
from lictor.service.people.approve import Answer, Proof
from lictor.service.people.challenges import LIFE_MS, Challenges
from lictor.service.people.passkey_acts import Act, AddKey, EnrolPerson, ForgetKeys, RemoveKey, decode_act, encode_act
from lictor.service.people.passkey_site import Site
from lictor.service.policy import PolicyInForce

ALGORITHMS: Final = (-7, -8, -257)
"""COSE numbers of ES256, EdDSA, RS256, as we prefer them: what every authenticator of today has one of."""
MAX_KEYS: Final = 20
"""Of one person."""
MAX_NAME: Final = 60
_SEAL: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_CREATE: Final = "create"
_SIGN_IN: Final = "sign in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A credential that an authenticator has just made."""

    id: str
    """base64url."""
    public_key: str
    """COSE key, base64url."""
    uses: int


class Ceremony(Protocol):
    """What a browser sends, checked as W3C WebAuthn level 3 says. Blocking; called on a thread."""

    def created(self, credential: str, challenge: bytes) -> Created:
        """Section 7.1. Raises CallerError (`passkey_challenge`, `_origin`, `_unverified`, `_refused`)."""
        ...

    def claimed(self, assertion: str) -> str:
        """The credential id that an assertion is said to be of. Raises CallerError (`passkey_refused`)."""
        ...

    def asserted(self, assertion: str, challenge: bytes, passkey: Passkey) -> int:
        """Section 7.2; the passkey's counter. Raises CallerError (as `created`, and `passkey_replayed`)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a page needs to ask for an assertion. Challenge and ids are base64url."""

    challenge: str
    ids: tuple[str, ...]
    """Credentials that may answer; none: whichever the authenticator has for this site."""
    rp_id: str
    stamp: str = ""
    """Goes with the form; empty for an answer to a hold, which says itself what is signed."""
    act: str = ""
    """The same, of what is confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a page needs to make a credential: `navigator.credentials.create` in its JSON form."""

    options: str
    stamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was confirmed. `secret` is the fresh one of an enrolled person, shown once."""

    act: Act
    secret: str = ""


class Passkeys:
    """The passkeys of a console at one site."""

    def __init__(
        self,
        *,
        store: RecordStore,
        policy: PolicyInForce,
        clock: Clock,
        ids: Ids,
        answer: Answer,
        ceremony: Ceremony,
        site: Site,
        handle_key: bytes,
    ) -> None:
        """`handle_key` is private: user handles must not say who it is (WebAuthn level 3, section 14.6.1)."""
        self._store = store
        self._policy = policy
        self._clock = clock
        self._answer = answer
        self._ceremony = ceremony
        self._challenges = Challenges(clock, ids)
        self._handle_key = handle_key
        self._changing = asyncio.Lock()
        self.site = site

    # -- answers and sign-ins --------------------------------------------------------------------------------------------

    def of(self, human: HumanId) -> tuple[Passkey, ...]:
        """A person's passkeys that can be used, oldest first."""
        return tuple(self._store.passkeys(human))

    def ask_about(self, human: HumanId, seal: SealDigest) -> Ask:
        """For an answer: the challenge is the seal of what is shown."""
        return Ask(challenge=encode(_sealed(seal)), ids=self._ids(human), rp_id=self.site.rp_id)

    async def prove(self, human: HumanId, seal: SealDigest, assertion: str) -> Proof:
        """That this very person signed this very seal, just now verified by their authenticator.

        It is used up where it is folded: an answer is given once, with a counter that goes forward, and taking it back makes
        another seal.

        Raises:
            CallerError: `passkey_unknown`, or as `Ceremony.asserted`.
        """
        return replace(await self._proved(assertion, _sealed(seal), human), signed=seal)

    def ask_sign_in(self, browser: str) -> Ask:
        """For a sign-in, without a name: the authenticator knows whose it is.

        Args:
            browser: secret of this browser, from its cookie.
        """
        challenge = self._challenges.issue(_SIGN_IN, browser)
        return Ask(challenge=encode(challenge.value), ids=(), rp_id=self.site.rp_id, stamp=challenge.stamp)

    async def sign_in(self, browser: str, stamp: str, assertion: str) -> Proof:
        """Who it is. Recording the sign-in folds the counter.

        Raises:
            CallerError: `passkey_challenge`: late, used, or of another browser; `passkey_unknown`; as `Ceremony.asserted`.
        """
        if not browser:
            raise CallerError(Reason.PASSKEY_CHALLENGE, "this sign-in was not begun here", remedy="sign in again")
        challenge = self._challenges.again(stamp, _SIGN_IN, browser)
        proof = await self._proved(assertion, challenge, None)
        self._challenges.spend(challenge)
        return proof

    async def _proved(self, assertion: str, challenge: bytes, human: HumanId | None) -> Proof:
        # Removed or another person's is the same as unknown: nobody learns whose a key is.
        passkey = self._store.passkey(self._ceremony.claimed(assertion))
        if passkey is None or passkey.removed or human not in (None, passkey.human):
            raise CallerError(Reason.PASSKEY_UNKNOWN, "this is none of your passkeys", remedy="use one of your own")
        uses = await asyncio.to_thread(self._ceremony.asserted, assertion, challenge, passkey)
        return Proof(human=passkey.human, strength=Strength.PASSKEY, passkey=passkey.id, uses=uses)

    # -- a first key, and everything that gives a way in -----------------------------------------------------------------

    def offer(self, human: HumanId, session: str) -> Offer:
        """What an authenticator needs to make a key for a person (section 5.4).

        Args:
            session: secret of their sign-in.

        Raises:
            CallerError: `conflict`: they have as many as anybody may have.
        """
        self._check_room(human)
        challenge = self._challenges.issue(_CREATE, human, session)
        return Offer(options=msgspec.json.encode(self._options(human, challenge.value)).decode(), stamp=challenge.stamp)

    async def candidate(self, human: HumanId, session: str, stamp: str, credential: str, name: str) -> AddKey | None:
        """Take the key that an authenticator made. Someone's first is added now; None then.

        Any further key is returned, to be confirmed with one they have: whoever has only their secret, or their open page, cannot
        add a key of their own.

        Raises:
            CallerError: as `Ceremony.created`; `passkey_challenge`: late, used, or of another sign-in; `conflict`: too many.
            StoreError: it cannot be recorded; `conflict`: this key is known already.
        """
        challenge = self._challenges.again(stamp, _CREATE, human, session)
        created = await asyncio.to_thread(self._ceremony.created, credential, challenge)
        self._challenges.spend(challenge)
        act = AddKey(id=created.id, public_key=created.public_key, uses=created.uses, name=_name(name))
        async with self._changing:
            if self.of(human):
                return act
            await self._add(human, act)
        return None

    def ask(self, by: HumanId, session: str, act: Act) -> Ask:
        """For confirming an act: the challenge is for it, for this sign-in, once.

        Raises:
            CallerError: they may not, whatever they sign.
        """
        self._check(by, act)
        text = encode_act(act)
        challenge = self._challenges.issue(text, by, session)
        ids, rp_id = self._ids(by), self.site.rp_id
        return Ask(challenge=encode(challenge.value), ids=ids, rp_id=rp_id, stamp=challenge.stamp, act=text)

    async def confirm(self, by: HumanId, session: str, act: str, stamp: str, assertion: str) -> Done:
        """Do what was asked about, signed by a passkey of theirs.

        Raises:
            CallerError: `passkey_challenge`: something else was signed, or late, or it was used; they may not; as
                `Ceremony.asserted`.
            StoreError: it cannot be recorded; `conflict`: it is not so any more.
        """
        wanted = decode_act(act)
        challenge = self._challenges.again(stamp, act, by, session)
        self._check(by, wanted)
        await self._proved(assertion, challenge, by)
        self._challenges.spend(challenge)
        async with self._changing:
            self._check(by, wanted)
            return Done(act=wanted, secret=await self._do(by, wanted))

    async def _do(self, by: HumanId, act: Act) -> str:
        match act:
            case AddKey():
                await self._add(by, act)
            case RemoveKey():
                await self._commit(PasskeyRemoved(passkey=act.passkey, human=by, by=by))
            case EnrolPerson():
                return await self._answer.enrol(HumanId(act.human), by, vouched_by=by)
            case ForgetKeys():
                await self._commit(*forgotten(self._store, HumanId(act.human), by))
        return ""

    async def _add(self, human: HumanId, act: AddKey) -> None:
        self._check_room(human)
        now = self._clock.now_ms()
        passkey = Passkey(
            id=act.id, human=human, public_key=act.public_key, name=act.name, uses=act.uses, added_at_ms=now
        )
        await self._commit(PasskeyAdded(passkey=passkey, by=human))

    # -- small things ----------------------------------------------------------------------------------------------------

    def _check(self, by: HumanId, act: Act) -> None:
        """What may be asked for at all."""
        keys, approvers = self.of(by), self._policy.current().approvers
        if not keys or not approvers.roles_of(by):
            raise CallerError(Reason.PASSKEY_REQUIRED, "this needs a passkey of yours", remedy="add one first")
        match act:
            case EnrolPerson() | ForgetKeys() if by not in approvers.groups_of:
                raise CallerError(Reason.NOT_AN_APPROVER, "only approvers vouch for others")
            case AddKey():
                self._check_room(by)
            case RemoveKey() if act.passkey not in {key.id for key in keys}:
                raise CallerError(Reason.PASSKEY_UNKNOWN, "this is none of your passkeys")
            case RemoveKey() if len(keys) == 1:
                raise CallerError(
                    Reason.CONFLICT, "it is your only passkey", remedy="add another first, or have somebody forget it"
                )
            case EnrolPerson() if HumanId(act.human) not in approvers.groups_of:
                raise CallerError(Reason.NOT_AN_APPROVER, f"{act.human[:80]!r} is not in approvers.toml")
            case ForgetKeys() if act.human == by:
                raise CallerError(Reason.PASSKEY_REQUIRED, "somebody else has to forget your passkeys")
            case ForgetKeys() if not self.of(HumanId(act.human)):
                raise CallerError(Reason.PASSKEY_UNKNOWN, f"{act.human[:80]!r} has no passkey")
            case _:
                pass

    def _check_room(self, human: HumanId) -> None:
        if len(self._store.passkeys(human)) >= MAX_KEYS:
            raise CallerError(Reason.CONFLICT, f"more than {MAX_KEYS} passkeys", remedy="remove one first")

    def _ids(self, human: HumanId) -> tuple[str, ...]:
        return tuple(key.id for key in self.of(human))

    def _options(self, human: HumanId, challenge: bytes) -> dict[str, Any]:
        handle = hmac.new(self._handle_key, _handled(human), hashlib.sha256).digest()
        return {
            "rp": {"id": self.site.rp_id, "name": "Lictor"},
            "user": {"id": encode(handle), "name": human, "displayName": human},
            "challenge": encode(challenge),
            "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in ALGORITHMS],
            "timeout": LIFE_MS,
            "excludeCredentials": [{"type": "public-key", "id": one} for one in self._ids(human)],
            "authenticatorSelection": {"residentKey": "preferred", "userVerification": "required"},
            "attestation": "none",
        }

    async def _commit(self, *records: Record) -> None:
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=records))


def _handled(human: HumanId) -> bytes:
    """What a user handle is the keyed digest of."""
    return f"lictor passkey user v1 {human}".encode()


def forgotten(store: RecordStore, human: HumanId, by: str) -> tuple[PasskeyRemoved, ...]:
    """The records that make all passkeys of a person count for nothing.

    Raises:
        CallerError: `passkey_unknown`: they have none.
    """
    keys = store.passkeys(human)
    if not keys:
        raise CallerError(Reason.PASSKEY_UNKNOWN, f"{human[:80]!r} has no passkey")
    return tuple(PasskeyRemoved(passkey=key.id, human=human, by=by) for key in keys)


def check_vouches(store: RecordStore, voucher: HumanId) -> None:
    """A secret vouches for others only while its owner has nothing stronger.

    Otherwise whoever took the secret would make themselves a second person, with a passkey (ADR 0013).

    Raises:
        CallerError: `passkey_required`.
    """
    if store.passkeys(voucher):
        raise CallerError(
            Reason.PASSKEY_REQUIRED,
            f"{voucher[:80]!r} has a passkey, so their secret alone vouches for nobody",
            remedy="vouch on the console's page Account, with the passkey",
        )


def _sealed(seal: SealDigest) -> bytes:
    found = _SEAL.fullmatch(seal)
    if found is None:
        raise CallerError(Reason.PASSKEY_CHALLENGE, "this is no seal", remedy="open the hold again")
    return bytes.fromhex(found[1])


def _name(text: str) -> str:
    return " ".join(text.split())[:MAX_NAME] or "passkey"
