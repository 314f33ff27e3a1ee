"""An MCP endpoint on raw asyncio that misbehaves as told. The mode is the path: `/ERA/MODE`, ERA `legacy` or `modern`.

No HTTP library: it can lie about lengths, dribble bytes and hang up where it likes.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any


class Rogue:
    """One listening server; `seen` are the requests it got: (verb, headers, message)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.connections = 0
        self.hung_up = asyncio.Event()
        self.port = 0

    def url(self, era: str, mode: str) -> str:
        return f"http://127.0.0.1:{self.port}/{era}/{mode}"

    def methods(self) -> list[str]:
        return [message.get("method", "reply") for verb, _, message in self.seen if verb == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        verb, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        message = json.loads(body) if body else {}
        self.seen.append((verb, headers, message))
        _, era, mode = path.split("/")
        return await Exchange(self, era, mode, verb, headers, message, reader, writer).run()


class Exchange:
    """One request and what is done to it."""

    def __init__(self, rogue, era, mode, verb, headers, message, reader, writer) -> None:
        self.rogue, self.era, self.mode, self.verb = rogue, era, mode, verb
        self.headers, self.message, self.reader, self.writer = headers, message, reader, writer

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, status: int, body: bytes = b"", kind: str = "application/json", **extra: str) -> bool:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        if body:
            lines.append(f"Content-Type: {kind}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in extra.items()]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return True

    async def say(self, status: int = 200, **members: Any) -> bool:
        return await self.reply(status, json.dumps({"jsonrpc": "2.0", **members}).encode())

    async def sse(self) -> None:
        await self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def event(self, data: bytes | dict[str, Any]) -> None:
        if isinstance(data, dict):
            data = b"event: message\r\ndata: " + json.dumps({"jsonrpc": "2.0", **data}).encode() + b"\r\n\r\n"
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> bool:
        await self.raw(b"0\r\n\r\n")
        return True

    async def run(self) -> bool:
        method, id_ = self.message.get("method"), self.message.get("id")
        if self.verb == "GET":
            return await self.listen()
        if self.verb == "DELETE":
            return await self.reply(200)
        if self.mode == "plain-400":
            return await self.reply(400, b"no", "text/plain")
        if method == "server/discover":
            if self.mode == "future":
                data = {"supported": ["2099-01-01"], "requested": "2026-07-28"}
                return await self.say(400, id=id_, error={"code": -32022, "message": "no", "data": data})
            if self.era == "modern":
                return await self.say(id=id_, result={"supportedVersions": ["2026-07-28"], "capabilities": {}})
            return await self.reply(400, b"bad request", "text/plain")
        if method == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "r", "version": "0"}}
            body = json.dumps({"jsonrpc": "2.0", "id": id_, "result": result}).encode()
            return await self.reply(200, body, Mcp_Session_Id="s-1")
        if id_ is None or method is None:
            return await self.reply(202)
        return await self.call(id_)

    async def listen(self) -> bool:
        if self.mode == "resumable":
            await self.sse()
            await self.event(
                {"id": self.rogue.seen[-2][2].get("id"), "result": {"resumed": self.headers["last-event-id"]}}
            )
            return await self.end()
        if self.mode in {"resume-404", "resume-503", "resume-garbage"}:
            if self.mode == "resume-garbage":
                await self.raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
                return False
            return await self.reply(int(self.mode[-3:]), b"no", "text/plain")
        if self.mode != "talks":
            return await self.reply(405)
        await self.sse()
        await self.event({"method": "notifications/tools/list_changed"})
        await self.event({"id": 1, "method": "roots/list"})
        await asyncio.sleep(30)
        return await self.end()

    async def call(self, id_: int) -> bool:
        params = self.message.get("params", {})
        good = {"id": id_, "result": {"ok": True}}
        body = json.dumps({"jsonrpc": "2.0", **good}).encode()
        match self.mode:
            case "echo":
                return await self.say(id=id_, result={"echo": params, "headers": self.headers})
            case "raw":
                return await self.reply(
                    200, b'{ "jsonrpc":"2.0","id":%d,\n"result": { "b":1.50, "a" : 12345678901234567890}}' % id_
                )
            case "hang-up":
                return False
            case "silent":
                await self.reader.read()
                self.rogue.hung_up.set()
                return False
            case "slowloris":
                await self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
                with suppress(ConnectionError):
                    while not self.writer.is_closing():
                        await self.raw(b" ")
                        await asyncio.sleep(0.05)
                return False
            case "slow-head":
                for byte in b"HTTP/1.1 200 OK\r\n" * 100:
                    await self.raw(bytes([byte]))
                    await asyncio.sleep(0.05)
                return False
            case "huge":
                await self.raw(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n"
                )
                for _ in range(1600):
                    await self.raw(b"x" * 65536)
                return False
            case "huge-chunked":
                await self.raw(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                for _ in range(1600):
                    await self.event(b"x" * 65536)
                return await self.end()
            case "huge-event":
                await self.sse()
                await self.event(b"data: ")
                for _ in range(1600):
                    await self.event(b"x" * 65536)
                return await self.end()
            case "length-too-long":
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                await self.raw(head % (len(body) + 50) + body)
                return False
            case "length-too-short":
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                await self.raw(head % (len(body) - 5) + body)
                return True
            case "two-lengths":
                await self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + body)
                return False
            case "not-http":
                await self.raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
                return False
            case "wrong-id":
                return await self.say(id=id_ + 1, result={})
            case "string-id":
                return await self.say(id=str(id_), result={})
            case "both":
                return await self.say(id=id_, result={}, error={"code": 1, "message": "x"})
            case "array-result":
                return await self.say(id=id_, result=[1])
            case "bad-json":
                return await self.reply(200, b'{"jsonrpc":')
            case "duplicate-key":
                return await self.reply(200, b'{"jsonrpc":"2.0","id":%d,"result":{"a":1,"a":2}}' % id_)
            case "not-utf8":
                return await self.reply(200, b'{"jsonrpc":"2.0","id":%d,"result":{"a":"\xff"}}' % id_)
            case "html":
                return await self.reply(200, b"<html>", "text/html")
            case "accepted":
                return await self.reply(202)
            case "redirect":
                return await self.reply(307, b"", Location="http://127.0.0.1:1/elsewhere")
            case "gzip":
                return await self.reply(200, body, Content_Encoding="gzip")
            case "cookie":
                return await self.reply(200, body, Set_Cookie="a=b; Path=/")
            case "500":
                return await self.reply(500, b"oops", "text/plain")
            case "503":
                return await self.reply(503, b"busy", "text/plain")
            case "401":
                return await self.reply(401, b"who?", "text/plain")
            case "404":
                return await self.reply(404, b"gone", "text/plain")
            case "error-400":
                return await self.say(400, id=id_, error={"code": -32602, "message": "bad", "data": {"x": 1}})
            case _:
                return await self.stream(id_, good)

    async def stream(self, id_: int, good: dict[str, Any]) -> bool:
        token = self.message.get("params", {}).get("_meta", {}).get("progressToken")
        await self.sse()
        match self.mode:
            case "sse-closes":
                await self.event({"method": "notifications/message", "params": {"level": "info", "data": 1}})
                return await self.end()
            case "sse-breaks":
                await self.event({"method": "notifications/message", "params": {"level": "info", "data": 1}})
                return False
            case "sse-wrong-id":
                await self.event({"id": id_ + 1, "result": {}})
            case "sse-duplicate":
                await self.event({"id": id_, "result": {"n": 1}})
                await self.event({"id": id_, "result": {"n": 2}})
                return await self.end()
            case "sse-bad-json":
                await self.event(b"data: {]\n\n")
            case "sse-dribble":
                text = (
                    b": hi\r\n\r\nid: 1\r\ndata:\r\n\r\ndata: "
                    + json.dumps({"jsonrpc": "2.0", **good}).encode()
                    + b"\r\n\r\n"
                )
                for byte in text:
                    await self.event(bytes([byte]))
                return await self.end()
            case "sse-silent":
                await self.reader.read()
                self.rogue.hung_up.set()
                return False
            case "sse-stays-open":
                await self.event(good)
                await self.reader.read()
                return False
            case "flood":
                progress = {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
                for _ in range(5000):
                    await self.event(progress)
                await self.event(good)
                return await self.end()
            case "endless-flood":
                while not self.writer.is_closing():
                    await self.event(
                        {"method": "notifications/message", "params": {"level": "info", "data": "x" * 500}}
                    )
                return False
            case "progress":
                for given, n in ((999, 0), (token, 1), (token, 2)):
                    await self.event(
                        {"method": "notifications/progress", "params": {"progressToken": given, "progress": n}}
                    )
                await self.event({"method": "notifications/tools/list_changed"})
                await self.event(good)
                return await self.end()
            case "ask":
                await self.event({"id": "p", "method": "ping"})
                await self.event({"id": 5, "method": "elicitation/create", "params": {"message": "?"}})
                while not ({5, "p"} <= {m.get("id") for _, _, m in self.rogue.seen if "method" not in m}):
                    await asyncio.sleep(0.01)
                await self.event(good)
                return await self.end()
            case "resumable" | "resume-404" | "resume-503" | "resume-garbage":
                await self.event(b"retry: 10\nid: e-1\ndata:\n\n")
                return await self.end()
            case "listen":
                meta = {"io.modelcontextprotocol/subscriptionId": id_}
                await self.event({"method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}})
                await self.event({"method": "notifications/tools/list_changed", "params": {"_meta": {**meta, "v": 1}}})
                await self.event({"method": "notifications/tools/list_changed"})
                await self.event({"id": id_, "result": {"resultType": "complete", "_meta": meta}})
                return await self.end()
            case _:
                await self.event(good)
        return await self.end()


@asynccontextmanager
async def rogue_http() -> AsyncIterator[Rogue]:
    """A rogue server on a free loopback port."""
    rogue = Rogue()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(asyncio.CancelledError):
            await rogue.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)
    rogue.port = server.sockets[0].getsockname()[1]
    try:
        yield rogue
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)
