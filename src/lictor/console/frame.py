"""The frame of every page of the console: headers, templates, static files, navigation. Data in, text out.

Autoescape is on, a missing name is an error, and every word that comes from outside the gateway goes through
`protocol.display` first (filters `show`, `plain`), so a page holds no markup, no hidden character and no script that is not in
the templates (facts APRV-12). Refuses to know requests, cookies, stores and time.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from lictor.console.hues import hue, telling
from lictor.protocol.display import Shown, Token, TokenKind, render, show

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""Sent with every page: even if markup slipped through, it could load, run and submit nothing that is not a file of ours."""

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
"""What goes with every page."""

NAVIGATION: Final = (
    ("approvals", "Approvals", "/"),
    ("decisions", "Live", "/decisions"),
    ("tasks", "Tasks", "/tasks"),
    ("agents", "Agents", "/agents"),
    ("tools", "Tools", "/tools"),
    ("policy", "Policy", "/policy"),
    ("records", "Records", "/records"),
    ("containment", "Containment", "/containment"),
    ("account", "Account", "/account"),
)
"""Key, label, address of each room, in reading order."""

SHEETS: Final = ("lictor.css", "rooms.css", "tables.css")
"""Style sheets of every page, in this order."""
SCRIPTS: Final = ("lictor.js",)
"""Scripts of every page; `live` pages load htmx too."""

_BRIEF: Final = 160
_EFFECTS: Final = frozenset({"read", "write", "destructive"})
_ANSWERS: Final = frozenset({"allow", "deny", "needs_approval", "refused"})
_MEDIA: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the frame of one page says."""

    title: str
    nav: str = ""
    """Key of the room in `NAVIGATION`; empty: none is marked."""
    user: str = ""
    """Who is signed in; empty: nobody, and there is no navigation."""
    roles: frozenset[str] = frozenset()
    csrf: str = ""
    """What every form sends back, in the hidden field `csrf` (macro `secret`)."""
    waiting: int = 0
    """Holds that wait for this person."""
    live: bool = False
    """Whether the page listens to `/events`."""


@dataclass(frozen=True, slots=True)
class Static:
    """One file that pages load."""

    data: bytes
    media: str
    tag: str
    """The first characters of its SHA-256: it is in the address, so a new file is never an old one from a cache."""


def _statics() -> dict[str, Static]:
    found: dict[str, Static] = {}
    for one in files("lictor.console").joinpath("static").iterdir():
        media = _MEDIA.get(f".{one.name.rpartition('.')[2]}")
        if media is not None:
            data = one.read_bytes()
            found[one.name] = Static(data, media, hashlib.sha256(data).hexdigest()[:12])
    return found


STATIC: Final = _statics()
"""Every style sheet, script and picture of the console, by name."""


def moment(ms: int) -> str:
    """A moment for people, in UTC."""
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(ms: int) -> str:
    """A length of time in its two largest units (`2 h 5 min`); not negative."""
    seconds = max(0, ms) // 1_000
    for unit, name, below, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            rest = seconds % unit // below
            return f"{seconds // unit} {name} {rest} {small}" if rest else f"{seconds // unit} {name}"
    return f"{seconds} s"


def brief(text: str) -> str:
    """A name for a line of a list; longer than any honest one, it is cut and that is said. Its own page has it whole."""
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}… ({len(text)} characters)"


def draw(template: str, page: Page, **values: Any) -> str:
    """A page as text."""
    return _ENVIRONMENT.get_template(template).render(page=page, **values)


def _address(name: str) -> str:
    """Where a static file is; one that does not exist (yet) has no tag."""
    found = STATIC.get(name)
    return f"/static/{name}?v={found.tag}" if found else f"/static/{name}"


def _lines(shown: Shown) -> list[list[Token]]:
    """Tokens by line, so that the template can number them; content never writes a line number."""
    lines: list[list[Token]] = [[]]
    for token in shown.tokens:
        lines[-1].append(token)
        if token.kind is TokenKind.NEWLINE:
            lines.append([])
    return lines


def _known(value: str, known: frozenset[str], worst: str) -> str:
    """A word that is safe as part of a class name: unknown ones look like the worst."""
    return value if value in known else worst


def _environment() -> Environment:
    env = Environment(
        loader=PackageLoader("lictor.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters["show"] = show
    env.filters["plain"] = render
    env.filters["lines"] = _lines
    env.filters["moment"] = moment
    env.filters["span"] = span
    env.filters["brief"] = brief
    env.filters["effect"] = lambda value: _known(value, _EFFECTS, "destructive")
    env.filters["answer"] = lambda value: _known(value, _ANSWERS, "deny")
    env.filters["hue"] = hue
    env.filters["telling"] = telling
    env.globals["navigation"] = NAVIGATION
    env.globals["static"] = _address
    env.globals["frame_sheets"] = [name for name in SHEETS if name in STATIC]
    env.globals["frame_scripts"] = [name for name in SCRIPTS if name in STATIC]
    return env


_ENVIRONMENT: Final = _environment()
