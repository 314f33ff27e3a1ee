"""Keys and anchor of a state folder."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.stores.keys import Keys


def head(keys, size, root=b"\0" * 32):
    return sign_checkpoint(Checkpoint("test.local/log", size, root), keys.signer)


def test_keys_are_made_once(tmp_path):
    """Opening twice gives the same keys; files are 0600 in a folder of 0700."""
    first = Keys.open(tmp_path / "state")
    second = Keys.open(tmp_path / "state")
    assert first.signer.private_bytes_raw() == second.signer.private_bytes_raw()
    assert first.state_key == second.state_key
    assert len(first.state_key) == 32
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "state").iterdir()} == {0o600}
    assert {file.name for file in (tmp_path / "state").iterdir()} == {"log.key", "state.key"}


def test_two_that_start_together_get_the_same_keys(tmp_path):
    """Nobody reads half a key and nobody replaces another's."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Keys.open(tmp_path / "state"), range(32)))
    assert len({keys.signer.private_bytes_raw() for keys in made}) == 1
    assert len({keys.state_key for keys in made}) == 1


@pytest.mark.parametrize("name", ["log.key", "state.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_open_to_others_is_refused(tmp_path, name, mode):
    """Whoever reads the key is the log; the remedy says what to do."""
    Keys.open(tmp_path)
    (tmp_path / name).chmod(mode)
    with pytest.raises(OperatorError) as caught:
        Keys.open(tmp_path)
    assert caught.value.reason is Reason.CONFIG_REFUSED
    assert "chmod 600" in caught.value.remedy


def test_a_folder_others_can_write_is_refused(tmp_path):
    """They could swap the files in it."""
    tmp_path.chmod(0o777)
    with pytest.raises(OperatorError):
        Keys.open(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_without_a_key_is_refused(tmp_path, content):
    """A broken signing key is never replaced by a new one."""
    Keys.open(tmp_path)
    (tmp_path / "log.key").write_bytes(content)
    with pytest.raises(OperatorError):
        Keys.open(tmp_path)
    assert (tmp_path / "log.key").read_bytes() == content


def test_another_kind_of_key_is_refused(tmp_path):
    """Only Ed25519 signs checkpoints."""
    Keys.open(tmp_path)
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "log.key").write_bytes(pem)
    with pytest.raises(OperatorError):
        Keys.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_state_key_of_another_length_is_refused(tmp_path, content):
    """32 bytes, no more, no fewer."""
    Keys.open(tmp_path)
    (tmp_path / "state.key").write_bytes(content)
    with pytest.raises(OperatorError):
        Keys.open(tmp_path)


def test_a_log_without_its_key_is_damage(tmp_path):
    """A fresh key beside an old log would sign a rewrite."""
    (tmp_path / "log.db").touch(mode=0o600)
    with pytest.raises(StoreError) as caught:
        Keys.open(tmp_path)
    assert caught.value.reason is Reason.LOG_DAMAGED
    assert not (tmp_path / "log.key").exists()


def test_the_verifier_key_is_the_signers(tmp_path):
    """What the folder signs opens with the key it gives out."""
    keys = Keys.open(tmp_path)
    text = keys.verifier_key("test.local/log")
    assert VerifierKey.parse(text).public == keys.signer.public_key().public_bytes_raw()
    assert open_checkpoint(head(keys, 3), text).size == 3


def test_the_anchor_only_grows(tmp_path):
    """A larger checkpoint replaces it; a smaller one never does: it is the evidence of a rollback."""
    keys = Keys.open(tmp_path)
    assert keys.read_anchor() is None
    keys.write_anchor(None)
    assert keys.read_anchor() is None
    for size, expected in ((3, 3), (9, 9), (5, 9), (9, 9), (10, 10)):
        keys.write_anchor(head(keys, size))
        assert open_checkpoint(keys.read_anchor(), keys.verifier_key("test.local/log")).size == expected
    assert stat.S_IMODE((tmp_path / "anchor").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_foreign_anchor_is_never_replaced(tmp_path):
    """An anchor that is not ours, or is broken, is damage for a person to look at."""
    keys = Keys.open(tmp_path)
    stranger = sign_checkpoint(Checkpoint("test.local/log", 3, b"\0" * 32), Ed25519PrivateKey.generate())
    for content in (stranger, "nonsense"):
        (tmp_path / "anchor").write_text(content)
        with pytest.raises(StoreError) as caught:
            keys.write_anchor(head(keys, 9))
        assert caught.value.reason is Reason.LOG_DAMAGED
        assert (tmp_path / "anchor").read_text() == content


def test_an_unreadable_anchor_is_damage(tmp_path):
    """Bytes that are no text, or a folder in its place."""
    keys = Keys.open(tmp_path)
    (tmp_path / "anchor").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError):
        keys.read_anchor()
