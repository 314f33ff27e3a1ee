"""The approvals room: what waits for people, one hold in full, related ones together, and their answers.

Nothing is decided here: answers go to `service.people.approve`, each with the seal of what was shown. Refuses to know policy.
"""

from dataclasses import replace
from typing import Final

from starlette.responses import HTMLResponse, Response

from lictor.console import pages, waiting
from lictor.console.approvals import lists
from lictor.console.decisions_view import index_of
from lictor.console.forms import plausible
from lictor.console.frame import HEADERS
from lictor.console.held import hold_view, money
from lictor.console.rooms import OpenRow, Role, Rooms, Row, Visit
from lictor.console.views import AskView, HoldView
from lictor.model.approval import Hold, HoldStatus, Strength, Terms, seal_ahead, seal_of
from lictor.model.errors import CallerError, LictorError
from lictor.model.ids import HoldId, SealDigest
from lictor.model.reasons import Reason
from lictor.service.people.approve import Proof
from lictor.service.people.passkeys import Passkeys

MOST_TOGETHER: Final = 20
"""Holds on one page: more than that nobody reads."""
MAX_NOTE: Final = 500
HOUR_MS: Final = 3_600_000
_SEAL: Final = "seal."


def routes(rooms: Rooms) -> list[Row | OpenRow]:
    """Its routes."""
    rooms.waiting = lambda human: len(lists(rooms).of(human).mine)
    return [
        Row(method="POST", path="/holds/together", handler=answer_together, role=Role.APPROVER),
        Row(method="GET", path="/holds/{hold}", handler=hold_in_full),
        Row(method="POST", path="/holds/{hold}", handler=answer, role=Role.APPROVER),
        Row(method="POST", path="/holds/{hold}/withdraw", handler=withdraw, role=Role.APPROVER),
        Row(method="GET", path="/holds/{hold}/state", handler=hold_state),
        Row(method="GET", path="/holds/{hold}/together", handler=together, role=Role.APPROVER),
        Row(method="POST", path="/requests/{request}/override", handler=override, role=Role.OVERRIDER),
    ]


# -- looking -----------------------------------------------------------------------------------------------------------------


async def hold_in_full(visit: Visit) -> Response:
    """One hold, in full."""
    hold = visit.console.store.hold(HoldId(visit.path("hold")))
    if hold is None:
        return visit.missing("hold")
    view = _for_answering(visit, hold)
    live = view.status in {HoldStatus.PENDING, HoldStatus.APPROVED}
    page = visit.rooms.framed(visit.signed_in, f"{view.server}/{view.tool}", nav="approvals", live=live)
    # Off the loop: rendering a megabyte of hostile text takes seconds, and agents must not wait for it.
    text = await visit.rooms.aside(visit.human, lambda: pages.hold_page(page, view))
    return HTMLResponse(text, headers=dict(HEADERS))


async def hold_state(visit: Visit) -> Response:
    """What became of a hold: its page asks for this again and again, and nothing can be answered here."""
    hold = visit.console.store.hold(HoldId(visit.path("hold")))
    if hold is None:
        return visit.missing("hold")
    view = _for_answering(visit, hold)
    live = view.status in {HoldStatus.PENDING, HoldStatus.APPROVED}
    return visit.page("hold_state.html", title=f"{view.server}/{view.tool}", nav="approvals", live=live, hold=view)


def _for_answering(visit: Visit, hold: Hold) -> HoldView:
    """The hold as this person sees it, with what their browser needs for a passkey."""
    view = hold_view(visit.console.store, visit.pdp, hold, visit.now_ms, visit.human)
    if not view.may_answer:
        return view
    needed = waiting.proof_needed(hold, visit.pdp.approvers.groups_of.get(visit.human, ()))
    passkeys = visit.console.passkeys
    if passkeys is not None and passkeys.of(visit.human):
        ask = passkeys.ask_about(visit.human, seal_of(hold))
        required = needed >= Strength.PASSKEY
        asked = AskView(challenge=ask.challenge, ids=" ".join(ask.ids), rp_id=ask.rp_id, required=required)
        return replace(view, ask=asked)
    if needed > _at_hand(visit):
        lacking = "a passkey" if needed >= Strength.PASSKEY else "a sign-in with your organisation, or a passkey"
        add = "; add one on the page Account" if passkeys is not None else ""
        return replace(view, may_answer=False, why_not=f"your answer would have to be proved with {lacking}{add}")
    return view


async def together(visit: Visit) -> Response:
    """Related holds that wait for this person, each in full; or why they are answered one by one."""
    hold_id = visit.path("hold")
    mine = lists(visit.rooms).of(visit.human).mine
    first = next((hold for hold in mine if hold.id == hold_id), None)
    if first is None:
        return visit.missing("hold that waits for you")
    alike = [hold for hold in mine if waiting.related(hold) == waiting.related(first)]
    shown = alike[:MOST_TOGETHER]
    if any(_needs_own_page(visit, hold) for hold in shown):
        return visit.message("One by one", "these need a proof for each, or override a deny: open each by itself", 409)
    views = [hold_view(visit.console.store, visit.pdp, hold, visit.now_ms, visit.human) for hold in shown]
    if not pages.fits_together(views):
        return visit.message("One by one", "together these are too long to be read on one page", 409)
    page = visit.rooms.framed(visit.signed_in, "Related actions", nav="approvals")
    more = len(alike) - len(shown)
    text = await visit.rooms.aside(visit.human, lambda: pages.together_page(page, views, more=more))
    return HTMLResponse(text, headers=dict(HEADERS))


def _needs_own_page(visit: Visit, hold: Hold) -> bool:
    """Whether an answer needs a signature for its own seal, or a reason of its own."""
    needed = waiting.proof_needed(hold, visit.pdp.approvers.groups_of.get(visit.human, ()))
    return hold.override or needed > _at_hand(visit)


# -- answering ---------------------------------------------------------------------------------------------------------------


async def answer(visit: Visit) -> Response:
    """Approve, approve ahead or deny exactly what was shown."""
    hold_id, form = HoldId(visit.path("hold")), visit.form
    match form.get("answer"):
        case "approve" | "ahead" as which:
            hold = visit.console.store.hold(hold_id)
            if hold is None:
                return visit.missing("hold")
            refused = _unread(visit, hold) or _unexplained(hold, _note(visit))
            if refused:
                return visit.message("Not done", refused, 409)
            return await (_ahead(visit, hold) if which == "ahead" else _approve(visit, hold))
        case "deny":
            await visit.console.answer.deny(hold_id, visit.human, _note(visit))
            return visit.message("Denied", "it stays denied for this task")
        case _:
            return visit.message("Not done", "neither approved nor denied", 400)


async def _approve(visit: Visit, hold: Hold) -> Response:
    seen = SealDigest(visit.form.get("seal", ""))
    after = await visit.console.answer.approve(hold.id, await _proof(visit, seal_of(hold)), seen, _note(visit))
    if after.status is HoldStatus.PENDING:
        return visit.message("Approved by you", "it is on record; more people have to approve it before it runs")
    return visit.message("Approved", "approved, once: the agent's retry with the same arguments runs")


async def _ahead(visit: Visit, hold: Hold) -> Response:
    """Approve with these terms; who has a passkey is asked first to sign them, on a page that says them in words."""
    reach = visit.form.get("reach", "")
    if reach not in {"task", "all"}:
        return visit.message("Not done", "say whether it is for this task or for all", 400)
    terms = _terms(visit, this_task=reach == "task")
    passkeys = visit.console.passkeys
    if passkeys is not None and passkeys.of(visit.human) and "terms" not in visit.form:
        return _ahead_to_sign(visit, hold, terms, passkeys)
    seen = SealDigest(visit.form.get("seal", ""))
    proof = await _proof(visit, seal_ahead(hold, terms))
    allowance = await visit.console.answer.allow_ahead(hold.id, proof, seen, terms, _note(visit))
    text = f"approved, once, and {allowance.most} more like it; end it under Ahead whenever you like"
    return visit.message("Approved ahead", text)


def _terms(visit: Visit, *, this_task: bool) -> Terms:
    """As the form says them; the second time with the moment that was signed, not with one that has moved on."""
    most, value, hours, until = (_whole(visit.form.get(name, "")) for name in ("most", "most_value", "hours", "terms"))
    return Terms(most=most, most_value=value, until_ms=until or visit.now_ms + hours * HOUR_MS, this_task=this_task)


def _ahead_to_sign(visit: Visit, hold: Hold, terms: Terms, passkeys: Passkeys) -> Response:
    view = hold_view(visit.console.store, visit.pdp, hold, visit.now_ms, visit.human)
    offering = visit.pdp.offering(hold.kind, hold.server, hold.name)
    entry = offering.entry if offering is not None else None
    needed = waiting.proof_needed(hold, visit.pdp.approvers.groups_of.get(visit.human, ()))
    return visit.page(
        "hold_ahead.html",
        title="Approve ahead",
        nav="approvals",
        hold=view,
        terms=terms,
        value=money(entry, terms.most_value, view.ahead.currency) if view.ahead and terms.most_value else "",
        asked=passkeys.ask_about(visit.human, seal_ahead(hold, terms)),
        optional=needed <= _at_hand(visit),
        form={name: visit.form.get(name, "") for name in ("seal", "most", "most_value", "reach", "seen_end", "note")},
    )


async def withdraw(visit: Visit) -> Response:
    """Take back one's own yes."""
    await visit.console.answer.withdraw(HoldId(visit.path("hold")), visit.human, _note(visit))
    return visit.message("Taken back", "your approval counts no more; the action waits for people again")


async def answer_together(visit: Visit) -> Response:
    """One answer to each of several holds; each is checked and recorded for itself."""
    seals = {HoldId(name.removeprefix(_SEAL)): SealDigest(seal) for name, seal in visit.form.items() if _is_seal(name)}
    if not 0 < len(seals) <= MOST_TOGETHER:
        return visit.message("Not done", f"1 to {MOST_TOGETHER} actions can be answered together", 400)
    which = visit.form.get("answer")
    if which == "approve" and visit.form.get("seen_end") != "yes":
        return visit.message("Not done", "confirm that you have read to the end", 409)
    if which not in {"approve", "deny"}:
        return visit.message("Not done", "neither approved nor denied", 400)
    done = [(hold, await _answer_one(visit, hold, seal, approve=which == "approve")) for hold, seal in seals.items()]
    return visit.page("together_done.html", title="Answered together", nav="approvals", done=done)


async def _answer_one(visit: Visit, hold_id: HoldId, seal: SealDigest, *, approve: bool) -> str:
    try:
        if not approve:
            await visit.console.answer.deny(hold_id, visit.human, _note(visit))
            return "denied"
        hold = visit.console.store.hold(hold_id)
        if hold is None or _needs_own_page(visit, hold):
            return "not done: open it by itself"
        after = await visit.console.answer.approve(hold_id, _signed(visit), seal, _note(visit))
    except LictorError as error:
        if error.reason is Reason.CANNOT_RECORD:
            raise
        return f"not done: {error.message} ({error.reason.value})"
    return "approved; more people have to" if after.status is HoldStatus.PENDING else "approved, once"


async def override(visit: Visit) -> Response:
    """Break-glass: open a hold over one deny of policy. It is answered like any other, with a passkey and a reason."""
    if visit.console.override is None:
        return visit.message("Not here", "nothing can be overridden here", 404)
    seq = visit.form.get("seq", "")
    if not (seq.isascii() and seq.isdecimal() and len(seq) <= 16):
        return visit.message("Not done", "say which decision", 400)
    found = index_of(visit.rooms).one(int(seq))
    if found is None or found[0].request != visit.path("request"):
        raise CallerError(Reason.UNKNOWN_APPROVAL, "the decision is of another request")
    hold = await visit.console.override.open(int(seq), visit.human)
    return visit.to(f"/holds/{hold.id}")


# -- small things ------------------------------------------------------------------------------------------------------------


async def _proof(visit: Visit, seal: SealDigest) -> Proof:
    """How this answer is proved: by a signature of its seal, or by the sign-in, which is never worth a passkey."""
    assertion = visit.form.get("assertion", "")
    if assertion and visit.console.passkeys is not None:
        return await visit.console.passkeys.prove(visit.human, seal, assertion)
    return _signed(visit)


def _signed(visit: Visit) -> Proof:
    return Proof(human=visit.human, strength=_at_hand(visit))


def _at_hand(visit: Visit) -> Strength:
    """What the sign-in alone is worth for an answer."""
    return min(visit.signed_in.strength, Strength.LOGIN)


def _unread(visit: Visit, hold: Hold) -> str:
    """Long content has to be confirmed as read to its end; the page asks, this checks (APRV-02)."""
    view = hold_view(visit.console.store, visit.pdp, hold, visit.now_ms)
    unread = pages.must_confirm_end(view) and visit.form.get("seen_end") != "yes"
    return "confirm that you have read to the end" if unread else ""


def _unexplained(hold: Hold, note: str) -> str:
    return "an override needs a reason" if hold.override and not note.strip() else ""


def _note(visit: Visit) -> str:
    return visit.form.get("note", "")[:MAX_NOTE]


def _whole(text: str) -> int:
    """A whole number of a form; 0 where there is none, which no limit accepts."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else 0


def _is_seal(name: str) -> bool:
    return name.startswith(_SEAL) and plausible(name.removeprefix(_SEAL))
