"""A secret that somebody put into the safe, lent as it is. It refuses to pretend that it could be revoked.

Ending such a lease means that this gateway forgets the value and ends the connection it was for; the secret itself lives on until
whoever issued it changes it. Prefer a provider that makes credentials for one task.
"""

from collections.abc import Mapping
from typing import Any

from lictor.credentials.options import Options, Secrets, need, need_name
from lictor.model.ids import LeaseId
from lictor.model.lease import Credential
from lictor.model.secret import Secret
from lictor.ports import Clock, Issued, LeaseAsk


class StaticOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One secret as field `token`, or several by the field each becomes."""

    secret: str = ""
    fields: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it

    def check(self) -> None:
        """One of the two, and names."""
        need(bool(self.secret) is not bool(self.fields), "either `secret` or `fields` is given")
        for key, name in {"secret": self.secret, **self.fields}.items():
            if name or key != "secret":
                need_name(name, key)


class Static:
    """`lictor.ports.Provider` over the safe."""

    def __init__(self, names: Mapping[str, str], secrets: Secrets, clock: Clock) -> None:
        self._names = names
        self._secrets = secrets
        self._clock = clock

    async def issue(self, ask: LeaseAsk) -> Issued:
        """Read it.

        Raises:
            LictorError: there is none of that name, or it cannot be opened; nothing was made.
        """
        secret = {field: await self._secrets(name) for field, name in self._names.items()}
        return Issued(secret=secret, expires_at_ms=self._clock.now_ms() + ask.ttl_s * 1_000)

    def longest_s(self, ttl_s: int) -> int:
        """Nothing is made: what is lent is forgotten after `ttl_s`."""
        return ttl_s

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """Nothing was made, so nothing is there to revoke: the broker has dropped the value already."""


def build(options: Mapping[str, Any], secrets: Secrets, clock: Clock) -> Static:
    """See `providers.make`."""
    read = StaticOptions.read(options)
    return Static(read.fields or {"token": read.secret}, secrets, clock)
