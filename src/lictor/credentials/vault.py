"""Vault and OpenBao: a dynamic secret under a token of its own that lives no longer than the lease and takes the secret with it.

That token bears the lease's id, so a secret nobody told us of is ended by ending the token. Leases are never renewed. Refuses to
know what a path gives out.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lictor.credentials.http import DEADLINE_S, Answer, Client, Reply, document
from lictor.credentials.options import Options, Secrets, lease_name, need, need_name, read_url
from lictor.model.errors import UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Issued, LeaseAsk

_PATH: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_.-]{1,128}(/[A-Za-z0-9_.-]{1,128}){1,15}", re.ASCII)
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
"""What `{field}` can name in `credentials.toml`."""
_MARK: Final = "lictor_lease"
_MOST: Final = 500
"""Tokens that are looked at for one that was never answered."""
_GONE: Final = frozenset({400, 403, 404})
"""What servers answer about an accessor of a token that is no more."""


class VaultOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[credentials.NAME.options]` with `provider = "vault"`."""

    url: str
    path: str
    """What is read: `database/creds/readonly`."""
    namespace: str = ""
    token_secret: str = ""
    """The name of a token, or:"""
    role_id: str = ""
    role_secret: str = ""
    """AppRole: its id, and the name of its secret id."""
    approle_mount: str = "approle"
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    """Members of the secret by the field they become; default: all, under their own names."""
    max_life_s: int = 3_600
    ca_file: str = ""
    deadline_s: float = DEADLINE_S

    def check(self) -> None:
        """One way to log in, a path that is one."""
        read_url(self.url, "url")
        need(_PATH.fullmatch(self.path) is not None, "path is `mount/…` without `v1/`")
        need(
            bool(self.token_secret) is not bool(self.role_id and self.role_secret),
            "token_secret, or role_id and role_secret",
        )
        for name in filter(None, (self.token_secret, self.role_secret)):
            need_name(name, "token_secret and role_secret")
        need(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.approle_mount) is not None, "approle_mount is a name")
        need(re.fullmatch(r"[A-Za-z0-9_/-]{0,128}", self.namespace) is not None, "namespace is a path")
        need(0 < self.max_life_s <= 86_400, "max_life_s is 1 to 86400")
        need(0 < self.deadline_s <= 60, "deadline_s is at most 60")


class Vault:
    """The provider (`lictor.ports.Provider`)."""

    def __init__(self, options: VaultOptions, secrets: Secrets, clock: Clock) -> None:
        self._options = options
        self._secrets = secrets
        self._clock = clock
        url = read_url(options.url, "url")
        self._client = Client(url, ca_file=options.ca_file, deadline_s=options.deadline_s)

    async def issue(self, ask: LeaseAsk) -> Issued:
        """The members of the secret that the options name.

        Raises:
            UpstreamError: see `ports.Provider`. What may have been made before the fault is ended at once; the error says
                whether that was confirmed.
        """
        mark = lease_name("", ask.lease)
        owner = await self._log_in()
        life = min(ask.ttl_s, self._options.max_life_s)
        reply = await self._call(
            "POST",
            "auth/token/create",
            owner,
            {
                "ttl": f"{life}s",
                "explicit_max_ttl": f"{life}s",
                "renewable": False,
                "display_name": "lictor",
                "meta": {_MARK: mark},
            },
        )
        if not reply.ok:
            raise self._client.refused(reply)
        child = self._client.answer(reply).object("auth")
        made = await self._read(child, life)
        if isinstance(made, UpstreamError):
            left = made.effect_possible and not await self._ended(child.secret("client_token"))
            raise UpstreamError(made.reason, made.message, effect_possible=left)
        return made

    async def _log_in(self) -> Secret:
        options = self._options
        if options.token_secret:
            return await self._secrets(options.token_secret)
        secret = await self._secrets(options.role_secret)
        path = f"auth/{options.approle_mount}/login"
        reply = await self._call("POST", path, None, {"role_id": options.role_id, "secret_id": secret})
        if not reply.ok:
            raise self._client.refused(reply)
        return self._client.answer(reply).object("auth").secret("client_token")

    async def _read(self, child: Answer, life: int) -> Issued | UpstreamError:
        """The secret, leased to the child token; every fault as a value, so that the caller ends what may exist."""
        try:
            reply = await self._call("GET", self._options.path, child.secret("client_token"))
            if not reply.ok:
                return self._client.refused(reply)
            answer = self._client.answer(reply)
            if not answer.text("lease_id", ""):
                return answer.wrong("the path gives no lease: it holds no dynamic secret")
            until = min(life, answer.seconds("lease_duration"))
            return Issued(
                secret=self._fields(answer.object("data")),
                expires_at_ms=self._clock.now_ms() + 1_000 * until,
                handle=answer.text("lease_id"),
                revocation=child.secret("accessor"),
            )
        except UpstreamError as error:
            return UpstreamError(error.reason, error.message, effect_possible=error.effect_possible)

    def _fields(self, data: Answer) -> dict[str, Secret]:
        wanted = self._options.fields or {name: name for name in data.names()}
        if not all(_FIELD.fullmatch(name) for name in wanted):
            raise data.wrong("a member of the secret has a name that no field has; say `fields`")
        return {name: data.secret(member) for name, member in wanted.items()}

    async def _ended(self, child: Secret) -> bool:
        """Whether ending the child token, and with it what it had made, was confirmed."""
        try:
            reply = await self._call("POST", "auth/token/revoke-self", child)
        except UpstreamError:
            return False
        return reply.ok

    def longest_s(self, ttl_s: int) -> int:
        """The token it hangs on ends then."""
        return min(ttl_s, self._options.max_life_s)

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """Revoke the secret while we wait (`sync`), then the token it hung on. Without a handle: find that token by the lease.

        Raises:
            UpstreamError: not confirmed.
        """
        del credential
        owner = await self._log_in()
        if handle:
            await self._revoke_lease(owner, handle)
            accessors = [revocation] if revocation is not None else []
        else:
            accessors = await self._found(owner, lease_name("", lease))
        for accessor in accessors:
            reply = await self._call("POST", "auth/token/revoke-accessor", owner, {"accessor": accessor})
            if not reply.ok and (not handle or reply.status not in _GONE):
                raise self._unconfirmed(reply)

    async def _revoke_lease(self, owner: Secret, handle: str) -> None:
        reply = await self._call("POST", "sys/leases/revoke", owner, {"lease_id": handle, "sync": True})
        if reply.ok:
            return
        # An unknown lease and a forbidden one may look alike; the look-up tells them apart.
        seen = await self._call("POST", "sys/leases/lookup", owner, {"lease_id": handle})
        if reply.status != 400 or seen.status != 400:
            raise self._unconfirmed(reply)

    async def _found(self, owner: Secret, mark: str) -> list[Secret]:
        """Accessors of the tokens that bear this lease's id."""
        listed = await self._call("LIST", "auth/token/accessors", owner)
        if not listed.ok:
            raise self._unconfirmed(listed)
        keys = self._client.answer(listed).object("data").secrets("keys")
        if len(keys) > _MOST:
            message = f"{self._client.url.authority}: more than {_MOST} tokens to look through"
            raise UpstreamError(Reason.UPSTREAM_TOO_LARGE, message, effect_possible=True)
        found = []
        for key in keys:
            reply = await self._call("POST", "auth/token/lookup-accessor", owner, {"accessor": key})
            if not reply.ok:
                if reply.status not in _GONE:
                    raise self._unconfirmed(reply)
                continue  # it expired meanwhile
            data = self._client.answer(reply).object("data")
            if "meta" in data and data.object("meta").text(_MARK, "") == mark:
                found.append(key)
        return found

    def _unconfirmed(self, reply: Reply) -> UpstreamError:
        error = self._client.refused(reply)
        return UpstreamError(
            error.reason, error.message, effect_possible=True, remedy="check the policy of Lictor's own token there"
        )

    async def _call(self, method: str, path: str, token: Secret | None, body: Mapping[str, Any] | None = None) -> Reply:
        fields: dict[str, str | Secret] = {"X-Vault-Request": "true"}
        if token is not None:
            fields["X-Vault-Token"] = token
        if self._options.namespace:
            fields["X-Vault-Namespace"] = self._options.namespace
        if body is not None:
            fields["Content-Type"] = "application/json"
        return await self._client.call(
            method, f"/v1/{path}", fields=fields, body=document(body) if body is not None else None
        )


def build(options: Mapping[str, Any], secrets: Secrets, clock: Clock) -> Vault:
    """A provider from options as written.

    Raises:
        OperatorError: `config_refused`.
    """
    return Vault(VaultOptions.read(options), secrets, clock)
