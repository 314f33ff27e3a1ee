"""What a push would bring, read in a process of its own: `python -I -m lictor.previews.gitchild`, JSON in, JSON out.

The clone may be an agent's work, so it is taken for hostile: no git program, no hook, no filter, no include of its configuration,
no graft and no replacement object; and memory, time and files of this process are bounded, because packs can unfold to anything.
Refuses to know policies, people and what a remote really has: it sees what the clone last heard of it.
"""

import heapq
import json
import sys
from pathlib import Path
from typing import Any, Final

from lictor.previews.difference import counts, difference

MAX_COMMITS: Final = 100
"""Commits that are listed."""
MAX_WALKED: Final = 5_000
MAX_REMOTES: Final = 4
"""Remotes that the clone knows and that a push is held against."""
MAX_FILES: Final = 200
MAX_COUNTED: Final = 60
"""Files whose lines are counted."""
MAX_BLOB: Final = 512 * 1024
_MEMORY: Final = 1024 * 1024 * 1024
_CPU_S: Final = 3
_TEXT: Final = 300


def main() -> int:
    """One question on standard input, one answer on standard output."""
    _bounded()
    question = json.loads(sys.stdin.buffer.read(64 * 1024))
    try:
        answer = _Clone(question["clone"]).answer(question)
    except (KeyError, ValueError, OSError, AssertionError, RecursionError, MemoryError, ImportError) as error:
        answer = {"error": type(error).__name__}
    except Exception as error:  # noqa: BLE001 - a reader of hostile files fails in ways of its own; all of them are no answer
        answer = {"error": type(error).__name__}
    sys.stdout.write(json.dumps(answer))
    return 0


def _bounded() -> None:
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    for limit, value in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


class _Clone:
    def __init__(self, path: str) -> None:
        from dulwich.object_store import DiskObjectStore  # noqa: PLC0415 - an extra
        from dulwich.refs import DiskRefsContainer  # noqa: PLC0415

        folder = Path(path)
        self._control = folder / ".git" if (folder / ".git").is_dir() else folder
        if not (self._control / "objects").is_dir() or (self._control / "commondir").exists():
            raise ValueError("no plain clone")
        self._store: Any = DiskObjectStore(str(self._control / "objects"))
        self._refs: Any = DiskRefsContainer(str(self._control))

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Remotes, the commits behind names, or what each push brings."""
        if question["ask"] == "refs":
            return {"refs": {name: self._at(name) for name in question["names"]}}
        remotes = self._remotes() if question["remotes"] else []
        names = dict.fromkeys(name for name, _ in remotes[:MAX_REMOTES]) if remotes else {"": None}
        return {
            "remotes": remotes[:MAX_REMOTES],
            "pushes": {
                name: [self._push(source, target, name) for source, target in question["specs"]] for name in names
            },
        }

    def _remotes(self) -> list[list[str]]:
        from dulwich.config import ConfigFile  # noqa: PLC0415

        config: Any = ConfigFile.from_path(str(self._control / "config"), expand_includes=False)
        found = []
        for section in config.sections():
            if len(section) == 2 and section[0] == b"remote":
                urls = [*config.get_multivar(section, b"pushurl")] or [*config.get_multivar(section, b"url")]
                found += [[section[1].decode("utf-8", "replace"), url.decode("utf-8", "replace")] for url in urls]
        return found

    def _at(self, name: str) -> str:
        """The commit behind a full name; empty where there is none."""
        try:
            found = self._refs[name.encode()]
        except KeyError:
            return ""
        return found.decode("ascii") if found else ""

    def _commit(self, sha: str) -> Any:
        """A commit, through annotated tags."""
        found = self._store[sha.encode("ascii")]
        for _ in range(8):
            if found.type_name == b"commit":
                return found
            if found.type_name != b"tag":
                break
            found = self._store[found.object[1]]
        raise ValueError("no commit")

    def _push(self, source: str, target: str, remote: str) -> dict[str, Any]:
        tracking = f"refs/remotes/{remote}/"
        new = self._at(source) if source else ""
        old = self._at(tracking + target.removeprefix("refs/heads/")) if remote else ""
        heads = [tracking + name for name in ("HEAD", "main", "master")] if remote else []
        told: dict[str, Any] = {"new": new, "old": old}
        if not new:
            return told
        commit = self._commit(new)
        known = [self._commit(sha) for sha in (old, *(self._at(name) for name in heads)) if sha]
        fresh, more, whole = self._fresh(commit, known)
        before = self._commit(old) if old else None
        lost, lost_more, lost_whole = self._fresh(before, [commit]) if before is not None else ([], 0, True)
        told |= {
            "commits": [_shown(found) for found in fresh],
            "more": more,
            "lost": [_shown(found) for found in lost],
            "lost_more": lost_more,
            "whole": whole and lost_whole,
        }
        base = before.tree if before is not None else self._base(fresh)
        return told | self._files(base, commit.tree)

    def _base(self, fresh: list[Any]) -> Any:
        """The tree that new commits stand on, where the branch itself is new: of the first parent of the oldest."""
        parents = fresh[-1].parents if fresh else []
        return self._commit(parents[0].decode("ascii")).tree if parents else None

    def _fresh(self, tip: Any, known: list[Any]) -> tuple[list[Any], int, bool]:
        """Commits behind a tip that are behind none of the known, newest first; how many more; whether all was looked at."""
        theirs = {found.id for found in known}
        mine: set[bytes] = set()
        queue = [(-found.commit_time, found.id, found) for found in {f.id: f for f in (*known, tip)}.values()]
        heapq.heapify(queue)
        if tip.id not in theirs:
            mine.add(tip.id)
        seen = {item[1] for item in queue}
        order: list[Any] = []
        walked = 0
        while queue and any(item[1] in mine and item[1] not in theirs for item in queue):
            _, sha, found = heapq.heappop(queue)
            walked += 1
            if walked > MAX_WALKED:
                return order[:MAX_COMMITS], max(0, len(order) - MAX_COMMITS), False
            if sha not in theirs:
                order.append(found)
            for parent in found.parents:
                (theirs if sha in theirs else mine).add(parent)
                if parent not in seen:
                    seen.add(parent)
                    inner = self._commit(parent.decode("ascii"))
                    heapq.heappush(queue, (-inner.commit_time, parent, inner))
        kept = [found for found in order if found.id not in theirs]
        return kept[:MAX_COMMITS], max(0, len(kept) - MAX_COMMITS), True

    def _files(self, old: Any, new: Any) -> dict[str, Any]:
        from dulwich.diff_tree import tree_changes  # noqa: PLC0415

        files: list[list[Any]] = []
        count = 0
        for change in tree_changes(self._store, old, new):
            count += 1
            if count <= MAX_FILES:
                files.append(self._file(change, with_lines=count <= MAX_COUNTED))
            if count > 50 * MAX_FILES:
                break
        return {"files": files, "more_files": max(0, count - len(files))}

    def _file(self, change: Any, *, with_lines: bool) -> list[Any]:
        before, after = change.old, change.new
        entry = after if after is not None and after.path is not None else before
        name = entry.path.decode("utf-8", "backslashreplace")
        modes = {one.mode for one in (before, after) if one is not None and one.mode is not None}
        special = "submodule" if 0o160000 in modes else "link" if 0o120000 in modes else ""
        lines = self._lines(before, after) if with_lines and not special else None
        return [name[:_TEXT], change.type, *(lines or (None, None)), special]

    def _lines(self, before: Any, after: Any) -> tuple[int, int] | None:
        texts = []
        for one in (before, after):
            data = b"" if one is None or one.sha is None else self._store[one.sha].data
            if len(data) > MAX_BLOB or b"\0" in data:
                return None
            texts.append(data.decode("utf-8", "backslashreplace"))
        return counts(difference(texts[0], texts[1]))


def _shown(commit: Any) -> list[str]:
    subject = commit.message.decode("utf-8", "backslashreplace").strip().partition("\n")[0]
    author = commit.author.decode("utf-8", "backslashreplace")
    return [commit.id.decode("ascii"), author[:_TEXT], subject[:_TEXT]]


if __name__ == "__main__":
    sys.exit(main())
