"""Every fact of a decision that could have been otherwise, as changes for `whatif.py` to try; the most telling first.

Refuses to know answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from msgspec.structs import replace as with_members

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import Approval
from lictor.model.catalog import CatalogEntry
from lictor.model.decision import Decision, NeedsApproval
from lictor.model.errors import CallerError
from lictor.model.history import Origin
from lictor.model.ids import ApprovalId, HoldId, HumanId
from lictor.model.signal import FULL
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp.decide import PINNED_KINDS, Pdp, facts_of
from lictor.pdp.facts import families
from lictor.pdp.normalise import Destination, Directory
from lictor.pdp.normalise.money import exponent
from lictor.pdp.tally import MOST
from lictor.policy.bundle import Bundle
from lictor.policy.whatif import Change, Knob, Try, World
from lictor.policy.whatif_agents import agent_changes

_APPROVED_MS: Final = 600_000
_MAX_NAMES: Final = 30
"""Of each kind of name that is tried."""
_HIGH: Final = 2**40
"""As far as numbers are tried upwards."""


def all_changes(bundle: Bundle, world: World, decision: Decision) -> list[Try]:
    """What could have been otherwise.

    Args:
        bundle: what `world.pdp` was compiled from.
        world: the request as it was decided.
        decision: its decision.
    """
    entry, destination, _ = facts_of(world.pdp, world.request)
    found: list[Try] = [*_approvals(world, decision), *_standing(world, entry), *_restrictions(world)]
    found += _labels(bundle, world)
    if destination is not None:
        found += _directory(world, destination)
    found += [*_origins(world), *_contract(world)]
    if entry is not None:
        found += [*_value(world, entry), *_measures(world)]
    found += [*_arguments(world, entry), *_used(world), *_purposes(world), *_people(world)]
    return [*found, *agent_changes(bundle, world), *_hours(world)]


# -- helpers ---------------------------------------------------------------------------------------------------------------


def _facts(said: str, fact: str, **members: Any) -> Change:
    return Change(
        fact=fact, said=said, apply=lambda world: replace(world, snapshot=with_members(world.snapshot, **members))
    )


def _task(said: str, fact: str, change: Callable[[TaskState], TaskState]) -> Change:
    def apply(world: World) -> World:
        state = world.snapshot.task
        return world if state is None else replace(world, snapshot=with_members(world.snapshot, task=change(state)))

    return Change(fact=fact, said=said, apply=apply)


def _with_arguments(world: World, arguments: dict[str, Any]) -> World:
    """The same request with other arguments; an approval is as if it had been given for these."""
    old = world.request
    request = ActionRequest.make(
        id=old.id,
        kind=old.kind,
        server=old.server,
        name=old.name,
        arguments=SealedArguments.seal(arguments),
        agent=old.agent,
        human=old.human,
        task=old.task,
    )
    snapshot = world.snapshot
    if snapshot.approval is not None and snapshot.approval.digest == old.digest:
        snapshot = with_members(snapshot, approval=with_members(snapshot.approval, digest=request.digest))
    return World(world.pdp, request, snapshot)


def _some(names: Iterable[str]) -> list[str]:
    return sorted(set(names))[:_MAX_NAMES]


# -- people ----------------------------------------------------------------------------------------------------------------


def _approvals(world: World, decision: Decision) -> Iterator[Change]:
    given = world.snapshot.approval
    if given is not None:
        yield _facts("nobody had approved it", "approval", approval=None)
    if given is None and not isinstance(decision, NeedsApproval):
        return  # what approval could help was asked by `decide` itself
    sets = decision.approvers if isinstance(decision, NeedsApproval) else tuple(world.pdp.approvers.groups_of.values())
    for groups in sorted(set(sets)):
        approver = _approver(world.pdp, world.request, groups)
        if approver is not None:
            approval = _approval(world, approver, groups)
            yield _facts(f"{approver} had approved it as {' and '.join(groups)}", "approval", approval=approval)


def _approver(pdp: Pdp, request: ActionRequest, groups: tuple[str, ...]) -> HumanId | None:
    able = [
        human
        for human, his in sorted(pdp.approvers.groups_of.items())
        if set(groups).issubset(his) and not (pdp.approvers.four_eyes and human == request.human)
    ]
    return able[0] if able else None


def _approval(world: World, approver: HumanId, groups: tuple[str, ...]) -> Approval:
    now = world.snapshot.at_ms
    return Approval(
        id=ApprovalId("what-if"),
        hold=HoldId("what-if"),
        digest=world.request.digest,
        approver=approver,
        groups=groups,
        given_at_ms=now,
        expires_at_ms=now + _APPROVED_MS,
    )


def _people(world: World) -> Iterator[Change]:
    groups = {group for his in world.pdp.humans.values() for group in his}
    mine = set(world.snapshot.human_groups)
    for group in _some(groups - mine):
        members = tuple(sorted({*mine, group}))
        yield _facts(f"{world.request.human} were in group {group!r}", "human groups", human_groups=members)
    for group in _some(mine):
        members = tuple(sorted(mine - {group}))
        yield _facts(f"{world.request.human} were not in group {group!r}", "human groups", human_groups=members)


# -- what structure reads ---------------------------------------------------------------------------------------------------


def _standing(world: World, entry: CatalogEntry | None) -> Iterator[Change]:
    snapshot, request = world.snapshot, world.request
    agent, state = snapshot.agent, snapshot.task
    if agent is not None and not agent.active:
        yield _facts("the agent were active", "agent", agent=with_members(agent, active=True))
    if agent is not None and snapshot.at_ms >= agent.review_by_ms:
        reviewed = with_members(agent, review_by_ms=snapshot.at_ms + 1)
        yield _facts("the agent's review were not overdue", "agent", agent=reviewed)
    if state is not None and state.status is not TaskStatus.OPEN:
        yield _task("the task were open", "task status", lambda one: with_members(one, status=TaskStatus.OPEN))
    if state is not None and snapshot.at_ms >= state.task.expires_at_ms:
        later = with_members(state.task, expires_at_ms=snapshot.at_ms + 1)
        yield _task("the task had not expired", "expiry", lambda one: with_members(one, task=later))
    approval = snapshot.approval
    if approval is not None and not approval.given_at_ms <= snapshot.at_ms < approval.expires_at_ms:
        fresh = with_members(approval, given_at_ms=snapshot.at_ms, expires_at_ms=snapshot.at_ms + _APPROVED_MS)
        yield _facts("the approval had not expired", "approval", approval=fresh)
    if entry is not None and request.kind in PINNED_KINDS and snapshot.definition != entry.pin:
        yield _facts("the server's definition were the pinned one", "definition", definition=entry.pin)


def _restrictions(world: World) -> Iterator[Try]:
    laid = world.snapshot.containments
    for one in laid[:_MAX_NAMES]:
        left = tuple(other for other in laid if other is not one)
        said = f"the restriction {one.restriction.value} on {one.scope.value} {one.target!r} were lifted"
        yield _facts(said, "restrictions", containments=left)
    if len(laid) > 1:
        yield _facts("every restriction were lifted", "restrictions", containments=())
    for kind, rule in sorted(world.pdp.signals.items()):
        score = world.snapshot.signals.get(kind)
        if score is None and rule.needed:
            yield _facts(
                f"there were a {kind} signal of 0", f"signal {kind}", signals={**world.snapshot.signals, kind: 0}
            )
        elif score is not None and score >= rule.at_least:
            yield _signal(world, kind, score, 0, "at most")
        else:
            yield _signal(world, kind, score or 0, FULL, "at least")


def _signal(world: World, kind: str, now: int, extreme: int, side: str) -> Knob:
    def at(score: int) -> Change:
        scores = {**world.snapshot.signals, kind: score}
        return _facts(f"the {kind} signal were {side} {score / FULL:g}", f"signal {kind}", signals=scores)

    return Knob(now=now, extreme=extreme, at=at)


# -- history ---------------------------------------------------------------------------------------------------------------


def _labels(bundle: Bundle, world: World) -> Iterator[Change]:
    chain = [state for state in (world.snapshot.task, *world.snapshot.parents) if state is not None]
    seen = {label for state in chain for label in state.labels}
    kinds = _some(label.partition(":")[0] for label in seen)
    for family in kinds:
        details = ", ".join(sorted(label for label in seen if label.partition(":")[0] == family))
        yield _labelled(f"the task had not seen {details}", partial(_not_of, family))
    if len(kinds) > 1:
        yield _labelled("the task had seen nothing that is labelled", lambda _: False)
    produced = {label for entry in bundle.entries for label in entry.labels}
    produced.update(label for rule in bundle.content_rules for label in rule.labels)
    for label in _some(produced - seen):
        yield _task(f"the task had seen {label}", "labels", partial(_seen, label))


def _not_of(family: str, label: str) -> bool:
    return label.partition(":")[0] != family


def _seen(label: str, state: TaskState) -> TaskState:
    return with_members(state, labels=tuple(families((*state.labels, label))))


def _labelled(said: str, keep: Callable[[str], bool]) -> Change:
    def without(state: TaskState | None) -> TaskState | None:
        return None if state is None else with_members(state, labels=tuple(filter(keep, state.labels)))

    def apply(world: World) -> World:
        snapshot = world.snapshot
        parents = tuple(map(without, snapshot.parents))
        return replace(world, snapshot=with_members(snapshot, task=without(snapshot.task), parents=parents))

    return Change(fact="labels", said=said, apply=apply)


def _origins(world: World) -> Iterator[Change]:
    for name, origin in world.snapshot.origins.items():
        others = {
            f"{name!r} had come from the task's own text": Origin(sources=("task",)),
            f"{name!r} were listed in the directory": Origin(
                sources=tuple(sorted({*origin.sources, "directory"})), labels=origin.labels
            ),
            f"{name!r} carried no labels": Origin(sources=origin.sources),
            f"{name!r} had come from nowhere": Origin(labels=origin.labels),
        }
        for said, other in others.items():
            if other != origin:
                yield _facts(said, f"origin {name}", origins={**world.snapshot.origins, name: other})


def _contract(world: World) -> Iterator[Change]:
    state = world.snapshot.task
    if state is None or state.contract is None:
        return
    yield _task("the task had no contract", "contract", lambda one: with_members(one, contract=None, contract_used=()))
    if any(state.contract_used):
        yield _task("no call of the contract were used up", "contract", lambda one: with_members(one, contract_used=()))


def _measures(world: World) -> Iterator[Knob]:
    for name, readings in world.snapshot.measures.items():
        most = max((reading.before for reading in readings), default=0)
        if most:
            yield _measure(name, most, 0, "at most")
        yield _measure(name, most, min(MOST - 1, max(_HIGH, 2 * most)), "at least")


def _measure(name: str, now: int, extreme: int, side: str) -> Knob:
    def at(value: int) -> Change:
        def apply(other: World) -> World:
            bound = min if extreme < now else max
            readings = tuple(
                with_members(one, before=bound(one.before, value), counted=0 if not value else one.counted)
                for one in other.snapshot.measures.get(name, ())
            )
            return replace(
                other, snapshot=with_members(other.snapshot, measures={**other.snapshot.measures, name: readings})
            )

        return Change(
            fact=f"measure {name}", said=f"measure {name} had been {side} {value} before it (was {now})", apply=apply
        )

    return Knob(now=now, extreme=extreme, at=at)


def _used(world: World) -> Iterator[Try]:
    state = world.snapshot.task
    if state is None:
        return

    def calls(value: int) -> Change:
        side = "at most" if value < state.calls_used else "at least"
        said = f"the task had made {side} {value} calls before (made {state.calls_used})"
        return _task(said, "calls", lambda one: with_members(one, calls_used=value))

    if state.calls_used:
        yield Knob(now=state.calls_used, extreme=0, at=calls)
    if state.calls_used < state.task.budget.calls:
        yield Knob(now=state.calls_used, extreme=state.task.budget.calls, at=calls)


def _purposes(world: World) -> Iterator[Change]:
    state = world.snapshot.task
    for purpose in _some(world.pdp.purposes):
        if state is not None and purpose != state.task.purpose:
            yield _task(f"the task's purpose were {purpose!r}", "purpose", partial(_purposed, purpose))


def _purposed(purpose: str, state: TaskState) -> TaskState:
    return with_members(state, task=with_members(state.task, purpose=purpose))


def _hours(world: World) -> Iterator[Change]:
    """Other hours of the same day and week; task, approval and review are as if they had been of then."""
    now = datetime.fromtimestamp(world.snapshot.at_ms / 1_000, UTC)
    hours = [now.replace(hour=hour, minute=0, second=0, microsecond=0) for hour in range(24) if hour != now.hour]
    days = [now + timedelta(days=day) for day in range(1, 7)]
    for moment in (*hours, *days):
        shift = int(moment.timestamp() * 1_000) - world.snapshot.at_ms
        change = Change(
            fact="time", said=f"it had been asked at {moment:%A %H:%M} UTC", apply=_shifted(shift), alone=True
        )
        yield change


def _shifted(by_ms: int) -> Callable[[World], World]:
    def apply(world: World) -> World:
        snapshot = world.snapshot
        state, approval = snapshot.task, snapshot.approval
        if state is not None:
            moved = with_members(
                state.task, opened_at_ms=state.task.opened_at_ms + by_ms, expires_at_ms=state.task.expires_at_ms + by_ms
            )
            state = with_members(state, task=moved)
        if approval is not None:
            approval = with_members(
                approval, given_at_ms=approval.given_at_ms + by_ms, expires_at_ms=approval.expires_at_ms + by_ms
            )
        moved_members: dict[str, Any] = {"at_ms": snapshot.at_ms + by_ms, "task": state, "approval": approval}
        agent = snapshot.agent
        if agent is not None:
            moved_members["agent"] = with_members(agent, review_by_ms=agent.review_by_ms + by_ms)
        return replace(world, snapshot=with_members(snapshot, **moved_members))

    return apply


# -- what is asked for -----------------------------------------------------------------------------------------------------


def _directory(world: World, destination: Destination) -> Iterator[Change]:
    directory = world.pdp.directory
    names = ", ".join(sorted({target.text for target in destination.targets})[:3])
    for group in _some(directory.groups - set(destination.directory)) or ["known"]:
        listed = _listing(directory, destination, group)
        yield Change(
            fact="directory",
            said=f"the directory listed {names} under {group!r}",
            apply=partial(_listed, listed),
        )
    if destination.directory:
        yield Change(
            fact="directory",
            said=f"the directory did not list {names}",
            apply=partial(_listed, Directory()),
        )


def _listed(directory: Directory, world: World) -> World:
    return replace(world, pdp=replace(world.pdp, directory=directory))


def _listing(directory: Directory, destination: Destination, group: str) -> Directory:
    tables: dict[str, list[str]] = {"hosts": [], "emails": [], "accounts": [], "repositories": []}
    for target in destination.targets:
        match target.kind:
            case "url" | "host":
                tables["hosts"].append(f"{target.host}:{target.port}" if target.port else target.host)
            case "email":
                tables["emails"].append(target.address)
            case "account":
                tables["accounts"].append(target.address)
            case "git":
                tables["repositories"].append(target.address)
    added = {
        table: {**getattr(directory, table), group: (*getattr(directory, table).get(group, ()), *items)}
        for table, items in tables.items()
        if items
    }
    return replace(directory, **added)


def _value(world: World, entry: CatalogEntry) -> Iterator[Try]:
    _, _, value = facts_of(world.pdp, world.request)
    state = world.snapshot.task
    if entry.value is None or value is None or state is None:
        return
    pointer, unit = entry.value.amount, entry.value.unit
    digits = exponent(value.currency) if entry.value.digits is None else entry.value.digits
    if "*" not in pointer and digits is not None:

        def at(amount: int) -> Change:
            side = "at most" if amount < value.amount else "at least"
            shown = amount if unit == "minor" else _decimal(amount, digits)
            written = shown if unit != "number" else float(shown)

            def apply(other: World) -> World:
                return _with_arguments(other, _put(other.request.arguments.open(), pointer, written))

            return Change(fact="value", said=f"the value were {side} {shown} {value.currency}", apply=apply)

        if value.amount > 1:
            yield Knob(now=value.amount, extreme=1, at=at)
        yield Knob(now=value.amount, extreme=max(2, 1_000 * value.amount), at=at)
    budget = state.task.budget
    has = budget.value.get(value.currency, 0)
    wanted = state.value_used.get(value.currency, 0) + value.amount
    if has < wanted:

        def funded(amount: int) -> Change:
            more = with_members(budget, value={**budget.value, value.currency: amount})
            said = f"the task's budget in {value.currency} were at least {amount} minor units (is {has})"
            return _task(said, "budget", lambda one: with_members(one, task=with_members(one.task, budget=more)))

        yield Knob(now=has, extreme=wanted, at=funded)


def _decimal(amount: int, digits: int) -> str:
    whole, rest = divmod(amount, 10**digits)
    return f"{whole}.{rest:0{digits}d}" if digits else str(whole)


def _put(arguments: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """The arguments with another value where a pointer points; unchanged where it points at nothing."""
    *way, last = (token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])
    place: Any = arguments
    for name in way:
        place = place.get(name) if isinstance(place, dict) else None
    if isinstance(place, dict) and last in place:
        place[last] = value
    return arguments


def _arguments(world: World, entry: CatalogEntry | None) -> Iterator[Try]:
    """Numbers and truth values at the top of the arguments; texts have too many others."""
    if world.request.kind is ActionKind.RESOURCE:
        return
    amount = entry.value.amount if entry is not None and entry.value is not None else ""
    arguments: Mapping[str, Any] = world.request.arguments.open()
    for name in list(arguments)[:_MAX_NAMES]:
        value = arguments[name]
        if isinstance(value, bool):
            yield _argument(name, f"{name!r} were {str(not value).lower()}", value=not value)
        elif isinstance(value, int) and f"/{name}" != amount:
            for extreme in (0, max(_HIGH, 2 * value)):
                if extreme != value:
                    yield Knob(now=value, extreme=extreme, at=_number(name, value))


def _number(name: str, now: int) -> Callable[[int], Change]:
    def at(value: int) -> Change:
        return _argument(
            name, f"{name!r} were {'at most' if value < now else 'at least'} {value} (is {now})", value=value
        )

    return at


def _argument(name: str, said: str, *, value: Any) -> Change:
    def apply(world: World) -> World:
        try:
            return _with_arguments(world, {**world.request.arguments.open(), name: value})
        except CallerError:
            return world

    return Change(fact=f"argument {name}", said=said, apply=apply)
