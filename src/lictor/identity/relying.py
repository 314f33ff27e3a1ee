"""The issuer people sign in with (`service.people.login.Relying`): its discovery document, its token endpoint, its ID tokens.

The same limits as for keys: https or loopback, bounded, no redirect, no proxy of the environment. Refuses to know browsers.
"""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from lictor.identity.fetch import DEADLINE_S, fetch
from lictor.identity.front import Front
from lictor.identity.publications import WELL_KNOWN
from lictor.identity.settings import IssuerSettings, fetchable
from lictor.model.errors import CallerError, LictorError, UpstreamError
from lictor.model.identity import Proven
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.protocol.json import read
from lictor.service.people.login import Endpoints, check_endpoint

KEEP_S: Final = 300.0
RETRY_S: Final = 5.0
"""After a failure: anybody can begin a sign-in, and each question takes a thread."""
_MAX_BYTES: Final = 64 * 1024
_LIMITS: Final = Limits(json_depth=12, json_members=5_000)
_SLACK_S: Final = 10.0


class OidcRelying:
    """One issuer of kind `oidc`, one client."""

    def __init__(
        self,
        issuer: IssuerSettings,
        *,
        front: Front,
        folder: Path,
        client_id: str,
        client_secret: Secret | None,
        elapsed: Callable[[], float],
    ) -> None:
        """`elapsed`: seconds on a clock that only goes forward."""
        self._issuer = issuer
        self._front = front
        self._ca_file = str(folder / issuer.ca_file) if issuer.ca_file else ""
        self._client_id = client_id
        self._client_secret = client_secret
        self._elapsed = elapsed
        self._kept: tuple[float, Endpoints | LictorError] | None = None
        self._asking = asyncio.Lock()

    async def endpoints(self) -> Endpoints:
        """See `Relying.endpoints`; kept for five minutes, a failure for five seconds; asked for by one at a time."""
        async with self._asking:
            kept = self._kept
            if kept is None or self._elapsed() - kept[0] > (KEEP_S if isinstance(kept[1], Endpoints) else RETRY_S):
                found: Endpoints | LictorError
                try:
                    found = await self._discover()
                except LictorError as error:
                    found = error
                kept = self._kept = (self._elapsed(), found)
        if isinstance(kept[1], LictorError):
            raise kept[1].with_traceback(None)
        return kept[1]

    async def _discover(self) -> Endpoints:
        data = await self._ask(f"{self._issuer.url.rstrip('/')}{WELL_KNOWN}")
        if data.get("issuer") != self._issuer.url:
            raise CallerError(Reason.UNAUTHENTICATED, "the discovery document is of another issuer")
        methods = data.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise CallerError(Reason.UNAUTHENTICATED, "the issuer does not support PKCE with S256")
        return Endpoints(
            issuer=self._issuer.url,
            authorization=check_endpoint(data.get("authorization_endpoint"), "authorization_endpoint", fetchable),
            token=check_endpoint(data.get("token_endpoint"), "token_endpoint", fetchable),
            names_itself=data.get("authorization_response_iss_parameter_supported") is True,
        )

    async def redeem(self, code: Secret, verifier: Secret, redirect_uri: str) -> Secret:
        """See `Relying.redeem`."""
        form = {
            "grant_type": "authorization_code",
            "code": code.reveal(),
            "redirect_uri": redirect_uri,
            "code_verifier": verifier.reveal(),
            "client_id": self._client_id,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if self._client_secret is not None:
            pair = f"{quote(self._client_id, safe='')}:{quote(self._client_secret.reveal(), safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        data = await self._ask((await self.endpoints()).token, body=urlencode(form).encode(), headers=headers)
        token = data.get("id_token")
        if not isinstance(token, str):
            raise CallerError(Reason.UNAUTHENTICATED, "the issuer gave no ID token", remedy="sign in again")
        return Secret(token)

    async def verify(self, id_token: Secret) -> Proven:
        """See `Relying.verify`: signature, issuer, time, and `aud` = this client."""
        proven = await self._front.prove(id_token.reveal(), method="GET", url="", audience=self._client_id)
        # The issuer's own `audience`, where one is set, is what its other tokens are for: it does not stand for us here.
        stated = proven.claims.get("aud")
        if self._client_id not in (stated if isinstance(stated, list) else [stated]):
            raise CallerError(Reason.AUDIENCE, "the token is meant for another client", remedy="sign in again")
        return proven

    async def _ask(
        self, url: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(DEADLINE_S + _SLACK_S):
                data = await asyncio.to_thread(
                    fetch, url, max_bytes=_MAX_BYTES, ca_file=self._ca_file, body=body, headers=headers
                )
        except TimeoutError:
            raise UpstreamError(Reason.UPSTREAM_TIMEOUT, "the issuer did not answer", effect_possible=False) from None
        found = read(data, _LIMITS, max_bytes=_MAX_BYTES).value
        if not isinstance(found, dict):
            raise CallerError(Reason.UNAUTHENTICATED, "the issuer's answer is no object")
        return found
