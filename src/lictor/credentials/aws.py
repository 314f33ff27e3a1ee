"""AWS: a session of a role, cut down by a session policy that the grant's facts are placed into as values.

AWS takes no session back. Where the options allow it, a Deny for this one session is attached to the role; else the lease stays
visible until the session ends by itself. Refuses to know what the role may do.
"""

import asyncio
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from lictor.credentials.aws_policy import (
    check_policy,
    deny_policy,
    fitted_name,
    fitted_tag,
    is_over,
    policy_name,
    session_policy,
)
from lictor.credentials.options import Options, Secrets, lease_name, need, need_name, read_url, unfit
from lictor.model.errors import UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Issued, LeaseAsk

T = TypeVar("T")

for _name in ("botocore", "urllib3"):
    # Their debug records hold requests, signatures and the credentials that came back: not even where all else is at DEBUG.
    logging.getLogger(_name).setLevel(logging.WARNING)

PREFIX: Final = "lictor-"
_LEAST_S: Final = 900
"""The shortest session there is (AssumeRole, DurationSeconds)."""
_MOST_S: Final = 43_200
SKEW_MS: Final = 300_000
"""How far our clock may be ahead of AWS's: a Deny that goes too early gives its session back."""
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/([\w+=,.@/-]{0,512}/)?([\w+=,.@-]{1,64})", re.ASCII)
_CODES: Final = frozenset(
    {
        "AccessDenied",
        "ExpiredToken",
        "InvalidClientTokenId",
        "MalformedPolicyDocument",
        "PackedPolicyTooLarge",
        "RegionDisabledException",
        "SignatureDoesNotMatch",
        "ValidationError",
        "NoSuchEntity",
        "LimitExceeded",
        "Throttling",
    }
)
"""Only these are repeated."""
_HANDLE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}@(\d{10,13})", re.ASCII)


class AwsOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[credentials.NAME.options]` with `provider = "aws"`."""

    role: str
    """ARN of the role."""
    policy: dict[str, Any]
    """The session policy; `{fact}`s of the grant stand inside its texts."""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_key_secret: str = ""
    """Our own key: its id, and the name of its secret. Without both, `ambient` has to be said."""
    ambient: bool = False
    """Ask as what this machine is (instance, container or web identity; the environment counts)."""
    external_id: str = ""
    tags: bool = True
    """Tag the session with agent, task, human and purpose; the role's trust has to allow `sts:TagSession`."""
    source_identity: bool = True
    """Name the person (`sts:SetSourceIdentity`)."""
    revoke: Literal["expiry", "deny"] = "expiry"
    """`deny`: attach a Deny for the session to the role (`iam:PutRolePolicy`, `iam:ListRolePolicies`,
    `iam:DeleteRolePolicy`)."""
    sts_url: str = ""
    iam_url: str = ""
    ca_file: str = ""
    deadline_s: int = 15

    def check(self) -> None:
        """A role, a policy, one way to ask."""
        need(_ROLE.fullmatch(self.role) is not None, "role is the ARN of a role")
        need(re.fullmatch(r"[a-z0-9-]{4,32}", self.region) is not None, "region is a region")
        need(
            bool(self.access_key_id) is bool(self.secret_key_secret), "access_key_id and secret_key_secret go together"
        )
        need(self.ambient is not bool(self.access_key_id), "either a key or `ambient = true`")
        if self.secret_key_secret:
            need_name(self.secret_key_secret, "secret_key_secret")
        check_policy(self.policy)
        for url, key in ((self.sts_url, "sts_url"), (self.iam_url, "iam_url")):
            if url:
                read_url(url, key)
        need(0 < self.deadline_s <= 60, "deadline_s is 1 to 60")


class Aws:
    """The provider (`lictor.ports.Provider`)."""

    def __init__(self, options: AwsOptions, secrets: Secrets, clock: Clock) -> None:
        self._options = options
        self._secrets = secrets
        self._clock = clock
        self._session: Any = None
        self._making = threading.Lock()
        if options.ca_file and not os.path.isfile(options.ca_file):  # noqa: PTH113 - botocore takes a text
            raise unfit("ca_file is no file")

    async def issue(self, ask: LeaseAsk) -> Issued:
        """`access_key_id`, `secret_access_key`, `session_token`. AWS makes no session shorter than 900 s.

        Raises:
            UpstreamError: see `ports.Provider`.
        """
        session = lease_name(PREFIX, ask.lease)
        asked = self._asked(ask, session)
        key = await self._key()
        made = await self._within(lambda: self._assume(asked, session, key))
        if isinstance(made, UpstreamError):
            raise made
        return made

    def _asked(self, ask: LeaseAsk, session: str) -> dict[str, Any]:
        options = self._options
        asked: dict[str, Any] = {
            "RoleArn": options.role,
            "RoleSessionName": session,
            "DurationSeconds": min(max(ask.ttl_s, _LEAST_S), _MOST_S),
            "Policy": session_policy(options.policy, ask.narrow),
        }
        if options.external_id:
            asked["ExternalId"] = options.external_id
        if options.source_identity:
            asked["SourceIdentity"] = fitted_name(ask.human)
        if options.tags:
            said = {"agent": ask.agent, "task": ask.task, "human": ask.human, "purpose": ask.purpose}
            asked["Tags"] = [{"Key": f"lictor:{name}", "Value": fitted_tag(value)} for name, value in said.items()]
        return asked

    def _assume(self, asked: Mapping[str, Any], session: str, key: Secret | None) -> Issued | UpstreamError:
        """In a thread; every fault as a value, since the library's errors and frames hold what was sent."""
        done = self._told(lambda: self._client("sts", key).assume_role(**asked))
        if isinstance(done, UpstreamError):
            return done
        given = done.get("Credentials", {})
        names = {
            "access_key_id": "AccessKeyId",
            "secret_access_key": "SecretAccessKey",
            "session_token": "SessionToken",
        }
        arn = done.get("AssumedRoleUser", {}).get("Arn", "")
        if not all(isinstance(given.get(one), str) for one in names.values()) or not arn.endswith(f"/{session}"):
            return UpstreamError(Reason.UPSTREAM_INVALID, "sts: not the session asked for", effect_possible=True)
        expires_at_ms = int(given["Expiration"].timestamp() * 1_000)
        return Issued(
            secret={name: Secret(given[one]) for name, one in names.items()},
            expires_at_ms=expires_at_ms,
            handle=f"{session}@{expires_at_ms}",
        )

    def longest_s(self, ttl_s: int) -> int:
        """No session is shorter than 900 s."""
        return min(max(ttl_s, _LEAST_S), _MOST_S)

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """Attach a Deny for this session, known by the lease's id; take away those whose sessions have ended.

        Raises:
            UpstreamError: not confirmed; or `revoke` is "expiry": it stays visible until the session ends.
        """
        del credential, revocation
        session = lease_name(PREFIX, lease)
        if self._options.revoke == "expiry":
            raise UpstreamError(
                Reason.CONFIG_REFUSED,
                "sts: a session cannot be taken back, it ends by itself",
                effect_possible=True,
                remedy='revoke = "deny" attaches a Deny for it to the role',
            )
        said = _HANDLE.fullmatch(handle)
        until = int(said[1]) if said else self._clock.now_ms() + 1_000 * _MOST_S
        key = await self._key()
        failed = await self._within(lambda: self._deny(session, until, key))
        if isinstance(failed, UpstreamError):
            raise failed

    def _deny(self, session: str, until: int, key: Secret | None) -> UpstreamError | None:
        role = self._options.role.rpartition("/")[2]
        done = self._told(lambda: self._attach(self._client("iam", key), role, session, until))
        if isinstance(done, UpstreamError):
            return UpstreamError(done.reason, done.message, effect_possible=True)
        return None

    def _attach(self, iam: Any, role: str, session: str, until: int) -> dict[str, Any]:
        """Room first: what a role's inline policies may hold is limited (10,240 characters)."""
        now = self._clock.now_ms() - SKEW_MS
        attached = [
            name
            for page in iam.get_paginator("list_role_policies").paginate(RoleName=role)
            for name in page["PolicyNames"]
        ]
        for name in attached:
            if is_over(name, now):
                iam.delete_role_policy(RoleName=role, PolicyName=name)
        if not any(name.endswith(f"-{session}") and not is_over(name, now) for name in attached):
            iam.put_role_policy(
                RoleName=role, PolicyName=policy_name(session, until), PolicyDocument=deny_policy(session)
            )
        return {}

    async def _key(self) -> Secret | None:
        options = self._options
        return None if options.ambient else await self._secrets(options.secret_key_secret)

    async def _within(self, work: Callable[[], T]) -> T | UpstreamError:
        try:
            async with asyncio.timeout(self._options.deadline_s):
                return await asyncio.to_thread(work)
        except TimeoutError:
            message = f"aws: no answer within {self._options.deadline_s} s"
            return UpstreamError(Reason.UPSTREAM_TIMEOUT, message, effect_possible=True)

    def _client(self, service: Literal["sts", "iam"], key: Secret | None) -> Any:
        """A client that the environment does not bend: no proxies, profiles, endpoints or bundles of its own, one attempt."""
        options = self._options
        url = options.sts_url if service == "sts" else options.iam_url
        config = Config(
            connect_timeout=5,
            read_timeout=options.deadline_s,
            retries={"total_max_attempts": 1},
            proxies={},
            ignore_configured_endpoint_urls=True,
        )
        with self._making:  # a session makes clients for one thread at a time
            if self._session is None:
                self._session = botocore.session.Session(session_vars=None if key is None else _NO_FILES)
            return self._session.create_client(
                service,
                region_name=options.region,
                endpoint_url=url or None,
                verify=options.ca_file or True,
                config=config,
                aws_access_key_id=options.access_key_id or None,
                aws_secret_access_key=key.reveal() if key is not None else None,
            )

    def _told(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | UpstreamError:
        try:
            return work()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            code = error.response.get("Error", {}).get("Code", "")
            named = code if code in _CODES else "an error of its own"
            reason = Reason.UPSTREAM_INVALID if 400 <= status < 500 else Reason.UPSTREAM_DOWN
            return UpstreamError(reason, f"aws: {named} ({status})", effect_possible=not 400 <= status < 500)
        except (EndpointConnectionError, ConnectTimeoutError):
            return UpstreamError(Reason.UPSTREAM_DOWN, "aws: no connection", effect_possible=False)
        except (BotoCoreError, OSError) as error:
            return UpstreamError(Reason.UPSTREAM_DOWN, f"aws: {type(error).__name__}", effect_possible=True)
        except Exception as error:  # noqa: BLE001 - whatever a library stumbles over must not carry its frames out
            return UpstreamError(Reason.INTERNAL, f"aws: {type(error).__name__}", effect_possible=True)


_NO_FILES: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def build(options: Mapping[str, Any], secrets: Secrets, clock: Clock) -> Aws:
    """A provider from options as written.

    Raises:
        OperatorError: `config_refused`.
    """
    return Aws(AwsOptions.read(options), secrets, clock)
