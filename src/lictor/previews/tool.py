"""A server's own word on what its tool would do: a tool that only reads, or the same tool as a dry run, asked by the gateway.

What it says is shown as what it is: the server's claim. Refuses to know how servers are called.
"""

import copy
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from lictor.model.canonical import canonical, sha256_digest
from lictor.model.errors import CallerError, LictorError
from lictor.model.ids import ServerName
from lictor.model.preview_rule import ToolPreview
from lictor.previews.asking import Ask, NotFoundOutError
from lictor.previews.parts import MAX_ROWS, Found

TIMEOUT_S: Final = 4.0
MAX_ANSWER: Final = 1024 * 1024

CallTool = Callable[[ServerName, str, dict[str, Any], float], Awaitable[bytes]]
"""(server, tool, arguments, seconds) -> the bytes of a `tools/call` result. Raises `LictorError`."""


class ToolPreviews:
    """Makes them, and asks again."""

    def __init__(self, call: CallTool | None) -> None:
        self._call = call

    async def make(self, ask: Ask, rule: ToolPreview, found: Found) -> None:
        """Ask, and show the answer.

        Raises:
            NotFoundOutError: there is no answer.
        """
        arguments = changed(ask.arguments, rule)
        result, digest = await self._asked(ask.entry.server, rule.tool, arguments)
        found.say("Whose word", f"the server's own preview, by its tool {rule.tool}: nobody has checked it")
        if result.get("isError") is True:
            found.unknown("Error", "the server says that its preview failed")
        blocks = result.get("content")
        for block in blocks if isinstance(blocks, list) else []:
            if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
                found.whole = found.text("The server says", block["text"], most=MAX_ROWS) <= MAX_ROWS and found.whole
            else:
                found.unknown("The server says", "something that is no text")
        if not blocks or not isinstance(blocks, list):
            found.unknown("The server says", "nothing")
        if rule.check:
            target = {"server": ask.entry.server, "tool": rule.tool, "arguments": arguments}
            found.rests_on("tool", json.dumps(target, ensure_ascii=False, sort_keys=True), digest)

    async def look_again(self, kind: str, target: str) -> str:
        """The value of a precondition of kind `tool` now."""
        del kind
        said: dict[str, Any] = json.loads(target)
        return (await self._asked(said["server"], said["tool"], said["arguments"]))[1]

    async def _asked(self, server: str, tool: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
        if self._call is None:
            raise NotFoundOutError("no server can be asked here")
        try:
            data = await self._call(ServerName(server), tool, arguments, TIMEOUT_S)
        except LictorError as error:
            raise NotFoundOutError(f"the server gave no preview: {error.reason}") from None
        if len(data) > MAX_ANSWER:
            raise NotFoundOutError("the server's preview is too large")
        try:
            result = msgspec.json.decode(data)
            shown = {key: result.get(key) for key in ("content", "structuredContent", "isError")}
            return result, sha256_digest(canonical(shown))
        except (msgspec.DecodeError, AttributeError, CallerError, RecursionError):
            raise NotFoundOutError("the server's preview is no result") from None


def changed(arguments: dict[str, Any], rule: ToolPreview) -> dict[str, Any]:
    """The arguments a preview's tool gets: copies, with what the rule drops and puts.

    Raises:
        NotFoundOutError: a pointer leads through something that is no object.
    """
    made = copy.deepcopy(arguments)
    for pointer in rule.drop:
        holder, name = _holder(made, pointer, make=False)
        if holder is not None:
            holder.pop(name, None)
    for pointer, value in rule.put.items():
        holder, name = _holder(made, pointer, make=True)
        if holder is None:
            raise NotFoundOutError("an argument of the preview has no place")
        holder[name] = copy.deepcopy(value)
    return made


def _holder(document: dict[str, Any], pointer: str, *, make: bool) -> tuple[dict[str, Any] | None, str]:
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    current: Any = document
    for step in steps[:-1]:
        if make and isinstance(current, dict):
            current.setdefault(step, {})
        current = current.get(step) if isinstance(current, dict) else None
        if not isinstance(current, dict):
            return None, ""
    return current, steps[-1]
