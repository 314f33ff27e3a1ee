"""What must not pass for a passkey's word, each with its reason; and that a build without the check would let it through."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
import webauthn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authenticator import UP, UV, Authenticator, EcKey, RsaKey
from lictor.identity.webauthn import WebAuthn
from lictor.model.approval import HoldStatus, Need, Passkey, Strength, seal_of
from lictor.model.errors import CallerError, ConflictError
from lictor.model.reasons import Reason
from lictor.ports import Batch
from lictor.service.people.passkey_acts import RemoveKey
from lictor.service.people.passkey_site import Site
from passkey_world import BOB, CAROL, NOW, SEAL, SITE, World, challenge_of, refusal
from store_samples import held, opened

CHALLENGE = bytes.fromhex(SEAL[7:])
EVIL = "https://console.evil.example"


@dataclass
class Scene:
    """Bob has two passkeys, the first of which is used; carol has one."""

    world: World
    bob: Authenticator
    spare: Authenticator
    carol: Authenticator

    async def proved(self, assertion: str) -> Reason | None:
        """Why the answer is refused as bob's word on the seal; None: it is taken."""
        return await refusal(self.world.passkeys.prove(BOB, SEAL, assertion))


async def scene(ceremony: Any = None, *, counts: bool = True) -> Scene:
    world = World() if ceremony is None else World(ceremony=ceremony)
    bob, spare = await world.first(device=Authenticator(counts=counts, uses=10 if counts else 0)), Authenticator()
    await world.act(BOB, await world.create(BOB, spare), bob)
    return Scene(world, bob, spare, await world.first(CAROL))


def edited(assertion: str, part: str, change: Callable[[bytes], bytes]) -> str:
    """One part of an answer changed."""
    found = json.loads(assertion)
    data = change(base64.urlsafe_b64decode(found["response"][part] + "=="))
    found["response"][part] = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return json.dumps(found)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


async def removed(found: Scene) -> str:
    await found.world.act(BOB, RemoveKey(passkey=found.bob.name), found.spare)
    return found.bob.get(CHALLENGE)


def impersonated(found: Scene) -> str:
    """Carol's key, said to be bob's."""
    return json.dumps({**json.loads(found.carol.get(CHALLENGE, uses=11)), "id": found.bob.name})


Attack = Callable[[Scene], Any]
ATTACKS: dict[str, tuple[Attack, Reason]] = {
    "wrong key": (lambda s: s.bob.get(CHALLENGE, signed_by=EcKey()), Reason.PASSKEY_REFUSED),
    "another's key under his name": (impersonated, Reason.PASSKEY_REFUSED),
    "another person's key": (lambda s: s.carol.get(CHALLENGE), Reason.PASSKEY_UNKNOWN),
    "an unknown key": (lambda s: Authenticator().get(CHALLENGE), Reason.PASSKEY_UNKNOWN),
    "a removed key": (removed, Reason.PASSKEY_UNKNOWN),
    "wrong origin": (lambda s: s.bob.get(CHALLENGE, said={"origin": EVIL}), Reason.PASSKEY_ORIGIN),
    "another port": (lambda s: s.bob.get(CHALLENGE, said={"origin": "http://localhost:8701"}), Reason.PASSKEY_ORIGIN),
    "the address by number": (lambda s: s.bob.get(CHALLENGE, said={"origin": "http://127.0.0.1:8700"}), Reason.PASSKEY_ORIGIN),
    "inside another site": (lambda s: s.bob.get(CHALLENGE, said={"crossOrigin": True}), Reason.PASSKEY_ORIGIN),
    "below another site": (lambda s: s.bob.get(CHALLENGE, said={"topOrigin": EVIL}), Reason.PASSKEY_ORIGIN),
    "another site's key": (lambda s: s.bob.get(CHALLENGE, rp_id="console.evil.example"), Reason.PASSKEY_ORIGIN),
    "wrong challenge": (lambda s: s.bob.get(bytes(32)), Reason.PASSKEY_CHALLENGE),
    "the seal as text": (lambda s: s.bob.get(SEAL.encode()), Reason.PASSKEY_CHALLENGE),
    "more than the seal": (lambda s: s.bob.get(CHALLENGE + b"x"), Reason.PASSKEY_CHALLENGE),
    "made, not asked": (lambda s: s.bob.get(CHALLENGE, said={"type": "webauthn.create"}), Reason.PASSKEY_CHALLENGE),
    "a payment": (lambda s: s.bob.get(CHALLENGE, said={"type": "payment.get"}), Reason.PASSKEY_CHALLENGE),
    "not verified": (lambda s: s.bob.get(CHALLENGE, flags=UP), Reason.PASSKEY_UNVERIFIED),
    "nobody there": (lambda s: s.bob.get(CHALLENGE, flags=UV), Reason.PASSKEY_UNVERIFIED),
    "backed up and not to be": (lambda s: s.bob.get(CHALLENGE, flags=UP | UV | 0x10), Reason.PASSKEY_REFUSED),
    "tampered signature": (lambda s: edited(s.bob.get(CHALLENGE), "signature", flipped), Reason.PASSKEY_REFUSED),
    "tampered counter": (lambda s: edited(s.bob.get(CHALLENGE), "authenticatorData", flipped), Reason.PASSKEY_REFUSED),
    "longer data": (lambda s: edited(s.bob.get(CHALLENGE), "authenticatorData", lambda d: d + b"x"), Reason.PASSKEY_REFUSED),
    "counter back": (lambda s: s.bob.get(CHALLENGE, uses=9), Reason.PASSKEY_REPLAYED),
    "counter still": (lambda s: s.bob.get(CHALLENGE, uses=10), Reason.PASSKEY_REPLAYED),
    "no counter any more": (lambda s: s.bob.get(CHALLENGE, uses=0), Reason.PASSKEY_REPLAYED),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_it_is_refused(attack: str) -> None:
    """With the reason that says what is wrong; and the same device's honest answer is taken."""
    found = await scene()
    make, reason = ATTACKS[attack]
    assertion = make(found)
    assertion = assertion if isinstance(assertion, str) else await assertion
    assert await found.proved(assertion) is reason
    if attack != "a removed key":
        assert await found.proved(found.bob.get(CHALLENGE, uses=11)) is None


GARBAGE = [
    "", "null", "[]", "{}", '"x"', "{", "\x00", "9" * 12_001, "[" * 5_000,
    '{"id":"AA","type":"public-key","response":{}}',
    '{"id":"AA","type":"password","response":{"clientDataJSON":"e30"}}',
    '{"id":1,"type":"public-key","response":{"clientDataJSON":"e30"}}',
    '{"id":"a/b=","type":"public-key","response":{"clientDataJSON":"e30"}}',
    '{"id":"","type":"public-key","response":{"clientDataJSON":"e30"}}',
    json.dumps({"id": "A" * 2_000, "type": "public-key", "response": {"clientDataJSON": "e30"}}),
]  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE)
async def test_garbage_is_refused(text: str) -> None:
    """Whatever comes in the form's field."""
    found = await scene()
    assert await found.proved(text) is Reason.PASSKEY_REFUSED


@pytest.mark.parametrize("part", ["clientDataJSON", "authenticatorData", "signature"])
@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"\xff" * 40, b"[" * 3_000, b'{"type":"webauthn.get"}', bytes(37)]
)
async def test_a_part_that_is_garbage_is_refused(part: str, data: bytes) -> None:
    """In an answer that is good otherwise."""
    found = await scene()
    reason = await found.proved(edited(found.bob.get(CHALLENGE), part, lambda _: data))
    assert reason in {Reason.PASSKEY_REFUSED, Reason.PASSKEY_ORIGIN, Reason.PASSKEY_CHALLENGE}


# -- controls: a build without the check lets the attack through ---------------------------------------------------------


def claims(assertion: str) -> Any:
    data = json.loads(assertion)["response"]["clientDataJSON"]
    return json.loads(base64.urlsafe_b64decode(data + "=="))


class AnyChallenge(WebAuthn):
    def asserted(self, assertion: str, challenge: bytes, passkey: Passkey) -> int:
        own = base64.urlsafe_b64decode(claims(assertion)["challenge"] + "==")
        return super().asserted(assertion, own, passkey)


class AnyOrigin(WebAuthn):
    def asserted(self, assertion: str, challenge: bytes, passkey: Passkey) -> int:
        return WebAuthn(Site(rp_id=SITE.rp_id, origin=claims(assertion)["origin"])).asserted(
            assertion, challenge, passkey
        )


class AnyFrame(WebAuthn):
    def _check_client(self, data: bytes, kind: str, challenge: bytes) -> None:
        said = {key: value for key, value in json.loads(data).items() if key not in {"crossOrigin", "topOrigin"}}
        super()._check_client(json.dumps(said).encode(), kind, challenge)


class AnySite(WebAuthn):
    def asserted(self, assertion: str, challenge: bytes, passkey: Passkey) -> int:
        other = Site(rp_id="console.evil.example", origin=SITE.origin)
        data = json.loads(assertion)["response"]["authenticatorData"]
        import hashlib

        evil = base64.urlsafe_b64decode(data + "==")[:32] == hashlib.sha256(other.rp_id.encode()).digest()
        return WebAuthn(other if evil else SITE).asserted(assertion, challenge, passkey)


class Unverified(WebAuthn):
    def _check_authenticator(self, data: Any) -> None:
        data.flags.uv = True
        super()._check_authenticator(data)


class AnySignature(WebAuthn):
    def _verified(self, **parts: Any) -> int:
        return int.from_bytes(parts["data"][33:37], "big")


class AnyCounter(WebAuthn):
    def asserted(self, assertion: str, challenge: bytes, passkey: Passkey) -> int:
        return super().asserted(assertion, challenge, msgspec.structs.replace(passkey, uses=0))


CONTROLS: list[tuple[str, type[WebAuthn]]] = [
    ("wrong challenge", AnyChallenge),
    ("the seal as text", AnyChallenge),
    ("wrong origin", AnyOrigin),
    ("another port", AnyOrigin),
    ("inside another site", AnyFrame),
    ("below another site", AnyFrame),
    ("another site's key", AnySite),
    ("not verified", Unverified),
    ("wrong key", AnySignature),
    ("another's key under his name", AnySignature),
    ("tampered signature", AnySignature),
    ("counter back", AnyCounter),
    ("counter still", AnyCounter),
]


@contextmanager
def library_asks_for_no_verification(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = webauthn.verify_authentication_response
    with monkeypatch.context() as patch:
        patch.setattr(
            webauthn,
            "verify_authentication_response",
            lambda **parts: real(**{**parts, "require_user_verification": False}),
        )
        yield


@pytest.mark.parametrize(("attack", "broken"), CONTROLS)
async def test_a_build_without_the_check_is_caught(
    attack: str, broken: type[WebAuthn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack passes there: so it is this check that stops it."""
    found = await scene(broken(SITE))
    assertion = ATTACKS[attack][0](found)
    if broken is Unverified:
        assert await found.proved(assertion) is Reason.PASSKEY_REFUSED  # the library looks, too
        with library_asks_for_no_verification(monkeypatch):
            assert await found.proved(assertion) is None
    else:
        assert await found.proved(assertion) is None


@pytest.mark.parametrize("attack", ["another person's key", "a removed key"])
async def test_a_build_that_does_not_ask_whose_key_it_is_is_caught(
    attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, for what the service looks at itself."""
    found = await scene()
    keys = {key.id: key for person in (BOB, CAROL) for key in found.world.passkeys.of(person)}
    assertion = ATTACKS[attack][0](found)
    assertion = assertion if isinstance(assertion, str) else await assertion
    monkeypatch.setattr(found.world.store, "passkey", lambda one: msgspec.structs.replace(keys[one], human=BOB))
    assert await found.proved(assertion) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    part=st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]),
    at=st.floats(0, 0.9999),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_is_refused(part: str, at: float, bit: int) -> None:
    """Wherever it is. (Control: without the signature most of them pass.)"""

    def flip(data: bytes) -> bytes:
        index = int(at * len(data))
        return data[:index] + bytes([data[index] ^ (1 << bit)]) + data[index + 1 :]

    device, key = _known()
    assertion = edited(device.get(CHALLENGE, uses=1), part, flip)
    with pytest.raises(CallerError):
        WebAuthn(SITE).asserted(assertion, CHALLENGE, key)


def _known() -> tuple[Authenticator, Passkey]:
    device = Authenticator()
    key = base64.urlsafe_b64encode(device.key.cose()).rstrip(b"=").decode()
    return device, Passkey(id=device.name, human=BOB, public_key=key, name="x")


def test_a_flipped_bit_of_the_signature_passes_where_nobody_looks() -> None:
    """The control of the property above."""
    device, key = _known()
    broken = edited(device.get(CHALLENGE), "signature", flipped)
    assert AnySignature(SITE).asserted(broken, CHALLENGE, key) == 1


# -- making a key --------------------------------------------------------------------------------------------------------

CREATIONS: dict[str, tuple[Callable[[bytes], str], Reason]] = {
    "wrong origin": (lambda c: Authenticator().create(c, said={"origin": EVIL}), Reason.PASSKEY_ORIGIN),
    "inside another site": (lambda c: Authenticator().create(c, said={"crossOrigin": True}), Reason.PASSKEY_ORIGIN),
    "another site's": (lambda c: Authenticator(rp_id="evil.example").create(c), Reason.PASSKEY_ORIGIN),
    "wrong challenge": (lambda _: Authenticator().create(bytes(32)), Reason.PASSKEY_CHALLENGE),
    "asked, not made": (lambda c: Authenticator().create(c, said={"type": "webauthn.get"}), Reason.PASSKEY_CHALLENGE),
    "an assertion": (lambda c: Authenticator().get(c), Reason.PASSKEY_REFUSED),
    "not verified": (lambda c: Authenticator().create(c, flags=UP), Reason.PASSKEY_UNVERIFIED),
    "nobody there": (lambda c: Authenticator().create(c, flags=UV), Reason.PASSKEY_UNVERIFIED),
    "an old algorithm": (lambda c: Authenticator(key=RsaKey(-65535)).create(c), Reason.PASSKEY_REFUSED),
    "another algorithm": (lambda c: Authenticator(key=RsaKey(-37)).create(c), Reason.PASSKEY_REFUSED),
    "a statement nobody asked for": (lambda c: Authenticator().create(c, fmt="tpm"), Reason.PASSKEY_REFUSED),
    "a certificate": (lambda c: Authenticator().create(c, fmt="packed", statement={"alg": -7, "sig": b"x", "x5c": [b"y"]}), Reason.PASSKEY_REFUSED),
    "a false statement": (lambda c: Authenticator().create(c, fmt="packed", statement={"alg": -7, "sig": b"x"}), Reason.PASSKEY_REFUSED),
    "none, with a statement": (lambda c: Authenticator().create(c, statement={"sig": b"x"}), Reason.PASSKEY_REFUSED),
    "an endless id": (lambda c: Authenticator(id=bytes(1_024)).create(c), Reason.PASSKEY_REFUSED),
    "under another id": (lambda c: json.dumps({**json.loads(Authenticator().create(c)), "id": "AAAA"}), Reason.PASSKEY_REFUSED),
    "garbage": (lambda c: edited(Authenticator().create(c), "attestationObject", lambda _: b"\x81" * 8_000), Reason.PASSKEY_REFUSED),
    "huge": (lambda c: edited(Authenticator().create(c), "attestationObject", lambda _: bytes.fromhex("9bffffffffffffffff")), Reason.PASSKEY_REFUSED),
}  # fmt: skip


@pytest.mark.parametrize("attack", CREATIONS)
async def test_such_a_key_is_not_made(attack: str) -> None:
    """Each with its reason; nothing is kept."""
    world = World()
    offer = world.passkeys.offer(BOB, "s")
    make, reason = CREATIONS[attack]
    doing = world.passkeys.candidate(BOB, "s", offer.stamp, make(challenge_of(offer.options)), "x")
    assert await refusal(doing) is reason
    assert world.passkeys.of(BOB) == ()


async def test_a_key_is_made_for_its_sign_in() -> None:
    """Another person, another sign-in, two minutes later: no."""
    world, device = World(), Authenticator()
    offer = world.passkeys.offer(BOB, "s")
    made = device.create(challenge_of(offer.options))
    for human, session in ((CAROL, "s"), (BOB, "t")):
        doing = world.passkeys.candidate(human, session, offer.stamp, made, "x")
        assert await refusal(doing) is Reason.PASSKEY_CHALLENGE
    world.clock.advance(2 * 60 * 1_000)
    assert await refusal(world.passkeys.candidate(BOB, "s", offer.stamp, made, "x")) is Reason.PASSKEY_CHALLENGE
    assert world.passkeys.of(CAROL) == ()


# -- an answer is used once ----------------------------------------------------------------------------------------------


async def waiting(found: Scene) -> Any:
    """A hold that wants somebody of `owner` with a passkey."""
    hold = replace_hold(held("hold_1", task="task_1", at=NOW, expires=NOW + 900_000))
    await found.world.store.commit(
        Batch(at_ms=NOW, records=(opened("task_1", opened=NOW, expires=NOW + 3_600_000), hold))
    )
    return found.world.store.hold(hold.hold.id)


def replace_hold(record: Any) -> Any:
    needs = (Need(groups=("owner",), strength=Strength.PASSKEY),)
    return msgspec.structs.replace(record, hold=msgspec.structs.replace(record.hold, groups=(("owner",),), needs=needs))


@pytest.mark.parametrize("counts", [True, False])
async def test_the_same_answer_never_counts_twice(counts: bool) -> None:
    """Neither for the hold that it answered nor after it was taken back, also from a passkey that does not count."""
    found = await scene(counts=counts)
    world, hold = found.world, await waiting(found)
    seal = seal_of(hold)
    assertion = found.bob.get(bytes.fromhex(seal[7:]))
    proof = await world.passkeys.prove(BOB, seal, assertion)
    assert (await world.answer.approve(hold.id, proof, seal)).status is HoldStatus.APPROVED
    with pytest.raises(ConflictError):
        await world.answer.approve(hold.id, proof, seal)
    await world.answer.withdraw(hold.id, BOB)
    assert await refusal(world.answer.approve(hold.id, proof, seal)) is Reason.ACTION_HASH_MISMATCH
    again = seal_of(world.store.hold(hold.id))  # type: ignore[arg-type]
    assert await refusal(world.passkeys.prove(BOB, again, assertion)) is Reason.PASSKEY_CHALLENGE
    assert world.store.hold(hold.id).status is HoldStatus.PENDING  # type: ignore[union-attr]


async def test_withdrawing_without_a_new_round_would_be_caught() -> None:
    """The control: with the old seal the old assertion fits again."""
    found = await scene(counts=False)
    hold = await waiting(found)
    seal = seal_of(hold)
    assertion = found.bob.get(bytes.fromhex(seal[7:]))
    proof = await found.world.passkeys.prove(BOB, seal, assertion)
    await found.world.answer.approve(hold.id, proof, seal)
    await found.world.answer.withdraw(hold.id, BOB)
    after = found.world.store.hold(hold.id)
    assert after is not None
    forgetful = msgspec.structs.replace(after, rounds=hold.rounds)
    assert await refusal(found.world.passkeys.prove(BOB, seal_of(forgetful), assertion)) is None


async def test_one_holds_answer_is_not_anothers() -> None:
    """Two holds of the same action have two seals."""
    found = await scene(counts=False)
    hold = await waiting(found)
    other = msgspec.structs.replace(hold, id="hold_2")
    assertion = found.bob.get(bytes.fromhex(seal_of(hold)[7:]))
    assert await refusal(found.world.passkeys.prove(BOB, seal_of(other), assertion)) is Reason.PASSKEY_CHALLENGE


async def test_less_than_a_passkey_is_too_weak() -> None:
    """Where policy wants one; a sign-in with a passkey is no passkey over this seal."""
    found = await scene()
    hold = await waiting(found)
    seal = seal_of(hold)
    proof = await found.world.passkeys.prove(BOB, seal, found.bob.get(bytes.fromhex(seal[7:])))
    weak = replace(proof, strength=Strength.LOGIN, passkey="", uses=0)
    assert await refusal(found.world.answer.approve(hold.id, weak, seal)) is Reason.APPROVAL_TOO_WEAK
