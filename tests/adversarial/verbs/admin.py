"""The control plane: every route of the running table, strangers, agents, other people's tasks, and hosts that lie."""

import json
import re
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.fixture import with_policy
from adversarial.model import Observed, Unreadable, Word
from adversarial.run import Run, precondition, verb
from adversarial.wire import Response, ask
from adversarial.world import HOST
from lictor.api.web import AGENTS
from lictor.app.web import control_plane
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, RequestRefused, SignalObserved, TaskClosed, TaskOpened

Match = re.Match[str]
HEALTH = frozenset({("GET", "/v1/healthz"), ("GET", "/v1/readyz")})
"""The listed pair."""
_OWN_DOOR = ("/oauth/", "/.well-known/")
"""What authenticates by itself, and what OAuth makes public: cases of their own (OAUT)."""
_APPLICATIONS = b"""
[applications.one]
owner = "finance"
review_by = 2099-12-31
[applications.two]
owner = "research"
review_by = 2099-12-31
"""
_OPENS = """
@id("case/applications-open") @owner("case") @reason("applications open tasks")
permit(principal, action == Action::"task:open", resource)
when { context.input.opener.kind == "application" };
"""
_WISH = {"agent": "A1", "human": "test:alice", "purpose": "payments", "ttl_s": 600}


@precondition(
    r"admin API without credentials on every route \(route table walked by the test\)",
    r"unauthenticated maintenance endpoints used to block operators",
    r"agent identity calls the admin API",
    r"BadHost",
    r"approval list / audit query of another tenant by guessing ids",
)
async def applications_enrolled(run: Run, match: Match) -> None:
    """Two applications with secrets, and a policy that lets them open tasks: there is something to be refused."""
    world = run.world
    files = with_policy(dict(world.files), "openings", _OPENS)
    await world.deploy({**files, "applications.toml": _APPLICATIONS})
    house = world.main.house
    for name in ("one", "two"):
        secret = await house.applications.enrol(name, by="test:operator")
        world.secrets.append(secret)
        world.variants.append({name: secret})


def secret_of(run: Run, name: str) -> str:
    """An application's secret."""
    return str(next(found[name] for found in run.world.variants if name in found))


def table_of(run: Run) -> list[tuple[str, str]]:
    """Every row of the running table that is no agent's own."""
    app = control_plane(run.world.main.runtime)
    found = [(method, route.path) for route in app.routes for method in route.app._methods]
    return [(method, path) for method, path in found if not path.startswith(AGENTS)]


async def api(
    run: Run,
    method: str,
    path: str,
    *,
    bearer: str = "",
    body: Any = None,
    headers: list[tuple[str, str]] | None = None,
) -> Response:
    """One request to the control plane."""
    sent = [("Host", HOST)] if headers is None else list(headers)
    if bearer:
        sent.append(("Authorization", f"Bearer {bearer}"))
    data = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        sent.append(("Content-Type", "application/json"))
    return await ask(run.world.main.app, method, path, sent, data)


def reason_of(response: Response) -> str:
    return str(json.loads(response.body).get("reason", "")) if response.body else ""


def _filled(path: str) -> str:
    return path.replace("{", "").replace("}", "")


@verb("admin.walk")
async def walk(run: Run, step: dict[str, Any]) -> Observed:
    """Each row, with no credential, with an unknown one, and with a console's cookie."""
    person = await run.world.person("bob")
    await person.sign_in()
    cookie = ("Cookie", "; ".join(f"{name}={value}" for name, value in person.cookies.items()))
    answers = []
    for method, path in table_of(run):
        if path.startswith(_OWN_DOOR):
            continue
        body = _WISH if method == "POST" else None
        for how, headers, bearer in (
            ("nothing", [("Host", HOST)], ""),
            ("unknown", [("Host", HOST)], "las_AAAAAAAAAAAAAAAAAAAAAA"),
            ("cookie", [("Host", HOST), cookie], ""),
        ):
            answer = await api(run, method, _filled(path), bearer=bearer, body=body, headers=headers)
            answers.append((method, path, how, answer.status))
    known = await api(run, "GET", "/v1/tasks", bearer=secret_of(run, "one"))
    return Observed(facts={"answers": answers, "known": known.status})


@phrase(r"401 on 100% of routes except a listed health pair")
async def all_401(run: Run, seen: Observed, match: Match) -> None:
    rows = {(method, path) for method, path, _, _ in seen.facts["answers"]}
    require(len(rows) > len(HEALTH) and rows >= HEALTH, f"the table is {rows}")
    for method, path, how, status in seen.facts["answers"]:
        wanted = 200 if (method, path) in HEALTH else 401
        require(status == wanted, f"{method} {path} with {how}: {status}")
    require(seen.facts["known"] == 200, "nobody gets in at all")
    require(not any(isinstance(one, TaskOpened | TaskClosed) for one in run.records()), "something was done")


@verb("admin.flood", "route")
async def flood(run: Run, step: dict[str, Any]) -> Observed:
    """Strangers at maintenance paths, then many more; then somebody who has a credential."""
    stem = step["route"].removesuffix("/*")
    names = ("seal", "step-down", "rotate", "generate-root", "rekey", "reset", "shutdown", "reload", "leases/revoke")
    paths = [f"{root}{stem}/{name}" for root in ("", "/v1", "/admin", "/api") for name in names]
    answers = [(path, (await api(run, method, path, body={})).status) for path in paths for method in ("POST", "PUT")]
    flooded = [(await api(run, "POST", "/v1/tasks", bearer="guess", body=_WISH)).status for _ in range(300)]
    operator = await api(run, "POST", "/v1/tasks", bearer=secret_of(run, "one"), body=_WISH)
    return Observed(facts={"answers": answers, "flooded": flooded, "operator": operator.status})


@phrase(r"none exist")
async def none_exist(run: Run, seen: Observed, match: Match) -> None:
    odd = [(path, status) for path, status in seen.facts["answers"] if status not in {401, 404, 405, 429}]
    require(not odd, f"answered: {odd}")
    allowed = [path for method, path in table_of(run) if method in {"POST", "PUT", "DELETE"}]
    require(not any("sys" in path for path in allowed), f"maintenance routes: {allowed}")


@phrase(r"rate limited")
async def rate_limited(run: Run, seen: Observed, match: Match) -> None:
    require(
        set(seen.facts["flooded"]) <= {401, 429} and 429 in seen.facts["flooded"], "strangers are answered for ever"
    )
    require(seen.facts["operator"] == 201, f"the flood locked out who has a credential: {seen.facts['operator']}")


@verb("admin.call", "as_agent")
async def call(run: Run, step: dict[str, Any]) -> Observed:
    """An agent with its own task's token, at every row."""
    session = await run.world.session(step["as_agent"], "alice")
    answers = []
    for method, path in table_of(run):
        if path.startswith(_OWN_DOOR) or (method, path) in HEALTH:
            continue
        answer = await api(run, method, _filled(path), bearer=session.token, body=_WISH if method == "POST" else None)
        answers.append((method, path, answer.status, reason_of(answer)))
    return Observed(word=Word.DENY, reason=answers[0][3], facts={"answers": answers, "task": session.task.id})


@phrase(r"403 and alert")
async def forbidden_and_told(run: Run, seen: Observed, match: Match) -> None:
    for method, path, status, reason in seen.facts["answers"]:
        require((status, reason) == (403, Reason.FORBIDDEN), f"{method} {path}: {status} {reason}")
    records = run.records()
    signals = [one.signal for one in records if isinstance(one, SignalObserved)]
    require([one.task for one in signals] == [seen.facts["task"]], f"signals: {signals}")
    require(any(isinstance(one, RequestRefused) and "A1" in one.where for one in records), "nobody can see who it was")
    require(not any(isinstance(one, TaskOpened | TaskClosed | DecisionMade) for one in records), "something was done")


# -- a host that is a path -------------------------------------------------------------------------------------------------


_ADMIN = re.compile(r"(?P<method>GET|POST|PUT|DELETE) (?P<path>/admin/\S*)")


async def described(run: Run, step: dict[str, Any]) -> Observed | None:
    """An administrator's request described in words: at our rows, from a stranger and from somebody we know."""
    named = _ADMIN.fullmatch(step["body_desc"])
    if named is None:
        return None
    hosts = [value for name, value in step.get("headers", {}).items() if name == "Host"]
    if len(hosts) != 1:
        raise Unreadable("which host?")
    world, answers = run.world, []
    rows = [(named["method"], named["path"]), *((m, p) for m, p in table_of(run) if m == named["method"])]
    for method, path in rows:
        own = path.startswith(_OWN_DOOR)
        for bearer in ("", secret_of(run, "one")):
            answer = await api(run, method, _filled(path), bearer=bearer, body=_WISH, headers=[("Host", hosts[0])])
            answers.append((method, path, bool(bearer), own, answer.status))
    return Observed(status=answers[0][4], facts={"answers": answers, "world": world})


@phrase(r"400 invalid Host")
async def invalid_host(run: Run, seen: Observed, match: Match) -> None:
    served = [one for one in seen.facts["answers"] if one[1].startswith("/v1/")]
    require(served, "no row was asked")
    for method, path, known, _, status in served:
        require(status == 400, f"{method} {path}, known: {known}: {status}")
    for method, path, known, _, status in seen.facts["answers"]:
        require(status in {400, 404, 421}, f"{method} {path}, known: {known}: {status}")  # 404: nothing is there at all


@phrase(r"authorisation keyed to the matched route, not request\.url\.path")
async def by_row(run: Run, seen: Observed, match: Match) -> None:
    require(not run.records(), "something was decided")
    for method, path in table_of(run):
        if path.startswith(_OWN_DOOR) or (method, path) in HEALTH:
            continue
        answer = await api(run, method, _filled(path), body=_WISH if method == "POST" else None)
        require(answer.status == 401, f"{method} {path}: {answer.status}")


# -- somebody else's -------------------------------------------------------------------------------------------------------


@verb("api.get", "id")
async def get(run: Run, step: dict[str, Any]) -> Observed:
    """Another tenant's task by its very id: looked at, closed, bound, handed on, and in the list."""
    if step["id"] != "other tenant":
        raise Unreadable(f"whose: {step['id']!r}")
    made = await api(run, "POST", "/v1/tasks", bearer=secret_of(run, "one"), body=_WISH)
    task = json.loads(made.body)["task"]
    absent = "task_AAAAAAAAAAAAAAAAAAAAAA"
    run.mark()
    pairs = []
    for method, more, body in (
        ("GET", "", None),
        ("POST", "/close", None),
        ("POST", "/delegate", {"agent": "A2"}),
        ("POST", "/contract", {"bind": {"clauses": []}}),
    ):
        bearer = secret_of(run, "two")
        theirs = await api(run, method, f"/v1/tasks/{task}{more}", bearer=bearer, body=body)
        none = await api(run, method, f"/v1/tasks/{absent}{more}", bearer=bearer, body=body)
        pairs.append((method + more, theirs, none))
    listed = await api(run, "GET", "/v1/tasks", bearer=secret_of(run, "two"))
    own = await api(run, "GET", f"/v1/tasks/{task}", bearer=secret_of(run, "one"))
    return Observed(status=pairs[0][1].status, facts={"pairs": pairs, "listed": listed.body, "own": own, "task": task})


@phrase(r"404 same as absent")
async def as_absent(run: Run, seen: Observed, match: Match) -> None:
    for what, theirs, none in seen.facts["pairs"]:
        require(theirs.status == none.status == 404, f"{what}: {theirs.status}, absent: {none.status}")
        require(theirs.body == none.body and theirs.headers == none.headers, f"{what} tells them apart")
    require(seen.facts["task"].encode() not in seen.facts["listed"], "it is in the list")


@phrase(r"row-level check, not only in the UI")
async def row_level(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["own"].status == 200, "its own tenant does not see it either")
    require(not any(isinstance(one, TaskClosed | TaskOpened) for one in run.records()), "something was done to it")
