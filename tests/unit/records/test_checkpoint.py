"""C2SP signed notes and checkpoints: published vectors, and nothing else is accepted."""

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, open_note, sign_checkpoint, sign_note

# golang.org/x/mod/sumdb/note, note_test.go
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SEED = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = TEXT + (
    "\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
ORIGIN = "lictor.example/log"
KEY = VerifierKey.of(ORIGIN, SIGNER)
HEAD = Checkpoint(ORIGIN, 42, bytes(range(32)))
SIGNED = sign_checkpoint(HEAD, SIGNER)


def test_published_note_is_reproduced():
    """We sign the published text to the published bytes and read them back."""
    signer = Ed25519PrivateKey.from_private_bytes(SEED)
    assert sign_note(TEXT, "PeterNeumann", signer) == NOTE
    assert open_note(NOTE, VerifierKey.parse(VKEY)) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        VKEY,
        "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6",
    ],
)
def test_published_keys_round_trip(text):
    """Verifier keys of other implementations are read and written back byte for byte."""
    assert VerifierKey.parse(text).text() == text


def test_every_mangled_key_is_refused():
    """No substring and no changed character of a verifier key is a verifier key."""
    bad = [VKEY[i:j] for i in range(len(VKEY)) for j in range(i + 1, len(VKEY) + 1) if (i, j) != (0, len(VKEY))]
    bad += [VKEY[:i] + chr(ord(c) + 1) + VKEY[i + 1 :] for i, c in enumerate(VKEY)]
    bad += ["", "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2", VKEY + "\n", "\u00e9" * 3]
    for text in bad:
        with pytest.raises(OperatorError) as caught:
            VerifierKey.parse(text)
        assert caught.value.reason is Reason.CONFIG_REFUSED


def test_checkpoint_has_its_literal_form():
    """Origin, decimal size, base64 root, blank line, signature line."""
    lines = SIGNED.split("\n")
    assert lines[:4] == [ORIGIN, "42", b64encode(bytes(range(32))).decode(), ""]
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")
    assert lines[5:] == [""]
    assert open_checkpoint(SIGNED, KEY) == open_checkpoint(SIGNED, KEY.text()) == HEAD


def test_every_bit_of_a_checkpoint_counts():
    """No single flipped bit leaves a checkpoint readable."""
    raw = SIGNED.encode()
    survivors = []
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << (bit % 8)
        try:
            open_checkpoint(changed.decode("utf-8", "surrogateescape"), KEY)
        except StoreError:
            continue
        survivors.append(bit)
    assert survivors == []


@pytest.mark.parametrize(
    "body",
    [
        f"{ORIGIN}\n042\n{b64encode(HEAD.root).decode()}\n",
        f"{ORIGIN}\n+42\n{b64encode(HEAD.root).decode()}\n",
        f"{ORIGIN}\n\u0664\u0662\n{b64encode(HEAD.root).decode()}\n",
        f"{ORIGIN}\n-1\n{b64encode(HEAD.root).decode()}\n",
        f"{ORIGIN}\n9223372036854775808\n{b64encode(HEAD.root).decode()}\n",
        f"{ORIGIN}\n42\n{b64encode(HEAD.root[:31]).decode()}\n",
        f"{ORIGIN}\n42\n{b64encode(HEAD.root).decode().rstrip('=')}\n",
        f"{ORIGIN}\n42\n{b64encode(HEAD.root).decode()}\nextension\n",
        f"{ORIGIN}\n42\n",
        f"other.example/log\n42\n{b64encode(HEAD.root).decode()}\n",
        f"{ORIGIN}\r\n42\n{b64encode(HEAD.root).decode()}\n",
        f"\n42\n{b64encode(HEAD.root).decode()}\n",
    ],
)
def test_properly_signed_but_loose_text_is_refused(body):
    """A valid signature does not make another spelling acceptable."""
    with pytest.raises(StoreError):
        open_checkpoint(sign_note(body, ORIGIN, SIGNER), KEY)


@pytest.mark.parametrize("change", [lambda s: s + "\n", lambda s: s[:-1], lambda s: s + s.split("\n")[4] + "\n", lambda s: " " + s, lambda s: s.encode(), lambda s: s.replace("\u2014", "--"), lambda s: "", lambda s: s * 1000])  # fmt: skip
def test_loose_framing_is_refused(change):
    """One trailing newline, one signature of ours, text and no bytes."""
    with pytest.raises(StoreError):
        open_checkpoint(change(SIGNED), KEY)


def test_cosignatures_of_others_are_ignored():
    """Unknown keys may add lines (signed-note), and never replace ours."""
    other = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
    witness = sign_note(HEAD.body(), "witness.example", other).split("\n")[4] + "\n"
    assert open_checkpoint(SIGNED + witness, KEY) == HEAD
    with pytest.raises(StoreError):
        open_checkpoint(HEAD.body() + "\n" + witness, KEY)
    with pytest.raises(StoreError):
        open_checkpoint(sign_checkpoint(HEAD, other), KEY)


@pytest.mark.parametrize(("origin", "size", "root"), [("", 1, b"x" * 32), ("a b", 1, b"x" * 32), ("a+b", 1, b"x" * 32), ("a\nb", 1, b"x" * 32), ("\ud800", 1, b"x" * 32), ("a", -1, b"x" * 32), ("a", 2**63, b"x" * 32), ("a", 1, b"x")])  # fmt: skip
def test_impossible_checkpoint_is_not_born(origin, size, root):
    """A checkpoint is valid at birth."""
    with pytest.raises(StoreError):
        Checkpoint(origin, size, root)
