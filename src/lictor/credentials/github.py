"""GitHub: an installation token of an App, narrowed to repositories and permissions, and given back.

What GitHub grants is compared with what was asked for: a token for more is given back, not lent. Refuses to know Git.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from lictor.credentials.assertion import sign
from lictor.credentials.http import DEADLINE_S, Answer, Client, Reply, document
from lictor.credentials.options import Options, Secrets, need, need_name, need_template, place, read_url, too_wide
from lictor.model.errors import UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Issued, LeaseAsk

_BACK_S: Final = 60
_AHEAD_S: Final = 480
"""A statement of nine minutes, begun a minute ago against skewed clocks; GitHub takes ten at most."""
_LIFE_S: Final = 3_600
_MAX_LIFE_MS: Final = 2 * 3_600_000
"""GitHub's tokens live one hour; twice that allows for skew."""
_LEVELS: Final = ("read", "write", "admin")
_FACT: Final = re.compile(r"[A-Za-z0-9._-]{1,100}(/[A-Za-z0-9._-]{1,100})?", re.ASCII)
_PERMISSION: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)


class GitHubOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[credentials.NAME.options]` with `provider = "github"`."""

    app_id: str
    """The App's id or client id."""
    installation_id: int
    key_secret: str
    """The name of the App's private key (RSA, PEM)."""
    owner: str
    """Whose repositories these are; a fact that names another owner is refused."""
    repositories: tuple[str, ...]
    """Names, or `{fact}`s of the grant: `["{repository}"]`."""
    permissions: dict[str, Literal["read", "write", "admin"]]
    api_url: str = "https://api.github.com"
    ca_file: str = ""
    deadline_s: float = DEADLINE_S

    def check(self) -> None:
        """Nothing may be left to the installation's own width."""
        read_url(self.api_url, "api_url")
        need_name(self.key_secret, "key_secret")
        need(re.fullmatch(r"[A-Za-z0-9._-]{1,100}", self.app_id, re.ASCII) is not None, "app_id is an id")
        need(self.installation_id > 0, "installation_id is a positive number")
        need(bool(self.repositories), "repositories says which; there is no token for all")
        need(bool(self.permissions), "permissions says which; there is no token for all")
        need(all(_PERMISSION.fullmatch(name) for name in self.permissions), "a permission is lower-case letters")
        for template in self.repositories:
            need_template(template, "repositories")
        need(0 < self.deadline_s <= 60, "deadline_s is at most 60")


class GitHub:
    """The provider (`lictor.ports.Provider`)."""

    def __init__(self, options: GitHubOptions, secrets: Secrets, clock: Clock) -> None:
        self._options = options
        self._secrets = secrets
        self._clock = clock
        url = read_url(options.api_url, "api_url")
        self._client = Client(url, ca_file=options.ca_file, deadline_s=options.deadline_s)

    async def issue(self, ask: LeaseAsk) -> Issued:
        """`token`. It lives one hour whatever was asked for; giving it back ends it.

        Raises:
            UpstreamError: see `ports.Provider`.
        """
        options = self._options
        names = [self._repository(template, ask) for template in options.repositories]
        reply = await self._client.call(
            "POST",
            f"/app/installations/{options.installation_id}/access_tokens",
            fields=_fields(await self._statement()),
            body=document({"repositories": names, "permissions": options.permissions}),
        )
        if not reply.ok:
            raise self._client.refused(reply)
        answer = self._client.answer(reply)
        token = answer.secret("token")
        problem = self._checked(answer, names)
        if problem:
            left = await self._unconfirmed(token) is not None
            error = answer.wrong(problem)
            raise UpstreamError(error.reason, error.message, effect_possible=left)
        handle = f"{options.installation_id}/{ask.lease}"
        return Issued(secret={"token": token}, expires_at_ms=_moment(answer), handle=handle, revocation=token)

    def _repository(self, template: str, ask: LeaseAsk) -> str:
        """The name alone; the owner, where one is said, has to be ours."""
        name = place(template, ask.narrow, _FACT)
        owner, slash, rest = name.partition("/")
        if slash and owner.lower() != self._options.owner.lower():
            raise too_wide("the repository belongs to another owner")
        found = rest if slash else owner
        if not _FACT.fullmatch(found) or found in (".", ".."):
            raise too_wide("the repository's name is none")
        return found

    async def _statement(self) -> Secret:
        """Who asks (RS256; GitHub documentation, "Generating a JWT for a GitHub App")."""
        options = self._options
        now = self._clock.now_ms() // 1_000
        claims = {"iss": options.app_id, "iat": now - _BACK_S, "exp": now + _AHEAD_S}
        return sign(claims, await self._secrets(options.key_secret), alg="RS256", named=options.key_secret)

    def _checked(self, answer: Answer, names: list[str]) -> str:
        """What is wrong with a token that was made, unreadable parts included; empty: nothing."""
        try:
            return self._problem(answer, names)
        except UpstreamError as error:
            return error.message

    def _problem(self, answer: Answer, names: list[str]) -> str:
        if not 0 < _moment(answer) - self._clock.now_ms() <= _MAX_LIFE_MS:
            return "the token's life is not that of an installation token"
        if answer.text("repository_selection", "") != "selected":
            return "a token for all repositories"
        wanted = {f"{self._options.owner}/{name}".lower() for name in names}
        given = {one.text("full_name").lower() for one in answer.objects("repositories")}
        if not given <= wanted:
            return "a token for other repositories than asked for"
        allowed = {"metadata": "read", **self._options.permissions}  # GitHub always adds it
        permissions = answer.object("permissions")
        for name in permissions.names():
            asked = allowed.get(name)
            if asked is None or not _within(permissions.text(name), asked):
                return "a token with more permissions than asked for"
        return ""

    def longest_s(self, ttl_s: int) -> int:
        """GitHub does not ask how long."""
        del ttl_s
        return _LIFE_S

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """Give the token back; one that GitHub no longer knows is gone.

        Raises:
            UpstreamError: not confirmed; or nobody answered the ask: such a token cannot be named, and lives an hour.
        """
        del lease, credential, handle
        if revocation is None:
            raise UpstreamError(
                Reason.OUTCOME_UNKNOWN,
                f"{self._client.url.authority}: a token that never arrived cannot be named, and may exist for an hour",
                effect_possible=True,
            )
        failed = await self._unconfirmed(revocation)
        if failed is not None:
            raise failed

    async def _unconfirmed(self, token: Secret) -> UpstreamError | None:
        """Try to give one token back; why that is not confirmed, or None."""
        try:
            reply: Reply = await self._client.call("DELETE", "/installation/token", fields=_fields(token))
        except UpstreamError as error:
            return UpstreamError(error.reason, error.message, effect_possible=True)
        return None if reply.status in (204, 401) else self._client.refused(reply)


def _within(level: str, asked: str) -> bool:
    return level in _LEVELS and _LEVELS.index(level) <= _LEVELS.index(asked)


def _fields(bearer: Secret) -> dict[str, str | Secret]:
    return {
        "Authorization": Secret(f"Bearer {bearer.reveal()}"),
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "Content-Type": "application/json",
    }


def _moment(answer: Answer) -> int:
    """`expires_at` in milliseconds."""
    try:
        found = datetime.fromisoformat(answer.text("expires_at"))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise answer.wrong("'expires_at' is no moment")
    return int(found.timestamp() * 1_000)


def build(options: Mapping[str, Any], secrets: Secrets, clock: Clock) -> GitHub:
    """A provider from options as written.

    Raises:
        OperatorError: `config_refused`.
    """
    return GitHub(GitHubOptions.read(options), secrets, clock)
