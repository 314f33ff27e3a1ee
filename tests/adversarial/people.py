"""A person at the console: signs in with their own secret, looks at the page, answers with its form. Nothing is bypassed."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from adversarial.wire import Response, ask
from lictor.model.reasons import Reason

_FIELD = re.compile(r'name="(csrf|seal)" value="([^"]*)"')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REASON = re.compile(r"\(([a-z_]+)\)")


@dataclass(slots=True)
class Person:
    """One approver's browser."""

    app: Any
    host: str
    secret: str
    human: str
    cookies: dict[str, str] = field(default_factory=dict)
    pages: list[Response] = field(default_factory=list)

    async def get(self, path: str, query: str = "") -> Response:
        """Look at a page."""
        return self._keep(await ask(self.app, "GET", path, self._headers(), query=query))

    async def post(self, path: str, form: dict[str, str]) -> Response:
        """Send a form."""
        headers = [
            *self._headers(),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Origin", f"http://{self.host}"),
        ]
        return self._keep(await ask(self.app, "POST", path, headers, urlencode(form).encode()))

    async def sign_in(self) -> Response:
        """Exchange the secret for a sign-in."""
        page = await self.get("/login")
        return await self.post("/login", {"csrf": fields(page).get("csrf", ""), "secret": self.secret})

    async def answer(self, hold: str, answer: str, *, seen_end: bool = True) -> Response:
        """Open a hold, then answer exactly what its page shows."""
        if "lictor_signin" not in self.cookies:
            await self.sign_in()
        page = await self.get(f"/holds/{hold}")
        shown = fields(page)
        if "seal" not in shown:  # no form for this person: they write one by hand
            shown["seal"] = (_DIGEST.findall(page.body.decode()) or [""])[-1]
        form = {"csrf": shown.get("csrf", ""), "seal": shown.get("seal", ""), "answer": answer, "note": ""}
        if seen_end:
            form["seen_end"] = "yes"
        return await self.post(f"/holds/{hold}", form)

    def _headers(self) -> list[tuple[str, str]]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [("Host", self.host), *([("Cookie", cookie)] if cookie else [])]

    def _keep(self, response: Response) -> Response:
        for name, value in response.headers:
            if name.lower() == b"set-cookie":
                key, _, rest = value.decode("latin-1").partition("=")
                self.cookies[key] = rest.partition(";")[0].strip('"')
        self.pages.append(response)
        return response


def fields(page: Response) -> dict[str, str]:
    """The hidden fields of a page's forms; the last of a name counts, which is the answer form's."""
    return dict(_FIELD.findall(page.body.decode()))


def page_reason(page: Response) -> str:
    """The reason code that a page names, or nothing."""
    found = [name for name in _REASON.findall(page.body.decode()) if name in list(Reason)]
    return found[-1] if found else ""
