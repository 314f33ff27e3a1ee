"""Where everything of a flow of data stands on the page: boxes, lines, numbers. Pure geometry, the same for the same flow.

Columns from left to right: where values come from, tools by how they follow each other, destinations. A line that passes a column
gets a place of its own in it, so that it never runs under a box. What is too much for a picture is left out of it and said;
the table below the picture has everything. Refuses to know HTML: the template draws it, with classes only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from lictor.console.hues import hue, telling
from lictor.protocol.display import render
from lictor.service.evidence.flows import Edge, Flow, Node, NodeKind, Seen

MAX_BOXES: Final = 40
MAX_LINES: Final = 80
MAX_STROKES: Final = 4
"""Labels of one line that get a stroke of their own; the table names all."""
NAME_FITS: Final = 22
"""Characters of a name that fit into a box."""

WIDTH: Final = 184
HEIGHT: Final = 52
GAP_X: Final = 64
GAP_Y: Final = 22
PASSING: Final = 16
"""Height of the place of a line that passes a column."""
MARGIN: Final = 14
LANE: Final = 18
"""Between lines that go back, below everything."""
_SWEEPS: Final = 6
_WORDS: Final[Mapping[NodeKind, str]] = {
    NodeKind.TEXT: "what the person asked",
    NodeKind.DECLARED: "declared values",
    NodeKind.DIRECTORY: "the directory",
    NodeKind.NOWHERE: "no known origin",
}


def node_words(node: Node) -> str:
    """A node's name for people, raw."""
    return _WORDS.get(node.kind) or node.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One node. `name` and `sub` are rendered and fit; `words` is the whole name, raw."""

    node: Node
    x: int
    y: int
    name: str
    words: str
    sub: str
    width: int = WIDTH
    height: int = HEIGHT
    look: str
    """Classes: of the node's kind, and `flow-external` for a destination that nobody vouches for."""
    hues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One edge as the table tells it; raw words. `drawn` is False when the picture leaves it out."""

    number: int
    source: Node
    target: Node
    edge: Edge
    drawn: bool

    @property
    def source_words(self) -> str:
        """Where it comes from, for people."""
        return node_words(self.source)

    @property
    def target_words(self) -> str:
        """Where it goes to, for people."""
        return node_words(self.target)

    @property
    def blocked(self) -> bool:
        """Whether nothing ever went along it."""
        return self.edge.denied >= self.edge.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One edge in the picture: a path for each of its labels, and where its number stands."""

    row: Row
    strokes: tuple[tuple[str, str], ...]
    """Colour class and path data."""
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A flow, placed."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    """The labels in it, raw, sorted: the legend. A kind is left out where one of its details is there."""
    left_out: int
    """Nodes and edges that are not in the picture."""
    unread: int = 0
    """Steps whose facts are gone."""


_Item = Node | tuple[Node, Node, int]
"""A node, or the place of an edge in a column that it passes."""
_Point = tuple[int, int]


def picture_of(flow: Flow) -> Picture:
    """Place a flow."""
    nodes = list(flow.nodes)[:MAX_BOXES]
    shown = set(nodes)
    fitting = [pair for pair in flow.edges if pair[0] in shown and pair[1] in shown][:MAX_LINES]
    drawn = set(fitting)
    rows = tuple(
        Row(number=number, source=pair[0], target=pair[1], edge=edge, drawn=pair in drawn)
        for number, (pair, edge) in enumerate(flow.edges.items(), start=1)
    )
    column = _columns(nodes, fitting)
    layers = _layers(nodes, fitting, column)
    _untangle(layers, fitting, column)
    centre, height = _places(layers)
    lines, height = _lines([row for row in rows if row.drawn], column, centre, height)
    labels = {label for edge in flow.edges.values() for label in edge.labels}
    labels.update(label for seen in flow.nodes.values() for label in seen.labels)
    return Picture(
        width=2 * MARGIN + len(layers) * (WIDTH + GAP_X) - GAP_X if layers else 2 * MARGIN,
        height=height,
        boxes=tuple(_box(node, flow.nodes[node], centre[node]) for node in nodes),
        lines=tuple(lines),
        rows=rows,
        labels=tuple(telling(labels)),
        left_out=flow.left_out + len(flow.nodes) - len(nodes) + len(flow.edges) - len(fitting),
        unread=flow.unread,
    )


# -- columns -----------------------------------------------------------------------------------------------------------------


def _columns(nodes: Sequence[Node], edges: Iterable[tuple[Node, Node]]) -> dict[Node, int]:
    """The column of each node. Tools stand behind what they took values from, in the order in which they first appeared."""
    order = {node: place for place, node in enumerate(nodes)}
    before: dict[Node, list[Node]] = {node: [] for node in nodes}
    for source, target in edges:
        if target.kind is not NodeKind.TOOL or source.kind is NodeKind.DESTINATION:
            continue
        if source.kind is not NodeKind.TOOL or order[source] < order[target]:
            before[target].append(source)
    column: dict[Node, int] = {}
    for node in nodes:
        if node.kind not in {NodeKind.TOOL, NodeKind.DESTINATION}:
            column[node] = 0
    for node in nodes:
        if node.kind is NodeKind.TOOL:
            column[node] = 1 + max((column[source] for source in before[node]), default=0)
    last = 1 + max(column.values(), default=0)
    column.update({node: last for node in nodes if node.kind is NodeKind.DESTINATION})
    used = {number: place for place, number in enumerate(sorted(set(column.values())))}
    return {node: used[column[node]] for node in nodes}


def _layers(nodes: Sequence[Node], edges: Iterable[tuple[Node, Node]], column: Mapping[Node, int]) -> list[list[_Item]]:
    layers: list[list[_Item]] = [[] for _ in range(1 + max(column.values(), default=-1))]
    for node in nodes:
        layers[column[node]].append(node)
    for source, target in edges:
        for between in range(column[source] + 1, column[target]):
            layers[between].append((source, target, between))
    return layers


def _untangle(layers: list[list[_Item]], edges: Iterable[tuple[Node, Node]], column: Mapping[Node, int]) -> None:
    """Order each column by the middle of its neighbours, to and fro; ties keep their order, so it is always the same."""
    left: dict[_Item, list[_Item]] = {}
    right: dict[_Item, list[_Item]] = {}
    for source, target in edges:
        if column[source] < column[target]:
            for here, there in pairwise(_way(source, target, column)):
                right.setdefault(here, []).append(there)
                left.setdefault(there, []).append(here)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        numbers = range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1)
        for number in numbers:
            beside = layers[number - 1 if forward else number + 1]
            places = {item: place for place, item in enumerate(beside)}
            near = left if forward else right
            middles = {
                item: _middle([places[other] for other in near.get(item, ())], place)
                for place, item in enumerate(layers[number])
            }
            layers[number].sort(key=middles.__getitem__)


def _way(source: Node, target: Node, column: Mapping[Node, int]) -> list[_Item]:
    passed: list[_Item] = [(source, target, between) for between in range(column[source] + 1, column[target])]
    return [source, *passed, target]


def _middle(places: Sequence[int], own: int) -> float:
    return sum(places) / len(places) if places else float(own)


# -- places ------------------------------------------------------------------------------------------------------------------


def _places(layers: Sequence[Sequence[_Item]]) -> tuple[dict[_Item, _Point], int]:
    """The middle of each item, and the height of the highest column; lower columns stand in the middle of it."""
    heights = [sum(_height(item) for item in layer) + GAP_Y * max(0, len(layer) - 1) for layer in layers]
    tallest = max(heights, default=0)
    centre: dict[_Item, _Point] = {}
    for number, layer in enumerate(layers):
        x = MARGIN + number * (WIDTH + GAP_X) + WIDTH // 2
        y = MARGIN + (tallest - heights[number]) // 2
        for item in layer:
            centre[item] = (x, y + _height(item) // 2)
            y += _height(item) + GAP_Y
    return centre, tallest + 2 * MARGIN


def _height(item: _Item) -> int:
    return HEIGHT if isinstance(item, Node) else PASSING


def _lines(
    rows: Sequence[Row], column: Mapping[Node, int], centre: Mapping[_Item, _Point], height: int
) -> tuple[list[Line], int]:
    """The drawn edges, and the height with the lanes of those that go back."""
    leaving: dict[Node, list[Row]] = {}
    arriving: dict[Node, list[Row]] = {}
    for row in rows:
        leaving.setdefault(row.source, []).append(row)
        arriving.setdefault(row.target, []).append(row)
    outs = _ports(leaving, lambda row: centre[row.target][1], centre)
    ins = _ports(arriving, lambda row: centre[row.source][1], centre)
    lines: list[Line] = []
    lanes = 0
    for row in rows:
        start = (centre[row.source][0] + WIDTH // 2, outs[row.number])
        end = (centre[row.target][0] - WIDTH // 2, ins[row.number])
        if column[row.source] < column[row.target]:
            passed = [centre[item] for item in _way(row.source, row.target, column)[1:-1]]
            lines.append(_forward(row, start, passed, end))
        else:
            lanes += 1
            lines.append(_back(row, start, height - MARGIN + lanes * LANE, end))
    return lines, height + lanes * LANE


def _ports(
    found: Mapping[Node, list[Row]], key: Callable[[Row], int], centre: Mapping[_Item, _Point]
) -> dict[int, int]:
    """Where on the side of its box each edge begins or ends: spread, in the order of the other ends."""
    ports: dict[int, int] = {}
    for node, rows in found.items():
        step = min(14, (HEIGHT - 12) // max(1, len(rows)))
        for place, row in enumerate(sorted(rows, key=key)):
            ports[row.number] = centre[node][1] + round((place - (len(rows) - 1) / 2) * step)
    return ports


def _forward(row: Row, start: _Point, passed: Sequence[_Point], end: _Point) -> Line:
    strokes = []
    hues = _hues(row.edge.labels)
    for place, colour in enumerate(hues):
        off = _off(place, len(hues))
        points = [_shifted(start, off)]
        for x, y in passed:
            points += [(x - WIDTH // 2, y + off), (x + WIDTH // 2, y + off)]
        points.append(_shifted(end, off))
        strokes.append((colour, _curve(points)))
    near = (passed[-1][0] + WIDTH // 2, passed[-1][1]) if passed else start
    return Line(row=row, strokes=tuple(strokes), x=(near[0] + end[0]) // 2, y=(near[1] + end[1]) // 2)


def _curve(points: Sequence[_Point]) -> str:
    """Through gaps as curves that leave and arrive level; through columns straight."""
    data = [f"M{points[0][0]} {points[0][1]}"]
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(points)):
        if number % 2:
            data.append(f"L{to_x} {to_y}")
        else:
            half = (x + to_x) // 2
            data.append(f"C{half} {y} {half} {to_y} {to_x} {to_y}")
    return " ".join(data)


def _back(row: Row, start: _Point, lane: int, end: _Point) -> Line:
    """Out to the right, down, back below everything, up, and in from the left."""
    strokes = []
    hues = _hues(row.edge.labels)
    turn = GAP_X // 3
    for place, colour in enumerate(hues):
        off = _off(place, len(hues))
        (x, y), (to_x, to_y), low = _shifted(start, off), _shifted(end, off), lane + off
        data = (
            f"M{x} {y} C{x + turn} {y} {x + turn} {low} {x} {low} L{to_x} {low} "
            f"C{to_x - turn} {low} {to_x - turn} {to_y} {to_x} {to_y}"
        )
        strokes.append((colour, data))
    return Line(row=row, strokes=tuple(strokes), x=(start[0] + end[0]) // 2, y=lane)


def _hues(labels: Iterable[str]) -> list[str]:
    """One for each label, at most some; a line without labels has one of its own."""
    found = list(dict.fromkeys(f"hue-{hue(label)}" for label in sorted(labels)))
    return found[:MAX_STROKES] or ["hue-none"]


def _off(place: int, count: int) -> int:
    return round((place - (count - 1) / 2) * 3)


def _shifted(point: _Point, off: int) -> _Point:
    return point[0], point[1] + off


# -- boxes -------------------------------------------------------------------------------------------------------------------


def _box(node: Node, seen: Seen, centre: _Point) -> Box:
    words = node_words(node)
    look = f"flow-is-{node.kind.value}"
    if node.kind is NodeKind.DESTINATION and seen.external:
        look += " flow-external"
    return Box(
        node=node,
        x=centre[0] - WIDTH // 2,
        y=centre[1] - HEIGHT // 2,
        name=fitting(_host(words) if node.kind is NodeKind.DESTINATION else words),
        words=words,
        sub=_sub(node, seen),
        look=look,
        hues=tuple(_hues(seen.labels)) if seen.labels else (),
    )


def _host(words: str) -> str:
    """A destination without what nearly all have: `docs.example` for `https://docs.example:443`."""
    usual = words.startswith("https://") and words.endswith(":443")
    return words.removeprefix("https://").removesuffix(":443") if usual else words


def fitting(words: str, room: int = NAME_FITS) -> str:
    """A name, rendered, with its middle left out where it is too long: both ends of a name matter."""
    text = render(words)
    if len(text) <= room:
        return text
    head = room // 2
    return f"{text[:head]}…{text[head + 1 - room :]}"


def _sub(node: Node, seen: Seen) -> str:
    match node.kind:
        case NodeKind.TOOL | NodeKind.DESTINATION if seen.calls:
            calls = f"{seen.calls} call{'' if seen.calls == 1 else 's'}"
            stopped = f", {seen.denied} stopped" if seen.denied else ""
            return f"{calls}{stopped}{', external' if seen.external else ''}"
        case NodeKind.TOOL:
            return "another task's"
        case NodeKind.NOWHERE:
            return "never seen before"
        case _:
            return "trusted"
