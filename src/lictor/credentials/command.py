"""A program of the operator's makes and revokes the credential: for whatever has no provider here.

It is started without a shell, from the bundle's own text, with a closed environment; it reads one JSON object on standard input
and writes one on standard output. What it writes to standard error is thrown away: it may hold the secret.

    issue:   {"do": "issue", "lease": …, "credential": …, "agent": …, "human": …, "task": …, "purpose": …, "ttl_s": …,
              "narrow": {…}}
             -> {"secret": {"token": "…"}, "expires_in": 900, "handle": "…", "revocation": "…"}
    revoke:  {"do": "revoke", "lease": …, "credential": …, "handle": …, "revocation": …} -> {} and status 0

A program that ended with a status other than 0 while issuing may have made something: it is asked to revoke by the lease's id.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from lictor.credentials.options import Options, Secrets, need, need_name
from lictor.model.errors import UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Issued, LeaseAsk

MAX_OUTPUT: Final = 64 * 1024
"""Bytes of an answer: a certificate chain fits."""
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


class CommandOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is started, with which secrets of the safe in its environment, and how long it may take."""

    command: tuple[str, ...]
    env: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    """Variables by name: the *name of a secret* of the safe, never a value."""
    pass_env: tuple[str, ...] = ()
    timeout_s: float = 10.0
    max_life_s: int = 3_600
    """What lives longer is not lent, and ended."""

    def check(self) -> None:
        """A program to start, names, a time."""
        need(bool(self.command) and bool(self.command[0]), "`command` is a program and its arguments")
        need(0 < self.max_life_s <= 86_400, "`max_life_s` is 1 to 86400")
        need(0 < self.timeout_s <= 60, "`timeout_s` is up to 60 seconds")
        for variable, name in self.env.items():
            need_name(name, f"env.{variable}")


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret: dict[str, str]
    expires_in: int
    handle: str = ""
    revocation: str | None = None


class Command:
    """`lictor.ports.Provider` over a program."""

    def __init__(self, options: CommandOptions, secrets: Secrets, clock: Clock) -> None:
        self._options = options
        self._secrets = secrets
        self._clock = clock

    async def issue(self, ask: LeaseAsk) -> Issued:
        """Ask for one.

        Raises:
            UpstreamError: it did not start (nothing was made), or it failed, was late or not understood (one may exist).
        """
        told = {
            "do": "issue",
            "lease": ask.lease,
            "credential": ask.credential.name,
            "agent": ask.agent,
            "human": ask.human,
            "task": ask.task,
            "purpose": ask.purpose,
            "ttl_s": ask.ttl_s,
            "narrow": dict(ask.narrow),
        }
        try:
            answer = msgspec.json.decode(await self._run(told), type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _failed("its answer is not understood") from None
        if not 0 < answer.expires_in <= self._options.max_life_s or not answer.secret:
            raise _failed(f"its answer holds no credential that lives, for {self._options.max_life_s} s at most")
        return Issued(
            secret={field: Secret(value) for field, value in answer.secret.items()},
            expires_at_ms=self._clock.now_ms() + answer.expires_in * 1_000,
            handle=answer.handle,
            revocation=Secret(answer.revocation) if answer.revocation is not None else None,
        )

    def longest_s(self, ttl_s: int) -> int:
        """As long as the program may say."""
        del ttl_s
        return self._options.max_life_s

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """Ask that it is made useless.

        Raises:
            UpstreamError: the program did not confirm.
        """
        told = {"do": "revoke", "lease": lease, "credential": credential.name, "handle": handle}
        await self._run({**told, "revocation": revocation.reveal() if revocation is not None else None})

    async def _run(self, told: Mapping[str, Any]) -> bytes:
        """Start it, once."""
        own = {name: os.environ[name] for name in (*_PASSED, *self._options.pass_env) if name in os.environ}
        lent = {variable: (await self._secrets(name)).reveal() for variable, name in self._options.env.items()}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._options.command,
                env={**own, **lent},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            text = f"the credential's program cannot be started: {type(error).__name__}"
            raise UpstreamError(Reason.UPSTREAM_DOWN, text, effect_possible=False) from None
        try:
            async with asyncio.timeout(self._options.timeout_s):
                output = await _talk(process, msgspec.json.encode(told))
        except TimeoutError:
            raise _failed("it was late", Reason.UPSTREAM_TIMEOUT) from None
        finally:
            await _end(process)
        if process.returncode != 0:
            raise _failed(f"it ended with status {process.returncode}")
        if len(output) > MAX_OUTPUT:
            raise _failed("its answer is too large", Reason.UPSTREAM_TOO_LARGE)
        return output


async def _talk(process: asyncio.subprocess.Process, told: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise _failed("it has no standard streams")
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(told)
        await process.stdin.drain()
    process.stdin.close()
    output = b""
    while len(output) <= MAX_OUTPUT and (more := await process.stdout.read(MAX_OUTPUT)):
        output += more
    if len(output) <= MAX_OUTPUT:
        await process.wait()
    return output


async def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever it started goes with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)
    await process.wait()


def _failed(message: str, reason: Reason = Reason.UPSTREAM_INVALID) -> UpstreamError:
    return UpstreamError(reason, f"the credential's program failed: {message}", effect_possible=True)


def build(options: Mapping[str, Any], secrets: Secrets, clock: Clock) -> Command:
    """See `providers.make`."""
    return Command(CommandOptions.read(options), secrets, clock)
