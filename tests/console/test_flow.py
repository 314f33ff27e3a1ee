"""The drawing of a flow: any graph is drawn as well-formed XML without styles and scripts, in full or saying what is left out."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.console import frame
from lictor.console.flow import MAX_BOXES, MAX_LINES, NAME_FITS, Picture, fitting, picture_of
from lictor.service.evidence.flows import Edge, Flow, Node, NodeKind, Seen

SVG = "{http://www.w3.org/2000/svg}"
WORDS = st.text(
    alphabet=st.one_of(st.sampled_from("<>&\"'/\\[]{}%\x00\x1b\u202e\ud800\ufffe]]>ab"), st.characters()), max_size=40
)
NODES = st.one_of(
    st.sampled_from([Node(kind) for kind in (NodeKind.TEXT, NodeKind.DECLARED, NodeKind.DIRECTORY, NodeKind.NOWHERE)]),
    st.builds(Node, st.sampled_from([NodeKind.TOOL, NodeKind.DESTINATION]), WORDS),
)
LABELS = st.sets(st.one_of(WORDS, st.sampled_from(["untrusted", "untrusted:web", "confidential"])), max_size=7)


@st.composite
def flows(draw: st.DrawFn, most: int = 14) -> Flow:
    """Any graph at all, sensible or not: circles, loops, edges from destinations to sources."""
    nodes = draw(st.lists(NODES, max_size=most, unique=True))
    flow = Flow(left_out=draw(st.integers(0, 3)), unread=draw(st.integers(0, 3)))
    for node in nodes:
        calls = draw(st.integers(0, 10**6))
        flow.nodes[node] = Seen(
            calls=calls, denied=draw(st.integers(0, calls)), external=draw(st.booleans()), labels=draw(LABELS)
        )
    places = st.integers(0, max(0, len(nodes) - 1))
    ways = draw(st.lists(st.tuples(places, places), max_size=2 * most, unique=True)) if nodes else []
    for pair in [(nodes[one], nodes[other]) for one, other in ways]:
        flow.edges[pair] = Edge(
            calls=draw(st.integers(1, 9)), values=draw(st.sets(WORDS, max_size=3)), labels=draw(LABELS)
        )
    return flow


def drawn(picture: Picture) -> str:
    """As the page draws it."""
    template = '{% from "flow.html" import svg %}{{ svg(picture) }}'
    return frame._ENVIRONMENT.from_string(template).render(picture=picture)


def drawn_carelessly(picture: Picture) -> str:
    """The control: words as they come."""
    names = "".join(f"<text>{box.words}</text>" for box in picture.boxes)
    return drawn(picture).replace("</svg>", f"{names}</svg>")


def check(draw: Callable[[Picture], str], flow: Flow) -> None:
    """Well-formed, nothing but shapes and words, everything in it or said to be left out."""
    picture = picture_of(flow)
    root = ET.fromstring(draw(picture))
    allowed = {
        f"{SVG}{name}" for name in ("svg", "title", "desc", "defs", "marker", "path", "g", "rect", "text", "circle")
    }
    for element in root.iter():
        assert element.tag in allowed
        assert not [name for name in element.attrib if name == "style" or name.startswith("on") or "href" in name]
    assert len(picture.rows) == len(flow.edges)
    assert len(picture.boxes) == min(MAX_BOXES, len(flow.nodes))
    missing = len(flow.nodes) - len(picture.boxes) + len(flow.edges) - len(picture.lines)
    assert picture.left_out == flow.left_out + missing


@given(flows())
@settings(max_examples=60, deadline=None)
def test_any_graph_is_drawn(flow: Flow) -> None:
    """Whatever tools and destinations are called and however they hang together."""
    check(drawn, flow)


def test_a_careless_drawing_is_caught() -> None:
    """Control: words that are not escaped make markup, and the check says so."""
    flow = Flow(nodes={Node(NodeKind.TOOL, "<script>alert(1)</script>"): Seen()})
    with pytest.raises((AssertionError, ET.ParseError)):
        check(drawn_carelessly, flow)


@given(flows())
@settings(max_examples=50, deadline=None)
def test_boxes_and_numbers_stand_apart(flow: Flow) -> None:
    """No box covers another one, all is within the picture, and the same flow is always placed alike."""
    picture = picture_of(flow)
    for one, other in combinations(picture.boxes, 2):
        apart = abs(one.x - other.x) >= one.width or abs(one.y - other.y) >= one.height
        assert apart
    for box in picture.boxes:
        assert 0 <= box.x <= picture.width - box.width
        assert 0 <= box.y <= picture.height - box.height
    for line in picture.lines:
        assert 0 <= line.x <= picture.width
        assert 0 <= line.y <= picture.height
    assert picture_of(flow) == picture


def test_too_much_for_a_picture() -> None:
    """A very large flow is drawn in part; how much is left out is said, and the table has every way."""
    tools = [Node(NodeKind.TOOL, f"s/t{number}") for number in range(90)]
    flow = Flow(nodes={tool: Seen(calls=1) for tool in tools})
    for one, other in pairwise(tools):
        flow.edges[one, other] = Edge(calls=1)
    picture = picture_of(flow)
    assert len(picture.boxes) == MAX_BOXES
    assert len(picture.rows) == 89
    assert len(picture.lines) <= MAX_LINES
    assert picture.left_out == 50 + 50
    check(drawn, flow)


@given(WORDS)
def test_names_fit(words: str) -> None:
    """A name in a box is short and says where something is left out."""
    text = fitting(words)
    assert len(text) <= NAME_FITS
    assert not {"\u202e", "\x1b", "\x00"}.intersection(text)


def test_tools_follow_their_sources() -> None:
    """What took a value from a result stands to the right of where the value came from; destinations stand last."""
    text, read, send = Node(NodeKind.TEXT), Node(NodeKind.TOOL, "a/read"), Node(NodeKind.TOOL, "b/send")
    place = Node(NodeKind.DESTINATION, "https://docs.example:443")
    flow = Flow(nodes={node: Seen(calls=1) for node in (text, read, send, place)})
    flow.edges = {pair: Edge(calls=1) for pair in ((text, read), (read, send), (send, place), (send, read))}
    boxes = {box.node: box for box in picture_of(flow).boxes}
    assert boxes[text].x < boxes[read].x < boxes[send].x < boxes[place].x
    assert boxes[place].name == "docs.example"
