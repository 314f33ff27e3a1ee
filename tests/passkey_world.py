"""People with passkeys at a console, without HTTP: real store, real bundle, real checks; authenticators in software."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from authenticator import Authenticator
from bundles import NOW, pdp
from lictor.identity.webauthn import WebAuthn
from lictor.model.errors import LictorError
from lictor.model.ids import HumanId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import decode_entry
from lictor.protocol.jose.base64url import decode
from lictor.service.people.approve import Answer
from lictor.service.people.passkey_site import Site
from lictor.service.people.passkeys import Ceremony, Passkeys
from lictor.service.policy import PolicyInForce
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock

SITE = Site(rp_id="localhost", origin="http://localhost:8700")
BOB, CAROL = HumanId("os:bob"), HumanId("os:carol")
SEAL: Any = "sha256:" + "5e" * 32
SESSION = "lsi_of_bob"


@cache
def _policy() -> Any:
    return pdp()


@dataclass
class World:
    """A console's passkeys."""

    ceremony: Ceremony = field(default_factory=lambda: WebAuthn(SITE))
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        self.policy = PolicyInForce()
        self.policy.swap(_policy())
        parts: dict[str, Any] = {"store": self.store, "policy": self.policy, "clock": self.clock, "ids": RandomIds()}
        self.answer = Answer(**parts, limits=Limits())
        self.passkeys = Passkeys(**parts, answer=self.answer, ceremony=self.ceremony, site=SITE, handle_key=bytes(32))

    async def first(
        self, human: HumanId = BOB, device: Authenticator | None = None, session: str = SESSION
    ) -> Authenticator:
        """A person with one passkey."""
        device = device or Authenticator()
        assert await self.create(human, device, session) is None
        return device

    async def create(self, human: HumanId, device: Authenticator, session: str = SESSION) -> Any:
        """A device makes a key; None: it was added at once."""
        offer = self.passkeys.offer(human, session)
        challenge = challenge_of(offer.options)
        return await self.passkeys.candidate(human, session, offer.stamp, device.create(challenge), "laptop")

    async def act(self, by: HumanId, act: Any, device: Authenticator, session: str = SESSION) -> Any:
        """Something confirmed with a device."""
        ask = self.passkeys.ask(by, session, act)
        assertion = device.get(raw(ask.challenge))
        return await self.passkeys.confirm(by, session, ask.act, ask.stamp, assertion)

    def records(self) -> list[Any]:
        """What was written."""
        return [decode_entry(entry.data).record for entry in self.store.entries()]


def raw(challenge: str) -> bytes:
    found = decode(challenge)
    assert found is not None
    return found


def challenge_of(options: str) -> bytes:
    return raw(json.loads(options)["challenge"])


async def refusal(doing: Any) -> Reason | None:
    """Why it is refused; None: it is not."""
    try:
        await doing
    except LictorError as error:
        return error.reason
    return None
