"""`lictor agents`: register, review and take agents out of service; every change is shown first, checked whole, and recorded."""

import argparse
import asyncio
import difflib
import getpass
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lictor.cli.holds import SECRET_VARIABLE, approver_secret
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.agent import Agent
from lictor.model.errors import CallerError, OperatorError
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.app import House
    from lictor.model.identity import Proof
    from lictor.policy.bundle import Bundle
    from lictor.service.registry import What

_FILE: Final = "agents.toml"
_PAIR: Final = re.compile(r"(issuer|subject|claim\.([^=,]{1,128}))=(.*)", re.DOTALL)
_NEXT: Final = re.compile(r",(?=issuer=|subject=|claim\.[^=,]{1,128}=)")
_VOUCH: Final = f"Once approvers are enrolled, this needs the secret of one: ${SECRET_VARIABLE}, or asked for."


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    from lictor.cli import agents_shown, agents_unused

    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    adding = actions.add_parser("add", help="register an agent (shows the diff first)", epilog=_VOUCH)
    _editing(adding)
    adding.add_argument("--owner", required=True, help="the person or team who answers for it")
    adding.add_argument(
        "--review-by", default="", metavar="WHEN", help="2027-02-01 or 90d; at most a year ahead (default: 90d)"
    )
    adding.add_argument(
        "--autonomy", type=int, default=0, metavar="0-5", help="0: every step is asked for; 5: unattended"
    )
    adding.add_argument("--environment", default="development", metavar="NAME")
    adding.add_argument("--team", default="", metavar="NAME")
    adding.add_argument("--group", action="append", default=[], metavar="NAME", help="for policy; repeat")
    adding.add_argument("--delegates-to", action="append", default=[], metavar="AGENT", help="repeat")
    adding.add_argument(
        "--proof",
        action="append",
        default=[],
        metavar="issuer=…,subject=…",
        help="how it proves itself; also claim.NAME=…; repeat for another way",
    )
    adding.set_defaults(run=_add)
    agents_shown.add(actions)
    reviewing = actions.add_parser("review", help="set an agent's next review date, and say who looked", epilog=_VOUCH)
    _editing(reviewing)
    reviewing.add_argument("--by", default="", metavar="WHEN", help="the next date: 2027-02-01 or 90d (default: 90d)")
    reviewing.set_defaults(run=_review)
    leaving = actions.add_parser("offboard", help="take an agent out of service: running gateways stop it at once")
    _editing(leaving)
    leaving.add_argument("--why", default="taken out of service", help="for the record")
    leaving.set_defaults(run=_offboard)
    agents_unused.add(actions)


def _editing(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--write", action="store_true", help="write the change without asking")


def _add(args: argparse.Namespace) -> int:
    from lictor.policy.registry_edit import NewAgent, add_agent, review_date

    new = NewAgent(
        name=args.name,
        owner=args.owner,
        review_by=review_date(args.review_by, _today()),
        autonomy=args.autonomy,
        environment=args.environment,
        team=args.team,
        groups=tuple(args.group),
        delegates_to=tuple(args.delegates_to),
        proofs=tuple(_proof(text) for text in args.proof),
    )
    return _Edit(args, "added", lambda text: add_agent(text, new)).run()


def _review(args: argparse.Namespace) -> int:
    from lictor.policy.registry_edit import review_agent, review_date

    by = review_date(args.by, _today())
    return _Edit(args, "reviewed", lambda text: review_agent(text, args.name, by)).run()


def _offboard(args: argparse.Namespace) -> int:
    from lictor.policy.registry_edit import retire_agent

    return _Edit(args, "offboarded", lambda text: retire_agent(text, args.name)).run()


class _Edit:
    """One change of the registry: shown, confirmed, checked with the whole bundle, recorded, written, in that order."""

    def __init__(self, args: argparse.Namespace, what: "What", change: Callable[[str], str]) -> None:
        from lictor.app import bundle_path
        from lictor.stores.bundle_folder import BundleFolder

        self.args, self.what, self.out = args, what, Out(as_json=args.json)
        self.path: Path = bundle_path(args.bundle)
        self.folder = BundleFolder(self.path)
        self.files = self.folder.read()
        self.before = self.files.get(_FILE, b"")
        try:
            text = self.before.decode("utf-8")
        except UnicodeDecodeError as error:
            raise OperatorError(Reason.BUNDLE_REFUSED, f"not UTF-8 at byte {error.start}", where=_FILE) from None
        self.after = change(text).encode()

    def run(self) -> int:
        """Do it, or say what would be done."""
        leaving = self.what == "offboarded"
        checked = None if leaving else self._checked()  # leaving must work beside a fault elsewhere in the bundle
        self._show()
        if not self._confirmed():
            self.out.line("nothing was written; to write: add --write")
            self.out.data(self._told(written=False))
            return Exit.OK
        return asyncio.run(self._leave() if leaving else self._write(checked or self._checked(), {}))

    def _checked(self) -> "Bundle":
        """The bundle as it would be.

        Raises:
            BundleRefused: it would be none; the file stays as it is.
        """
        from lictor.policy.compile import compile_bundle
        from lictor.policy.lint import refuse_invalid
        from lictor.policy.load import load_bundle

        files = {**self.files, _FILE: self.after}
        bundle = load_bundle(files, self.folder.parse(files))
        refuse_invalid(bundle)
        compile_bundle(bundle)
        return bundle

    async def _leave(self) -> int:
        """Stop the agent first, everywhere; then tidy up the file."""
        from lictor.app import open_house
        from lictor.cli.agents_shown import registry_of

        house = await open_house(self.path, load=False)
        try:
            stopped = await registry_of(house).stop(AgentId(self.args.name), by=_operator(), why=self.args.why)
        finally:
            house.close()
        self.out.line(f"{self.out.good('stopped')} in every gateway on this store ({stopped.containment})")
        for task in stopped.tasks:
            self.out.line(f"  closed {task}")
        told: dict[str, object] = {"containment": stopped.containment, "tasks": list(stopped.tasks)}
        if self.before == self.after:
            self.out.data(self._told(written=False) | told)
            return Exit.OK
        return await self._write(self._checked(), told)

    async def _write(self, bundle: "Bundle", told: dict[str, object]) -> int:
        from lictor.app import open_house
        from lictor.cli.agents_shown import registry_of

        house = await open_house(self.path, load=self.what != "offboarded")
        try:
            by = _operator() if self.what == "offboarded" else person_of(house)
            name = AgentId(self.args.name)
            agents, proofs = _registered_in(self.before)
            shown = (proofs.get(name, ()), bundle.proofs.get(name, ()))
            await registry_of(house).record(self.what, agents.get(name), bundle.agents.get(name), by=by, proofs=shown)
            self.folder.replace(_FILE, self.before, self.after)
            waiting = ""
            try:
                await house.activate(bundle, by=by)
            except OperatorError as error:
                if error.reason is not Reason.BUNDLE_UNAPPROVED:
                    raise
                waiting = error.remedy
        finally:
            house.close()
        self.out.data(self._told(written=True) | {"by": by, "revision": bundle.revision, "waiting": waiting} | told)
        self.out.line(f"{self.out.good('written')}: {safe(self.args.name)} {self.what} by {safe(by)}")
        if waiting:
            self.out.line(f"{self.out.warm('not in force yet')}: {safe(waiting)}")
        return Exit.OK

    def _show(self) -> None:
        before, after = (text.decode("utf-8").splitlines() for text in (self.before, self.after))
        if self.before == self.after:
            self.out.line("  the file stays as it is; only the record is written")
        for line in difflib.unified_diff(before, after, _FILE, _FILE, lineterm=""):
            paint = self.out.good if line.startswith("+") else self.out.bad if line.startswith("-") else self.out.dim
            self.out.line(f"  {paint(line[:1] + safe(line[1:].rstrip(), 500))}")

    def _confirmed(self) -> bool:
        if self.args.write:
            return True
        if self.args.json or not sys.stdin.isatty():
            return False
        return input("write this? type yes: ").strip() == "yes"

    def _told(self, *, written: bool) -> dict[str, object]:
        return {"agent": self.args.name, "what": self.what, "written": written, "changed": self.before != self.after}


def person_of(house: "House") -> str:
    """Who gives authority: an enrolled approver with their secret, once there is one (ADR 0008).

    Raises:
        CallerError: `unauthenticated`: approvers are enrolled, and this is not the secret of one.
    """
    if any(house.store.enrolled(person) for person in house.policy.current().approvers.groups_of):
        return house.answer.authenticate(approver_secret())
    return _operator()


def _operator() -> str:
    return f"os:{getpass.getuser()}"


def _today() -> date:
    from lictor.stores.clock import SystemClock

    return datetime.fromtimestamp(SystemClock().now_ms() / 1_000, UTC).date()


def _registered_in(data: bytes) -> "tuple[Mapping[AgentId, Agent], Mapping[AgentId, tuple[Proof, ...]]]":
    from lictor.policy.documents import read_toml
    from lictor.policy.problems import Problems
    from lictor.policy.registry import read_agents

    document = read_toml(_FILE, data, Problems())
    people = read_agents(document, Problems()) if document else None
    return (people.agents, people.proofs) if people else ({}, {})


def _proof(text: str) -> "Proof":
    from lictor.model.identity import Proof

    issuer, subject, claims = "", "", {}
    for part in _NEXT.split(text):
        found = _PAIR.fullmatch(part)
        if found is None:
            raise CallerError(
                Reason.INVALID_ARGUMENTS, f"{part[:80]!r} is no part of a proof", remedy="issuer=…,subject=…"
            )
        match found[1]:
            case "issuer":
                issuer = found[3]
            case "subject":
                subject = found[3]
            case _:
                claims[found[2]] = found[3]
    if not issuer or not (subject or claims):
        message = f"{text[:80]!r} names no issuer, or neither subject nor claim"
        raise CallerError(Reason.INVALID_ARGUMENTS, message, remedy="issuer=…,subject=…")
    return Proof(issuer=issuer, subject=subject, claims=claims)
