"""Laws of editing clients' configuration: nothing but command and args ever changes, and unwrap undoes wrap."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.cli import clients, jsonc, wrapping
from lictor.model.errors import OperatorError

LICTOR = "/opt/bin/lictor"
BLANKS = st.sampled_from(["", "", " ", "\n", "\r\n", "\t", "\n    ", " // note, { \n", "/* [,] */", " /**/\r\n\t"])
TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["//", "/*", "*/", "\\", '"', "é", "\u2028"])


@st.composite
def _strings(draw, value):
    """A token for a string: some characters escaped that need not be."""
    out = []
    for char in value:
        if ord(char) < 0xFFFF and draw(st.integers(0, 4)) == 0 and not 0xD800 <= ord(char) < 0xE000:
            out.append(f"\\u{ord(char):04X}")
        else:
            out.append(json.dumps(char, ensure_ascii=False)[1:-1])
    return f'"{"".join(out)}"'


@st.composite
def _written(draw, value):
    """Some JSONC text for a value: blanks, comments, trailing commas anywhere the grammar has room."""
    gap = lambda: draw(BLANKS)  # noqa: E731
    if isinstance(value, str):
        return draw(_strings(value))
    if isinstance(value, list):
        parts = [f"{gap()}{draw(_written(item))}{gap()}" for item in value]
        opening, closing = "[]"
    elif isinstance(value, dict):
        parts = [
            f"{gap()}{draw(_strings(key))}{gap()}:{gap()}{draw(_written(item))}{gap()}" for key, item in value.items()
        ]
        opening, closing = "{}"
    else:
        return json.dumps(value)
    trailing = draw(st.sampled_from(["", f",{gap()}"])) if parts else gap()
    return f"{opening}{','.join(parts)}{trailing}{closing}"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EXTRA = st.dictionaries(
    TEXT.filter(lambda key: key not in {"command", "args", "url", "httpUrl", "serverUrl"}), VALUES, max_size=2
)
STDIO = st.fixed_dictionaries({"command": TEXT.filter(bool)}, optional={"args": st.lists(TEXT, max_size=3)})
REMOTE = st.fixed_dictionaries({"url": TEXT})
SERVERS = st.dictionaries(
    st.sampled_from(["a", "B b", "c_c", "Größe", "x/y", "9"]),
    st.tuples(EXTRA, STDIO | REMOTE, st.booleans()).map(lambda t: t[0] | t[1] if t[2] else t[1] | t[0]),
    max_size=4,
)


@st.composite
def documents(draw):
    """A whole configuration file and its value."""
    rest = draw(st.dictionaries(TEXT.filter(lambda key: key != "servers"), VALUES, max_size=3))
    value = draw(st.permutations([*rest.items(), ("servers", draw(SERVERS))]).map(dict))
    text = f"{draw(st.sampled_from(['', chr(0xFEFF)]))}{draw(BLANKS)}{draw(_written(value))}{draw(BLANKS)}"
    return text, value


def _edit_with_spans(path: Path) -> str:
    return wrapping.plan(clients.describe(path), LICTOR, None).after


def _edit_with_dumps(path: Path) -> str:
    """The broken variant: parse, change, serialise again."""
    value = _plain(jsonc.parse(path.read_text("utf-8"), comments=True, name="f"))
    for name, server in value["servers"].items():
        if "command" in server:
            words = ["run", "--server", wrapping.server_name(name), "--", server["command"], *server.get("args", [])]
            server |= {"command": LICTOR, "args": words}
    return json.dumps(value, indent=2)


def _plain(node: jsonc.Node):
    """The value as `json` gives it, by a reader of the tests' own."""
    match node:
        case jsonc.Scalar(value=jsonc.Number(text=text)):
            return json.loads(text)
        case jsonc.Scalar(value=value):
            return value
        case jsonc.Array(items=items):
            return [_plain(item) for item in items]
        case jsonc.Object(members=members):
            return {member.key: _plain(member.value) for member in members}


def _outside(text: str) -> list[str]:
    """The text with the tokens of every entry's command and args cut out: what must never change."""
    root = jsonc.parse(text, comments=True, name="f")
    assert isinstance(root, jsonc.Object)
    servers = root.get("servers")
    assert isinstance(servers, jsonc.Object)
    spans = []
    for server in servers.members:
        assert isinstance(server.value, jsonc.Object)
        for key in ("command", "args"):
            node = server.value.get(key) if server.value.get("command") else None
            if node is not None:
                spans.append((node.start, node.end))
    pieces, at = [], 0
    for start, end in sorted(spans):
        pieces.append(text[at:start])
        at = end
    return [*pieces, text[at:]]


def _preserves(edit, text: str) -> bool:
    """Whether all bytes but those of command and args values survive the edit (all args being there already)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".vscode" / "mcp.json"
        path.parent.mkdir()
        path.write_bytes(text.encode())
        return _outside(edit(path)) == _outside(text)


@settings(max_examples=150, deadline=None)
@given(documents())
def test_the_reader_sees_what_was_written(document):
    """Every document of the grammar is read to its value."""
    text, value = document
    assert _plain(jsonc.parse(text, comments=True, name="f")) == value


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_plain_json_is_read_as_the_standard_library_reads_it(value):
    """On plain JSON the two readers agree, both layouts."""
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert _plain(jsonc.parse(text, comments=False, name="f")) == json.loads(text) == value


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(list('{}[]",:/*\\ \n1-0.eEtrunals+u\ufeff')), max_size=12))
def test_never_more_lenient_than_the_standard_library(text):
    """Without comments, whatever is accepted the standard library accepts too, with the same value."""
    try:
        node = jsonc.parse(text, comments=False, name="f")
    except OperatorError:
        return
    assert _plain(node) == json.loads(text.removeprefix("\ufeff"))


@settings(max_examples=150, deadline=None)
@given(documents())
def test_wrap_then_unwrap_is_the_same_bytes(document):
    """Whatever the layout: wrapping changes only what it should, twice is once, unwrapping restores every byte."""
    text, value = document
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".vscode" / "mcp.json"
        path.parent.mkdir()
        path.write_bytes(text.encode())
        config = clients.describe(path)
        plan = wrapping.plan(config, LICTOR, None)
        expected = json.loads(json.dumps(value))
        for name, server in expected["servers"].items():
            if "command" in server:
                words = ["run", "--server", wrapping.server_name(name), "--", server["command"]]
                server |= {"command": LICTOR, "args": [*words, *server.get("args", [])]}
        assert _plain(jsonc.parse(plan.after, comments=True, name="f")) == expected
        wrapping.apply(plan)
        assert wrapping.plan(config, LICTOR, None).after == plan.after
        by_entries, _ = _without_files(plan.after)
        wrapping.unwrap(path)
        assert path.read_bytes() == text.encode()
        assert [file.name for file in path.parent.iterdir()] == ["mcp.json"]
        if all("args" in server for server in value["servers"].values() if "command" in server):
            assert by_entries == text


def _without_files(wrapped: str) -> tuple[str, str]:
    """Unwrap a text that has neither backup nor note."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".vscode" / "mcp.json"
        path.parent.mkdir()
        path.write_bytes(wrapped.encode())
        plan = wrapping.plan_unwrap(path)
        return plan.after, plan.how


LAID_OUT = '// mine\n{\r\n\t"servers": {"a": {"command" : "x", "args": [ /* y */ "1", ], "n": 1.0}, },\n}'


@pytest.mark.parametrize(("edit", "preserves"), [(_edit_with_spans, True), (_edit_with_dumps, False)])
def test_the_preservation_check_catches_a_serialising_editor(edit, preserves):
    """Control: the same check passes for the spans and fails for an edit by `json.dumps`."""
    assert _preserves(edit, LAID_OUT) is preserves


@settings(max_examples=100, deadline=None)
@given(documents().filter(lambda d: all("args" in s for s in d[1]["servers"].values() if "command" in s)))
def test_all_other_bytes_stay(document):
    """Cutting command and args out of both texts leaves the same pieces."""
    assert _preserves(_edit_with_spans, document[0])
