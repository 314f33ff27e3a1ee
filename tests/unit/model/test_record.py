"""Entries as bytes: one at a time or many at once, the same are taken and the same refused."""

import msgspec
import pytest

from lictor.model.record import ContentSeen, RequestRefused, decode_entries, decode_entry, encode_entry

ONE = encode_entry(1, ContentSeen(task="t", source="a\nb\x7fé\U0001f600\u2028"))
TWO = encode_entry(2, RequestRefused(task="t", reason="r", where="w", size=3, digest="d"))
CUT = TWO.index(b',"where"')


def test_many_at_once_are_what_each_is():
    """In their order; none is none."""
    assert decode_entries([ONE, TWO, ONE]) == [decode_entry(ONE), decode_entry(TWO), decode_entry(ONE)]
    assert decode_entries([]) == []


@pytest.mark.parametrize(
    "datas",
    [
        [b""],
        [b"", b""],
        [ONE, b""],
        [b" " + ONE],
        [ONE + b"\n"],
        [ONE + b"\n" + TWO],
        [ONE + b"\n" + TWO, b""],
        [TWO[:CUT], TWO[CUT:]],
        [TWO[: CUT + 1], TWO[CUT + 1 :]],
        [TWO[: CUT + 1], TWO[CUT + 1 :], ONE + b"\n" + ONE],
        [TWO[: CUT + 1] + b"\n" + TWO[CUT + 1 :]],
        [ONE, ONE.replace(b"content_seen", b"content_sawn")],
        [ONE.replace(b'"task":"t"', b'"task":"\xf5"')],
        [ONE.replace(b',"v":1', b"")],
        [b"\xff"],
    ],
)
def test_what_is_no_entry_is_refused_among_others(datas):
    """Nothing of one entry is taken for another's, or for two; what is no text is refused like all else."""
    with pytest.raises(msgspec.MsgspecError):
        decode_entries(datas)
    with pytest.raises(msgspec.MsgspecError):
        [decode_entry(data) for data in datas]
