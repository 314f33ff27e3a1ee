"""Commands of ours, each in a process of its own, forked from one that has imported everything: what a start costs is paid once.

A command gets its words, folder, environment and standard streams, and ends as any process does. What a fresh interpreter would
show (imports, the installed script) is shown by the tests that start `lictor serve` and `lictor run` as people do.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

_HEAD = 8
"""Bytes that say how long an order is."""


def run(
    *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, text: str = "", timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """`lictor` with these words, to its end. `env` is the whole environment; None: ours.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    order = {"words": words, "cwd": str(cwd or Path.cwd()), "env": dict(os.environ if env is None else env)}
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as asked:
        asked.write(text.encode())
        asked.seek(0)
        end, theirs = os.pipe()
        try:
            _server().order(json.dumps(order).encode(), [one.fileno() for one in (asked, told, said)] + [theirs])
            os.close(theirs)
            code = _ended(end, words, timeout)
        finally:
            os.close(end)
        told.seek(0)
        said.seek(0)
        return subprocess.CompletedProcess(["lictor", *words], code, told.read().decode(), said.read().decode())


def _ended(end: int, words: tuple[str, ...], timeout: float) -> int:
    """The exit code, negative for a signal: the waiter writes the process's id when it starts, and this when it ends."""
    deadline, found = time.monotonic() + timeout, ""
    while found.count("\n") < 2:
        if not select.select([end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            os.kill(int(found.split(maxsplit=1)[0]), signal.SIGKILL)
            raise subprocess.TimeoutExpired(["lictor", *words], timeout)
        part = os.read(end, 64).decode()
        if not part:
            raise RuntimeError(f"nobody waited for {words!r}")
        found += part
    return int(found.split()[1])


class _Server:
    """The process that everything is forked from."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        command = [sys.executable, __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self._lock = threading.Lock()
        theirs.close()
        atexit.register(self.close)

    def order(self, data: bytes, files: list[int]) -> None:
        """Start one."""
        with self._lock:
            socket.send_fds(self._line, [len(data).to_bytes(_HEAD)], files)
            self._line.sendall(data)

    def close(self) -> None:
        """No more of them."""
        self._line.close()
        self._process.wait()


_LOCK = threading.Lock()
_RUNNING: list[_Server] = []


def _server() -> _Server:
    with _LOCK:
        if not _RUNNING:
            _RUNNING.append(_Server())
        return _RUNNING[0]


# -- on the other side -------------------------------------------------------------------------------------------------------


def _serve(line: socket.socket) -> None:
    import importlib

    from lictor.cli.main import COMMANDS
    from lictor.pdp.engine import asking
    from lictor.pdp.normalise import domains

    for module in ("lictor.app", *(f"lictor.cli.{name}" for name, _ in COMMANDS.values())):
        importlib.import_module(module)
    domains.warm()
    asking.chosen()
    gc.collect()
    gc.freeze()  # what is shared stays shared: no child looks through it
    while True:
        head, files, _, _ = socket.recv_fds(line, _HEAD, 4)
        if not head:
            return
        data = line.recv(int.from_bytes(head), socket.MSG_WAITALL)
        if os.fork() == 0:
            line.close()
            if child := os.fork():
                _wait(child, files)
            _become(json.loads(data), files)
        for file in files:
            os.close(file)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _wait(child: int, files: list[int]) -> NoReturn:
    for file in files[:3]:
        os.close(file)
    os.write(files[3], f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    os.write(files[3], f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(order: dict[str, Any], files: list[int]) -> NoReturn:
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", errors=errors)
        for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
    )
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["lictor", *order["words"]]
    _end(_code())


def _code() -> int:
    """What the interpreter would end with."""
    from lictor.cli.main import main

    try:
        return main()
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - told as the interpreter tells it
        traceback.print_exc()
        return 1


def _end(code: int) -> NoReturn:
    """As the interpreter ends, but for taking everything apart that was imported."""
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(ValueError):  # closed already
        sys.stdout.flush()
    with contextlib.suppress(ValueError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
