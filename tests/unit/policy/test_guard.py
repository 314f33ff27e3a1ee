"""The guard before the parser, and the parser in a child process: bombs are refused with file and line, the parent lives."""

import json
import subprocess
import sys

import cedarpy
import pytest

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.depth import MAX_EXPRESSION_DEPTH
from lictor.policy import guard
from lictor.policy.guard import parse_in_child_main, parse_policy_text, scan_policy_text

PERMIT = '@id("a")\npermit(principal, action, resource)'


def when(condition):
    return f"{PERMIT}\nwhen {{ {condition} }};\n"


def child(text, name="p.cedar"):
    """The child as the loader starts it."""
    data = text if isinstance(text, bytes) else text.encode()
    return subprocess.run(
        [sys.executable, "-I", "-m", "lictor.policy.guard", name],
        input=data,
        capture_output=True,
        timeout=30,
        check=False,
    )


def refusal(text):
    with pytest.raises(OperatorError) as refused:
        scan_policy_text("p.cedar", text)
    assert refused.value.reason is Reason.BUNDLE_REFUSED
    return f"{refused.value.where} {refused.value.message}"


def test_statements_are_found_where_they_stand():
    """Line of the first token, comments before it left out, text with annotations."""
    text = f'// a; comment (\n\n{PERMIT};\r\n// "x\n  forbid(principal, action, resource) when {{ context.s == "a;b)\\"" }}; // end'
    first, second = scan_policy_text("p", text)
    assert (first.line, first.text) == (3, f"{PERMIT};")
    assert second.line == 6
    assert second.text.startswith("forbid(")
    assert second.text.endswith("};")


@pytest.mark.parametrize("text", ["", "  \n", "// nothing", "\r// a\r// b\n"])
def test_empty_text_has_no_statements(text):
    """Nothing but blanks and comments is no policy."""
    assert scan_policy_text("p", text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (when("(" * 65 + "true" + ")" * 65), "p.cedar:3 brackets nest deeper"),
        ("\n\n" + "[" * 20_000, "p.cedar:3 brackets nest deeper"),
        ('permit("', "p.cedar:1 a string is not closed"),
        ('\npermit("a\\\nb");', "p.cedar:2 a string is not closed"),
        ("permit(];", "p.cedar:1 unexpected ']'"),
        ("permit)", "p.cedar:1 unexpected ')'"),
        ("permit(;)", "p.cedar:1 ';' inside '('"),
        (f"{PERMIT};\n\n permit(principal, action, resource)", "p.cedar:4 a policy is not closed"),
        ("permit(", "p.cedar:1 a policy is not closed"),
        (f"{PERMIT};\n" + when('context.s == "' + "x" * 65_536 + '"'), "p.cedar:3 a policy is larger"),
        (" " * (guard.MAX_FILE_BYTES + 1), "p.cedar:1 the file is larger"),
        ("é" * (guard.MAX_FILE_BYTES // 2 + 1), "p.cedar:1 the file is larger"),
        (when("if true then true else " * 65 + "true"), "p.cedar:3 more than 64 conditionals"),
        (when("context" + ".a" * 65), "p.cedar:3 more than 64 attributes"),
        (when("context" + '["a"]' * 65), "p.cedar:3 more than 64 attributes"),
        (when("context" + ".a()" * 40), "p.cedar:3 more than 64 attributes"),
        (when("1" + "*1" * 65 + " == 1"), "p.cedar:3 more than 64 attributes"),
        (when("-" * 65 + "1 == 1"), "p.cedar:3 more than 64 attributes"),
    ],
)
def test_scan_refuses(text, expected):
    """Each limit, with file and line, before any parser sees the text."""
    assert refusal(text).startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        when("(" * 63 + "true" + ")" * 63),
        when('context.s == "((((' + "(" * 100 + '"') + "// " + "(" * 100,
        when(" && ".join(["context.a.b.c == 1"] * 30)),
        when("[" + ", ".join(["1"] * 2_000) + "].contains(context.a)"),
        when('context.s == "a//b"') + PERMIT + ";",
        PERMIT + ";" + "// x\r" + PERMIT + ";",
    ],
)
def test_scan_lets_ordinary_text_through(text):
    """Deep brackets in strings and comments, long conjunctions, long lists: nothing to refuse; the parser agrees."""
    assert len(scan_policy_text("p", text)) == len(json.loads(parse_policy_text("p", text))["staticPolicies"])


def test_scan_and_engine_agree_on_strings_and_comments():
    """What the scan takes for a string or a comment the engine does too: else a bracket or a policy could hide."""
    for text in (
        when('context.s == "\\\\"') + PERMIT + ";",
        when('context.s == "\\"; // \\""') + PERMIT + ";",
        when('context.s == "a\nb"') + PERMIT + ";",
        "//\r" + PERMIT + ";//\n" + PERMIT + ";",
        f'{PERMIT}; // "\n{PERMIT};',
        f"{PERMIT}; /* permit */",
        f"{PERMIT}; # {PERMIT};",
        f"{PERMIT}; '(' {PERMIT};",
        f"{PERMIT};\u2028//\u2028{PERMIT};",
        f"{PERMIT};\x85{PERMIT};",
        f"{PERMIT};\ufeff",
    ):
        try:
            scanned = len(scan_policy_text("p", text))
        except OperatorError:
            continue
        try:
            parsed = len(json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"])
        except ValueError:
            continue
        assert scanned == parsed, text


BOMBS = {
    "parentheses": "(" * 20_000 + "true" + ")" * 20_000,
    "brackets": "[" * 20_000,
    "or": "||".join(["true"] * 10_000),
    "and": "&&".join(["true"] * 2_000),
    "else if": "if true then true else " * 2_000 + "true",
    "not": "!" * 20_000 + "true",
    "minus": "-" * 20_000 + "1 == 1",
    "attributes": "context" + ".a" * 20_000,
    "product": "1" + "*1" * 20_000 + " == 1",
    "has": "context has a" + ".a" * 20_000,
    "like": 'context.a like "' + "*" * 60_000 + '"',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_c1_parser_bombs_are_refused_with_file_and_line(bomb):
    """C1: the child ends by itself with a line that names file and line, or, for what is harmless, with JSON."""
    result = child(f"{PERMIT};\n{when(BOMBS[bomb])}")
    if bomb == "like":
        assert result.returncode == 0
        return
    assert result.returncode == 1
    assert result.stdout == b""
    line = result.stderr.decode()
    assert line.startswith("p.cedar:")
    assert line.count("\n") == 1
    assert 3 <= int(line.split(":")[1]) <= 5


def test_c1_control_the_bare_parser_dies():
    """C1, control: the same text kills a process that parses it without the guard."""
    code = "import sys, cedarpy; cedarpy.policies_to_json_str(sys.stdin.read())"
    bomb = when(BOMBS["parentheses"]).encode()
    assert subprocess.run([sys.executable, "-c", code], input=bomb, capture_output=True, check=False).returncode < 0


@pytest.mark.parametrize(
    ("terms", "accepted"),
    [(10, True), (MAX_EXPRESSION_DEPTH - 2, True), (MAX_EXPRESSION_DEPTH + 2, False), (110, False), (2_000, False)],
)
def test_s5_depth_is_measured_on_the_json(terms, accepted):
    """S5: a chain that the evaluator could give up on is refused at load, at its own line."""
    text = f"{PERMIT};\n\n" + when(" || ".join(["context.b"] * terms))
    if accepted:
        assert json.loads(parse_policy_text("p", text))["staticPolicies"].keys() == {"policy0", "policy1"}
        return
    with pytest.raises(OperatorError, match="nest deeper") as refused:
        parse_policy_text("p", text)
    assert refused.value.where == "p:4"


def test_syntax_errors_have_a_line():
    """The first statement that does not parse by itself is named."""
    with pytest.raises(OperatorError) as refused:
        parse_policy_text("p", f"{PERMIT};\n\npermit(principal, action, resurce);\n{PERMIT};")
    assert refused.value.where == "p:4"


def test_child_answers_json():
    """A good file: the engine's JSON on stdout, exit 0, nothing on stderr."""
    result = child(when("context.a == 1"))
    assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads(result.stdout)["staticPolicies"]["policy0"]["annotations"] == {"id": "a"}


@pytest.mark.parametrize(
    ("data", "expected"), [(b"\xff", b"p.cedar:1: not UTF-8"), (b"permit", b"p.cedar:1: a policy is not closed")]
)
def test_child_refuses_in_one_line(data, expected):
    """A bad file: one line, exit 1."""
    result = child(data)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.startswith(expected)
    assert result.stderr.count(b"\n") == 1


def test_main_in_process(monkeypatch, capsys):
    """The entry point itself, without a name."""
    import io

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{PERMIT};".encode())))
    assert parse_in_child_main([]) == 0
    assert "staticPolicies" in capsys.readouterr().out
