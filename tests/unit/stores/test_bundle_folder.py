"""The folder on disk: bounded, nothing from outside, new policy text never parsed in this process first."""

import os
from pathlib import Path

import pytest

from bundles import FILES, POLICY, bundle
from lictor.model.errors import OperatorError
from lictor.policy.problems import BundleRefused
from lictor.stores import bundle_folder
from lictor.stores.bundle_folder import BundleFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The fixture bundle on disk."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def problems(folder: Path, **options: float) -> dict[str, str]:
    """Message by place."""
    with pytest.raises(BundleRefused) as refused:
        BundleFolder(folder, **options).load()
    return {problem.where: problem.message for problem in refused.value.problems}


def test_the_folder_is_the_bundle(folder):
    """Same revision as from memory; names that begin with a dot are not there."""
    (folder / ".lictor").mkdir()
    (folder / ".lictor" / "log.db").write_text("x")
    (folder / ".gitignore").write_text("x")
    (folder / "policies" / ".main.cedar.swp").write_text("x")
    assert BundleFolder(folder).load().revision == bundle().revision


def test_syntax_errors_come_with_file_and_line(folder):
    """One for each file, all at once (POLE-09)."""
    (folder / "policies" / "a.cedar").write_text("\n\npermit(principal action")
    (folder / "policies" / "b.cedar").write_text(POLICY + "\nnonsense;\n")
    found = problems(folder)
    assert "policies/a.cedar:3" in found
    line = POLICY.count("\n") + 2
    assert f"policies/b.cedar:{line}" in found


@pytest.mark.parametrize(
    "bomb",
    [
        "(" * 20_000,
        "when { " + "(" * 700 + "true" + ")" * 700 + "};",
        "permit(principal,action,resource) when {" + "!" * 60_000 + "true};",
        "permit(principal,action,resource) when {" + " || ".join(["context.a"] * 2_000) + "};",
    ],
)
def test_parser_bombs_kill_the_child_at_most(folder, bomb):
    """C1, C2, S5: this process lives, the bundle is refused and names the file."""
    (folder / "policies" / "bomb.cedar").write_text(bomb)
    assert any(where.startswith("policies/bomb.cedar") for where in problems(folder))


def test_a_slow_child_is_a_refusal(folder):
    """Late is no."""
    assert "longer than 0.001 s" in problems(folder, guard_timeout_s=0.001)["policies/main.cedar"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_links_are_not_followed(folder, tmp_path_factory):
    """Neither files nor folders come from outside."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.cedar").write_text("permit (principal, action, resource);")
    (folder / "policies" / "x.cedar").symlink_to(outside / "x.cedar")
    (folder / "tests").symlink_to(outside)
    found = problems(folder)
    assert "links are not followed" in found["policies/x.cedar"]
    assert "tests" in found


def test_only_regular_files_of_bounded_size(folder):
    """A pipe does not hang the start, a huge file does not fill the memory."""
    os.mkfifo(folder / "policies" / "pipe.cedar")
    with (folder / "catalog" / "big.toml").open("wb") as file:
        file.truncate(bundle_folder.MAX_FILE_BYTES + 1)
    found = problems(folder)
    assert "not a regular file" in found["policies/pipe.cedar"]
    assert "larger than" in found["catalog/big.toml"]


def test_too_many_files_are_refused(folder, monkeypatch):
    """The listing stops by itself."""
    monkeypatch.setattr(bundle_folder, "MAX_FILES", 3)
    with pytest.raises(OperatorError, match="more than 3 files"):
        BundleFolder(folder).load()


def test_unknown_files_and_bytes_that_are_no_text(folder):
    """Both are named."""
    (folder / "notes.txt").write_text("x")
    assert "does not belong" in problems(folder)["notes.txt"]
    (folder / "notes.txt").unlink()
    (folder / "policies" / "x.cedar").write_bytes(b"\xff")
    assert "not UTF-8" in problems(folder)["policies/x.cedar"]


def test_changed_sees_content_not_touch(folder):
    """Cheap while nothing was touched; a touch without change is none; each change is seen once."""
    watched = BundleFolder(folder)
    first = watched.load()
    assert not watched.changed()
    (folder / "agents.toml").touch()
    os.utime(folder / "agents.toml", ns=(1, 1))
    assert not watched.changed()
    (folder / "policies" / "more.cedar").write_text(
        '@id("more")\nforbid (principal, action in [Action::"write"], resource);'
    )
    assert watched.changed()
    assert watched.changed()
    assert watched.load().revision != first.revision
    assert not watched.changed()
    (folder / "policies" / "more.cedar").unlink()
    assert watched.changed()
    assert watched.load().revision == first.revision


def test_a_broken_state_is_reported_once(folder):
    """Refused at its load, then quiet until something changes again."""
    watched = BundleFolder(folder)
    watched.load()
    (folder / "policies" / "main.cedar").write_text("nonsense")
    assert watched.changed()
    with pytest.raises(OperatorError):
        watched.load()
    assert not watched.changed()
    (folder / "stray").write_text("x")
    assert watched.changed()
    with pytest.raises(OperatorError):
        watched.load()
    assert not watched.changed()
    (folder / "stray").unlink()
    (folder / "policies" / "main.cedar").write_text(POLICY)
    assert watched.changed()
    watched.load()


def test_a_missing_folder_is_refused(tmp_path):
    """And `changed` says so once, without raising."""
    watched = BundleFolder(tmp_path / "none")
    assert watched.changed()
    with pytest.raises(OperatorError):
        watched.load()
    assert not watched.changed()


def test_known_text_is_not_parsed_again(folder):
    """Only new text meets a child: a reload with one changed file starts one."""
    watched = BundleFolder(folder)
    watched.load()
    slow = BundleFolder(folder, guard_timeout_s=0.0001)
    slow._guarded = watched._guarded
    assert slow.load().revision == bundle().revision


def test_policies_that_fail_strict_validation_are_refused(folder):
    """A forbid about a mistyped action would never fire, and nobody would notice."""
    (folder / "policies" / "more.cedar").write_text(
        '@id("more")\nforbid (principal, action == Action::"fs/read_fil", resource);'
    )
    assert "fs/read_fil" in problems(folder)["policies/more.cedar:1"]


@pytest.mark.parametrize("name", ["agents.toml", "policies/main.cedar", "catalog/fs.toml", "policies", "catalog", ""])
def test_what_others_can_write_does_not_decide(folder, name):
    """ADMN-08: every file and folder, each by its name, with the command; to look at it is allowed all the same."""
    BundleFolder(folder).load()
    (folder / name).chmod(0o777)
    found = problems(folder)
    assert set(found) == {name or str(folder)}
    assert "can be written by others (mode 0777)" in found[name or str(folder)]
    assert BundleFolder(folder).read()
    (folder / name).chmod(0o755)
    BundleFolder(folder).load()


def test_a_file_is_replaced_whole_and_keeps_its_mode(folder):
    """Nothing is left beside it."""
    path = folder / "agents.toml"
    path.chmod(0o640)
    before = path.read_bytes()
    names = set(folder.iterdir())
    BundleFolder(folder).replace("agents.toml", before, before + b"# more\n")
    assert path.read_bytes() == before + b"# more\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert set(folder.iterdir()) == names


def test_somebody_elses_edit_is_not_overwritten(folder):
    """What was read is not what is there any more."""
    before = (folder / "agents.toml").read_bytes()
    (folder / "agents.toml").write_bytes(before + b"# theirs\n")
    with pytest.raises(OperatorError, match="somebody changed the file"):
        BundleFolder(folder).replace("agents.toml", before, b"ours")
    assert (folder / "agents.toml").read_bytes() == before + b"# theirs\n"


def test_a_file_that_cannot_be_written_stays(folder, monkeypatch):
    """The disk is full: the old content, and nothing beside it."""
    before = (folder / "agents.toml").read_bytes()
    names = set(folder.iterdir())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_folder.os, "fsync", full)
    with pytest.raises(OperatorError, match="cannot be written"):
        BundleFolder(folder).replace("agents.toml", before, b"ours")
    assert (folder / "agents.toml").read_bytes() == before
    assert set(folder.iterdir()) == names
