"""A witness's folder: made once, private, bounded, and useless without what it signed."""

import json
import stat

import pytest

from lictor.model.errors import OperatorError, StoreError
from lictor.records.checkpoint import VerifierKey
from lictor.stores.witness import KEY, MAX_EVIDENCE, SETTINGS, WitnessFolder
from unit.service.test_witness import KEY as LOG
from unit.service.test_witness import ORIGIN, note

NAME = "witness.example/w"


def named(path, *keys):
    (path / SETTINGS).write_text(f'name = "{NAME}"\nlogs = {json.dumps(list(keys))}\n')


def test_what_is_made_can_be_opened(tmp_path):
    """The same key under the same name; the logs are those of the settings."""
    made = WitnessFolder.make(tmp_path / "w", NAME)
    named(tmp_path / "w", LOG.text())
    found = WitnessFolder.open(tmp_path / "w")
    assert found.signer.private_bytes_raw() == made.signer.private_bytes_raw()
    assert found.logs == {ORIGIN: (LOG,)}
    assert stat.S_IMODE((tmp_path / "w" / KEY).stat().st_mode) == 0o600


def test_it_is_made_once(tmp_path):
    """A second key over what the first one signed would forget it."""
    made = WitnessFolder.make(tmp_path, NAME)
    with pytest.raises(OperatorError, match="already"):
        WitnessFolder.make(tmp_path, NAME)
    made.keep(ORIGIN, note(3))
    (tmp_path / KEY).unlink()
    with pytest.raises(OperatorError, match="already"):
        WitnessFolder.make(tmp_path, NAME)


def test_checkpoints_are_kept_by_log(tmp_path):
    """The newest stands; another log has none."""
    folder = WitnessFolder.make(tmp_path, NAME)
    assert folder.latest(ORIGIN) is None
    folder.keep(ORIGIN, note(3))
    folder.keep(ORIGIN, note(7))
    assert folder.latest(ORIGIN) == note(7)
    assert folder.latest("other.example") is None


def test_evidence_is_bounded(tmp_path):
    """Somebody who holds a log's key cannot fill the disk."""
    folder = WitnessFolder.make(tmp_path, NAME)
    for size in range(MAX_EVIDENCE + 9):
        folder.accuse(ORIGIN, note(size, "b"))
        folder.accuse(ORIGIN, note(size, "b"))
    assert folder.evidence(ORIGIN) == MAX_EVIDENCE
    assert folder.evidence("other.example") == 0


def test_what_was_signed_and_is_gone_stops_it(tmp_path):
    """At the start, and while it runs."""
    folder = WitnessFolder.make(tmp_path, NAME)
    (tmp_path / "seen").rmdir()
    with pytest.raises(StoreError, match="is gone"):
        WitnessFolder.open(tmp_path)
    with pytest.raises(StoreError, match="is gone"):
        folder.latest(ORIGIN)


def test_one_process_holds_it(tmp_path):
    """Two would each believe their own newest."""
    folder = WitnessFolder.make(tmp_path, NAME)
    folder.hold()
    with pytest.raises(StoreError, match="another process"):
        WitnessFolder.open(tmp_path).hold()


@pytest.mark.parametrize(
    "settings",
    ["", "name = 5", 'name = "w"\nmore = 1', 'name = "a b"', "not toml", 'name = "w"\nlogs = ["x"]', 'name = "w"\nlogs = ["{0}", "{0}"]'],
)  # fmt: skip
def test_settings_that_cannot_be_used(tmp_path, settings):
    """Unknown keys, wrong types, a name that is none, one key twice."""
    WitnessFolder.make(tmp_path, NAME)
    (tmp_path / SETTINGS).write_text(settings.replace("{0}", LOG.text()))
    with pytest.raises(OperatorError):
        WitnessFolder.open(tmp_path)


def test_a_log_may_have_several_keys_in_their_order(tmp_path):
    """Its operator changed the key: the order of the settings is that in which they signed."""
    WitnessFolder.make(tmp_path, NAME)
    other = VerifierKey(ORIGIN, bytes([1] * 32))
    (tmp_path / SETTINGS).write_text(f'name = "w"\nlogs = ["{LOG.text()}", "{other.text()}"]')
    assert WitnessFolder.open(tmp_path).logs == {ORIGIN: (LOG, other)}


def test_a_key_that_others_can_read_is_refused(tmp_path):
    """Whoever has it is the witness."""
    WitnessFolder.make(tmp_path, NAME)
    (tmp_path / KEY).chmod(0o644)
    with pytest.raises(OperatorError, match="read by others"):
        WitnessFolder.open(tmp_path)
