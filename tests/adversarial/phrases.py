"""Checkers of the sentences that stand in expectations, by family. Each says what was wrong; none knows its case."""

import html
import json
import re
import unicodedata
from urllib.parse import unquote

from adversarial.expand import expand
from adversarial.expectations import phrase, require
from adversarial.fixture import complete
from adversarial.model import Observed, Unreadable, Word
from adversarial.run import Run, perform
from adversarial.wire import ask
from adversarial.world import HOST
from lictor.config import Listen, ServerSettings, Settings
from lictor.model.ids import HoldId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import HoldRefused, RequestRefused, ToolQuarantined
from lictor.protocol.display import show
from lictor.records.verify import verify_log

Match = re.Match[str]

# -- effects and records -------------------------------------------------------------------------------------------------


@phrase(r"(?P<n>\d+) upstream calls?", r"(?P<one>one) effect", r"(?P<most><=)(?P<n>\d+) effects?")
async def effects(run: Run, seen: Observed, match: Match) -> None:
    groups = match.groupdict()
    if "outcomes" in seen.facts:
        for moment, answers, count in seen.facts["outcomes"]:
            require(
                count <= int(groups["n"]), f"{count} effects when the connection is lost {moment} the commit: {answers}"
            )
        return
    count, wanted = len(run.effects()), 1 if groups.get("one") else int(groups["n"])
    require(count <= wanted if groups.get("most") else count == wanted, f"{count} effects")


@phrase(r"never forwarded verbatim", r"not partially executed", r"nothing the agent says raises authority")
async def nothing_happened(run: Run, seen: Observed, match: Match) -> None:
    require(not run.effects(), f"{len(run.effects())} effects")
    require(all(decision.outcome == "deny" for decision in run.decisions()), "something was not denied")


@phrase(r"record names the key path", r"after unescape")
async def names_the_place(run: Run, seen: Observed, match: Match) -> None:
    refusals = [record for record in run.records() if isinstance(record, RequestRefused)]
    require(len(refusals) == 1, f"{len(refusals)} refusals recorded")
    where = refusals[0].where
    require(where.startswith("/params/arguments/"), f"the record names {where!r}")
    name = where.rsplit("/", 1)[1]
    require(f'"{name}"' in seen.facts["body"], f"{name!r} is not in the message")
    require(refusals[0].reason == seen.reason, "the record has another reason")


@phrase(r"before policy and before audit write")
async def nothing_kept(run: Run, seen: Observed, match: Match) -> None:
    require(not run.decisions(), "policy was asked")
    records = run.records()
    require(all(isinstance(record, RequestRefused) for record in records), f"recorded: {records}")
    raw = b"".join(entry.data for entry in run.world.store.entries())
    raw.decode("utf-8")  # raises where anything of it got in
    require(b"\\ud8" not in raw.lower(), "the log holds a surrogate")


@phrase(r"policy never evaluated on the header", r"no downgrade to the version without header validation")
async def never_decided(run: Run, seen: Observed, match: Match) -> None:
    require(not run.decisions(), "policy was asked")
    require(not run.effects(), "something happened")


@phrase(r"after decoding the sentinel")
async def sentinel_is_read(run: Run, seen: Observed, match: Match) -> None:
    """Encoded, the right name is accepted: what was refused was the name, not the encoding."""
    from adversarial.verbs.calls import _published
    from adversarial.world import encode

    message = seen.facts["message_sent"]
    encoded = _published("=?base64?" + _b64(message["params"]["name"]) + "?=")
    right = [
        (n, encoded if n.lower() == "mcp-name" else v)
        for n, v in [*seen.facts["headers_right"], *seen.facts["headers_given"]]
    ]
    again = await run.world.send(await run.world.session(), right, encode(message))
    require(again.reason != Reason.HEADER_MISMATCH, f"the right name is refused too: {again.summary()}")


def _b64(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


@phrase(r"alert", r"shadow alert")
async def alerted(run: Run, seen: Observed, match: Match) -> None:
    """A signal in the log, a refused flood, or a line for the operator."""
    records = run.records()
    signals: list[object] = [record for record in records if isinstance(record, ToolQuarantined)]
    if "flood" in seen.facts:
        signals = [r for r in records if isinstance(r, HoldRefused) and r.reason == Reason.APPROVAL_RATE]
    if "added" in seen.facts:
        server, name = seen.facts["added"]
        signals = [s for s in records if isinstance(s, ToolQuarantined) and (s.server, s.name) == (server, name)]
    require(signals or run.world.operator, "nobody was told")


# -- numbers -------------------------------------------------------------------------------------------------------------


@phrase(r"money is a decimal string with 2 places", r"minimum 0\.01")
async def money(run: Run, seen: Observed, match: Match) -> None:
    wanted = {Reason.INVALID_ARGUMENTS, Reason.UNKNOWN_VALUE}
    require(seen.reason in wanted, f"reason {seen.reason!r}")
    errors = " ".join(error for decision in run.decisions() for error in decision.errors)
    require(f"{seen.reason}" in seen.text and errors, "no reason is recorded")


@phrase(r"pass as string", r"never rounded")
async def never_rounded(run: Run, seen: Observed, match: Match) -> None:
    sent = [number for step in run.inputs for number in step.get("args", {}).values() if isinstance(number, int)]
    for effect in run.effects():
        require(all(str(number).encode() in effect.data for number in sent), f"{effect.data!r} is not what was sent")


@phrase(r"limits are per currency")
async def per_currency(run: Run, seen: Observed, match: Match) -> None:
    """The same amount runs in the fixture's currency, so it is the currency that was refused."""
    arguments = {**run.inputs[0]["args"], "currency": "EUR"}
    control = await run.world.call(run.inputs[0]["tool"], arguments, session=await run.world.new_session())
    require(control.word is Word.ALLOW, f"in EUR: {control.summary()}")
    other = await run.world.call(
        run.inputs[0]["tool"], {**arguments, "currency": "USD"}, session=await run.world.new_session()
    )
    require(other.word is not Word.ALLOW, "another currency has the same limit")


# -- lists and definitions -----------------------------------------------------------------------------------------------


@phrase(r"tool excluded(?: within (?P<ms>\d+) ms CPU)?")
async def excluded(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    require(facts["tool"] not in facts["listed"] + facts["after"], "it is listed")
    require(facts["refused"] == Reason.BUNDLE_REFUSED, f"the catalogue answers {facts['refused']!r}")
    call = await run.world.call(facts["tool"].replace("__", ".", 1), {})
    require((call.word, call.reason) == (Word.DENY, Reason.UNKNOWN_TOOL), f"it can be called: {call.summary()}")
    if match["ms"]:
        took = max(facts["listing_ms"], facts["cataloguing_ms"])
        require(
            took < int(match["ms"]), f"{facts['listing_ms']:.0f} ms to list, {facts['cataloguing_ms']:.0f} ms to refuse"
        )


@phrase(r"(?P<n>\d+) outbound fetches")
async def fetches(run: Run, seen: Observed, match: Match) -> None:
    require(len(seen.facts["outside"]) == int(match["n"]), f"{seen.facts['outside']}")


@phrase(r"other tools stay listed")
async def others_listed(run: Run, seen: Observed, match: Match) -> None:
    before = seen.facts["before"]
    require(
        before and set(before) <= set(seen.facts["listed"]) and set(before) <= set(seen.facts["after"]),
        "others are gone",
    )


@phrase(r"pattern refused or run on a linear-time engine")
async def pattern_is_harmless(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    require(facts["refused"] in {"", Reason.BUNDLE_REFUSED}, f"the catalogue answers {facts['refused']!r}")
    require((facts["tool"] in facts["after"]) == (not facts["refused"]), "it is neither listed nor refused")


@phrase(r"call with (?P<value>.+) answers within (?P<ms>\d+) ms")
async def answers_quickly(run: Run, seen: Observed, match: Match) -> None:
    tool = seen.facts["tool"].replace("__", ".", 1)
    call = await run.world.call(tool, {seen.facts["argument"]: expand(match["value"])})
    require(call.facts["seconds"] * 1_000 < int(match["ms"]), f"{call.facts['seconds'] * 1_000:.0f} ms")
    require(call.reason in {Reason.INVALID_ARGUMENTS, Reason.UNKNOWN_TOOL}, call.summary())


@phrase(r"tool")
async def one_tool(run: Run, seen: Observed, match: Match) -> None:
    """It alone: what stood beside it is still listed."""
    require(set(seen.facts["before"]) - set(seen.facts["listed"]) == {seen.facts["tool"]}, "more than one tool is gone")


@phrase(r"until re-approved with a diff")
async def until_pinned_again(run: Run, seen: Observed, match: Match) -> None:
    """It stays refused until the changed definition is pinned; both digests are on record, so that they can be compared."""
    world = run.world
    server, name, live = seen.facts["changed"]
    noted = [record for record in run.records() if isinstance(record, ToolQuarantined)]
    require(len(noted) == 1 and noted[0].pinned != noted[0].live, f"{len(noted)} quarantines recorded")
    world.clock.advance(3_600_000 // 2)
    later = await world.call(f"{server}.{name}", {})
    require(later.reason == Reason.TOOL_CHANGED, f"later: {later.summary()}")
    text = world.files[f"catalog/{server}.toml"].decode()
    text = text.replace(f'pin = "{noted[0].pinned}"', f'pin = "{noted[0].live}"')
    kept = json.loads(world.files[f"catalog/{server}.definitions.json"])
    kept["tools"] = [live if tool["name"] == name else tool for tool in kept["tools"]]
    files = {f"catalog/{server}.toml": text.encode(), f"catalog/{server}.definitions.json": json.dumps(kept).encode()}
    await world.deploy({**world.files, **files})
    again = await world.call(f"{server}.{name}", {})
    require(again.word is Word.ALLOW, f"after it was pinned again: {again.summary()}")


@phrase(r"no quarantine")
async def no_quarantine(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["call"].word is Word.ALLOW, f"the call: {seen.facts['call'].summary()}")
    require(seen.facts["listed"] == seen.facts["before"], "the list changed")
    require(not [r for r in run.records() if isinstance(r, ToolQuarantined)], "a quarantine is recorded")


@phrase(r"names are server-qualified")
async def qualified(run: Run, seen: Observed, match: Match) -> None:
    servers = set(run.world.servers.offered)
    require(seen.facts["listed"], "nothing is listed")
    require(all(name.partition("__")[0] in servers for name in seen.facts["listed"]), f"{seen.facts['listed']}")
    require(seen.facts["bare"].word is Word.DENY, f"the bare name: {seen.facts['bare'].summary()}")


@phrase(r"(?P<tool>[a-z]+\.[a-z_]+) is not callable")
async def not_callable(run: Run, seen: Observed, match: Match) -> None:
    call = seen.facts["call"]
    require(match["tool"] == ".".join(seen.facts["added"]), "another tool was tried")
    require((call.word, call.reason) == (Word.DENY, Reason.UNKNOWN_TOOL), call.summary())
    require(not run.effects(), "it was called")
    require(match["tool"].replace(".", "__") not in seen.facts["listed"], "it is listed")
    control = await run.world.call(f"{seen.facts['owner']}.{seen.facts['added'][1]}", {})
    require(control.word is Word.ALLOW, f"its namesake: {control.summary()}")


@phrase(r"only the pinned set is ever served")
async def only_pinned(run: Run, seen: Observed, match: Match) -> None:
    require(not seen.facts["strange"], f"{len(seen.facts['strange'])} changed definitions were served")
    require(seen.facts["fetches"] > 1, "the server was asked once")
    require(len({len(names) for names in seen.facts["lists"]}) == 2, "the list never changed: nothing was tried")


@phrase(r"(?P<n>\d+) alerts?, not (?P<many>\d+)")
async def so_many_alerts(run: Run, seen: Observed, match: Match) -> None:
    noted = [record for record in run.records() if isinstance(record, ToolQuarantined)]
    require(len(noted) == int(match["n"]), f"{len(noted)} alerts")


@phrase(r"session becomes tainted")
async def tainted(run: Run, seen: Observed, match: Match) -> None:
    session = await run.world.session()
    labels = run.world.store.task(session.task.id).labels
    require(any(label.startswith("untrusted:") for label in labels), f"labels: {labels}")


@phrase(r", never ALLOW on the text", r"never ALLOW on the text")
async def not_on_the_text(run: Run, seen: Observed, match: Match) -> None:
    """Without the poisoned result the same call runs: it is the label that holds it."""
    session = await run.world.new_session()
    last = run.inputs[0]["steps"][-1]
    control = await run.world.call(last["tool"], last["args"], session=session)
    require(control.word is Word.ALLOW, f"in a clean task: {control.summary()}")


@phrase(r"no endpoint accepts command/args/env", r"only names of locally installed, hash-pinned launchers")
async def no_such_endpoint(run: Run, seen: Observed, match: Match) -> None:
    """Over HTTP not even a name is accepted: servers come from the operator's file alone."""
    require(not seen.facts["accepted"], f"{seen.facts['accepted']}")
    require(seen.facts["unchanged"] and not seen.facts["outside"], f"{seen.facts['outside']}")


# -- what people see -----------------------------------------------------------------------------------------------------


def _screens(seen: Observed) -> dict[str, str]:
    """Text of each screen as a person reads it; a page without its mark-up."""
    if "screens" not in seen.facts:
        raise Unreadable(f"nothing is shown: {seen.summary()}")
    return {name: _plain(text) if name == "web" else _unwrapped(text) for name, text in seen.facts["screens"].items()}


def _plain(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", page))


def _unwrapped(text: str) -> str:
    """A terminal's rows with the frame's continuation rows joined again."""
    return re.sub(r"\n[│┊] +┆ ", "", text)


@phrase(r"screen shows (?P<name>\w+)=(?P<value>\S+) as data of the gateway")
async def shown_as_data(run: Run, seen: Observed, match: Match) -> None:
    for name, text in _screens(seen).items():
        require(match["value"] in text and match["name"] in text, f"{name} does not show it")
    cli = seen.facts["screens"].get("cli", "")
    under = re.search(rf"┌─ argument {match['name']} .*\n(?:[├│].*\n)*[└│][ \d│]*{re.escape(match['value'])}\n", cli)
    require(under, "the terminal does not show it as an argument")


@phrase(r"the summary is absent or marked \"(?P<mark>[^\"]+)\"")
async def summary_apart(run: Run, seen: Observed, match: Match) -> None:
    summary = seen.facts["summary"]
    require(summary, "there is no summary")
    for name, text in _screens(seen).items():
        require(summary not in text or match["mark"] in text, f"{name} shows the agent's words as ours")


@phrase(r"payload visible without scrolling past \(line count \+ escaped \\n \+ full text\)")
async def payload_visible(run: Run, seen: Observed, match: Match) -> None:
    value = str(next(iter(seen.facts["arguments"].values())))
    lines, payload = value.count("\n") + 1, value.rsplit("\n", 1)[-1]
    for name, text in _screens(seen).items():
        require(re.search(rf"\b{lines} lines\b", text), f"{name} does not count {lines} lines")
        require("\\n" in text and payload in text, f"{name} hides the payload")
    require(show(value).text.count("\n") == 0 and len(show(value).text) < len(value), "blank lines take room")
    require(seen.facts["screens"]["cli"].count("\n") < 80, "the terminal scrolls")


@phrase(r"approve disabled until the end was shown")
async def end_was_shown(run: Run, seen: Observed, match: Match) -> None:
    """The form demands it, and the server does not take the form's word for it."""
    page = seen.facts["page"].body.decode()
    require(re.search(r'name="seen_end" value="yes" required', page), "the form does not ask")
    person = await run.world.person("bob")
    refused = await person.answer(seen.facts["hold"], "approve", seen_end=False)
    require(refused.status == 409, f"approved unread: {refused.status}")
    require(run.world.store.hold(HoldId(seen.facts["hold"])).status.value == "pending", "the hold was answered")


@phrase(r"no silent truncation: size, hash and search shown")
async def not_truncated(run: Run, seen: Observed, match: Match) -> None:
    value = str(next(iter(seen.facts["arguments"].values())))
    shown = show(value)
    for name, text in _screens(seen).items():
        require(str(len(value.encode())) in text and shown.digest in text, f"{name} lacks size or hash")
        require(shown.text in text, f"{name} does not show all of it")
        odd = re.sub(r"(.)\1{50,}", "", value)
        require(odd in text, f"{name} hides {odd!r}")
    require(shown.complete, "it is cut")


@phrase(r"policy may refuse approval of unreadable arguments")
async def may_refuse(run: Run, seen: Observed, match: Match) -> None:
    """A permission, not a demand: there is nothing to check but that it was not approved by itself."""
    require(seen.word is Word.HOLD and not run.effects(), seen.summary())


@phrase(r"control characters shown as \\x1b", r"byte-exact text visible in the terminal")
async def controls_shown(run: Run, seen: Observed, match: Match) -> None:
    value = str(next(iter(seen.facts["arguments"].values())))
    for name, raw in seen.facts["screens"].items():
        require(
            not any(unicodedata.category(char) == "Cc" and char != "\n" for char in raw),
            f"{name} holds control characters",
        )
    for name, text in _screens(seen).items():
        require(show(value).text in text and "\\x1b" in text, f"{name} does not show it exactly")


@phrase(r"bidi controls shown as \[(?P<point>U\+[0-9A-F]+)\]", r"shown as \[(?P<point>U\+[0-9A-F]+)\]…?")
async def code_points_shown(run: Run, seen: Observed, match: Match) -> None:
    char = chr(int(match["point"].partition("+")[2], 16))
    for name, raw in seen.facts["screens"].items():
        require(char not in raw, f"{name} holds the character itself")
    for name, text in _screens(seen).items():
        require(f"[{match['point']}]" in text, f"{name} does not show it")


@phrase(r"each field isolated")
async def isolated(run: Run, seen: Observed, match: Match) -> None:
    page = seen.facts["screens"].get("web", "")
    value = next(iter(seen.facts["arguments"].values()))
    start = show(value).tokens[0].text
    require(
        re.search(rf'<bdi class="t" dir="ltr">{re.escape(html.escape(start))}', page), "the page does not isolate it"
    )
    rows = seen.facts["screens"].get("cli", "").splitlines()
    require(all(row[:1] in "┌│├└┊" for row in rows), "the terminal does not frame it")


@phrase(r"host shown as xn--… plus \"(?P<warning>[^\"]+)\" warning")
async def host_shown(run: Run, seen: Observed, match: Match) -> None:
    for name, text in _screens(seen).items():
        require("xn--" in text, f"{name} does not show the ASCII form")
        require(match["warning"] in text, f"{name} does not warn of {match['warning']}")


@phrase(r"count of invisible code points >0 marks the request")
async def invisible_counted(run: Run, seen: Observed, match: Match) -> None:
    value = str(next(iter(seen.facts["arguments"].values())))
    count = show(value).invisible
    require(count > 0, "none is counted")
    for name, text in _screens(seen).items():
        require(f"{count} invisible" in text, f"{name} does not count {count}")


@phrase(r"escaped text")
async def escaped(run: Run, seen: Observed, match: Match) -> None:
    page = seen.facts["screens"]["web"]
    value = str(next(iter(seen.facts["arguments"].values())))
    require(
        not re.search(
            r'<(?!(?:img|script) src="/static/[a-z.-]+\?v=[0-9a-f]{12}")(?:img|script|iframe|object|svg|!--)',
            page,
            re.IGNORECASE,
        ),
        "markup of the argument is markup of the page",
    )
    require("javascript:" not in "".join(re.findall(r"<[^>]*>", page)), "a link of the argument is a link of the page")
    require(show(value).text in _plain(page), "it is not shown whole")


@phrase(r"CSP default-src none")
async def policy_header(run: Run, seen: Observed, match: Match) -> None:
    header = seen.facts["page"].header("content-security-policy")
    allowed = dict(part.strip().partition(" ")[::2] for part in header.split(";"))
    require(allowed.get("default-src") == "'none'", f"{header!r}")
    # Our own files and nothing else: no inline script, no evaluation, no other site.
    require(set(allowed.values()) <= {"'none'", "'self'"}, f"{header!r}")


@phrase(r"no request made")
async def no_request(run: Run, seen: Observed, match: Match) -> None:
    """Nothing on the page loads, submits or runs by itself: no script, no foreign address, and the policy forbids both."""
    page = seen.facts["screens"]["web"]
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page, re.DOTALL)
    ours = all(
        re.fullmatch(r' src="/static/[a-z.-]+\?v=[0-9a-f]{12}" defer', head) and not body for head, body in scripts
    )
    require(ours and not re.search(r"<[^>]+\son\w+\s*=", page), "something runs")
    loads = re.findall(r'<[^>]*\s(?:src|href|action)="([^"]*)"', page)
    ours = all(target == "#main" or (target.startswith("/") and not target.startswith("//")) for target in loads)
    require(ours, f"{loads}")
    require(run.world.store.hold(HoldId(seen.facts["hold"])).status.value == "pending", "the hold was answered")


@phrase(r"content stays inside a frame that content cannot draw(?: \(.*\))?")
async def framed(run: Run, seen: Observed, match: Match) -> None:
    value = str(next(iter(seen.facts["arguments"].values())))
    drawn = [line.strip() for line in value.split("\n") if line.strip()]
    cli = seen.facts["screens"].get("cli", "")
    for line in cli.splitlines():
        require(line[:1] in "┌│├└┊", f"a row without frame: {line!r}")
        require(not any(line.startswith(text) for text in drawn), f"content begins a row: {line!r}")
    require(all(text in _unwrapped(cli) for text in drawn), "it is not shown")
    require("\\n" in cli, "its line ends are not shown")


@phrase(r"rate limit: further requests (?P<word>DENY) (?P<reason>[a-z_]+)")
async def limited(run: Run, seen: Observed, match: Match) -> None:
    flood = seen.facts["flood"]
    first = next((number for number, (word, _) in enumerate(flood) if word is not Word.HOLD), len(flood))
    require(0 < first < len(flood), f"{first} of {len(flood)} were held")
    wanted = (Word(match["word"]), match["reason"])
    require(all(one == wanted for one in flood[first:]), f"{flood[first:]}")
    require(first <= Limits().holds_per_task_per_minute, f"{first} people were asked")


@phrase(r"queue of others unaffected")
async def others_unaffected(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["beside"].word is Word.HOLD, seen.facts["beside"].summary())


# -- approvals -----------------------------------------------------------------------------------------------------------


@phrase(r"approval stays unused or is burnt - one stated rule")
async def stays_unused(run: Run, seen: Observed, match: Match) -> None:
    """The stated rule: another action does not touch it; the approved one still runs, once."""
    held = next(iter(run.world.approvals.values()))
    require(run.world.store.hold(HoldId(held.hold)).status.value == "approved", "the approval was touched")
    require(not run.effects(), "something ran")
    right = await run.world.redeem(held)
    require(right.word is Word.ALLOW, f"the approved action: {right.summary()}")
    require(len(run.effects()) == 1, f"{len(run.effects())} effects")


@phrase(r"exactly 1 ALLOW in each of [\d,]+ rounds")
async def one_in_each(run: Run, seen: Observed, match: Match) -> None:
    rounds = seen.facts["rounds"]
    require(rounds and not seen.facts["violations"], f"{seen.facts['violations']} of {len(rounds)}: {rounds[:3]}")
    others = {reason for _, _, reasons in rounds for reason in reasons} - {Reason.PERMITTED.value}
    require(others <= {Reason.APPROVAL_USED.value, Reason.CONFLICT.value}, f"the others got {others}")


@phrase(r"the loser gets UNKNOWN/503, not a second run")
async def loser_told(run: Run, seen: Observed, match: Match) -> None:
    for moment, answers, count in seen.facts["outcomes"]:
        (word, reason, status), _, again = answers
        lost = status == 503 or word is Word.UNKNOWN or reason in {Reason.APPROVAL_USED, Reason.CONFLICT}
        require(lost, f"{moment}: the loser got {word} {reason} {status}")
        require(again[0] is not Word.ALLOW, f"{moment}: a second run for {again}")
        require(count <= 1, f"{moment}: {count} effects")


@phrase(r"policy re-evaluated at commit")
async def decided_again(run: Run, seen: Observed, match: Match) -> None:
    last = run.decisions()[-1]
    require(last.revision == run.world.main.house.policy.current().revision, "the last decision cites an old bundle")
    require(last.outcome == "deny" and last.reason == seen.reason, f"{last}")


@phrase(r"approval never overrides forbid")
async def forbid_wins(run: Run, seen: Observed, match: Match) -> None:
    held = next(iter(run.world.approvals.values()))
    require(run.world.store.hold(HoldId(held.hold)).approval is not None, "there is no approval")
    require(not run.effects(), "it ran")
    require(any("forbid" in policy for policy in run.decisions()[-1].policies), "no forbid is named")


@phrase(r"where four-eyes is set")
async def four_eyes(run: Run, seen: Observed, match: Match) -> None:
    require(run.world.bundle is not None and run.world.bundle.approvers.four_eyes, "it is not set")
    require(seen.reason == Reason.APPROVER_IS_REQUESTER, f"reason {seen.reason!r}")


@phrase(r"never run later by an async completion")
async def not_later(run: Run, seen: Observed, match: Match) -> None:
    await run.world.settle()
    require(seen.facts["late"] != 200, "it could be approved after the deadline")
    require(seen.facts["again"].word is not Word.ALLOW, f"a later call: {seen.facts['again'].summary()}")
    require(not run.effects(), "it ran")


@phrase(r"GET changes nothing")
async def get_is_safe(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["grew"] == 0, "the log grew")
    require(all(status in {303, 404} for status in seen.facts["gets"]), f"{seen.facts['gets']}")
    require(seen.facts["looked"] == (200, 0), f"a person's look: {seen.facts['looked']}")


@phrase(r"POST \+ CSRF \+ human session needed")
async def post_is_guarded(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["status"] == "pending", "it was answered")
    require(all(status in {303, 401, 403} for status in seen.facts["posts"].values()), f"{seen.facts['posts']}")
    require((seen.facts["person"], seen.facts["after"]) == (200, "approved"), "a person cannot answer either")


# -- policy and start ----------------------------------------------------------------------------------------------------


@phrase(r"readiness false")
async def not_ready(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["health"][0] == 503 and "false" in seen.facts["health"][1], f"{seen.facts['health']}")
    require(seen.word is Word.REFUSED and seen.reason == Reason.NO_POLICY, f"the start: {seen.summary()}")
    require(not run.effects(), "something ran")


@phrase(r"refuses to start")
async def does_not_start(run: Run, seen: Observed, match: Match) -> None:
    config = run.inputs[0].get("config", {})
    require(seen.word is Word.REFUSED and seen.reason == Reason.CONFIG_REFUSED, seen.summary())
    if "refused" in seen.facts:
        refused = dict(seen.facts["refused"])
        require(refused.pop("usual") == "", f"a usual folder does not start: {refused}")
        require(all("chmod go-w" in why or "chown" in why for why in refused.values()), f"no command to run: {refused}")
        return
    require(any(name in seen.text for name in config), f"{seen.text!r} does not name the setting")


def _setting_names() -> set[str]:
    return {name for type_ in (Settings, Listen, ServerSettings, Limits) for name in type_.__struct_fields__}


@phrase(r"there is no fail-open mode for write/destructive tools", r"no failure_mode_allow option for write tools")
async def no_such_option(run: Run, seen: Observed, match: Match) -> None:
    odd = [name for name in _setting_names() if re.search(r"fail|open_on|allow_on|bypass|permissive|mode", name)]
    require(not odd, f"settings: {odd}")


@phrase(r"lint error (?P<rule>[a-z_]+)")
async def lint_error(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["lint"].get(match["rule"]) == "error", f"the check found {seen.facts['lint']}")


@phrase(r"deploy refused, last good version stays, alert")
async def deploy_refused(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.REFUSED and seen.reason == Reason.BUNDLE_REFUSED, seen.summary())
    require(seen.facts["before"] == seen.facts["after"], "another version is in force")
    require("case.cedar" in seen.text, f"{seen.text!r} does not say where")
    require(
        any("last good one stays" in line for line in run.world.operator), f"the operator was told {run.world.operator}"
    )


@phrase(r"decisions carry the version hash")
async def version_in_decisions(run: Run, seen: Observed, match: Match) -> None:
    after = await run.world.call("fs.read_file", {})
    require(after.word is Word.ALLOW, after.summary())
    require({decision.revision for decision in run.decisions()} == {seen.facts["before"]}, "another revision is cited")


@phrase(r"policy input is normalised before evaluation")
async def normalised_first(run: Run, seen: Observed, match: Match) -> None:
    spellings = seen.facts["spellings"]
    require(len(spellings) > 2 and seen.facts["control"] is Word.ALLOW, "nothing is permitted: nothing was tried")
    escaped_rule = {name: one for name, one in spellings.items() if one != (Word.DENY, Reason.FORBIDDEN)}
    require(not escaped_rule, f"{escaped_rule}")


@phrase(r"normalised")
async def normalised(run: Run, seen: Observed, match: Match) -> None:
    require(seen.reason == Reason.FORBIDDEN, "it did not meet the rule")


@phrase(r"NUL")
async def nul(run: Run, seen: Observed, match: Match) -> None:
    """It is the NUL that is refused: without it the reason is another."""
    require(seen.reason == Reason.INVALID_ARGUMENTS, f"reason {seen.reason!r}")
    step = run.inputs[0]
    without = {name: value.replace("\0", "") for name, value in step["args"].items() if isinstance(value, str)}
    other = await run.world.call(step["tool"], without)
    require(other.reason == Reason.UNKNOWN_PATH, other.summary())


@phrase(r"after one decode")
async def decoded_once(run: Run, seen: Observed, match: Match) -> None:
    """What it decodes to is refused as well, as it stands."""
    plain = await run.world.read(unquote(seen.facts["uri"]))
    require(plain.word in {Word.DENY, Word.REJECT}, plain.summary())
    require(not run.effects(), "something ran")


@phrase(r"double encoding (?P<text>%[0-9a-fA-F%]+) REJECT")
async def doubly_encoded(run: Run, seen: Observed, match: Match) -> None:
    """Every escape of the case's URI, escaped once more."""
    twice = await run.world.read(seen.facts["uri"].replace("%", match["text"][:3]))
    require((twice.word, twice.reason) == (Word.REJECT, Reason.INVALID_ARGUMENTS), twice.summary())


# -- failures ------------------------------------------------------------------------------------------------------------


@phrase(r"recovers without restart")
async def recovers(run: Run, seen: Observed, match: Match) -> None:
    run.world.main.store.fault = ""
    again = await perform(run, run.repeat or {})
    require(again.word is Word.ALLOW, again.summary())


@phrase(r"reads denied too unless policy lists them as allowed-without-record(?: \(.*\))?")
async def reads_too(run: Run, seen: Observed, match: Match) -> None:
    read = await run.world.call("fs.read_file", {})
    require((read.word, read.reason) == (Word.DENY, Reason.CANNOT_RECORD), read.summary())
    listed = await run.world.call("db.query", {})
    require(listed.word is Word.DENY, listed.summary())
    require(not run.effects(), "something ran")


@phrase(r"existing records intact")
async def intact(run: Run, seen: Observed, match: Match) -> None:
    store = run.world.store
    require(store.size() == run.log_before, "the log changed")
    report = verify_log(
        store.entries(), store.checkpoints(), run.world.main.house.keys.verifier_key("case.example/log")
    )
    require(report.ok, f"{report.findings}")
    require(not run.effects(), "something ran")


@phrase(r"health red")
async def unhealthy(run: Run, seen: Observed, match: Match) -> None:
    health = await ask(run.world.main.app, "GET", "/healthz", [("Host", HOST)])
    require(health.status == 503, f"health says {health.status} {health.body!r}")


@phrase(r"inspected whole", r"never judged on a prefix")
async def whole(run: Run, seen: Observed, match: Match) -> None:
    """With the same padding and a harmless end it runs: what was judged is the end."""
    require(seen.word in {Word.DENY, Word.REJECT}, seen.summary())
    from adversarial.expand import expanded
    from adversarial.verbs.calls import _tool_for

    arguments = expanded(run.inputs[0]["args"])
    tool = run.inputs[0].get("tool") or _tool_for(run, arguments)
    harmless = {**arguments, "path": complete(tool, {}).get("path", "/srv/ws/a")}
    control = await run.world.call(tool, harmless)
    require(control.word is Word.ALLOW, f"harmless: {control.summary()}")
    require(seen.reason in {Reason.NOT_PERMITTED, Reason.FORBIDDEN, Reason.TOO_LARGE}, f"reason {seen.reason!r}")


@phrase(
    r"restart: action listed as UNKNOWN/not executed, never silently dropped or re-run",
    r"restart: outcome=unknown, surfaced to the operator",
)
async def listed_after_restart(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    require(len(facts["open"]) == 1, f"{len(facts['open'])} executions were open")
    require(set(facts["outcomes"].values()) == {"indeterminate"}, f"{facts['outcomes']}")
    require(seen.reason == Reason.OUTCOME_UNKNOWN, f"reason {seen.reason!r}")
    require(any(facts["open"][0] in line for line in facts["operator"]), f"the operator was told {facts['operator']}")
    require(facts["effects"] == facts["expected_effects"], f"{facts['effects']} effects")
    require(facts["again"].word is not Word.ALLOW, f"it ran again: {facts['again'].summary()}")


@phrase(r"grant is burnt")
async def burnt(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["again"].reason == Reason.APPROVAL_USED, seen.facts["again"].summary())


# -- the log -------------------------------------------------------------------------------------------------------------


@phrase(r"100%", r"by witness / gossip of checkpoints", r"(?:names the position)")
async def all_detected(run: Run, seen: Observed, match: Match) -> None:
    require(
        seen.facts["tried"] and not seen.facts["missed"], f"{len(seen.facts['missed'])} of {seen.facts['tried']} missed"
    )
    require(not seen.facts["nowhere"], f"no place for {seen.facts['nowhere'][:3]}")


@phrase(r"list of chains is itself signed")
async def signed_outside(run: Run, seen: Observed, match: Match) -> None:
    """There is one chain; that it exists, and how long it is, is signed in the anchor outside the database."""
    anchor = run.world.main.house.keys.read_anchor()
    require(anchor is not None and anchor.startswith("case.example/log\n"), "there is no anchor")


@phrase(r"role has no DELETE")
async def no_delete(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["delete_refused"], "an ordinary session deletes records")


@phrase(r"if done as owner, verify DETECTs")
async def owner_detected(run: Run, seen: Observed, match: Match) -> None:
    await all_detected(run, seen, match)


@phrase(r"one order, no fork, no gap")
async def one_order(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    require(facts["numbers"] == list(range(len(facts["numbers"]))), "a gap or a repetition")
    require(not facts["findings"], f"{facts['findings']}")
    require(facts["views"] == 1, f"{facts['views']} different logs are seen")
    require(facts["effects"] == facts["wanted"], f"{facts['effects']} of {facts['wanted']} calls ran")


@phrase(r"bijection or explicit UNKNOWN")
async def bijection(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    for name in ("without decision", "missing", "surplus", "open"):
        require(not facts[name], f"{name}: {facts[name]}")
    require(len(facts["outcomes"]) == 3, f"only {facts['outcomes']} occurred")
    require(sum(facts["outcomes"].values()) == facts["calls"], f"{facts['outcomes']} of {facts['calls']} calls")


@phrase(r"same decision and reasons")
async def replayed(run: Run, seen: Observed, match: Match) -> None:
    found = seen.facts["replayed"]
    require(len(found) == seen.facts["decisions"] > 5, f"{len(found)} of {seen.facts['decisions']} decisions")
    different = [one for one in found if one[0] != "identical"]
    require(not different, f"{different[:2]}")


@phrase(r"record holds every input used or its hash \+ store reference")
async def inputs_kept(run: Run, seen: Observed, match: Match) -> None:
    for decision in run.decisions():
        payload = run.world.store.payload(decision.request)
        require(payload is not None, f"no payload of {decision.request}")
        require(run.world.store.bundle(decision.revision) is not None, "the bundle was not kept")
        require(decision.snapshot.startswith("sha256:") and decision.digest.startswith("sha256:"), "no digest")


@phrase(r"(?P<n>\d+) live secrets", r"values hashed or sealed per field", r"integers too(?: \(.*\))?")
async def none_found(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["searched"] > 1_000, "there is nothing to search")
    require(not seen.facts["found"], f"found {seen.facts['found']}")
