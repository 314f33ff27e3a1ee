"""From a hold to a person: a real gateway, a real webhook, and the page behind the link."""

import http.server
import json
import queue
import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx2

import warm
from integration import control
from integration.access_world import FILES, POLICY, evaluation
from notify_page import KEY, genuine


class Desktop:
    """Somebody's own server, which a webhook reaches."""

    def __init__(self) -> None:
        self.got: queue.Queue[tuple[float, dict[str, str], bytes]] = queue.Queue()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.put((time.monotonic(), {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_people_are_told_within_a_second_and_the_link_opens_the_page(tmp_path: Path) -> None:
    """A real gateway, a webhook, its signature, and the hold's page behind the link after a sign-in; no argument on the way."""
    desktop = Desktop()
    files = {**FILES, "policies/test.cedar": POLICY, "approvers.toml": control.FILES["approvers.toml"]}
    gateway = control.make(tmp_path / "bundle", files)
    with (gateway.folder / "lictor.toml").open("a") as settings:
        settings.write(
            f'[notify.desk]\nkind = "webhook"\nsecret = "desk.key"\nurl = "http://127.0.0.1:{desktop.server.server_port}/x"\n'
        )
    done = warm.run("secret", "set", "desk.key", "--bundle", str(gateway.folder), text=KEY)
    assert done.returncode == 0, done.stderr
    gateway.start()
    try:
        token = gateway.call("POST", "/v1/tasks", control.wish()).body["token"]
        asked = evaluation(arguments={"path": "canary.txt"})
        asked["subject"]["id"] = "helper"
        denied = gateway.call("POST", "/access/v1/evaluation", asked, who=token).body
        answered = time.monotonic()
        at, headers, body = desktop.got.get(timeout=5)
        assert at - answered < 1
        assert genuine()(KEY, headers, body)
        told = json.loads(body)["data"]
        assert (told["hold"], b"canary" in body) == (denied["context"]["evaluation_id"], False)
        assert told["url"].endswith(f":{gateway.ports[0]}/holds/{told['hold']}")
        with httpx2.Client(follow_redirects=True, trust_env=False) as browser:
            login = browser.get(told["url"])
            form = dict(re.findall(r'name="(csrf|next_hold)" value="([^"]+)"', login.text))
            page = browser.post(
                f"{told['url'].partition('/holds/')[0]}/login", data={**form, "secret": gateway.secrets["ann"]}
            )
            assert (page.status_code, str(page.url)) == (200, told["url"])
            assert "canary.txt" in page.text
    finally:
        gateway.stop()
        desktop.server.shutdown()
        desktop.server.server_close()
