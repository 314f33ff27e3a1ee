"""The use cases a house offers, made once from what all of them stand on. Refuses to know servers, HTTP and files."""

from typing import Any

from lictor.service.applications import Applications
from lictor.service.approve import Answer
from lictor.service.contain import Contain
from lictor.service.contract import Contracts
from lictor.service.delegate import Delegate
from lictor.service.erase import Erase
from lictor.service.opening import Open
from lictor.service.override import Override
from lictor.service.prospect import Prospects
from lictor.service.reconcile import Reconcile
from lictor.service.second_person import SecondPerson
from lictor.service.signals import Signals
from lictor.service.tasks import Tasks


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
