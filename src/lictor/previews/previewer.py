"""The previewer (`lictor.ports.Previewer`): which kind finds it out, in which time and size, and whether things are as they were.

Nothing here permits anything, and nothing raises: what cannot be found out is said. Refuses to know how each kind looks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lictor.model.action import ActionRequest
from lictor.model.catalog import CatalogEntry
from lictor.model.preview import Precondition, Preview, PreviewKind
from lictor.model.preview_rule import (
    CommandPreview,
    FilePreview,
    GitPreview,
    HttpPreview,
    ListPreview,
    MessagePreview,
    PaymentPreview,
    PreviewRule,
    SqlPreview,
    ToolPreview,
)
from lictor.model.secret import Secret
from lictor.pdp.normalise.directory import Directory
from lictor.ports import Clock, Files, RecordStore
from lictor.previews import message, payment
from lictor.previews.address import AddressPreviews, Resolve
from lictor.previews.asking import Ask, NotFoundOutError, Secrets, Workers
from lictor.previews.command import CommandPreviews
from lictor.previews.disk import Disk
from lictor.previews.file import FilePreviews
from lictor.previews.git import GitPreviews
from lictor.previews.listing import ListPreviews
from lictor.previews.parts import Found, Scrub, cut
from lictor.previews.settings import PreviewAuthority
from lictor.previews.sql import SqlPreviews
from lictor.previews.tool import CallTool, ToolPreviews

TIME_S: Final = 2.0
"""For one preview, and for looking again at all it rests on: somebody waits."""
TOOL_TIME_S: Final = 5.0
AT_ONCE: Final = 8
"""Previews that are made at the same time."""
_KINDS: Final[dict[type[Any], PreviewKind]] = {
    FilePreview: "file",
    ListPreview: "list",
    CommandPreview: "command",
    SqlPreview: "sql",
    HttpPreview: "http",
    MessagePreview: "message",
    GitPreview: "git",
    PaymentPreview: "payment",
    ToolPreview: "tool",
}
LookAgain = Callable[[str, str], Awaitable[str]]
"""(kind, target) of a precondition -> its value now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the previewer stands on.

    Attributes:
        authorities: `[previews.NAME]` of the settings.
        directory: the directory of the bundle in force.
        secrets: reads a secret of the safe by name.
        call: calls a server's tool; None: no server can be asked.
        scrub: takes managed secrets out of a text.
        base: a folder that stands for `/` of the servers' file system.
        private: resolved folders of the gateway's own, of which nothing is shown.
        resolve: looks names up, in place of this host's resolver.
    """

    clock: Clock
    store: RecordStore
    files: Files
    directory: Callable[[], Directory]
    authorities: Mapping[str, PreviewAuthority] = field(default_factory=dict)
    secrets: Secrets | None = None
    call: CallTool | None = None
    scrub: Scrub = str
    base: str = ""
    private: tuple[str, ...] = ()
    resolve: Resolve | None = None


class Previews:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._workers = Workers()
        self._turns = asyncio.Semaphore(AT_ONCE)
        disk = Disk(parts.base, parts.private)
        self._file = FilePreviews(disk, parts.files, self._workers)
        self._list = ListPreviews(disk, self._workers)
        self._command = CommandPreviews(disk, parts.files, self._workers)
        self._sql = SqlPreviews(parts.authorities, disk, self._workers, parts.secrets or _no_secret)
        self._address = AddressPreviews(self._workers, resolve=parts.resolve)
        self._git = GitPreviews(parts.base)
        self._tool = ToolPreviews(parts.call)
        self._history = payment.History(parts.store)
        self._again: dict[str, LookAgain] = {
            "file": self._file.look_again,
            "link": self._file.look_again,
            "directory": self._list.look_again,
            "rows": self._sql.look_again,
            "address": self._address.look_again,
            "ref": self._git.look_again,
            "tool": self._tool.look_again,
        }

    async def preview(self, request: ActionRequest, entry: CatalogEntry, resolved: Mapping[str, str]) -> Preview | None:
        """What an action would do; None: its entry asks for no preview. See the port."""
        rule = entry.preview
        if rule is None:
            return None
        found = Found()
        try:
            async with asyncio.timeout(_time(isinstance(rule, ToolPreview))), self._turns:
                ask = Ask(request=request, entry=entry, arguments=request.arguments.open(), resolved=resolved)
                await self._make(ask, rule, found)
        except NotFoundOutError as error:
            found.unknown("Effect", f"not known: {error}")
        except TimeoutError:
            found.unknown("Effect", "not known: it was not found out in time")
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is said too; the arguments are an agent's
            found.unknown("Effect", f"not known: {type(error).__name__} while looking")
        return found.preview(_KINDS[type(rule)], self._parts.clock.now_ms(), self._parts.scrub)

    async def changed(self, preview: Preview) -> str:
        """What is not as it was, in one line; empty: everything is. In doubt it has changed. See the port."""
        asks_server = any(one.kind == "tool" for one in preview.preconditions)
        try:
            async with asyncio.timeout(_time(asks_server)):
                for one in preview.preconditions:
                    if await self._differs(one):
                        return self._parts.scrub(f"{one.kind} {cut(one.target, 200)!r} is not as it was shown")
        except NotFoundOutError as error:
            return self._parts.scrub(f"it cannot be looked at again: {error}")
        except TimeoutError:
            return "it was not looked at again in time"
        except Exception as error:  # noqa: BLE001 - in doubt it has changed
            return f"it cannot be looked at again: {type(error).__name__}"
        return ""

    def close(self) -> None:
        """Let the threads end."""
        self._workers.close()

    async def _differs(self, one: Precondition) -> bool:
        again = self._again.get(one.kind)
        if again is None or one.value in {"", "unreadable"}:
            return True
        return await again(one.kind, one.target) != one.value

    async def _make(self, ask: Ask, rule: PreviewRule, found: Found) -> None:
        match rule:
            case FilePreview():
                await self._file.make(ask, rule, found)
            case ListPreview():
                await self._list.make(ask, rule, found)
            case CommandPreview():
                await self._command.make(ask, rule, found)
            case SqlPreview():
                await self._sql.make(ask, rule, found)
            case HttpPreview():
                await self._address.make(ask, rule, self._parts.directory(), found)
            case MessagePreview():
                message.make(ask, rule, self._parts.directory(), found)
            case GitPreview():
                await self._git.make(ask, rule, found)
            case PaymentPreview():
                now = self._parts.clock.now_ms()
                await payment.make(ask, self._parts.directory(), self._history, now, found)
            case ToolPreview():
                await self._tool.make(ask, rule, found)


def _time(asks_server: bool) -> float:
    return TOOL_TIME_S if asks_server else TIME_S


async def _no_secret(name: str) -> Secret:
    raise NotFoundOutError(f"no safe is at hand for the secret {name[:80]!r}")
