"""Which application answers at which path: the MCP endpoint, the control plane, the console. Refuses to know sockets."""

import hashlib
from typing import Any
from urllib.parse import urlsplit

from lictor.api.access import AccessParts, access_routes
from lictor.api.access_door import DoorParts, TaskDoor
from lictor.api.caller import Callers
from lictor.api.containment import containment_routes
from lictor.api.log import PREFIX as LOG
from lictor.api.table import table
from lictor.api.tasks import Desk
from lictor.api.web import Door, Route, api_app, serves
from lictor.app.house import House
from lictor.app.logged import log_rows
from lictor.app.runtime import Runtime
from lictor.app.shadow import in_shadow
from lictor.console.web import Console, console_app
from lictor.identity.webauthn import WebAuthn
from lictor.pep.mcp.downstream.http import mcp_app
from lictor.policy.invariants import FILE as INVARIANTS
from lictor.service.containment.alarm import Alarm
from lictor.service.people.passkey_site import site_of
from lictor.service.people.passkeys import Passkeys
from lictor.stores.cosigned import read_cosigned
from lictor.stores.keys import LOG_FILE
from lictor.stores.sqlite import SqliteStore


def http_app(runtime: Runtime) -> Any:
    """One ASGI application: the MCP endpoint at `/mcp`, the control plane below `/v1`, the console everywhere else."""
    mcp, console, control = mcp_endpoint(runtime), console_of(runtime), control_plane(runtime)
    shows_log = runtime.house.settings.log.serve

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        below_log = shows_log and path.startswith(LOG)
        inner = mcp if path == "/mcp" else control if below_log or serves(path) else console
        await inner(scope, receive, send)

    return runtime.observing.carrying(app)


def mcp_endpoint(runtime: Runtime) -> Any:
    """What agents reach."""
    house, settings, doors = runtime.house, runtime.house.settings, runtime.entrance.doors
    return mcp_app(
        gateway=runtime.gateway,
        tasks=house.tasks,
        audience=settings.audience,
        allowed_hosts=settings.hosts,
        allowed_origins=frozenset(settings.listen.allowed_origins),
        limits=settings.limits,
        store=house.store,
        clock=house.clock,
        ids=house.ids,
        authenticate=doors.admit,
        resource_metadata=doors.resource_metadata,
    )


def console_of(runtime: Runtime) -> Any:
    """What people open in a browser."""
    house, settings = runtime.house, runtime.house.settings
    return console_app(
        Console(
            store=house.store,
            policy=house.policy,
            answer=house.answer,
            clock=house.clock,
            ids=house.ids,
            recording=lambda: runtime.ready,
            public_url=settings.public_url,
            hosts=settings.hosts | {urlsplit(settings.people_url).netloc.lower()},
            passkeys=_passkeys(runtime),
            login=runtime.entrance.sign_in(),
            issuer=settings.sign_in.issuer,
            offers=runtime.calls.offers,
            override=house.override,
            reconcile=house.reconcile,
            contain=house.contain,
            health=runtime.guard.fault,
            limits=settings.limits,
            open_log=lambda: SqliteStore.open_unverified(house.state / LOG_FILE),
            verifier_key=house.keys.verifier_key(settings.log_name),
            log_keys=house.keys.log_keys(settings.log_name),
            anchor=house.keys.read_anchor,
            cosigned=lambda: read_cosigned(house.state).values(),
            invariants=lambda: _invariants(house),
            shadow=lambda: in_shadow(house),
            ending=lambda: runtime.ending,
            defect=lambda error: house.say(f"defect in the console: {type(error).__name__}: {error}"),
        )
    )


def _invariants(house: House) -> bytes | None:
    """What the folder says must be provable; it decides nothing, so no revision keeps it."""
    try:
        return (house.folder.path / INVARIANTS).read_bytes()
    except OSError:
        return None


def _passkeys(runtime: Runtime) -> Passkeys | None:
    """People's passkeys; None where no browser offers any: no https and no `localhost`, or no name."""
    house = runtime.house
    site = site_of(house.settings.public_url)
    if site is None:
        return None
    parts: dict[str, Any] = {name: getattr(house, name) for name in ("store", "policy", "clock", "ids", "answer")}
    handle_key = hashlib.sha256(b"lictor passkey handles v1" + house.keys.state_key).digest()
    return Passkeys(**parts, ceremony=WebAuthn(site), site=site, handle_key=handle_key)


def control_plane(runtime: Runtime) -> Any:
    """Tasks, and what else people and applications do: the routes below `/v1` and beside them."""
    house, settings, doors = runtime.house, runtime.house.settings, runtime.entrance.doors
    parts: dict[str, Any] = {name: getattr(house, name) for name in ("store", "policy", "clock")}
    callers = Callers(
        answer=house.answer,
        applications=house.applications,
        tasks=house.tasks,
        policy=house.policy,
        audience=settings.audience,
        front=doors.signed,
    )
    doors.signed.callers = callers
    door = Door(
        callers=callers,
        alarm=Alarm(**parts, ids=house.ids),
        clock=house.clock,
        limits=settings.limits,
        hosts=settings.hosts,
        public_url=settings.public_url,
        on_defect=lambda error: house.say(f"defect: {type(error).__name__}: {error}"),
    )
    rows = table(
        _desk(runtime),
        ready=lambda: runtime.ready,
        ttl_s=int(settings.limits.task_ttl_s),
        url=settings.public_url,
        more=[
            *containment_routes(house.contain, lambda: house.policy.current().agents, house.store),
            *_access(runtime),
            *log_rows(house),
        ],
    )
    return api_app(door, [*rows, *doors.routes()])


def _access(runtime: Runtime) -> list[Route]:
    """What agents ask ahead of a call: the AuthZEN face of approvals."""
    house, gateway, doors = runtime.house, runtime.gateway, runtime.entrance.doors
    shared: dict[str, Any] = {
        "authorize": runtime.calls.authorize,
        "limits": house.settings.limits,
        "public_url": house.settings.public_url,
    }
    door = DoorParts(**shared, admit=doors.admit, guard=gateway.guard, resource_metadata=doors.resource_metadata)
    parts: dict[str, Any] = {name: getattr(house, name) for name in ("store", "clock", "ids", "approval_url")}
    return access_routes(
        AccessParts(
            **parts,
            **shared,
            door=TaskDoor(door),
            offers=runtime.calls.offers,
            split=gateway.naming.split,
            servers=frozenset(runtime.servers),
            check_sent=gateway.check_sent,
        )
    )


def _desk(runtime: Runtime) -> Desk:
    """Where tasks are opened, looked at and closed."""
    house = runtime.house
    return Desk(
        store=house.store,
        policy=house.policy,
        clock=house.clock,
        open=house.open,
        tasks=house.tasks,
        delegate=house.delegate,
        contracts=house.contracts,
        audience=house.settings.audience,
        check=runtime.guard.check,
    )
