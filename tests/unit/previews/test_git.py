"""Pushes: commits and files by the clone's own words, read without a git program."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lictor.model.catalog import DestinationSelector
from lictor.model.preview_rule import GitPreview
from previews_world import Bench, entry, paths, told

REMOTE = "https://git.example/team/app.git"
PUSH = entry(
    "push",
    path=paths("/repo"),
    destination=DestinationSelector(git="/remote", ref="/branch", force="/force"),
    preview=GitPreview(repository="/repo"),
)
WHO = {
    "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


class Clone:
    """A clone made by git itself."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.path = Path(f"{bench.base}/ws/app")
        self.path.mkdir(parents=True)
        self.time = 1_700_000_000
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", REMOTE)

    def git(self, *words: str) -> str:
        env = {**os.environ, **WHO, "GIT_AUTHOR_DATE": f"{self.time} +0000", "GIT_COMMITTER_DATE": f"{self.time} +0000"}
        return subprocess.run(
            ["git", *words], cwd=self.path, env=env, check=True, capture_output=True, text=True
        ).stdout

    def commit(self, name: str, text: str, subject: str) -> str:
        self.time += 60
        self.bench.write(f"/ws/app/{name}", text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)
        return self.git("rev-parse", "HEAD").strip()

    def pushed(self, branch: str = "main", commit: str = "HEAD") -> None:
        self.git("update-ref", f"refs/remotes/origin/{branch}", commit)


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    """A slow machine is not what these tests are about."""
    monkeypatch.setattr("lictor.previews.previewer.TIME_S", 20.0)
    monkeypatch.setattr("lictor.previews.git.DEADLINE_S", 20.0)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(Bench(tmp_path))
    made.commit("a.txt", "one\n", "first")
    made.pushed()
    return made


async def look(clone: Clone, **changed: Any):
    arguments = {"repo": "/ws/app", "remote": REMOTE, "branch": "feature", **changed}
    return await clone.bench.preview(PUSH, arguments)


async def test_commits_and_files_between_remote_and_local(clone: Clone) -> None:
    """What is there already is not told again."""
    clone.git("checkout", "-q", "-b", "feature")
    clone.pushed("feature")
    clone.commit("a.txt", "one\ntwo\n", "second")
    third = clone.commit("b.txt", "x\n", "third: <b>")
    made = await look(clone)
    said = told(made)
    assert "feature: from" in said
    assert "2 commits" in said
    assert f"{third[:12]} | Ada <ada@example.org> | third: <b>" in said
    assert "first" not in said
    assert "a.txt | modify | +1 -0" in said
    assert "b.txt | add | +1 -0" in said
    assert made.whole
    assert not any(part.warning for part in made.parts)
    assert await clone.bench.changed(made) == ""
    clone.commit("c.txt", "x", "slipped in")
    assert "ref" in await clone.bench.changed(made)


async def test_packed_objects_and_refs_are_read(clone: Clone) -> None:
    """After `git gc` as before."""
    clone.git("checkout", "-q", "-b", "feature")
    clone.commit("a.txt", "one\ntwo\n", "second")
    clone.git("gc", "-q")
    said = told(await look(clone))
    assert "second" in said
    assert "a branch or tag that the clone has not seen there" in said
    assert "1 commit" in said
    assert "a.txt | modify | +1 -0" in said


async def test_a_protected_branch_and_a_forced_push_stand_first(clone: Clone) -> None:
    """What is overwritten is named."""
    clone.commit("a.txt", "theirs\n", "theirs")
    clone.pushed()
    clone.git("reset", "-q", "--hard", "HEAD~1")
    clone.commit("a.txt", "mine\n", "mine")
    made = await look(clone, branch="main", force=True)
    warnings = [part.text for part in made.parts if part.warning]
    assert "main is a protected branch" in warnings
    assert "1 commit of main there would go" in warnings
    assert any("by force" in text for text in warnings)
    assert "theirs" in told(made)


@pytest.mark.parametrize(
    ("branch", "said"),
    [
        ("+feature", "by force"),
        (":main", "main is deleted there"),
        ("nothing", "is not in the clone"),
        ("HEAD:release/1", "release/1 is a protected branch"),
    ],
)
async def test_refspecs(clone: Clone, branch: str, said: str) -> None:
    """Forced, deleting, absent, to another name."""
    clone.git("checkout", "-q", "-b", "feature")
    assert said in told(await look(clone, branch=branch))


async def test_an_unknown_remote_is_said(clone: Clone) -> None:
    """What is there is not known; everything counts as new."""
    made = await look(clone, remote="https://evil.example/x/y", branch="main")
    assert "no remote at this address" in told(made)
    assert "first" in told(made)
    assert not made.whole


@pytest.mark.parametrize("what", ["none", "file", "config", "object", "fifo"])
async def test_a_broken_clone_is_unknown(clone: Clone, what: str, monkeypatch) -> None:
    """Nothing hangs and nothing is taken for nothing."""
    clone.git("checkout", "-q", "-b", "feature")
    clone.commit("a.txt", "two\n", "second")
    control = clone.path / ".git"
    match what:
        case "none":
            control.rename(clone.path / "gone")
        case "file":
            control.rename(clone.path / "gone")
            control.write_text("gitdir: /elsewhere")
        case "config":
            (control / "config").write_bytes(b"[remote \xff\x00")
        case "object":
            tip = clone.git("rev-parse", "HEAD").strip()
            (control / "objects" / tip[:2] / tip[2:]).chmod(0o644)
            (control / "objects" / tip[:2] / tip[2:]).write_bytes(b"garbage")
        case "fifo":
            (control / "config").unlink()
            os.mkfifo(control / "config")
    if what == "fifo":
        monkeypatch.setattr("lictor.previews.git.DEADLINE_S", 1.0)
    made = await look(clone)
    assert not made.whole
    assert made.parts[0].warning


async def test_hooks_and_includes_do_nothing(clone: Clone) -> None:
    """Configuration of the clone runs no program and reads no other file."""
    marker = clone.path.parent / "ran"
    (clone.path / ".git" / "config").write_text(
        f"[include]\n path = /etc/passwd\n[core]\n fsmonitor = touch {marker}\n sshCommand = touch {marker}\n"
        f'[remote "origin"]\n url = {REMOTE}\n uploadpack = touch {marker}\n'
    )
    made = await look(clone, branch="main")
    assert "main: from" in told(made)
    assert not marker.exists()
