"""What is found in a server's words, in every form, wherever it stands; and what is left as it was."""

import base64
import codecs
import html
import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.protocol import scrub
from lictor.protocol.scrub import MIN_BYTES, Scrubber, forms

SECRETS = ["sk-live-0123456789abcdef", "p/w+with=odd&chars%!", 'qu"ote\\back/slash', "pässwörd-ünicode", "12345678"]


def lower(text: str) -> str:
    return quote(text, safe="").replace("%", "%25").lower()


WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": lambda s: json.dumps(s)[1:-1],
    "json twice": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    "json slashes": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64url": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "base64 after 1": lambda s: base64.b64encode(b"x" + s.encode() + b"tail").decode(),
    "base64 after 2": lambda s: base64.urlsafe_b64encode(b"xy" + s.encode() + b"tail").decode(),
    "base64 in url": lambda s: quote(base64.b64encode(s.encode()).decode(), safe=""),
    "url": lambda s: quote(s, safe=""),
    "url path": quote,
    "form": quote_plus,
    "url lower": lambda s: "".join(f"%{b:02x}" for b in s.encode()),
    "url twice": lambda s: quote(quote(s, safe=""), safe=""),
    "html": html.escape,
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", range(9))
def test_every_form_is_found_at_every_alignment(secret: str, way: str, before: int):
    """In bytes as they are, and inside a JSON text."""
    look = Scrubber([("token", secret)])
    form = WAYS[way](secret)
    clean, tags = look.scrub(b"." * before + form.encode() + b" rest")
    assert tags == {"token"}, (way, form)
    assert form.encode() not in clean
    body = json.dumps({"x" * before: [{"text": f"see {form}!"}]}).encode()
    clean, tags = look.scrub_json(body)
    assert tags == {"token"}
    assert form not in str(json.loads(clean))


def test_a_json_text_that_escapes_what_it_need_not_hides_nothing():
    r"""`\u0073k` is `sk`, in values, keys, and beside surrogate pairs."""
    secret = SECRETS[0]
    hidden = "".join(f"\\u{ord(c):04x}" for c in secret)
    look = Scrubber([("token", secret)])
    for body in (f'{{"a":"\\ud83d\\ude00{hidden}"}}', f'{{"{hidden}":1}}', f'["{hidden.upper().replace("U", "u")}"]'):
        clean, tags = look.scrub_json(body.encode())
        assert tags == {"token"}
        assert secret not in str(json.loads(clean))


def test_a_number_that_is_the_secret_becomes_text():
    """A PIN in a number is a PIN."""
    clean, tags = Scrubber([("pin", "12345678")]).scrub_json(b'{"id":12345678,"n":[123456789,1.5]}')
    assert tags == {"pin"}
    assert json.loads(clean)["id"] == "[credential pin removed]"
    assert json.loads(clean)["n"][1] == 1.5
    assert b"12345678" not in clean


def test_what_holds_none_comes_back_as_the_same_object():
    """Byte for byte, because it is the same bytes."""
    body = b'{"a": [1.0, 1e5, "\\u0041\\/", 12345678901234567890123]}'
    clean, tags = Scrubber([("token", SECRETS[0])]).scrub_json(body)
    assert clean is body
    assert not tags


def test_several_at_once_each_under_its_own_name():
    """Two secrets, one of them inside the other's neighbourhood."""
    look = Scrubber([("one", "first-secret-value"), ("two", "second-secret-value")])
    clean, tags = look.scrub(b"first-secret-valuesecond-secret-valuefirst-secret-value")
    assert tags == {"one", "two"}
    assert clean == b"[credential one removed][credential two removed][credential one removed]"


def test_what_is_too_short_is_not_looked_for():
    """It would be found in everything; the safe takes none so short."""
    assert not Scrubber([("short", "abc")]).scrub(b"abc abc abc")[1]


def test_a_body_that_cannot_be_cleaned_is_not_shown_at_all():
    """Broken JSON with a secret inside: nothing of it goes on."""
    clean, tags = Scrubber([("token", SECRETS[0])]).scrub_json(b'{"a":"' + SECRETS[0].encode())
    assert tags == {"token"}
    assert SECRETS[0].encode() not in clean
    json.loads(clean)


values = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F), min_size=MIN_BYTES, max_size=40)


@given(values, st.binary(max_size=80), st.binary(max_size=80), st.data())
def test_no_form_survives_anywhere(value: str, before: bytes, after: bytes, data: st.DataObject):
    """Whatever stands round it."""
    form = data.draw(st.sampled_from(sorted(forms(value))))
    clean, tags = Scrubber([("t", value)]).scrub(before + form + after)
    assert tags == {"t"}
    assert form not in clean


@given(
    values, st.recursive(st.text() | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_cleaning_is_stable_and_total(value: str, said: Any):
    """Any JSON value: cleaning it twice is cleaning it once, and what had none is the same."""
    look = Scrubber([("t", value)])
    body = json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogatepass")
    clean, tags = look.scrub_json(body)
    assert (clean is body) is not bool(tags)
    assert look.scrub_json(clean) == (clean, frozenset())


def test_many_secrets_cost_one_pass():
    """A thousand secrets are looked for with the same two intersections as one."""
    drawn = random.Random(7)
    many = Scrubber((f"n{i}", drawn.randbytes(20).hex()) for i in range(1_000))
    assert many._long
    assert not many._word - many._word
    wanted = next(iter(many._marks))
    assert many.tags(b"x" * 1_001 + wanted + b"y")


@pytest.mark.parametrize("removed", ["_base64_forms", "_url_forms", "_json_forms"])
def test_a_build_without_a_form_is_found_out(removed: str, monkeypatch: pytest.MonkeyPatch):
    """Control: the table above notices each family that is left out."""
    monkeypatch.setattr(scrub, removed, lambda _value: set())
    with pytest.raises(AssertionError):
        _every_way()


def _every_way() -> None:
    for way in WAYS:
        test_every_form_is_found_at_every_alignment(SECRETS[1], way, 1)
        test_every_form_is_found_at_every_alignment(SECRETS[2], way, 1)


def test_what_is_not_promised():
    """Transformed otherwise, it passes: the docstring says so."""
    assert not Scrubber([("t", SECRETS[0])]).tags(codecs.encode(SECRETS[0], "rot13").encode())


def wrapped(text: str, width: int, end: str) -> str:
    return end.join(text[i : i + width] for i in range(0, len(text), width))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n    ", "\r\n\t"])
@pytest.mark.parametrize("width", [5, 60, 64, 76])
@pytest.mark.parametrize("before", [0, 1, 2, 50])
def test_wrapped_lines_hide_nothing(end: str, width: int, before: int):
    """Base64 and hex as MIME, PEM and YAML wrap them, in the middle of other bytes; what stands around it stays."""
    secret = "sk-live-0123456789abcdef-and-quite-a-bit-more-of-it"
    looking = Scrubber([("key", secret)])
    for coded in (base64.b64encode(b"x" * before + secret.encode() + b"y" * 40).decode(), secret.encode().hex()):
        said = json.dumps({"text": f"first line\n{wrapped(coded, width, end)}\nlast line"}).encode()
        clean, tags = looking.scrub_json(said)
        assert tags == {"key"}
        text = json.loads(clean)["text"]
        assert text.startswith("first line\n")
        assert text.endswith("\nlast line")
        assert "[credential key removed]" in text
        assert not looking.tags(text.encode().translate(None, b"\r\n\t "))
        assert looking.scrub_text(json.loads(said)["text"])[1] == {"key"}


def test_a_build_that_does_not_unwrap_is_found_out(monkeypatch: pytest.MonkeyPatch):
    """Control: with lines taken as they are the wrapped secret goes through."""
    monkeypatch.setattr(scrub, "_BLANKS", b"")
    secret = "sk-live-0123456789abcdef-and-quite-a-bit-more-of-it"
    said = json.dumps(wrapped(base64.b64encode(secret.encode()).decode(), 20, "\n")).encode()
    assert not Scrubber([("key", secret)]).tags_json(said)


def test_many_lines_without_a_secret_stay_as_they_are():
    """The same object, however many lines."""
    said = json.dumps("\n".join(f"{n} words of a log" for n in range(10_000))).encode()
    clean, tags = Scrubber([("key", "sk-live-0123456789abcdef")]).scrub_json(said)
    assert clean is said
    assert not tags
