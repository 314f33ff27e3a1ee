"""The strict reader, fault by fault."""

import json
from time import process_time
from typing import Any

import pytest

from lictor.model.errors import CallerError, UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.protocol.json import pointer, read, read_upstream

LIMITS = Limits()
CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bank.transfer","arguments":{"to":"DE89",%s}}}'

REFUSED: list[tuple[str, bytes, Reason, str]] = [
    ("JSON-01", (CALL % '"amount":"5.00","amount":"9"').encode(), Reason.DUPLICATE_KEY, "/params/arguments/amount"),
    ("JSON-02", (CALL % '"amount":"5","\\u0061mount":"9"').encode(), Reason.DUPLICATE_KEY, "/params/arguments/amount"),
    ("JSON-06", (CALL % '"amount":NaN').encode(), Reason.INVALID_JSON, "/params/arguments/amount"),
    ("JSON-08 le", (CALL % '"a":1').encode("utf-16-le"), Reason.NOT_UTF8, ""),
    ("JSON-08 be", (CALL % '"a":1').encode("utf-16-be"), Reason.NOT_UTF8, ""),
    ("JSON-08 bom", (CALL % '"a":1').encode("utf-16"), Reason.NOT_UTF8, ""),
    ("JSON-08 32", (CALL % '"a":1').encode("utf-32-le"), Reason.NOT_UTF8, ""),
    ("JSON-08 8 bom", (CALL % '"a":1').encode("utf-8-sig"), Reason.NOT_UTF8, ""),
    ("JSON-10", b'{"id":1}{"id":2}', Reason.TRAILING_DATA, ""),
    ("JSON-13", (CALL % '"path":"/srv/ws/a\\ud800"').encode(), Reason.INVALID_UNICODE, "/params/arguments/path"),
    ("JSON-13 raw", b'"\xed\xa0\x80"', Reason.INVALID_UNICODE, ""),
    ("CESU-8 pair", b'"\xed\xa0\xbd\xed\xb8\x80"', Reason.INVALID_UNICODE, ""),
    ("low first", b'["\\udc00\\ud800"]', Reason.INVALID_UNICODE, "/0"),
    ("surrogate in key", b'{"a\\uDFFF":1}', Reason.INVALID_UNICODE, "/a\\udfff"),
    ("equal keys inside arrays", b'[[{}],{"a/b":{"~":1,"~":1}}]', Reason.DUPLICATE_KEY, "/1/a~1b/~0"),
    ("equal empty keys", b'{"":1,"":1}', Reason.DUPLICATE_KEY, "/"),
    ("equal prototype keys", b'{"__proto__":1,"__proto__":1}', Reason.DUPLICATE_KEY, "/__proto__"),
    ("equal escaped emoji", '{"😀":1,"\\ud83d\\ude00":1}'.encode(), Reason.DUPLICATE_KEY, "/😀"),
    ("infinity", b"[-Infinity]", Reason.INVALID_JSON, "/0"),
    ("overlong", b'"\xc0\x80"', Reason.NOT_UTF8, ""),
    ("latin-1", b'"\xe9"', Reason.NOT_UTF8, ""),
    ("above U+10FFFF", b'"\xf4\x90\x80\x80"', Reason.NOT_UTF8, ""),
    ("overflow", b'{"a":[1e400]}', Reason.NUMBER_RANGE, "/a/0"),
    ("negative overflow", b"-1e999999999999999999999", Reason.NUMBER_RANGE, ""),
    ("long number", b"[0." + b"1" * 2000 + b"]", Reason.NUMBER_RANGE, "/0"),
    ("long integer", b"[" + b"1" * 100_000 + b"]", Reason.NUMBER_RANGE, "/0"),
    ("2^53", b"[9007199254740992]", Reason.UNSAFE_INTEGER, "/0"),
    ("-2^53", b'{"n":-9007199254740992}', Reason.UNSAFE_INTEGER, "/n"),
    ("2^63", b"9223372036854775807", Reason.UNSAFE_INTEGER, ""),
    ("2^53 as a float", b"[9007199254740992.0]", Reason.UNSAFE_INTEGER, "/0"),
    ("1e20", b"[1e20]", Reason.UNSAFE_INTEGER, "/0"),
    ("empty", b"", Reason.INVALID_JSON, ""),
    ("blank", b" \n", Reason.INVALID_JSON, ""),
    ("two numbers", b"1 2", Reason.TRAILING_DATA, ""),
    ("trailing comma after", b"[],", Reason.TRAILING_DATA, ""),
    ("trailing NUL", b'{"a":1}\x00', Reason.TRAILING_DATA, ""),
]

NOT_JSON = [
    *(
        b"01",
        b"[01]",
        b"-",
        b"[-01]",
        b"+1",
        b".5",
        b"1.",
        b"[1.]",
        b"1e",
        b"0x1",
        b"1_0",
        b"[1,]",
        b'{"a":1,}',
        b"{a:1}",
    ),
    *(
        b"'a'",
        b'"\x01"',
        b'"\n"',
        b'"\\v"',
        b'"\\u00e"',
        b'"\\u+0e1"',
        b'"\\u_0e1"',
        b'"\\x41"',
        b"tru",
        b"True",
        b"None",
    ),
    *(
        b"[1 2]",
        b'{"a" 1}',
        b"[",
        b"{",
        b'"',
        b'"\\',
        b"]",
        b"//c\n1",
        b"/**/1",
        b"\x0c1",
        "\xa01".encode(),
        "１".encode(),
    ),
    *(b"undefined", b"nan", b"[,]", b'{"a":}', b"{1:2}", b"[]]"[:1], b"\\u0031"),
]


@pytest.mark.parametrize(("name", "data", "reason", "where"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_with_reason_and_place(name: str, data: bytes, reason: Reason, where: str) -> None:
    """Each fault has its own code and, where it has one, its pointer."""
    with pytest.raises(CallerError) as caught:
        read(data, LIMITS)
    assert (caught.value.reason, caught.value.where) == (reason, where)
    str(caught.value).encode()  # can be logged


@pytest.mark.parametrize("data", NOT_JSON)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    """Nothing beyond the grammar of RFC 8259."""
    with pytest.raises(CallerError) as caught:
        read(data, LIMITS)
    assert caught.value.reason is Reason.INVALID_JSON


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' \t\r\n{"a": [1, 2.5, true, null, "x"]} \n', {"a": [1, 2.5, True, None, "x"]}),
        (b"9007199254740991", 2**53 - 1),
        (b"-9007199254740991", -(2**53) + 1),
        (b"[1E+2, -0, -0.0, 1e21, 1e-400]", [100.0, 0, 0.0, 1e21, 0.0]),
        (b'"\\ud83d\\ude00 \\u0000 \\/ \x7f"', "😀 \0 / \x7f"),
        (b'"\\\\ud800"', "\\ud800"),
        ('{"ſ":1,"s":2}'.encode(), {"ſ": 1, "s": 2}),
        (b'{"a":{"a":1},"b":{"a":1}}', {"a": {"a": 1}, "b": {"a": 1}}),
        (b'""', ""),
        (b"0", 0),
    ],
)
def test_what_is_json_is_read(data: bytes, value: Any) -> None:
    """The strict reader is not stricter than it says."""
    assert read(data, LIMITS).value == value


def test_flags_tell_the_canonical_encoder() -> None:
    """Float, big integer and key beyond U+FFFF are noticed; escaped keys too."""
    assert read(b'{"a":1}', LIMITS).plain
    assert read(b"[1.5]", LIMITS).floats
    assert read('{"😀":1}'.encode(), LIMITS).astral_keys
    assert read(b'{"\\ud83d\\ude00":1}', LIMITS).astral_keys
    assert read('{"ö":"😀"}'.encode(), LIMITS).plain
    assert read_upstream(b"[9007199254740992]", LIMITS, effect_possible=True).big_ints


def _expect(data: bytes, limits: Limits, reason: Reason, **options: int) -> CallerError:
    with pytest.raises(CallerError) as caught:
        read(data, limits, **options)
    assert caught.value.reason is reason
    return caught.value


def test_sizes_are_exact() -> None:
    """At the bound it is read, one byte more it is not; strings and keys count in UTF-8."""
    read(b'"' + b"x" * 8 + b'"', LIMITS, max_bytes=10)
    _expect(b'"' + b"x" * 9 + b'"', LIMITS, Reason.TOO_LARGE, max_bytes=10)
    _expect(b"[1,2,3]", Limits(message_bytes=6, arguments_bytes=6), Reason.TOO_LARGE)
    small = Limits(string_bytes=6, key_bytes=6)
    for six in ("xxxxxx", "ééé", "\\u00e9éé", "😀éx"[:2]):
        read(f'["{six}"]'.encode(), small)
        read(f'{{"{six}":1}}'.encode(), small)
        assert _expect(f'{{"a":["{six}x"]}}'.encode(), small, Reason.TOO_LARGE).where == "/a/0"
        assert (
            _expect(f'[{{"{six}x":1}}]'.encode(), small, Reason.TOO_LARGE).where
            == f"/0/{json.loads(chr(34) + six + chr(34))}x"
        )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b"[" * 100_000 + b"]" * 100_000, Reason.TOO_DEEP),
        (b'{"a":' * 700_000, Reason.TOO_DEEP),
        (b'{"a":[' * 65, Reason.TOO_DEEP),
        (b"[" + b"[]," * 1_300_000 + b"[]]", Reason.TOO_MANY),
        (b"[" + b"1," * 2_000_000 + b"1]", Reason.TOO_MANY),
        (b'"' + b'\\"' * 2_000_000, Reason.INVALID_JSON),
        (b'["' + b'\\"' * 1_900_000 + b"[" * 99 + b"\\", Reason.INVALID_JSON),
        (b'["' + b'"' * 3_000_000, Reason.INVALID_JSON),
        (b"[0." + b"1" * 3_000_000 + b"]", Reason.NUMBER_RANGE),
        (b"[" + b" " * 4_000_000, Reason.INVALID_JSON),
    ],
)
def test_hostile_documents_are_refused_in_bounded_time(data: bytes, reason: Reason) -> None:
    """No crash, no recursion error, no time that grows faster than the input."""
    started = process_time()
    _expect(data, LIMITS, reason)
    assert process_time() - started < 3


def test_brackets_in_strings_do_not_count() -> None:
    """Program text in an argument is not structure."""
    code = json.dumps({"text": '{"[' * 100_000 + "\\"}).encode()
    assert read(code, LIMITS)


def test_messages_quote_bounded_printable_input() -> None:
    """A hostile key cannot break the log line or fill the log."""
    error = _expect(b'{"%s":1,"%s":2}' % (b"\\n\\u202e" * 500, b"\\n\\u202e" * 500), LIMITS, Reason.DUPLICATE_KEY)
    assert str(error).isprintable()
    assert len(str(error)) < 1000


def test_pointer_escapes_as_rfc_6901() -> None:
    """Slash and tilde are escaped."""
    assert pointer(["a/b", "~", "0"]) == "/a~1b/~0/0"


def test_replies_keep_integers_of_any_size() -> None:
    """A server may send what we may not: exact, not rounded."""
    value = 123456789012345678901234567890
    assert read_upstream(b"[%d,-%d,1e20]" % (value, value), LIMITS, effect_possible=True).value == [value, -value, 1e20]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":2}', Reason.UPSTREAM_INVALID),
        (b"[1e400]", Reason.UPSTREAM_INVALID),
        (b"NaN", Reason.UPSTREAM_INVALID),
        (b"[" + b"1" * 2000 + b"]", Reason.UPSTREAM_INVALID),
        (b"\xff", Reason.UPSTREAM_INVALID),
        (b"[" * 1000, Reason.UPSTREAM_TOO_LARGE),
        (b'"' + b"x" * 100 + b'"', Reason.UPSTREAM_TOO_LARGE),
    ],
)
def test_a_lying_server_is_an_upstream_error(data: bytes, reason: Reason) -> None:
    """The same strictness, blamed on the server, with the effect it may have had."""
    with pytest.raises(UpstreamError) as caught:
        read_upstream(data, Limits(upstream_message_bytes=101 if b"x" in data else 10_000), effect_possible=True)
    assert caught.value.reason is reason
    assert caught.value.effect_possible


def test_characters_of_four_bytes_count_as_four() -> None:
    """The quick bound on characters does not let the widest ones through."""
    limits = Limits(key_bytes=12, string_bytes=12)
    read('{"😀😀😀":"😀😀😀"}'.encode(), limits)
    _expect('{"😀😀😀😀":1}'.encode(), limits, Reason.TOO_LARGE)
    _expect('["😀😀😀😀"]'.encode(), limits, Reason.TOO_LARGE)
