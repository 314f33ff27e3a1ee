"""Who gets in over HTTP, and by what: issuers, the built-in token service, the door's checks, people's sign-in.

Only what serves HTTP imports this; what only some configurations need is imported later still.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any

from lictor.api.doors import Doors, Issuer, Parts
from lictor.app.house import House
from lictor.identity.front import Front, open_front
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.service.tasks.exchange import KeepSubject
from lictor.stores.token_keys import TokenKeys

_SHARED = ("store", "policy", "clock", "ids", "tasks", "open", "delegate", "answer", "applications")


class Entrance:
    """The entrance of one process.

    Args:
        check: raises StoreError while no authority may be given.
        keep_subject: keeps a person's token for what is obtained on their behalf.
    """

    def __init__(self, house: House, *, check: Callable[[], None], keep_subject: KeepSubject) -> None:
        self._house = house
        self._check = check
        self._keep_subject = keep_subject

    @functools.cached_property
    def front(self) -> Front:
        """The issuers that are trusted, and what they say."""
        house, settings = self._house, self._house.settings
        return open_front(
            settings.issuers,
            folder=house.folder.path,
            state=house.state,
            audience=settings.audience,
            clock=house.clock,
            report=house.say,
        )

    @functools.cached_property
    def doors(self) -> Doors:
        """The token service and the door's checks."""
        house, settings = self._house, self._house.settings
        parts: dict[str, Any] = {name: getattr(house, name) for name in _SHARED}
        return Doors(
            Parts(
                **parts,
                limits=settings.limits,
                keys=TokenKeys(house.state, house.clock.now_ms()),
                front=self.front,
                proofs=self.front.possession,
                issuers={
                    name: Issuer(url=one.url, human_claim=one.human_claim) for name, one in settings.issuers.items()
                },
                oauth=settings.oauth,
                public_url=settings.public_url,
                audience=settings.audience,
                task_ttl_s=settings.task_ttl_s,
                client_certificates=bool(settings.listen.tls.client_ca),
                check=self._check,
                keep_subject=self._keep_subject,
            )
        )

    def sign_in(self) -> Any:
        """How people sign in with an issuer; None: enrolled secrets only.

        Raises:
            OperatorError: the client's secret is not in the environment.
        """
        house, wanted = self._house, self._house.settings.sign_in
        if not wanted.issuer:
            return None
        from lictor.identity.relying import OidcRelying  # noqa: PLC0415
        from lictor.service.people.login import Login  # noqa: PLC0415

        doors, name = self.doors, wanted.client_secret_env
        if name and not os.environ.get(name):
            raise OperatorError(Reason.CONFIG_REFUSED, f"[sign_in]: the environment has no {name[:80]!r}")
        relying = OidcRelying(
            house.settings.issuers[wanted.issuer],
            front=self.front,
            folder=house.folder.path,
            client_id=wanted.client_id,
            client_secret=Secret(os.environ[name]) if name else None,
            elapsed=time.monotonic,
        )
        return Login(
            relying=relying,
            clock=house.clock,
            ids=house.ids,
            client_id=wanted.client_id,
            scope=wanted.scope,
            redirect_uri=f"{house.settings.public_url}/login/callback",
            human_of=doors.human_of,
        )

    async def close(self) -> None:
        """End what was opened."""
        if "front" in vars(self):
            await self.front.close()
