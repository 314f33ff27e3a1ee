"""A server cannot stop the gateway with content that takes long to read: every look is linear in its length."""

import base64
import json
import time
from collections.abc import Callable

import pytest

from lictor.model.content import ContentRule
from lictor.pdp.origins import content
from lictor.pdp.origins.content import labels_of
from lictor.pdp.origins.find import values_of_result
from lictor.pdp.origins.forms import KINDS
from lictor.protocol.jsonrpc import _fold

MARKS = "\u0301\u0316"
ALL = ContentRule(name="all", labels=("x",), contains=("project orion",), holds=("secret", "iban", "card", "email"))
TEXTS: dict[str, Callable[[int], str]] = {
    "tokens": lambda size: "-eyJ" * (size // 4),
    "blobs": lambda size: ("a" * 4_095 + " ") * (size // 4_096),
    "marks": lambda size: "a" + MARKS * (size // 2),
    "marks by another name": lambda size: "a" + "\uff9e\u0301" * (size // 2),
    "marks in one": lambda size: "a" + "\u0f73" * size,
}


@pytest.mark.parametrize("shape", TEXTS)
def test_looking_for_labels_takes_linear_time(shape: str) -> None:
    """Half a megabyte of any of these is read in well under a second of CPU; the first versions took seconds to hours."""
    body = json.dumps(TEXTS[shape](1 << 19), ensure_ascii=False).encode()
    began = time.process_time()
    labels_of((ALL,), "fs/read", body)
    assert time.process_time() - began < 1.0


def test_values_of_piled_marks_take_bounded_time() -> None:
    """A name with a hundred thousand combining marks is no value, and is not brought to normal form."""
    body = json.dumps("A" + MARKS * 60_000, ensure_ascii=False).encode()
    began = time.process_time()
    values_of_result(body, frozenset(KINDS))
    assert time.process_time() - began < 1.0


def test_a_pile_of_marks_counts_as_holding_everything() -> None:
    """What cannot be read in time gets the labels: marks do not hide a literal behind themselves."""
    body = json.dumps("Pro" + MARKS * 200 + "ject Orion", ensure_ascii=False).encode()
    assert labels_of((ALL,), "fs/read", body) == ("x",)
    plain = json.dumps("Z" + MARKS * 20 + " nothing", ensure_ascii=False).encode()
    assert labels_of((ALL,), "fs/read", plain) == ()


def test_tokens_are_found_wherever_they_stand() -> None:
    """A JWT is found after `_`, in a chain of dots and after a long head; what only looks like one is not."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"1234567"}').decode().rstrip("=")
    rule = ContentRule(name="s", labels=("x",), holds=("secret",))
    for text in (f"{head}.{body}.sig", f"t_{head}.{body}.s", f"a.b.{head}.{body}.s", "z" * 5_000 + f"-{head}.{body}"):
        assert labels_of((rule,), "fs/read", json.dumps(text).encode()) == ("x",), text[:20]
    for text in (f"{head} {body}", f"x{head}.{body[:8]}", "eyJ.eyJ"):
        assert labels_of((rule,), "fs/read", json.dumps(text).encode()) == (), text


def test_every_character_that_can_pile_up_is_seen() -> None:
    """Whatever decomposes into combining marks alone is matched by the quick look, so none slips past it."""
    import unicodedata

    for code in range(0x80, 0x110000):
        char = chr(code)
        if 0xD800 <= code < 0xE000 or not unicodedata.combining(unicodedata.normalize("NFKD", char)[0]):
            continue
        assert content._piled("a" + char * 400), hex(code)


def test_a_member_name_of_marks_is_compared_in_bounded_time() -> None:
    """A client's member names are not brought to normal form when they are too long to be mistaken for one of ours."""
    began = time.process_time()
    for _ in range(1_000):
        _fold("a" + MARKS * 1_000)
    assert time.process_time() - began < 1.0
