"""An MCP server on raw stdio that misbehaves as told: `python rogue_stdio.py ERA MODE`.

ERA: `legacy`, `modern` or `none` (the mode acts from the first byte). MODE: what `tools/call` does; see `MODES`.
Standard library only, so that it starts fast and can say anything.
"""

import json
import os
import signal
import subprocess
import sys
import time

ERA, MODE = sys.argv[1], sys.argv[2]
OUT = sys.stdout.buffer


def raw(data: bytes) -> None:
    OUT.write(data)
    OUT.flush()


def say(**members: object) -> None:
    raw(json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n")


def hear() -> dict:
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def answer(id_: object, **more: object) -> None:
    say(id=id_, result={"content": [{"type": "text", "text": "ok"}], **more})


def wait_for_reply(id_: object) -> dict:
    while True:
        message = hear()
        if message.get("id") == id_ and "method" not in message:
            return message


def call(message: dict) -> None:
    id_, params = message["id"], message.get("params", {})
    token = params.get("_meta", {}).get("progressToken")
    match MODE:
        case "echo":
            answer(id_, echo=params, meta=params.get("_meta"))
        case "die":
            os._exit(7)
        case "die-after-reply":
            answer(id_)
            os._exit(0)
        case "silent":
            pass
        case "slow":
            time.sleep(float(params.get("arguments", {}).get("seconds", 1)))
            answer(id_)
        case "huge":
            raw(b'{"jsonrpc":"2.0","id":%d,"result":{"content":"' % id_)
            for _ in range(1600):
                raw(b"x" * 65536)
            raw(b'"}}\n')
        case "wrong-id":
            answer(id_ + 1000)
            answer(str(id_))
            answer(id_, right=True)
        case "only-wrong-id":
            answer(id_ + 1000)
        case "null-id":
            say(id=None, error={"code": -32700, "message": "what?"})
        case "duplicate":
            answer(id_, n=1)
            answer(id_, n=2)
            answer(id_, n=3)
        case "bad-json":
            raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":}}\n' % id_)
        case "claimed-bad":
            raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":1,"a":2}}\n' % id_)
        case "both":
            say(id=id_, result={}, error={"code": 1, "message": "x"})
        case "neither":
            say(id=id_)
        case "array-result":
            say(id=id_, result=[1])
        case "extra-member":
            say(id=id_, result={}, extra=1)
        case "not-utf8":
            raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":"\xff\xfe"}}\n' % id_)
        case "batch":
            raw(b'[{"jsonrpc":"2.0","id":%d,"result":{}}]\n' % id_)
        case "spaces":
            raw(
                b'  {"jsonrpc" : "2.0", "id": %d , "result" : { "b": 1.50, "a":12345678901234567890, "x-unknown": [] } } \r\n\n'
                % id_
            )
        case "flood":
            for n in range(20_000):
                say(method="notifications/progress", params={"progressToken": token, "progress": n})
                say(method="notifications/message", params={"level": "info", "data": n})
            answer(id_)
        case "progress":
            say(method="notifications/progress", params={"progressToken": 999, "progress": 0})
            say(method="notifications/progress", params={"progressToken": token, "progress": 1, "message": "m"})
            say(method="notifications/progress", params={"progressToken": token, "progress": 2})
            answer(id_)
            say(method="notifications/progress", params={"progressToken": token, "progress": 3})
        case "ask":
            say(id="q1", method="ping")
            pong = wait_for_reply("q1")
            say(id=7, method="elicitation/create", params={"message": "really?"})
            reply = wait_for_reply(7)
            answer(id_, pong=pong, reply=reply)
        case "ask-cancelled":
            say(id=7, method="elicitation/create", params={"message": "really?"})
            say(method="notifications/cancelled", params={"requestId": 7})
            answer(id_)
        case "hear-cancel":
            heard = hear()
            say(method="notifications/message", params={"level": "info", "data": heard})
        case "grandchild":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            answer(id_, pid=child.pid)
        case "close-stdout":
            OUT.close()
            os.close(1)
            time.sleep(600)
        case "deaf":
            time.sleep(600)
        case _:
            answer(id_)


def main() -> None:
    if MODE == "dead-on-arrival":
        sys.exit(3)
    if MODE == "mute":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "banner":
        raw(b"Welcome to the rogue server\n")
    if MODE == "talk-stderr":
        sys.stderr.write("e" * 200_000 + "END")
        sys.stderr.flush()
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            if MODE == "stubborn":
                time.sleep(600)
            return
        message = json.loads(line)
        method = message.get("method")
        if "id" not in message or method is None:
            if MODE == "die-on-notification":
                os._exit(9)
            continue
        if method == "server/discover":
            if MODE == "die-on-probe":
                os._exit(1)
            if MODE == "future":
                data = {"supported": ["2099-01-01"], "requested": "2026-07-28"}
                say(id=message["id"], error={"code": -32022, "message": "no", "data": data})
            elif MODE == "names-legacy":
                data = {"supported": ["2025-11-25"], "requested": "2026-07-28"}
                say(id=message["id"], error={"code": -32022, "message": "no", "data": data})
            elif ERA == "modern":
                result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "instructions": "hi"}
                say(id=message["id"], result=result)
            elif MODE != "ignores-probe":
                say(id=message["id"], error={"code": -32601, "message": "unknown"})
        elif method == "initialize":
            version = "1999-01-01" if MODE == "ancient" else "2025-06-18" if MODE == "older" else "2025-11-25"
            info = {"name": "rogue", "version": "0"}
            say(id=message["id"], result={"protocolVersion": version, "capabilities": {}, "serverInfo": info})
        elif method == "subscriptions/listen":
            meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
            say(method="notifications/subscriptions/acknowledged", params={"_meta": meta, "notifications": {}})
            say(method="notifications/tools/list_changed", params={"_meta": {**meta, "v": 1}})
            say(
                method="notifications/tools/list_changed",
                params={"_meta": {"io.modelcontextprotocol/subscriptionId": 999}},
            )
            if MODE == "ends-subscription":
                say(method="notifications/cancelled", params={"requestId": message["id"]})
        else:
            call(message)


main()
