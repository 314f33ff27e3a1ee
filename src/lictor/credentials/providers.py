"""The providers there are, by the name that `credentials.toml` calls them. A provider's driver is loaded when it is used.

Refuses to know what any of them does.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from lictor.credentials.options import Secrets
from lictor.model.errors import OperatorError
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.ports import Clock, Provider

KINDS: Final = {
    "aws": "lictor.credentials.aws",
    "command": "lictor.credentials.command",
    "github": "lictor.credentials.github",
    "oauth": "lictor.credentials.oauth",
    "postgres": "lictor.credentials.postgres",
    "static": "lictor.credentials.static",
    "vault": "lictor.credentials.vault",
}
"""Each module has `build(options, secrets, clock) -> Provider`."""
_EXTRAS: Final = frozenset({"aws", "postgres"})
"""Those whose driver is an extra of that name."""


def for_person(credential: Credential) -> bool:
    """Whether a credential is obtained on behalf of the person whose token opened the task."""
    return credential.provider == "oauth" and credential.options.get("grant") == "token_exchange"


def make(name: str, options: Mapping[str, Any], secrets: Secrets, *, clock: Clock) -> Provider:
    """A provider from its options.

    Raises:
        OperatorError: `config_refused`: no such provider, its extra is not installed, or its options are wrong.
    """
    module = KINDS.get(name)
    if module is None:
        known = ", ".join(sorted(KINDS))
        raise OperatorError(Reason.CONFIG_REFUSED, f"no provider {name[:40]!r}", remedy=f"one of: {known}")
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if name not in _EXTRAS:
            raise
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"provider {name!r} needs {error.name!r}, which is not installed",
            remedy=f"pip install 'lictor[{name}]'",
        ) from None
    provider: Provider = loaded.build(options, secrets, clock)
    return provider
