"""The console's pages as HTML: data in, text out.

Autoescape is on, a missing name is an error, and every word that comes from outside the gateway goes through
`protocol.display` first, so a page holds no markup, no hidden character and no script that is not in the templates
(facts APRV-12). Refuses to know requests, cookies, stores and time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lictor.console.views import DecisionView, HoldView
from lictor.protocol.display import Shown, Token, TokenKind, render, show

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Sent with every page: even if markup slipped through, it could load, run and submit nothing."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""What goes with every page of this module."""

_LONG_TEXT = 2_000
_LONG_LINES = 30
_EFFECTS = frozenset({"read", "write", "destructive"})
_ANSWERS = frozenset({"allow", "deny", "needs_approval"})


@dataclass(frozen=True, slots=True)
class _Warned:
    """A warning (rendered) and where it was found (raw)."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An argument, rendered once."""

    path: str
    kind: str
    shown: Shown

    @property
    def long(self) -> bool:
        """Long enough that a reader may want to compare digests instead."""
        return self.shown.size > _LONG_TEXT or self.shown.lines > _LONG_LINES


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
    env.filters["effect"] = lambda value: _known(value, _EFFECTS, "destructive")
    env.filters["answer"] = lambda value: _known(value, _ANSWERS, "deny")
    return env


_ENVIRONMENT = _environment()


def login_page(*, csrf: str, error: str = "", next_hold: str | None = None, issuer: str = "") -> str:
    """The sign-in form.

    Args:
        csrf: token the form sends back.
        error: one line; empty when there is none.
        next_hold: hold to go to afterwards (an id, never a URL).
        issuer: name of the issuer that people can sign in with; empty: none.
    """
    return _draw("login.html", csrf=csrf, error=error, next_hold=next_hold, issuer=issuer)


def inbox_page(*, holds: Sequence[HoldView], decisions: Sequence[DecisionView], user: str, csrf: str) -> str:
    """What waits, most urgent as given, and what was decided lately."""
    return _draw("inbox.html", holds=holds, decisions=decisions, user=user, csrf=csrf)


def hold_page(hold: HoldView, *, csrf: str, user: str = "") -> str:
    """One action, in full, and the form to answer it. The buttons come after the whole content, never before."""
    arguments = [_Drawn(argument.path, argument.kind, show(argument.text)) for argument in hold.arguments]
    return _draw(
        "hold.html",
        hold=hold,
        csrf=csrf,
        user=user,
        arguments=arguments,
        warnings=_warnings(hold, arguments),
        must_confirm=must_confirm_end(hold),
        total_lines=sum(argument.shown.lines for argument in arguments),
    )


def must_confirm_end(hold: HoldView) -> bool:
    """Whether the content is so long that approving needs `seen_end=yes`; the server checks it again (APRV-02)."""
    texts = [argument.text for argument in hold.arguments]
    return sum(map(len, texts)) > _LONG_TEXT or sum(text.count("\n") + 1 for text in texts) > _LONG_LINES


def message_page(*, title: str, text: str, user: str = "") -> str:
    """One sentence: done, expired, not found, not allowed."""
    return _draw("message.html", title=title, text=text, user=user)


def _warnings(hold: HoldView, arguments: Sequence[_Drawn]) -> list[_Warned]:
    """Every warning about every text of the action, collected where it cannot be overlooked."""
    places = [
        ("server", hold.server),
        (hold.kind, hold.tool),
        ("agent", hold.agent),
        ("person", hold.human),
        ("purpose", hold.purpose),
        *((fact.label, fact.text) for fact in hold.facts),
    ]
    places += [("an argument's name", argument.path) for argument in arguments]
    places += [("label", label) for label in hold.labels]
    shown = [(where, show(text)) for where, text in places]
    shown += [(f"argument {argument.path}", argument.shown) for argument in arguments]
    found = [_Warned(fact.label, render(fact.note)) for fact in hold.facts if fact.note]
    found += [_Warned(where, warning.text) for where, text in shown for warning in text.warnings]
    return list(dict.fromkeys(found))


def _draw(template: str, **values: Any) -> str:
    return _ENVIRONMENT.get_template(template).render(values)
