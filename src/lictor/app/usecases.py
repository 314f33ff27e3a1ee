"""The use cases a house offers, made once from what all of them stand on. Refuses to know servers, HTTP and files."""

from typing import Any

from lictor.service.containment.contain import Contain
from lictor.service.containment.signals import Signals
from lictor.service.evidence.erase import Erase
from lictor.service.people.approve import Answer
from lictor.service.people.override import Override
from lictor.service.people.reconcile import Reconcile
from lictor.service.people.second_person import SecondPerson
from lictor.service.tasks.applications import Applications
from lictor.service.tasks.contract import Contracts
from lictor.service.tasks.delegate import Delegate
from lictor.service.tasks.opening import Open
from lictor.service.tasks.prospect import Prospects
from lictor.service.tasks.tasks import Tasks


def use_cases(parts: dict[str, Any]) -> dict[str, Any]:
    """The use cases by name, from store, policy, clock, ids and limits."""
    recording = {name: parts[name] for name in ("store", "clock")}
    naming = {**recording, "ids": parts["ids"]}
    tasks = Tasks(**parts)
    prospects = Prospects(**{name: parts[name] for name in ("store", "policy", "ids", "limits")})
    return {
        "tasks": tasks,
        "open": Open(tasks=tasks, store=parts["store"], prospects=prospects),
        "applications": Applications(**naming, policy=parts["policy"]),
        "answer": Answer(**parts),
        "override": Override(**parts),
        "reconcile": Reconcile(**recording, policy=parts["policy"]),
        "delegate": Delegate(**parts),
        "contain": Contain(**naming),
        "contracts": Contracts(**recording),
        "erase": Erase(**recording),
        "signals": Signals(**naming, policy=parts["policy"]),
        "second_person": SecondPerson(**recording),
    }
