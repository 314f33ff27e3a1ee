"""Where data went in a task: from where each watched argument's value came, through which tools, to which destinations.

It is read from what was sealed with each request: origins and labels are those the decision was made on, so nothing is guessed.
Arguments that the catalogue does not watch are in no edge. Refuses to know how it is drawn and to judge it; only reads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from lictor.model.ids import PolicyRevision
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp, facts_of
from lictor.service.evidence.examined import Sealed

MAX_NODES: Final = 200
MAX_EDGES: Final = 400
"""What is beyond is counted (`Flow.left_out`), not kept."""


class NodeKind(StrEnum):
    """What a node is."""

    TEXT = "text"
    """The trusted text of the task: what the person asked for."""
    DECLARED = "declared"
    """Values that were given when the task was opened."""
    DIRECTORY = "directory"
    """The bundle's directory of trusted values."""
    NOWHERE = "nowhere"
    """A value that was never seen before: the model made it up, or put it together."""
    TOOL = "tool"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class Node:
    """Something data comes from or goes to. Raw words: they are rendered when drawn."""

    kind: NodeKind
    name: str = ""
    """Of a tool its action; of a destination where it is; empty for the others."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What is known of a tool or a destination."""

    calls: int = 0
    denied: int = 0
    """... of them; also those that waited for people and were never run."""
    external: bool = False
    """Of a destination: in no group of the directory."""
    labels: set[str] = field(default_factory=set)
    """Of a tool: what its results put on the task."""


@dataclass(slots=True, kw_only=True)
class Edge:
    """Values that went from one node to another."""

    calls: int = 0
    denied: int = 0
    values: set[str] = field(default_factory=set)
    """Names of the watched arguments; empty for what goes to a destination: the whole call goes there."""
    labels: set[str] = field(default_factory=set)
    """Into a tool: those the values carry. To a destination: everything the task had seen by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One step of a task as the flow needs it."""

    action: str
    sealed: Sealed
    revision: PolicyRevision
    ran: bool
    """Whether something was started on it."""
    labels: tuple[str, ...] = ()
    """What its result put on the task."""


@dataclass(slots=True, kw_only=True)
class Flow:
    """The graph, nodes and edges in the order in which they first appeared."""

    nodes: dict[Node, Seen] = field(default_factory=dict)
    edges: dict[tuple[Node, Node], Edge] = field(default_factory=dict)
    left_out: int = 0
    """Nodes and edges that were too many."""
    unread: int = 0
    """Steps whose facts are gone."""


_SOURCES: Final[Mapping[str, NodeKind]] = {
    "task": NodeKind.TEXT,
    "declared": NodeKind.DECLARED,
    "directory": NodeKind.DIRECTORY,
}


def flow_of(steps: Iterable[Asked], pdp_of: Callable[[PolicyRevision], Pdp | None]) -> Flow:
    """The flow of a task.

    Args:
        steps: what it asked for, in order.
        pdp_of: the policy a step was decided under, for its destinations; None: not known, and there are none.
    """
    flow = Flow()
    for step in steps:
        tool = Node(NodeKind.TOOL, step.action)
        if not _met(flow, tool, step):
            continue
        flow.nodes[tool].labels.update(step.labels)
        for source, (values, labels) in _came_from(step.sealed.snapshot).items():
            _edge(flow, source, tool, step, values, labels)
        _destinations(flow, tool, step, pdp_of(step.revision))
    return flow


def _came_from(snapshot: Snapshot) -> dict[Node, tuple[set[str], set[str]]]:
    """The sources of one call's watched arguments, each with the arguments and with the labels its results gave them."""
    found: dict[Node, tuple[set[str], set[str]]] = {}
    for name, origin in sorted(snapshot.origins.items()):
        for source in _sources(origin.sources):
            values, labels = found.setdefault(source, (set(), set()))
            values.add(name)
            if source.kind is NodeKind.TOOL:
                labels.update(origin.labels)
    return found


def _sources(sources: tuple[str, ...]) -> list[Node]:
    found = [_source(source) for source in sources]
    return found or [Node(NodeKind.NOWHERE)]


def _source(source: str) -> Node:
    kind = _SOURCES.get(source)
    return Node(kind) if kind is not None else Node(NodeKind.TOOL, source.removeprefix("tool:"))


def _destinations(flow: Flow, tool: Node, step: Asked, pdp: Pdp | None) -> None:
    if pdp is None:
        return
    _, destination, _ = facts_of(pdp, step.sealed.request)
    targets = {target.text: target for target in destination.targets} if destination is not None else {}
    for text, target in targets.items():
        node = Node(NodeKind.DESTINATION, text)
        if _met(flow, node, step):
            flow.nodes[node].external |= not target.directory
            _edge(flow, tool, node, step, (), _labels(step.sealed.snapshot))


def _labels(snapshot: Snapshot) -> tuple[str, ...]:
    return snapshot.task.labels if snapshot.task is not None else ()


def _met(flow: Flow, node: Node, step: Asked) -> bool:
    """Count a step at a node; False: there is no room for the node."""
    seen = flow.nodes.get(node) or _room(flow, node)
    if seen is None:
        return False
    seen.calls += 1
    seen.denied += not step.ran
    return True


def _room(flow: Flow, node: Node) -> Seen | None:
    if len(flow.nodes) >= MAX_NODES:
        flow.left_out += 1
        return None
    return flow.nodes.setdefault(node, Seen())


def _edge(flow: Flow, source: Node, target: Node, step: Asked, values: Iterable[str], labels: Iterable[str]) -> None:
    if source not in flow.nodes and _room(flow, source) is None:
        return
    edge = flow.edges.get((source, target))
    if edge is None:
        if len(flow.edges) >= MAX_EDGES:
            flow.left_out += 1
            return
        edge = flow.edges.setdefault((source, target), Edge())
    edge.calls += 1
    edge.denied += not step.ran
    edge.labels.update(labels)
    edge.values.update(values)
