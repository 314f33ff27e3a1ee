"""Passkeys: what is signed, by whom, once; and who lets whom in."""

import json
from dataclasses import replace

import pytest

from authenticator import Authenticator, EcKey, EdKey, RsaKey
from lictor.model.approval import Strength
from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.model.record import ApproverEnrolled, PasskeyAdded, PasskeyRemoved, SignedIn
from lictor.ports import Batch
from lictor.service.people.passkey_acts import AddKey, EnrolPerson, ForgetKeys, RemoveKey
from lictor.service.people.passkeys import check_vouches, forgotten
from passkey_world import BOB, CAROL, NOW, SEAL, SESSION, World, challenge_of, raw, refusal


@pytest.fixture
def world() -> World:
    return World()


async def test_the_challenge_of_an_answer_is_the_seal(world: World) -> None:
    """Its 32 bytes, nothing else; the proof names the passkey and its counter."""
    device = await world.first()
    ask = world.passkeys.ask_about(BOB, SEAL)
    assert (raw(ask.challenge), ask.ids, ask.rp_id) == (bytes.fromhex("5e" * 32), (device.name,), "localhost")
    proof = await world.passkeys.prove(BOB, SEAL, device.get(raw(ask.challenge)))
    assert (proof.human, proof.strength, proof.passkey, proof.uses) == (BOB, Strength.PASSKEY, device.name, 1)


@pytest.mark.parametrize("seal", ["", "sha256:", "sha256:" + "5E" * 32, "5e" * 32, "sha256:" + "5e" * 31, SEAL + "\n"])
async def test_what_is_no_seal_is_not_signed(world: World, seal: str) -> None:
    """One spelling."""
    device = await world.first()
    assert await refusal(world.passkeys.prove(BOB, seal, device.get(bytes(32)))) is Reason.PASSKEY_CHALLENGE  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [EcKey, EdKey, RsaKey])
async def test_three_algorithms(world: World, key: type) -> None:
    """ES256, EdDSA and RS256, from making to signing."""
    device = await world.first(device=Authenticator(key=key()))
    assert (await world.passkeys.prove(BOB, SEAL, device.get(bytes.fromhex("5e" * 32)))).passkey == device.name


async def test_what_is_offered(world: World) -> None:
    """User verification, no attestation, no name in the handle, keys one has left out."""
    device = await world.first()
    options = json.loads(world.passkeys.offer(BOB, SESSION).options)
    assert options["authenticatorSelection"] == {"residentKey": "preferred", "userVerification": "required"}
    assert (options["attestation"], options["rp"]["id"]) == ("none", "localhost")
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert [one["id"] for one in options["excludeCredentials"]] == [device.name]
    assert b"bob" not in raw(options["user"]["id"])
    assert options["user"]["id"] != json.loads(world.passkeys.offer(CAROL, SESSION).options)["user"]["id"]


# -- sign-in -----------------------------------------------------------------------------------------------------------


async def test_sign_in_needs_no_name(world: World) -> None:
    """The credential says whose it is; the same challenge does not count twice."""
    device = await world.first()
    ask = world.passkeys.ask_sign_in("browser")
    assertion = device.get(raw(ask.challenge))
    assert ask.ids == ()
    assert (await world.passkeys.sign_in("browser", ask.stamp, assertion)).human == BOB
    assert await refusal(world.passkeys.sign_in("browser", ask.stamp, assertion)) is Reason.PASSKEY_CHALLENGE


async def test_a_sign_in_belongs_to_its_browser_and_its_moment(world: World) -> None:
    """Another browser, none, another stamp, two minutes later, another process: none of them."""
    device = await world.first(device=Authenticator(counts=False))
    ask = world.passkeys.ask_sign_in("browser")
    assertion = device.get(raw(ask.challenge))
    other = world.passkeys.ask_sign_in("browser")
    restarted = World()
    await restarted.first(device=device)
    for where, browser, stamp in (
        (world, "another", ask.stamp),
        (world, "", ask.stamp),
        (world, "browser", other.stamp),
        (world, "browser", ""),
        (world, "browser", "1.x"),
        (world, "browser", f"{NOW + 10_000}.{ask.stamp.partition('.')[2]}"),
        (world, "browser", "９." + ask.stamp.partition(".")[2]),
        (world, "browser", "9" * 100 + ".x"),
        (restarted, "browser", ask.stamp),
    ):
        assert await refusal(where.passkeys.sign_in(browser, stamp, assertion)) is Reason.PASSKEY_CHALLENGE, stamp
    world.clock.advance(2 * 60 * 1_000)
    assert await refusal(world.passkeys.sign_in("browser", ask.stamp, assertion)) is Reason.PASSKEY_CHALLENGE


async def test_a_challenge_is_for_one_purpose(world: World) -> None:
    """What was signed to sign in adds no key, and the other way round."""
    device = await world.first(device=Authenticator(counts=False))
    signing_in = world.passkeys.ask_sign_in(SESSION)
    act = world.passkeys.ask(BOB, SESSION, EnrolPerson(human=CAROL))
    assert (
        await refusal(
            world.passkeys.confirm(BOB, SESSION, act.act, signing_in.stamp, device.get(raw(signing_in.challenge)))
        )
        is Reason.PASSKEY_CHALLENGE
    )
    assert (
        await refusal(world.passkeys.sign_in(SESSION, act.stamp, device.get(raw(act.challenge))))
        is Reason.PASSKEY_CHALLENGE
    )


async def test_the_counter_is_folded_with_the_sign_in(world: World) -> None:
    """The store itself refuses the record of a counter that does not go forward, and of somebody else's passkey."""
    device = await world.first()
    for human, uses, good in (
        (BOB, 5, True),
        (BOB, 5, False),
        (BOB, 4, False),
        (BOB, 0, False),
        (CAROL, 6, False),
        (BOB, 6, True),
    ):
        record = SignedIn(human=human, how="passkey", passkey=device.name, uses=uses)
        if good:
            await world.store.commit(Batch(at_ms=NOW, records=(record,)))
        else:
            with pytest.raises(ConflictError):
                await world.store.commit(Batch(at_ms=NOW, records=(record,)))
    assert world.passkeys.of(BOB)[0].uses == 6


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_the_first_is_added_at_once_and_recorded(world: World) -> None:
    """By the sign-in alone: there is nothing stronger yet."""
    device = await world.first()
    added = next(one for one in world.records() if isinstance(one, PasskeyAdded))
    assert (added.passkey.id, added.passkey.human, added.passkey.name, added.by) == (device.name, BOB, "laptop", BOB)


async def test_a_second_needs_the_first(world: World) -> None:
    """Whoever has the secret or the open page only gets no key in; nothing is added before it is confirmed."""
    first, thief = await world.first(), Authenticator()
    act = await world.create(BOB, thief)
    assert isinstance(act, AddKey)
    assert [key.id for key in world.passkeys.of(BOB)] == [first.name]
    assert await refusal(world.act(BOB, act, thief)) is Reason.PASSKEY_UNKNOWN
    done = await world.act(BOB, act, first)
    assert done.act == act
    assert {key.id for key in world.passkeys.of(BOB)} == {first.name, thief.name}


async def test_what_is_confirmed_is_what_was_asked(world: World) -> None:
    """Another key in the form than the one that the challenge is for changes the challenge; so does another sign-in."""
    first, good, thief = await world.first(device=Authenticator(counts=False)), Authenticator(), Authenticator()
    asked = await world.create(BOB, good)
    other = await world.create(BOB, thief)
    ask = world.passkeys.ask(BOB, SESSION, asked)
    assertion = first.get(raw(ask.challenge))
    swapped = world.passkeys.ask(BOB, SESSION, other).act
    for session, act in (
        (SESSION, swapped),
        ("another", ask.act),
        (SESSION, ask.act + " "),
        (SESSION, ""),
        (SESSION, "{"),
    ):
        assert (
            await refusal(world.passkeys.confirm(BOB, session, act, ask.stamp, assertion)) is Reason.PASSKEY_CHALLENGE
        ), act
    await world.passkeys.confirm(BOB, SESSION, ask.act, ask.stamp, assertion)
    assert (
        await refusal(world.passkeys.confirm(BOB, SESSION, ask.act, ask.stamp, assertion)) is Reason.PASSKEY_CHALLENGE
    )
    assert {key.id for key in world.passkeys.of(BOB)} == {first.name, good.name}


async def test_two_first_keys_at_once_are_one(world: World) -> None:
    """Whoever is second has to be confirmed by the first, however close they come."""
    import asyncio

    found = await asyncio.gather(*(world.create(BOB, Authenticator()) for _ in range(5)))
    assert found.count(None) == 1
    assert len(world.passkeys.of(BOB)) == 1


async def test_a_key_of_one_is_never_anothers(world: World) -> None:
    """An id that is known, also of a removed key, is not added again."""
    device = await world.first()
    with pytest.raises(ConflictError):
        await world.create(CAROL, device)
    second = Authenticator()
    await world.act(BOB, await world.create(BOB, second), device)
    await world.act(BOB, RemoveKey(passkey=device.name), second)
    with pytest.raises(ConflictError):
        await world.create(CAROL, device)


async def test_removing(world: World) -> None:
    """With a passkey, never the last; a removed one is nobody's."""
    first, second = await world.first(), Authenticator()
    with pytest.raises(CallerError, match="only passkey"):
        world.passkeys.ask(BOB, SESSION, RemoveKey(passkey=first.name))
    await world.act(BOB, await world.create(BOB, second), first)
    await world.act(BOB, RemoveKey(passkey=first.name), first)
    removed = next(one for one in world.records() if isinstance(one, PasskeyRemoved))
    assert (removed.passkey, removed.human, removed.by) == (first.name, BOB, BOB)
    assert await refusal(world.passkeys.prove(BOB, SEAL, first.get(bytes.fromhex("5e" * 32)))) is Reason.PASSKEY_UNKNOWN


async def test_not_anothers_key_and_not_ones_own_last(world: World) -> None:
    """One removes one's own; one's own are forgotten by somebody else."""
    await world.first()
    carols = await world.first(CAROL)
    for act, reason in (
        (RemoveKey(passkey=carols.name), Reason.PASSKEY_UNKNOWN),
        (ForgetKeys(human=BOB), Reason.PASSKEY_REQUIRED),
        (ForgetKeys(human="os:nobody"), Reason.PASSKEY_UNKNOWN),
        (EnrolPerson(human="os:nobody"), Reason.NOT_AN_APPROVER),
    ):
        with pytest.raises(CallerError) as caught:
            world.passkeys.ask(BOB, SESSION, act)
        assert caught.value.reason is reason, act


async def test_vouching_takes_the_passkey(world: World) -> None:
    """Somebody gets a fresh secret or loses their keys by a passkey of somebody else; both are on record."""
    bobs, carols = await world.first(), await world.first(CAROL)
    done = await world.act(BOB, EnrolPerson(human=CAROL), bobs)
    assert world.answer.authenticate(done.secret) == CAROL
    assert isinstance(world.records()[-1], ApproverEnrolled)
    await world.act(BOB, ForgetKeys(human=CAROL), bobs)
    assert world.passkeys.of(CAROL) == ()
    assert await refusal(world.act(BOB, ForgetKeys(human=CAROL), bobs)) is Reason.PASSKEY_UNKNOWN
    assert await refusal(world.act(CAROL, EnrolPerson(human=BOB), carols)) is Reason.PASSKEY_REQUIRED


async def test_a_secret_vouches_only_where_there_is_nothing_stronger(world: World) -> None:
    """A thief of the secret of somebody with a passkey makes no second person."""
    check_vouches(world.store, BOB)
    await world.first()
    with pytest.raises(CallerError) as caught:
        check_vouches(world.store, BOB)
    assert caught.value.reason is Reason.PASSKEY_REQUIRED
    check_vouches(world.store, CAROL)
    with pytest.raises(CallerError):
        forgotten(world.store, CAROL, "os:x")


async def test_where_there_is_a_passkey_no_enrolment_is_free(world: World) -> None:
    """Also when nobody has a secret yet."""
    await world.first()
    assert await refusal(world.answer.enrol(CAROL, "os:agent")) is Reason.UNAUTHENTICATED
    assert await refusal(world.answer.enrol(CAROL, "os:bob", vouched_by=BOB)) is None


async def test_so_many_and_no_more(world: World) -> None:
    """Twenty keys of one person."""
    first = await world.first()
    for _ in range(19):
        await world.act(BOB, await world.create(BOB, Authenticator()), first)
    with pytest.raises(CallerError, match="20"):
        world.passkeys.offer(BOB, SESSION)


async def test_who_has_left_confirms_nothing(world: World) -> None:
    """A passkey of somebody whom the bundle does not know any more."""
    from bundles import pdp

    device = await world.first()
    ask = world.passkeys.ask(BOB, SESSION, EnrolPerson(human=CAROL))
    world.policy.swap(pdp(**{"approvers.toml": '[approvers."os:carol"]\ngroups = ["owner", "money"]\n'}))
    doing = world.passkeys.confirm(BOB, SESSION, ask.act, ask.stamp, device.get(raw(ask.challenge)))
    assert await refusal(doing) is Reason.PASSKEY_REQUIRED


async def test_a_name_is_one_short_line(world: World) -> None:
    """Whatever was typed."""
    device = Authenticator()
    offer = world.passkeys.offer(BOB, SESSION)
    made = device.create(challenge_of(offer.options))
    await world.passkeys.candidate(BOB, SESSION, offer.stamp, made, "  a\nb\t" + "c" * 100)
    assert world.passkeys.of(BOB)[0].name == ("a b " + "c" * 100)[:60]
    again = await refusal(world.passkeys.candidate(BOB, SESSION, offer.stamp, made, ""))
    assert again is Reason.PASSKEY_CHALLENGE


async def test_a_human_is_not_taken_from_the_proof(world: World) -> None:
    """The proof of one person is refused for another: `prove` says whose it must be."""
    device = await world.first()
    assertion = device.get(bytes.fromhex("5e" * 32))
    assert await refusal(world.passkeys.prove(CAROL, SEAL, assertion)) is Reason.PASSKEY_UNKNOWN
    proof = await world.passkeys.prove(BOB, SEAL, assertion)
    assert replace(proof, human=HumanId("x")) != proof
