"""A task's contract against one request: which clause it runs under, or none. Restricts; permits nothing (DESIGN section 6).

A tool list alone loses 10.8 % of AgentDojo's attacks, bound values 0.9 %: what a clause binds are the values of watched
arguments, in the normal form of their kind, or where they came from. Refuses to know how either is found.
"""

from collections.abc import Mapping

from lictor.model.contract import Binding, Clause, Contract
from lictor.model.history import Origin

Watched = Mapping[str, tuple[str | None, ...]]
"""Values of watched arguments in normal form, by name: None for one without a form, nothing for an argument that is absent."""


def clause_of(
    contract: Contract, used: tuple[int, ...], action: str, watched: Watched, origins: Mapping[str, Origin]
) -> tuple[int, bool]:
    """The first clause the request fits and that has a call left, by index.

    Returns:
        (index, True); (-1, True) when clauses fit but all are used up; (-1, False) when none fits.
    """
    exhausted = False
    for index, clause in enumerate(contract.clauses):
        if clause.action != action or not _fits(clause, watched, origins):
            continue
        if not clause.calls or (used[index] if index < len(used) else 0) < clause.calls:
            return index, True
        exhausted = True
    return -1, exhausted


def within(child: Contract, parent: Contract) -> tuple[Clause, ...]:
    """The clauses of a child's contract that no clause of its parent's covers; empty means it is a subset."""
    return tuple(clause for clause in child.clauses if not any(_covers(above, clause) for above in parent.clauses))


def _fits(clause: Clause, watched: Watched, origins: Mapping[str, Origin]) -> bool:
    """Every bound argument is there, and every value of it is one of those named or came from where it may."""
    # A name that is not watched (another resource of the server, a changed catalogue) is not an absent argument: nobody looked.
    for name, binding in clause.bind.items():
        if name not in watched or not _bound(binding, watched[name], origins.get(name)):
            return False
    return True


def _bound(binding: Binding, values: tuple[str | None, ...], origin: Origin | None) -> bool:
    if not values:
        return binding.optional
    if set(values).issubset(binding.values):
        return True
    return origin is not None and not set(binding.sources).isdisjoint(origin.sources)


def _covers(above: Clause, clause: Clause) -> bool:
    """Everything the clause lets through, the one above lets through, and at least as often."""
    if above.action != clause.action or (above.calls and not 0 < clause.calls <= above.calls):
        return False
    return all(
        (found := clause.bind.get(name)) is not None
        and set(found.values).issubset(bound.values)
        and set(found.sources).issubset(bound.sources)
        and (bound.optional or not found.optional)
        for name, bound in above.bind.items()
    )
