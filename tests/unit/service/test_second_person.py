"""A second person's word: needed for what is wider, good for one change over one bundle, once, and never the author's own."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import FILES, bundle
from lictor.model.errors import CallerError, OperatorError
from lictor.model.ids import HumanId, PolicyRevision
from lictor.model.reasons import Reason
from lictor.model.record import BundleActivated, BundleApproved, decode_entry
from lictor.pdp.roles import Approvers
from lictor.policy.bundle import Bundle
from lictor.ports import Batch
from lictor.service.people import second_person
from lictor.service.people.second_person import SecondPerson
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock

OLD = bundle()
WIDER = bundle(**{"agents.toml": FILES["agents.toml"] + '\n[agents.new]\nowner = "x"\nreview_by = 2027-01-01\n'})
OTHER = bundle(**{"agents.toml": FILES["agents.toml"] + '\n[agents.other]\nowner = "x"\nreview_by = 2027-01-01\n'})
TIGHTER = bundle(**{"agents.toml": FILES["agents.toml"].split("[agents.guest]")[0]})
ALICE, BOB, CAROL = HumanId("os:alice"), HumanId("os:bob"), HumanId("os:carol")
APPROVERS = Approvers(
    groups_of={ALICE: ("ops",), BOB: ("owner", "ops"), CAROL: ("owner",)}, four_eyes=True, operators=frozenset({"ops"})
)


class Room:
    """A log with the old bundle in force, and the question."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(1_000)
        self.asked = 0
        self.second = SecondPerson(store=self.store, clock=self.clock, widens=self._widens)

    def _widens(self, files: Mapping[str, bytes], new: Bundle) -> tuple[str, ...]:
        self.asked += 1
        return second_person.widens_over(files, new)

    async def activate(self, new: Bundle) -> None:
        """As the house does it."""
        await self.second.check(self.store.revision(), new)
        self.store.keep_bundle(new.revision, new.files)
        record = BundleActivated(revision=new.revision, previous=self.store.revision(), files=len(new.files))
        await self.store.commit(Batch(at_ms=self.clock.now_ms(), records=(record,)))


async def room() -> Room:
    """With the old one in force: the first needs nobody."""
    made = Room()
    await made.activate(OLD)
    return made


async def test_wider_waits_and_tighter_does_not() -> None:
    """The reason says in which way it is wider; the same question is asked of the solver once."""
    made = await room()
    for _ in range(2):
        with pytest.raises(OperatorError, match="agent 'new' is new") as error:
            await made.activate(WIDER)
    assert error.value.reason is Reason.BUNDLE_UNAPPROVED
    assert WIDER.revision[:19] in error.value.remedy
    assert made.asked == 1
    assert made.store.revision() == OLD.revision
    await made.activate(TIGHTER)
    assert made.store.revision() == TIGHTER.revision


async def test_an_operator_who_is_not_the_author_is_enough() -> None:
    """The record holds what was shown, and the bundle is kept; then it may be put in force, once."""
    made = await room()
    for who, reason in (
        (ALICE, Reason.APPROVER_IS_REQUESTER),
        (CAROL, Reason.NOT_AN_APPROVER),
        (HumanId("os:eve"), Reason.NOT_AN_APPROVER),
    ):
        with pytest.raises(CallerError) as error:
            await made.second.approve(WIDER, APPROVERS, by=who, authors={ALICE})
        assert error.value.reason is reason
    given_ = await made.second.approve(WIDER, APPROVERS, by=BOB, authors={ALICE}, why="seen")
    assert given_.widens == ("agent 'new' is new",)
    assert made.store.bundle(WIDER.revision) == WIDER.files
    await made.activate(WIDER)
    assert made.store.approved_over(WIDER.revision) is None
    await made.activate(OLD)  # back, which is tighter
    with pytest.raises(OperatorError):
        await made.activate(WIDER)  # the approval was spent
    with pytest.raises(CallerError) as error:
        await made.second.approve(OLD, APPROVERS, by=BOB, authors=())
    assert error.value.reason is Reason.CONFLICT


async def test_an_approval_is_for_this_content_over_that_bundle() -> None:
    """Not for another change, and not once another bundle is in force."""
    made = await room()
    await made.second.approve(WIDER, APPROVERS, by=BOB, authors={ALICE})
    with pytest.raises(OperatorError):
        await made.activate(OTHER)
    await made.activate(TIGHTER)
    with pytest.raises(OperatorError):
        await made.activate(WIDER)


async def test_what_cannot_be_compared_counts_as_wider() -> None:
    """The bundle in force was not kept: nobody can say what is new."""
    made = Room()
    record = BundleActivated(revision=PolicyRevision("sha256:gone"), previous=None, files=1)
    await made.store.commit(Batch(at_ms=1, records=(record,)))
    with pytest.raises(OperatorError, match="was not kept"):
        await made.activate(TIGHTER)


MOVES = st.lists(
    st.tuples(st.sampled_from(["activate", "approve"]), st.sampled_from([OLD, WIDER, OTHER, TIGHTER]), st.sampled_from([ALICE, BOB])),
    max_size=12,
)  # fmt: skip


async def alone(moves: list[tuple[str, Bundle, HumanId]]) -> bool:
    """Whether some sequence of moves put a wider bundle in force that nobody but its author had approved over the one before it."""
    made = await room()
    for what, new, who in moves:
        try:
            if what == "activate":
                await made.activate(new)
            else:
                await made.second.approve(new, APPROVERS, by=who, authors={ALICE})
        except (OperatorError, CallerError):
            continue
    kept = {one.revision: one for one in (OLD, WIDER, OTHER, TIGHTER)}
    approvals: set[tuple[PolicyRevision, PolicyRevision]] = set()
    for entry in made.store.entries():
        match decode_entry(entry.data).record:
            case BundleApproved() as given_:
                if given_.by != ALICE:
                    approvals.add((given_.previous, given_.revision))
            case BundleActivated(revision=revision, previous=str(previous)) if revision != previous:
                wider = second_person.widening(kept[previous], kept[revision])
                if wider and (previous, revision) not in approvals:
                    return True
                approvals = {pair for pair in approvals if pair[1] != revision}
            case _:
                pass
    return False


@given(MOVES)
async def test_no_order_of_moves_widens_alone(moves: list[tuple[str, Bundle, HumanId]]) -> None:
    """Whatever is tried, in whatever order: each wider bundle in force has a fresh yes of somebody else."""
    assert not await alone(moves)


@pytest.mark.parametrize("broken", ["no author is known", "approvals are not spent", "nobody is asked"])
async def test_the_property_notices_a_broken_build(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls."""
    approve, check = SecondPerson.approve, SecondPerson.check
    match broken:
        case "no author is known":
            monkeypatch.setattr(
                SecondPerson, "approve", lambda self, *a, **k: approve(self, *a, **{**k, "authors": ()})
            )
            moves = [("approve", WIDER, ALICE), ("activate", WIDER, ALICE)]
        case "approvals are not spent":
            seen: set[str] = set()

            async def remembered(self: SecondPerson, previous: PolicyRevision | None, new: Bundle) -> None:
                if self._store.approved_over(new.revision):
                    seen.add(new.revision)
                if new.revision not in seen:
                    await check(self, previous, new)

            monkeypatch.setattr(SecondPerson, "check", remembered)
            moves = [
                ("approve", WIDER, BOB),
                ("activate", WIDER, BOB),
                ("activate", OLD, BOB),
                ("activate", WIDER, BOB),
            ]
        case _:

            async def nobody(*_: object) -> None:
                return None

            monkeypatch.setattr(SecondPerson, "check", nobody)
            moves = [("activate", WIDER, ALICE)]
    assert await alone(moves)
