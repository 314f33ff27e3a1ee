"""Builds that ignore a setting, each in its own way, to see that its probe notices."""

import os
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

import msgspec

from lictor import config
from lictor.app import calls, listen, servers
from lictor.identity.issuers import Issuer
from lictor.model.limits import Limits
from lictor.pep.mcp import definitions
from lictor.pep.mcp.downstream import http as door
from lictor.service.people.second_person import SecondPerson

Break = Callable[[], AbstractContextManager[Any]]
_LOAD, _GUARD, _HOLDING = config.load_settings, calls.Guard, calls.Holding
_TLS, _PROFILE, _LISTS = listen.tls_options, Issuer.profile, definitions.fetch_all


def _default_limits(text: str, where: str = "lictor.toml") -> config.Settings:
    return msgspec.structs.replace(_LOAD(text, where), limits=Limits())


def _no_oauth(text: str, where: str = "lictor.toml") -> config.Settings:
    settings = _LOAD(text, where)
    return msgspec.structs.replace(settings, oauth=type(settings.oauth)())


def _all_may_come(runtime: Any) -> dict[str, Any]:
    return {**_TLS(runtime), "ssl_cert_reqs": ssl.CERT_OPTIONAL}


def _long_lived(self: Issuer, audience: str) -> Any:
    return msgspec.structs.replace(_PROFILE(self, audience), max_life_s=3_600)


def _endless(upstream: Any, method: str, _: Limits) -> Any:
    return _LISTS(upstream, method, Limits())


async def _nobody_asked(*_: Any) -> None:
    """Every bundle is fine."""


def _everything(_: Any) -> dict[str, str]:
    return dict(os.environ)


BREAKS: list[tuple[str, Break]] = [
    ("limits.message_bytes", lambda: patch.object(config, "load_settings", _default_limits)),
    ("limits.holds_per_task_per_minute", lambda: patch.object(config, "load_settings", _default_limits)),
    ("limits.decide_timeout_s", lambda: patch.object(config, "load_settings", _default_limits)),
    ("limits.list_items", lambda: patch.object(definitions, "fetch_all", _endless)),
    ("limits.epoch_lease_s", lambda: patch.object(calls, "Guard", _constant(_GUARD, lease_s=1.5))),
    ("limits.clock_skew_s", lambda: patch.object(calls, "Guard", _constant(_GUARD, skew_s=2.0))),
    ("hold_wait_s", lambda: patch.object(calls, "Holding", _constant(_HOLDING, wait_s=0.0))),
    ("listen.allowed_origins", lambda: patch.object(door, "check_origin", lambda *_: None)),
    ("listen.tls.require", lambda: patch.object(listen, "tls_options", _all_may_come)),
    ("bundle.second_person", lambda: patch.object(SecondPerson, "check", _nobody_asked)),
    ("servers.*.pass_env", lambda: patch.object(servers, "environment", _everything)),
    ("issuers.*.max_life_s", lambda: patch.object(Issuer, "profile", _long_lived)),
    ("oauth.people", lambda: patch.object(config, "load_settings", _no_oauth)),
    ("oauth.mcp_clients", lambda: patch.object(config, "load_settings", _no_oauth)),
]
"""(key, the build)."""


def _constant(real: Any, **fixed: Any) -> Any:
    def made(*given: Any, **named: Any) -> Any:
        return partial(real, *given)(**{**named, **fixed})

    return made
