"""The room of policy: the bundle in force and those before it, what is to be said of it, why a decision came out, and what if.

Everything here looks; nothing is activated, recorded or run. What-if opens a request's sealed arguments, so it is for authors and
operators, and the page says that it does. Refuses to know how anything is decided.
"""

from collections import Counter
from typing import Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from lictor.console import policies_asked as asked_for
from lictor.console import policies_form as forms
from lictor.console import policies_view as view
from lictor.console import policies_whatif as what_if
from lictor.console.frame import HEADERS
from lictor.console.policies_asked import Asked
from lictor.console.policies_shelf import Shelf, Volume
from lictor.console.records_tail import Tail
from lictor.console.rooms import Role, Rooms, Row, Visit
from lictor.model.errors import LictorError
from lictor.model.ids import PolicyRevision
from lictor.model.record import BundleActivated, BundleApproved, DecisionMade, RequestReceived
from lictor.policy.explain import Explanation

NAV: Final = "policy"
RECENT: Final = 15
MAX_REVISION: Final = 80
MAX_PATH: Final = 300
MAX_SEARCH: Final = 200
_DECISIONS: Final = 4_000
_REACH_OF_HISTORY: Final = 100_000


def routes(rooms: Rooms) -> list[Row]:
    """The rows of this room."""
    room = _Policies(rooms)
    return [
        Row(method="GET", path="/policy", handler=room.overview),
        Row(method="GET", path="/policy/files", handler=room.files),
        Row(method="GET", path="/policy/file", handler=room.file),
        Row(method="GET", path="/policy/file/download", handler=room.download),
        Row(method="GET", path="/policy/one", handler=room.one),
        Row(method="GET", path="/policy/checks", handler=room.checks),
        Row(method="GET", path="/policy/history", handler=room.history),
        Row(method="GET", path="/policy/explain", handler=room.chosen),
        Row(method="GET", path="/policy/explain/{request}", handler=room.explain),
        Row(method="GET", path="/policy/what-if/{request}", handler=room.form),
        Row(method="POST", path="/policy/what-if/{request}", handler=room.ask, most_bytes=forms.MAX_FORM),
    ]


class _Policies:
    def __init__(self, rooms: Rooms) -> None:
        store = rooms.console.store
        self._store = store
        self._shelf = Shelf(store)
        self._decisions = Tail(store, (RequestReceived, DecisionMade), most=_DECISIONS)
        self._revisions = Tail(store, (BundleActivated, BundleApproved), most=200, reach=_REACH_OF_HISTORY)

    # -- the bundle --------------------------------------------------------------------------------------------------------

    async def overview(self, visit: Visit) -> Response:
        """What is in force, and its policies."""
        volume = await self._volume(visit)
        logged = await self._decisions.read()
        made = [one.record for one in logged if isinstance(one.record, DecisionMade)]
        decided = Counter(str(name) for one in made for name in one.policies)
        text, effect = visit.word("q", MAX_SEARCH), visit.word("effect", 10)
        effect = effect if effect in {"permit", "forbid"} else ""
        every = view.policies_of(volume.bundle, decided)
        found = view.matching(every, text, effect)
        page = visit.number("page", 1, least=1, most=1_000)
        since = await self._revisions.read()
        return await visit.large_page(
            "policies.html",
            title="Policy",
            nav=NAV,
            volume=volume,
            revision=volume.bundle.revision,
            numbers=view.numbers(volume.bundle),
            activated=next((one for one in reversed(since) if _activates(one.record, volume.bundle.revision)), None),
            approved=next((one for one in reversed(since) if _approves(one.record, volume.bundle.revision)), None),
            looked_since=self._revisions.since,
            shadow=visit.console.shadow(),
            policies=found[(page - 1) * view.PER_PAGE : page * view.PER_PAGE],
            count=len(found),
            all_count=len(every),
            page_number=page,
            per_page=view.PER_PAGE,
            q=text,
            effect=effect,
            carry=_carried(q=text, effect=effect),
            decisions=len(made),
            recent=asked_for.lately(logged, RECENT),
            may_ask=_may_ask(visit),
            current=True,
        )

    async def files(self, visit: Visit) -> Response:
        """The files of a revision."""
        volume = await self._volume(visit)
        return visit.page(
            "policies_files.html",
            title="Source",
            nav=NAV,
            files=view.files_of(volume.bundle),
            revision=volume.bundle.revision,
            current=volume.bundle.revision == visit.pdp.revision,
        )

    async def file(self, visit: Visit) -> Response:
        """One file: policies one by one, anything else by its lines."""
        volume = await self._volume(visit)
        path = visit.word("path", MAX_PATH)
        data = volume.bundle.files.get(path)
        if data is None:
            return visit.missing("file in this revision")
        every = [one for one in view.policies_of(volume.bundle, {}) if one.file == path]
        number = visit.number("page", 1, least=1, most=max(1, -(-len(every) // view.PER_FILE_PAGE)))
        return await visit.large_page(
            "policies_file.html",
            title=path,
            nav=NAV,
            path=path,
            policies=every[(number - 1) * view.PER_FILE_PAGE : number * view.PER_FILE_PAGE],
            count=len(every),
            page_number=number,
            per_page=view.PER_FILE_PAGE,
            lines=None if every else view.lines_of(data),
            size=len(data),
            revision=volume.bundle.revision,
            current=volume.bundle.revision == visit.pdp.revision,
        )

    async def download(self, visit: Visit) -> Response:
        """One file as it is."""
        volume = await self._volume(visit)
        data = volume.bundle.files.get(visit.word("path", MAX_PATH))
        if data is None:
            return visit.missing("file in this revision")
        name = "".join(
            char if char.isascii() and (char.isalnum() or char in "._-") else "_"
            for char in visit.word("path", MAX_PATH)
        )
        headers = {
            **HEADERS,
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        return Response(data, headers=headers)

    async def one(self, visit: Visit) -> Response:
        """To where a policy stands."""
        volume = await self._volume(visit)
        name = visit.word("id")
        found = next((one for one in view.policies_of(volume.bundle, {}) if one.id == name), None)
        if found is None:
            return visit.missing("policy in this revision")
        query = urlencode({"path": found.file, "page": found.page, "revision": volume.bundle.revision})
        return visit.to(f"/policy/file?{query}#policy-{quote(found.id)}")

    async def checks(self, visit: Visit) -> Response:
        """Lints and claims."""
        volume = await self._volume(visit)
        claims, unreadable = view.claims_of(visit.console.invariants())
        try:
            lints, failed = await self._shelf.lints(volume), ""
        except LictorError as error:
            lints, failed = (), error.message
        return await visit.large_page(
            "policies_checks.html",
            title="Checks",
            nav=NAV,
            lints=lints,
            failed=failed,
            claims=claims,
            unreadable=unreadable,
            revision=volume.bundle.revision,
            current=volume.bundle.revision == visit.pdp.revision,
        )

    async def history(self, visit: Visit) -> Response:
        """Which revisions were in force."""
        found = (await self._revisions.read())[::-1]
        kept = {
            one.record.revision: self._store.bundle(one.record.revision) is not None
            for one in found[:50]
            if isinstance(one.record, BundleActivated)
        }
        return visit.page(
            "policies_history.html",
            title="Revisions",
            nav=NAV,
            steps=found[:50],
            more=max(0, len(found) - 50),
            kept=kept,
            looked_since=self._revisions.since,
            in_force=visit.pdp.revision,
        )

    # -- one decision ------------------------------------------------------------------------------------------------------

    async def chosen(self, visit: Visit) -> Response:
        """To a request that was typed."""
        name = visit.word("request", asked_for.MAX_ID).strip()
        if not name:
            return visit.to("/policy")
        await asked_for.find(self._store, name)
        return visit.to(f"/policy/explain/{quote(name, safe='')}")

    async def explain(self, visit: Visit) -> Response:
        """Why a recorded decision came out as it did, and the smallest change that would have changed it."""
        asked = await asked_for.find(self._store, visit.path("request"))
        volume = await self._shelf.volume(PolicyRevision(asked.made.revision))
        found = await self._shelf.work(lambda: _explained(asked, volume))
        return await visit.large_page(
            "policies_explain.html",
            title=f"Why {asked.request.action}",
            nav=NAV,
            asked=asked,
            answer=what_if.recorded_answer(asked, volume.bundle),
            lines=found.lines()[1:] if found is not None else None,
            notes=view.notes_of(found) if found is not None else (),
            suggestions=found.suggestions if found is not None else (),
            current=volume.bundle.revision == visit.pdp.revision,
            may_ask=_may_ask(visit),
        )

    async def form(self, visit: Visit) -> Response:
        """The what-if form, as it was recorded."""
        refused = _refused(visit)
        if refused is not None:
            return refused
        asked = await asked_for.find(self._store, visit.path("request"))
        return await self._form(visit, asked, forms.form_of(asked))

    async def ask(self, visit: Visit) -> Response:
        """Two answers side by side; nothing is recorded."""
        refused = _refused(visit)
        if refused is not None:
            return refused
        asked = await asked_for.find(self._store, visit.path("request"))
        form = forms.read_form(visit.form, forms.form_of(asked))
        then = await self._shelf.volume(PolicyRevision(asked.made.revision))
        now = await self._shelf.volume(visit.pdp.revision) if form.policy == "now" else then
        limits = visit.console.limits
        try:
            result = await self._shelf.work(lambda: what_if.ask(asked, form, then, now, limits))
        except forms.WrongFormError as error:
            return await self._form(visit, asked, form, error=error)
        return await self._form(visit, asked, form, result=result)

    async def _form(
        self,
        visit: Visit,
        asked: Asked,
        form: forms.Form,
        *,
        result: what_if.Result | None = None,
        error: forms.WrongFormError | None = None,
    ) -> Response:
        volume = await self._shelf.volume(PolicyRevision(asked.made.revision))
        return await visit.large_page(
            "policies_whatif.html",
            title=f"What if: {asked.request.action}",
            nav=NAV,
            status=400 if error is not None else 200,
            asked=asked,
            form=form,
            was=what_if.recorded_answer(asked, volume.bundle),
            result=result,
            wrong=error.field if error is not None else "",
            error=error.message if error is not None else "",
            people=sorted(volume.pdp.approvers.groups_of.items())[: forms.MAX_NAMES],
            same_policy=asked.made.revision == visit.pdp.revision,
            most=forms.MAX_ARGUMENTS,
        )

    # -- inside ------------------------------------------------------------------------------------------------------------

    async def _volume(self, visit: Visit) -> Volume:
        """The revision that the query names, or the one in force.

        Raises:
            CallerError: it is not kept.
        """
        named = visit.word("revision", MAX_REVISION)
        return await self._shelf.volume(PolicyRevision(named) if named else visit.pdp.revision)


def _explained(asked: Asked, volume: Volume) -> Explanation | None:
    return what_if.explained(volume.bundle, volume.pdp, asked.request, asked.snapshot, search=True)


def _may_ask(visit: Visit) -> bool:
    return not visit.roles.isdisjoint({Role.AUTHOR, Role.OPERATOR})


def _refused(visit: Visit) -> Response | None:
    if _may_ask(visit):
        return None
    text = "what-if opens sealed arguments: it is for policy authors and operators (approvers.toml)"
    return visit.message("Not for you", text, 403)


def _activates(record: object, revision: str) -> bool:
    return isinstance(record, BundleActivated) and record.revision == revision


def _approves(record: object, revision: str) -> bool:
    return isinstance(record, BundleApproved) and record.revision == revision


def _carried(**query: str) -> str:
    """A query string of ours, for links to other pages of a list; ends with `&` where there is anything in it."""
    text = urlencode({name: value for name, value in query.items() if value})
    return f"{text}&" if text else ""
