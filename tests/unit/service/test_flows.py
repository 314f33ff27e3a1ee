"""The flow of a task's data, read from what was sealed with each step."""

import bundles
from lictor.model.action import ActionKind
from lictor.model.history import Origin
from lictor.model.ids import PolicyRevision
from lictor.pdp.decide import Pdp
from lictor.service.evidence import flows
from lictor.service.evidence.examined import Sealed
from lictor.service.evidence.flows import Asked, Flow, Node, NodeKind, flow_of

PDP = bundles.pdp()
FETCH = Node(NodeKind.TOOL, "fs/fetch")
READ = Node(NodeKind.TOOL, "fs/read_file")


def step(
    tool: str,
    *,
    ran: bool = True,
    labels: tuple[str, ...] = (),
    origins: dict[str, Origin] | None = None,
    **arguments: str,
) -> Asked:
    """One step, with what it carried and where that came from."""
    request = bundles.request(tool, dict(arguments))
    snapshot = bundles.snapshot(PDP, request, labels=labels, origins=origins or {})
    return Asked(
        action=request.action, sealed=Sealed(request=request, snapshot=snapshot), revision=PDP.revision, ran=ran
    )


def told(*steps: Asked) -> Flow:
    """Their flow."""
    return flow_of(steps, {PDP.revision: PDP}.get)


def test_values_come_from_somewhere() -> None:
    """Each source of a watched argument has an edge with the argument's name; a value without one comes from nowhere."""
    origins = {
        "url": Origin(sources=("task", "tool:fs/read_file"), labels=("confidential",)),
        "other": Origin(sources=("directory",)),
        "third": Origin(),
    }
    flow = told(step("fetch", url="https://docs.example/", origins=origins))
    assert flow.edges[Node(NodeKind.TEXT), FETCH].values == {"url"}
    assert flow.edges[Node(NodeKind.TEXT), FETCH].labels == set()
    assert flow.edges[READ, FETCH].labels == {"confidential"}
    assert flow.edges[Node(NodeKind.DIRECTORY), FETCH].values == {"other"}
    assert flow.edges[Node(NodeKind.NOWHERE), FETCH].values == {"third"}


def test_destinations() -> None:
    """A call goes where its arguments say, with everything the task had seen; what the directory lists is not external."""
    flow = told(
        step("fetch", url="https://docs.example/", labels=("untrusted", "confidential")),
        step("fetch", url="https://evil.example/", ran=False),
    )
    docs, evil = (
        Node(NodeKind.DESTINATION, "https://docs.example:443"),
        Node(NodeKind.DESTINATION, "https://evil.example:443"),
    )
    assert flow.edges[FETCH, docs].labels == {"untrusted", "confidential"}
    assert not flow.nodes[docs].external
    assert flow.nodes[evil].external
    assert (flow.nodes[evil].calls, flow.nodes[evil].denied) == (1, 1)
    assert (flow.nodes[FETCH].calls, flow.nodes[FETCH].denied) == (2, 1)


def test_a_call_counts_once_for_each_way() -> None:
    """Two arguments from one source are one call along that way."""
    origins = {"a": Origin(sources=("task",)), "b": Origin(sources=("task",))}
    flow = told(step("fetch", url="https://docs.example/", origins=origins))
    assert flow.edges[Node(NodeKind.TEXT), FETCH].calls == 1
    assert flow.edges[Node(NodeKind.TEXT), FETCH].values == {"a", "b"}


def test_an_unknown_policy_has_no_destinations() -> None:
    """Nothing is guessed by another bundle's catalogue."""

    def unknown(_: PolicyRevision) -> Pdp | None:
        return None

    assert list(flow_of([step("fetch", url="https://docs.example/")], unknown).nodes) == [FETCH]


def test_it_is_bounded() -> None:
    """What is too much is counted and not kept."""
    before = flows.MAX_NODES, flows.MAX_EDGES
    flows.MAX_NODES, flows.MAX_EDGES = 3, 1  # type: ignore[misc]
    try:
        flow = told(*(step("fetch", url=f"https://h{number}.example/") for number in range(5)))
    finally:
        flows.MAX_NODES, flows.MAX_EDGES = before  # type: ignore[misc]
    assert len(flow.nodes) == 3
    assert len(flow.edges) == 1
    assert flow.left_out == 3 + 1


def test_a_task_without_state_has_no_labels() -> None:
    """A request that was refused because its task is unknown carries nothing."""
    request = bundles.request("fetch", {"url": "https://docs.example/"}, kind=ActionKind.TOOL)
    sealed = Sealed(request=request, snapshot=bundles.snapshot(PDP, request, task=None))
    flow = told(Asked(action=request.action, sealed=sealed, revision=PDP.revision, ran=False))
    assert flow.edges[FETCH, Node(NodeKind.DESTINATION, "https://docs.example:443")].labels == set()
