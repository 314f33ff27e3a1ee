"""Where MCP clients keep their list of servers, and how such a file is read and replaced.

Knows file names, formats and the keys under which servers stand (from the documentation of Claude Code, Claude Desktop,
Cursor, VS Code and Codex). Refuses to know what is written into them: that is `wrapping`. Reads no environment variable:
home, working directory and platform are arguments.
"""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

Format = Literal["json", "jsonc", "toml"]
KeyPath = tuple[str, ...]

MAX_BYTES = 8 * 1024 * 1024
"""Largest configuration file read, bytes. `~/.claude.json` also holds history and reaches a few MB."""

EVERY = "*"
"""In a key path: each key there is. `("projects", "*", "mcpServers")`."""

_MCP_SERVERS: tuple[KeyPath, ...] = (("mcpServers",),)
_CLAUDE_USER: tuple[KeyPath, ...] = (("mcpServers",), ("projects", EVERY, "mcpServers"))
_VSCODE: tuple[KeyPath, ...] = (("servers",),)
_CODEX: tuple[KeyPath, ...] = (("mcp_servers",),)
_ANY: tuple[KeyPath, ...] = (("mcpServers",), ("servers",))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """One configuration file of one client.

    Attributes:
        client: `claude-code`, `claude-desktop`, `cursor`, `vscode`, `codex` or `unknown`.
        path: the file as the client names it; may be a symbolic link.
        format: how it is written. `jsonc` allows comments and trailing commas.
        root_key_paths: where tables of servers may stand, `EVERY` standing for any key.
    """

    client: str
    path: Path
    format: Format
    root_key_paths: tuple[KeyPath, ...]


def discover(home: Path, cwd: Path, platform: str) -> list[ClientConfig]:
    """The configuration files that exist, project files first, each path once.

    Args:
        home: the user's home directory.
        cwd: the project directory.
        platform: as in `sys.platform`: `linux`, `darwin`, `win32`.

    Raises:
        OperatorError: `config_refused`: it cannot be told whether a file exists, so it may be missed.
    """
    found: dict[Path, ClientConfig] = {}
    for config in _candidates(home, cwd, platform):
        if _is_file(config.path):
            found.setdefault(config.path, config)
    return list(found.values())


def describe(path: Path) -> ClientConfig:
    """What kind of configuration a file named by a person is, judged by its name and folder alone.

    A name nobody knows is read as JSON with comments, servers under `mcpServers` or `servers`.
    """
    name, folder = path.name.casefold(), path.parent.name.casefold()
    if path.suffix.casefold() == ".toml":
        return _codex(path)
    if name == ".claude.json":
        return _json("claude-code", path, _CLAUDE_USER)
    if name == ".mcp.json":
        return _json("claude-code", path, _MCP_SERVERS)
    if name == "claude_desktop_config.json":
        return _json("claude-desktop", path, _MCP_SERVERS)
    if name == "mcp.json" and folder == ".cursor":
        return _cursor(path)
    if name == "mcp.json" and folder in {".vscode", "user"}:
        return _vscode(path)
    return ClientConfig(client="unknown", path=path, format="jsonc", root_key_paths=_ANY)


def read(path: Path) -> bytes:
    """The bytes of a regular file of at most `MAX_BYTES`.

    Raises:
        OperatorError: `config_refused` (missing, unreadable, no regular file) or `too_large`.
    """
    where = str(path)
    try:
        # Not blocking, because a named pipe in its place would never answer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OperatorError(Reason.CONFIG_REFUSED, "not a regular file", where=where)
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise unusable("cannot read the file", path, error) from error
    if len(data) > MAX_BYTES:
        raise OperatorError(Reason.TOO_LARGE, f"the file is larger than {MAX_BYTES} bytes", where=where)
    return data


def decode(data: bytes, path: Path) -> str:
    """The text of a file; encoding it again gives the same bytes.

    Raises:
        OperatorError: `not_utf8`, with the line.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise OperatorError(
            Reason.NOT_UTF8,
            "the file is not UTF-8",
            remedy="save it as UTF-8 and try again",
            where=f"{path}:{line}",
        ) from error


def resolve(path: Path) -> Path:
    """The file behind symbolic links: the one that is edited, so that a link stays a link.

    Raises:
        OperatorError: `config_refused`: missing, or the links go round in a circle.
    """
    try:
        return path.resolve(strict=True)
    except OSError as error:
        raise unusable("cannot find the file", path, error) from error
    except RuntimeError as error:
        raise OperatorError(Reason.CONFIG_REFUSED, "the symbolic links go in a circle", where=str(path)) from error


def create(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, readable by its owner alone, durably. Never follows a link.

    Raises:
        FileExistsError: there is something at `path` already.
        OperatorError: `config_refused`: it could not be written; nothing stays behind.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except FileExistsError:
        raise
    except OSError as error:
        raise unusable("cannot write the file", path, error) from error
    try:
        _write(descriptor, data)
        _sync_folder(path.parent)
    except OSError as error:
        remove(path)
        raise unusable("cannot write the file", path, error) from error


def replace(path: Path, data: bytes, *, expected: bytes | None) -> None:
    """Put `data` in the place of a file in one step, durably; mode and owner stay.

    A crash leaves the old file or the new one, and at most a stray `.lictor.tmp` beside it.

    Args:
        path: no symbolic link (see `resolve`).
        data: the new content.
        expected: what the file must still hold, looked at last; None for a file of our own, which may be missing.

    Raises:
        OperatorError: `conflict`: the file holds something else; `config_refused`: it could not be written.
            Nothing changed then.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".lictor.tmp")
        temporary = Path(name)
        _write(descriptor, data)
        if expected is not None:
            _copy_access(path, temporary)
            require_unchanged(path, expected)
        temporary.replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise unusable("cannot replace the file", path, error) from error
    finally:
        if temporary is not None:
            remove(temporary)


def require_unchanged(path: Path, expected: bytes) -> None:
    """Raises `conflict` when the file no longer holds exactly `expected`."""
    if read(path) != expected:
        raise OperatorError(
            Reason.CONFLICT,
            "the file changed meanwhile; nothing was written",
            remedy="run the command again and look at the new diff",
            where=str(path),
        )


def remove(path: Path) -> None:
    """Delete a file of ours; one that is gone already is fine."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unusable("cannot delete the file", path, error) from error


def unusable(what: str, path: Path, error: OSError) -> OperatorError:
    """The error for a file operation the system refused."""
    return OperatorError(
        Reason.CONFIG_REFUSED,
        f"{what}: {(error.strerror or type(error).__name__).lower()}",
        remedy="check that the file exists and that you may use it",
        where=str(path),
    )


def _candidates(home: Path, cwd: Path, platform: str) -> list[ClientConfig]:
    application_data = _application_data(home, platform)
    return [
        _json("claude-code", cwd / ".mcp.json", _MCP_SERVERS),
        _cursor(cwd / ".cursor" / "mcp.json"),
        _vscode(cwd / ".vscode" / "mcp.json"),
        _codex(cwd / ".codex" / "config.toml"),
        _json("claude-code", home / ".claude.json", _CLAUDE_USER),
        _cursor(home / ".cursor" / "mcp.json"),
        _vscode(application_data / "Code" / "User" / "mcp.json"),
        _codex(home / ".codex" / "config.toml"),
        _json("claude-desktop", application_data / "Claude" / "claude_desktop_config.json", _MCP_SERVERS),
    ]


def _application_data(home: Path, platform: str) -> Path:
    if platform == "darwin":
        return home / "Library" / "Application Support"
    if platform == "win32":
        return home / "AppData" / "Roaming"
    return home / ".config"


def _json(client: str, path: Path, roots: tuple[KeyPath, ...]) -> ClientConfig:
    return ClientConfig(client=client, path=path, format="json", root_key_paths=roots)


def _cursor(path: Path) -> ClientConfig:
    return ClientConfig(client="cursor", path=path, format="jsonc", root_key_paths=_MCP_SERVERS)


def _vscode(path: Path) -> ClientConfig:
    return ClientConfig(client="vscode", path=path, format="jsonc", root_key_paths=_VSCODE)


def _codex(path: Path) -> ClientConfig:
    return ClientConfig(client="codex", path=path, format="toml", root_key_paths=_CODEX)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable("cannot tell whether there is a client configuration", path, error) from error


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copy_access(source: Path, target: Path) -> None:
    """Mode and, where there are such, owner and group. Not being able to keep the owner is a failure."""
    kept, now = source.stat(), target.stat()
    if hasattr(os, "chown") and (kept.st_uid, kept.st_gid) != (now.st_uid, now.st_gid):
        os.chown(target, kept.st_uid, kept.st_gid)
    target.chmod(stat.S_IMODE(kept.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make a new name in the folder durable; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
