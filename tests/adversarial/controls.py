"""Deliberately broken builds, one for each class: whoever tests nothing still passes on them (README, "Each family has a control")."""

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import msgspec
from cedarpy import Decision as EngineDecision

from lictor.lifecycle import approvals
from lictor.model.errors import StoreError
from lictor.model.limits import Limits
from lictor.pdp import command, sql
from lictor.pdp.engine import cedar
from lictor.pdp.normalise import money, path, target
from lictor.pep.mcp import answers, gateway
from lictor.pep.mcp.downstream import door, http
from lictor.policy.arguments import ArgumentsValidator
from lictor.ports import Receipt
from lictor.protocol import display_frame
from lictor.protocol.jose import profiles
from lictor.protocol.json import Parsed
from lictor.records import verify
from lictor.records.verify import FindingKind, Report
from lictor.service.calls.authorize import Authorize
from lictor.service.calls.offers import Offers
from lictor.service.tasks.delegate import Delegate
from lictor.sinks import encode

_DECIDE = importlib.import_module("lictor.pdp.decide")
_SELECT = importlib.import_module("lictor.pdp.normalise.select")
"""By name: the package has a function of the same name."""
Broken = Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def last_key_wins() -> Iterator[None]:
    """JSON: the standard library's reader, which takes the last of two equal keys, NaN, and other encodings."""

    def read(data: bytes, limits: Limits, **_: Any) -> Parsed:
        return Parsed(json.loads(data), floats=True)

    with patch.object(door, "read", read):
        yield


@contextlib.contextmanager
def headers_ignored() -> Iterator[None]:
    """MCPH: nobody compares header and body."""
    with patch.object(http, "check_agreement", lambda *_args, **_more: None):
        yield


@contextlib.contextmanager
def pins_ignored() -> Iterator[None]:
    """TOOL: whatever a server offers counts as what was looked at."""

    def definition(self: Offers, kind: Any, server: Any, name: str) -> Any:
        offering = self._policy.current().offering(kind, server, name)
        return offering.entry.pin if offering else None

    with patch.object(Offers, "definition", definition):
        yield


@contextlib.contextmanager
def truncated_screen() -> Iterator[None]:
    """APRV: what people see ends after forty characters, and says nothing about it."""
    from lictor.console import pages

    whole = display_frame.show

    def short(text: str) -> Any:
        return whole(text[:40])

    with patch.object(pages, "show", short), patch.object(display_frame, "show", short):
        yield


@contextlib.contextmanager
def approvals_not_spent() -> Iterator[None]:
    """BIND: starting an execution leaves its approval as it is."""
    with patch.object(approvals, "consumed", lambda *_: {}):
        yield


@contextlib.contextmanager
def any_number() -> Iterator[None]:
    """NUMB: arguments are not held against their schema, and amounts are floats."""

    def decimal(raw: Any, *_: Any) -> int:
        value = float(raw)
        return 1 if not abs(value) < 1e15 or value <= 0 else int(value * 100)

    with patch.object(ArgumentsValidator, "check", lambda *_: None), patch.object(money, "_decimal", decimal):
        yield


@contextlib.contextmanager
def paths_as_text() -> Iterator[None]:
    """PATH: a root is a prefix of the text, and nothing is odd about any path."""

    def located(parts: Any, roots: Any, selector: Any, where: str) -> Any:
        return path.Located(root="ws", parts=parts)

    with (
        patch.object(path, "_located", located),
        patch.object(path, "_check_part", lambda *_: None),
        patch.object(path, "_check_characters", lambda *_: None),
    ):
        yield


@contextlib.contextmanager
def engine_errors_ignored() -> Iterator[None]:
    """POLE: the engine's own answer, as it comes: a rule that fails is a rule that is not there."""

    def close(decision: Any, reasons: Any, errors: Any) -> cedar.Verdict:
        return cedar.Verdict(decision is EngineDecision.Allow, tuple(sorted(reasons)))

    with patch.object(cedar, "_close", close):
        yield


@contextlib.contextmanager
def records_optional() -> Iterator[None]:
    """FAIL: when the decision cannot be written down, the action runs all the same."""
    commit = Authorize._commit

    async def careless(self: Authorize, *parts: Any) -> Receipt:
        try:
            return await commit(self, *parts)
        except StoreError:
            return Receipt(0, 1)

    with patch.object(Authorize, "_commit", careless):
        yield


@contextlib.contextmanager
def checkpoints_ignored() -> Iterator[None]:
    """AUDT: a verifier that looks at entries one by one and at nothing that was signed."""
    from lictor.cli import verifying

    whole = verify.verify_log
    kept = {FindingKind.SEQUENCE, FindingKind.ENTRY}

    def partial(*parts: Any, **more: Any) -> Report:
        report = whole(*parts, **more)
        findings = tuple(finding for finding in report.findings if finding.kind in kept)
        return replace(report, ok=not findings, findings=findings)

    with patch.object(verify, "verify_log", partial), patch.object(verifying, "verify_log", partial):
        yield


@contextlib.contextmanager
def top_node_only() -> Iterator[None]:
    """SQLQ: what begins like a query is a query, and nothing is refused."""
    whole = sql.sql_facts

    def careless(text: str, dialect: str) -> sql.SqlFacts:
        reads = text.lstrip().lower().startswith(("select", "with", "explain"))
        return msgspec.structs.replace(whole("select 1", dialect), read_only=reads)

    with patch.object(_SELECT, "sql_facts", careless):
        yield


@contextlib.contextmanager
def first_word_only() -> Iterator[None]:
    """CMD: a command is its first word."""
    whole = command.command_facts

    def careless(given: Any) -> command.CommandFacts:
        return whole([given.split()[0] if isinstance(given, str) else "ls"])

    with patch.object(_SELECT, "command_facts", careless):
        yield


@contextlib.contextmanager
def totals_forgotten() -> Iterator[None]:
    """HIST: every call is the first one."""
    with patch.object(_DECIDE, "values_of", lambda measures, *_: dict.fromkeys(measures, 0)):
        yield


@contextlib.contextmanager
def delegation_unchecked() -> Iterator[None]:
    """DELG: whoever holds a task hands on what they like, to whom they like."""
    with patch.object(Delegate, "_check", lambda *_: None):
        yield


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """BEHV: what a detector says makes no difference."""
    with patch.object(_DECIDE, "_contained", lambda *parts: parts[-1]):
        yield


@contextlib.contextmanager
def urls_as_text() -> Iterator[None]:
    """URLS: the host is what stands before the first slash and behind the last `@`, and the path is what is written."""

    def read(raw: str, selector: Any, directory: Any, where: str) -> target.Target:
        scheme, _, rest = raw.partition("://")
        host, _, path = rest.partition("/")
        host = host.rpartition("@")[2].split("\\")[0].split("%")[0]
        names = directory.names_of(host, 443, default_port=True)
        path = "/" + path.partition("?")[0]
        return target.Target(kind="url", scheme=scheme, host=host, domain=host, port=443, path=path, directory=names)

    with patch.object(_SELECT, "url_target", read):
        yield


@contextlib.contextmanager
def signatures_unchecked() -> Iterator[None]:
    """IDEN: whoever writes a token is whom it names."""
    with patch.object(profiles, "check_signature", lambda *_: None):
        yield


@contextlib.contextmanager
def rebinding_ignored() -> Iterator[None]:
    """OAUT: whatever name the client believes it talks to, and whatever page sends it."""
    with patch.object(http, "check_host", lambda *_: None), patch.object(http, "check_origin", lambda *_: None):
        yield


@contextlib.contextmanager
def text_as_it_is() -> Iterator[None]:
    """LOGI: what is written to sinks is JSON, and its texts stand in it as they came."""

    def careless(value: Any) -> bytes:
        return json.dumps(value, ensure_ascii=False).encode()

    with patch.object(encode, "ascii_json", careless):
        yield


BY_CLASS: dict[str, Broken] = {
    "OAUT": rebinding_ignored,
    "IDEN": signatures_unchecked,
    "HIST": totals_forgotten,
    "DELG": delegation_unchecked,
    "BEHV": signals_ignored,
    "URLS": urls_as_text,
    "CMD": first_word_only,
    "SQLQ": top_node_only,
    "JSON": last_key_wins,
    "MCPH": headers_ignored,
    "TOOL": pins_ignored,
    "APRV": truncated_screen,
    "BIND": approvals_not_spent,
    "NUMB": any_number,
    "PATH": paths_as_text,
    "POLE": engine_errors_ignored,
    "FAIL": records_optional,
    "LOGI": text_as_it_is,
    "AUDT": checkpoints_ignored,
}


# -- what the universal assertions are for -------------------------------------------------------------------------------


@contextlib.contextmanager
def other_bytes() -> Iterator[None]:
    """U1, U5: what is sent is not quite what was decided."""
    forward = gateway.Gateway._forward

    async def changed(self: Any, delivery: Any, sealed: Any, meta: Any) -> Any:
        other = type(sealed)(sealed.data.replace(b"/srv/ws/a", b"/etc/passw"), sealed.digest)
        return await forward(self, delivery, other, meta)

    with patch.object(gateway.Gateway, "_forward", changed):
        yield


class _Late:
    """A store whose commits wait until somebody lets them through."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.waiting: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def commit(self, batch: Any) -> Receipt:
        self.waiting.append(batch)
        return Receipt(0, 1)


@contextlib.contextmanager
def sent_first() -> Iterator[None]:
    """U2: the decision is written down when the effect has happened."""
    allow, run, late = Authorize._allow, gateway.Gateway._run, []

    async def early(self: Any, pdp: Any, attempt: Any, decision: Any) -> Any:
        real = self._store
        self._store = store = _Late(real)
        late.append(store)
        try:
            return await allow(self, pdp, attempt, decision)
        finally:
            self._store = real

    async def then(self: Any, *parts: Any) -> Any:
        answer = await run(self, *parts)
        for batch in late[-1].waiting:
            await late[-1].real.commit(batch)
        return answer

    with patch.object(Authorize, "_allow", early), patch.object(gateway.Gateway, "_run", then):
        yield


@contextlib.contextmanager
def talkative() -> Iterator[None]:
    """U6: the agent is told which rule refused it."""
    text = answers.refusal_text

    def telling(what: str, reason: Any, **more: Any) -> str:
        return f"{text(what, reason, **more)} (fixture/transfer-never)"

    with patch.object(answers, "refusal_text", telling):
        yield


@contextlib.contextmanager
def unstable_reason() -> Iterator[None]:
    """U6: a refusal without a code."""
    with patch.object(answers, "refusal_data", lambda *_, **__: {"reason": "no"}):
        yield


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """U3: a refusal looks like a failure of ours."""
    with patch.object(answers, "_status", lambda _reason: 500):
        yield


@contextlib.contextmanager
def leaking() -> Iterator[None]:
    """U4: an answer repeats a managed secret."""
    from adversarial.world import UPSTREAM_SECRET

    text = answers.refusal_text
    with patch.object(answers, "refusal_text", lambda *parts, **more: f"{text(*parts, **more)} {UPSTREAM_SECRET}"):
        yield


UNIVERSAL: dict[str, tuple[Broken, str, str]] = {
    "U1": (other_bytes, "fs.read_file", "ALLOW"),
    "U2": (sent_first, "fs.read_file", "ALLOW"),
    "U3": (server_errors, "x.nothing", "DENY unknown_tool"),
    "U4": (leaking, "x.nothing", "DENY unknown_tool"),
    "U6": (talkative, "x.nothing", "DENY unknown_tool"),
    "no code": (unstable_reason, "x.nothing", "DENY unknown_tool"),
}
"""The broken build, a call it breaks, and how that call ends where it is whole."""
