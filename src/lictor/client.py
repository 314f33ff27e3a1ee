"""A small synchronous client of the task API, for applications: the standard library and nothing else.

    with lictor.client.Task.open(url, secret, agent="helper", human="os:ann", purpose="support", text=asked) as task:
        run_the_agent(task.audience, task.token)

The task is closed at the end of the block, however it ends. A request whose answer got lost is repeated with the same idempotency
key, so no second task is left open. Refuses plain HTTP to anywhere but this machine: the secret would be read on the way.
"""

import http.client
import json
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of one answer: a page of a story is a few hundred thousand."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ATTEMPTS: Final = 3


class ClientError(Exception):
    """Something did not work."""


class RefusedError(ClientError):
    """The gateway said no.

    Attributes:
        status: of HTTP.
        reason: the stable code (docs/reference/reason-codes.md).
        detail: one sentence.
        remedy: what to do about it; may be empty.
    """

    def __init__(self, status: int, reason: str, detail: str, remedy: str) -> None:
        """As the gateway's problem details have it."""
        super().__init__(f"{detail} [{reason}]" + (f" ({remedy})" if remedy else ""))
        self.status = status
        self.reason = reason
        self.detail = detail
        self.remedy = remedy


class UnreachableError(ClientError):
    """No answer came, or none that can be read. Whether the request was carried out is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """A task as it stands. Times are milliseconds since the epoch."""

    task: str
    state: str
    """`open`, `closed` or `expired`."""
    agent: str
    human: str
    purpose: str
    audience: str
    opened_by: str
    calls_used: int
    calls_budget: int
    value_used: Mapping[str, int]
    value_budget: Mapping[str, int]
    labels: tuple[str, ...]
    parents: tuple[str, ...]
    opened_at_ms: int
    expires_at_ms: int
    contract: Mapping[str, Any] | None
    contract_used: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing a task asked for, and what became of it."""

    seq: int
    at_ms: int
    action: str
    kind: str
    outcome: str
    reason: str
    request: str = ""
    policies: tuple[str, ...] = ()
    hold: str = ""
    hold_status: str = ""
    execution: str = ""
    execution_outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A task that was opened. `token` is empty where none was asked for, and where it was shown before (`repeated`)."""

    task: str
    state: str
    audience: str
    expires_at_ms: int
    parents: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    repeated: bool = False


_T = TypeVar("_T")


class Client:
    """Talks to one gateway as one person or application. Holds no connection between two calls; safe to share by threads."""

    def __init__(
        self, url: str, secret: str, *, timeout_s: float = 30.0, context: ssl.SSLContext | None = None
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: of the gateway, such as `https://gateway.example`.
            secret: of an enrolled application or approver, or a signed token of theirs.
            timeout_s: for each step of a request.
            context: for TLS; None: the system's authorities.

        Raises:
            ValueError: the URL is no gateway's, or would send the secret in clear.
        """
        parts = urlsplit(url)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise ValueError(f"{url[:200]!r} is no gateway's URL")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("plain http is for this machine only: use https")
        if not secret.isascii() or not secret.isprintable() or " " in secret or not secret:
            raise ValueError("this is no secret that can be sent")
        self._host, self._port, self._tls = parts.hostname, parts.port, parts.scheme == "https"
        self._base = parts.path.rstrip("/")
        self._secret = secret
        self._timeout_s = timeout_s
        self._context = context

    def open(
        self,
        *,
        agent: str,
        human: str,
        purpose: str,
        text: str = "",
        ttl_s: int = 3_600,
        calls: int = 1_000,
        value: Mapping[str, int] | None = None,
        declared: Mapping[str, Sequence[str]] | None = None,
        clauses: Sequence[Mapping[str, Any]] | None = None,
        bearer: bool = True,
        key: str = "",
    ) -> Opened:
        """Open a task.

        Args:
            text: what the person asked, in their words; never what a model wrote.
            value: budget in minor units by currency.
            declared: values by name that you vouch for.
            clauses: of a contract; None: policy alone bounds it.
            bearer: whether a bearer token is made.
            key: an idempotency key; a fresh one if not given.

        Raises:
            RefusedError: policy or the gateway says no.
            UnreachableError: no answer, several times over.
        """
        body: dict[str, Any] = {
            "agent": agent,
            "human": human,
            "purpose": purpose,
            "text": text,
            "ttl_s": ttl_s,
            "calls": calls,
            "value": dict(value or {}),
            "declared": {name: list(values) for name, values in (declared or {}).items()},
            "bearer": bearer,
        }
        if clauses is not None:
            body["contract"] = {"clauses": [dict(clause) for clause in clauses]}
        opened = self._opened(body, key or uuid.uuid4().hex)
        if opened.repeated and bearer and not key:
            # The answer with the token got lost. Nobody will ever use that task: it is closed, and another one opened.
            self.close(opened.task)
            opened = self._opened(body, uuid.uuid4().hex)
        return opened

    def _opened(self, body: Mapping[str, Any], key: str, path: str = "/v1/tasks") -> Opened:
        for attempt in range(_ATTEMPTS):
            try:
                return _opened(self._call("POST", path, body, {"Idempotency-Key": key}))
            except UnreachableError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise UnreachableError("no answer")

    def tasks(self, *, state: str | None = None) -> Iterator[TaskState]:
        """Your tasks, newest first.

        Raises:
            RefusedError: the gateway says no.
            UnreachableError: no answer.
        """
        query = {"limit": "200"} | ({"state": state} if state is not None else {})
        after = None
        while True:
            page = self._call("GET", f"/v1/tasks?{urlencode(query | ({'after': after} if after else {}))}")
            yield from (_state(one) for one in page["tasks"])
            after = page["next"]
            if after is None:
                return

    def task(self, task: str) -> TaskState:
        """One task.

        Raises:
            RefusedError: `unknown_task`: there is none, or none of yours.
            UnreachableError: no answer.
        """
        return _state(self._call("GET", f"{_path(task)}?limit=1")["task"])

    def story(self, task: str) -> Iterator[Step]:
        """What a task asked for, in order, and what became of it.

        Raises:
            RefusedError: `unknown_task`.
            UnreachableError: no answer.
        """
        after = None
        while True:
            page = self._call("GET", _path(task) + (f"?after={after}" if after is not None else ""))
            yield from (_step(one) for one in page["steps"])
            after = page["next"]
            if after is None:
                return

    def close(self, task: str) -> TaskState:
        """End a task's authority now. Closing what is closed already is fine.

        Raises:
            RefusedError: `unknown_task`.
            UnreachableError: no answer.
        """
        try:
            return _state(self._call("POST", f"{_path(task)}/close"))
        except RefusedError as refused:
            if refused.reason != "task_closed":
                raise
            return self.task(task)

    def delegate(
        self,
        task: str,
        *,
        agent: str,
        text: str = "",
        ttl_s: int = 600,
        calls: int = 100,
        value: Mapping[str, int] | None = None,
        clauses: Sequence[Mapping[str, Any]] | None = None,
        key: str = "",
    ) -> Opened:
        """Open a child task for another agent: less in every dimension.

        Args:
            task: the parent.
            agent: who gets it.
            text: what it is asked to do.
            ttl_s: no longer than the parent.
            calls: out of the parent's.
            value: out of the parent's.
            clauses: of a contract.
            key: an idempotency key; a fresh one if not given.

        Raises:
            RefusedError: `delegation`, `unknown_task`.
            UnreachableError: no answer, several times over.
        """
        body: dict[str, Any] = {
            "agent": agent,
            "text": text,
            "ttl_s": ttl_s,
            "calls": calls,
            "value": dict(value or {}),
        }
        if clauses is not None:
            body["contract"] = {"clauses": [dict(clause) for clause in clauses]}
        path = f"{_path(task)}/delegate"
        opened = self._opened(body, key or uuid.uuid4().hex, path)
        if opened.repeated and not key:
            # As in `open`: a child whose token got lost is closed, and another one opened.
            self.close(opened.task)
            opened = self._opened(body, uuid.uuid4().hex, path)
        return opened

    def bind(self, task: str, clauses: Sequence[Mapping[str, Any]]) -> TaskState:
        """Bind a task that is not bound yet.

        Raises:
            RefusedError: `conflict`: it is bound already.
            UnreachableError: no answer.
        """
        body = {"bind": {"clauses": [dict(clause) for clause in clauses]}}
        return _state(self._call("POST", f"{_path(task)}/contract", body))

    def confirm(self, task: str) -> TaskState:
        """Say yes to a task's contract as it stands, as the person it is for.

        Raises:
            RefusedError: `not_an_approver`, `conflict`.
            UnreachableError: no answer.
        """
        return _state(self._call("POST", f"{_path(task)}/contract", {"confirm": True}))

    # -- on the wire -----------------------------------------------------------------------------------------------------

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        sent = {"Authorization": f"Bearer {self._secret}", "Accept": "application/json", **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, self._base + path, data, sent)
            answer = connection.getresponse()
            status, text = answer.status, answer.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self._host}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        return _read(status, text)

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            context = self._context or ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)


class Task:
    """An open task that is closed at the end of its block."""

    def __init__(self, client: Client, opened: Opened) -> None:
        """Made by `open` and `delegate`."""
        self._client = client
        self._opened = opened

    @classmethod
    def open(cls, url: str, secret: str, *, agent: str, human: str, purpose: str, **options: Any) -> "Task":
        """Open a task at a gateway; `options` as for `Client.open`, and `timeout_s` and `context` as for `Client`.

        Raises:
            ValueError: the URL or the secret cannot be used.
            RefusedError: policy or the gateway says no.
            UnreachableError: no answer, several times over.
        """
        about = {name: options.pop(name) for name in ("timeout_s", "context") if name in options}
        client = Client(url, secret, **about)
        return cls(client, client.open(agent=agent, human=human, purpose=purpose, **options))

    @property
    def id(self) -> str:
        """Its id."""
        return self._opened.task

    @property
    def token(self) -> str:
        """What the agent sends as `Authorization: Bearer …`."""
        return self._opened.token

    @property
    def audience(self) -> str:
        """The MCP endpoint it is for."""
        return self._opened.audience

    @property
    def expires_at_ms(self) -> int:
        """When its authority ends by itself."""
        return self._opened.expires_at_ms

    def state(self) -> TaskState:
        """What it has used and seen so far."""
        return self._client.task(self.id)

    def story(self) -> Iterator[Step]:
        """What it asked for, in order."""
        return self._client.story(self.id)

    def delegate(self, *, agent: str, **options: Any) -> "Task":
        """A child task for another agent; `options` as for `Client.delegate`."""
        return Task(self._client, self._client.delegate(self.id, agent=agent, **options))

    def close(self) -> None:
        """End its authority now."""
        self._client.close(self.id)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it. What went wrong inside is not hidden by what goes wrong here."""
        try:
            self.close()
        except ClientError as closing:
            if error is None:
                raise
            error.add_note(f"and the task could not be closed: {closing}")

    def __repr__(self) -> str:
        """Without its token."""
        return f"Task({self.id!r})"


def _read(status: int, text: bytes) -> Any:
    if len(text) > MAX_ANSWER:
        raise UnreachableError(f"an answer of more than {MAX_ANSWER} bytes")
    try:
        value = json.loads(text)
    except ValueError:
        raise UnreachableError(f"status {status}, and no JSON: this is no gateway, or one that is not ready") from None
    if 200 <= status < 300:
        return value
    told = value if isinstance(value, dict) else {}
    reason, detail = str(told.get("reason", "")), str(told.get("detail", ""))
    if not reason:
        raise UnreachableError(f"status {status}, and no reason: this is no gateway, or one that is not ready")
    raise RefusedError(status, reason, detail, str(told.get("remedy", "")))


def _made(type_: Callable[..., _T], names: tuple[str, ...], value: Any) -> _T:
    """A typed result. What a newer gateway says besides is left out."""
    try:
        known = {name: value[name] for name in names if name in value}
        return type_(**{name: tuple(one) if isinstance(one, list) else one for name, one in known.items()})
    except (TypeError, KeyError) as error:
        raise UnreachableError(f"an answer that cannot be read: {error}") from None


def _opened(value: Any) -> Opened:
    return _made(Opened, Opened.__slots__, value)


def _state(value: Any) -> TaskState:
    return _made(TaskState, TaskState.__slots__, value)


def _step(value: Any) -> Step:
    return _made(Step, Step.__slots__, value)


def _path(task: str) -> str:
    return f"/v1/tasks/{quote(task, safe='')}"
