"""A signature from a command: taken only when it is one, and only of that key."""

import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.app.cosigning import signing
from lictor.model.errors import StoreError
from lictor.records.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from lictor.records.cosign import WitnessKey, open_witnessed, with_cosignature
from lictor.records.submission import Submission, read_cosignatures
from lictor.stores import signer as module
from lictor.stores.signer import run_signer
from lictor.testing.clock import ManualClock

LOG = Ed25519PrivateKey.from_private_bytes(b"\x31" * 32)
KMS = Ed25519PrivateKey.from_private_bytes(b"\x32" * 32)
KEY = WitnessKey.of("kms.example", KMS)
NOTE = sign_checkpoint(Checkpoint("signer.example/log", 5, bytes(32)), LOG)
SIGNS = """
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.from_private_bytes(bytes([int(sys.argv[1])]) * 32)
print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


def command(body, *words):
    return [sys.executable, "-c", body, *words]


async def test_a_command_signs_what_is_published():
    """The line is a cosignature as any, and verifies under the KMS's key."""
    status, body = await signing(command(SIGNS, "50"), KEY, ManualClock())(Submission(0, (), NOTE).body())
    (line,) = read_cosignatures(body)
    assert status == 200
    assert open_witnessed(with_cosignature(NOTE, line), VerifierKey.of("signer.example/log", LOG), [KEY]).times


async def test_a_signature_of_another_key_is_refused():
    """The command was pointed at the wrong key: nothing is published with it."""
    with pytest.raises(StoreError, match="not valid"):
        await signing(command(SIGNS, "51"), KEY, ManualClock())(Submission(0, (), NOTE).body())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere/at/all"], "cannot be started"),
        (command("raise SystemExit(3)"), "status 3"),
        (command("print('no signature!')"), "base64"),
    ],
)
async def test_a_command_that_fails_is_an_error(words, said):
    """Never an empty signature."""
    with pytest.raises(StoreError, match=said):
        await run_signer(words, b"message")


async def test_a_command_that_hangs_is_ended(monkeypatch):
    """After its time; nothing of it is left."""
    monkeypatch.setattr(module, "COMMAND_S", 0.2)
    with pytest.raises(StoreError, match="late"):
        await run_signer(command("import time; time.sleep(60)"), b"message")
