"""What every kind of preview is made from, and where it may block. Refuses to know any kind."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.catalog import CatalogEntry
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.pdp.normalise.path import paths_to_resolve
from lictor.pdp.normalise.pointers import MISSING, point, values

THREADS: Final = 4
MAX_WAITING: Final = 32
"""Looks that may wait for the threads; a file system that hangs must not pile up more."""
Secrets = Callable[[str], Awaitable[Secret]]
"""Reads a named secret of the safe. Raises `LictorError` where there is none."""
_P = ParamSpec("_P")
_T = TypeVar("_T")


class NotFoundOutError(Exception):
    """Something of the effect cannot be found out; the message says why, for people. It is never "no effect"."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One action, as its preview is asked for."""

    request: ActionRequest
    entry: CatalogEntry
    arguments: dict[str, Any]
    resolved: Mapping[str, str]
    """Real paths by pointer."""

    def text(self, pointer: str, what: str) -> str:
        """An argument that has to be text.

        Raises:
            NotFoundOutError: it is none.
        """
        value = point(self.arguments, pointer)
        if not isinstance(value, str):
            raise NotFoundOutError(f"{what} is missing or no text")
        return value

    def texts(self, pointers: tuple[str, ...]) -> list[Any]:
        """Whatever stands at several pointers; what is not there is passed over.

        Raises:
            NotFoundOutError: the arguments are of another form.
        """
        if not pointers:
            return []
        try:
            # The empty pointer names all of the arguments: with it, none of the others has to name anything.
            return [value for _, value in values(self.arguments, (*pointers, ""), Reason.INVALID_ARGUMENTS)][:-1]
        except CallerError as error:
            raise NotFoundOutError(f"{error.message} at {error.where}") from None

    def places(self, pointer: str) -> list[tuple[str, str]]:
        """Paths that a pointer names: as written, made absolute, and where they lead.

        Raises:
            NotFoundOutError: there are none, or one was not resolved.
        """
        selector = self.entry.path
        if selector is None:
            raise NotFoundOutError("the catalogue does not say that it is a path")
        try:
            written = paths_to_resolve(selector, self.arguments)
        except CallerError as error:
            raise NotFoundOutError(error.message) from None
        wanted = re.compile(re.escape(pointer).replace(r"\*", "[0-9]+"))
        keys = [key for key in written if wanted.fullmatch(key)]
        if not keys or any(key not in self.resolved for key in keys):
            raise NotFoundOutError("where the path leads was not found out")
        return [(written[key], self.resolved[key]) for key in keys]

    def has(self, pointer: str) -> bool:
        """Whether an argument is there."""
        return point(self.arguments, pointer) not in (MISSING, None)


class Workers:
    """Threads of our own: what blocks delays nobody else. A thread that hangs is given up, not waited for."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do it on a thread; the caller's deadline bounds how long anybody waits.

        Raises:
            NotFoundOutError: too many are waiting.
        """
        if self._waiting >= MAX_WAITING:
            raise NotFoundOutError("too much is being looked at already")
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lictor-previews")
        self._waiting += 1
        future = self._threads.submit(work, *args, **kwargs)
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the threads end."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, _: object) -> None:
        self._waiting -= 1
