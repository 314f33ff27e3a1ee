"""`[notify.NAME]` of `lictor.toml`: which channel, whom it reaches, and where its secret is kept. Never the secret itself."""

from typing import Literal

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason


class NotifySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One channel."""

    kind: Literal["webhook", "slack", "apprise"]
    """A signed POST to a URL of yours; a Slack incoming webhook; anything that Apprise knows (e-mail among it)."""
    url: str = ""
    """`webhook` only: https, or http on this machine."""
    secret: str
    """Name in the safe (`lictor secret set NAME`): the key that signs a webhook; Slack's webhook URL; Apprise's URL."""
    groups: tuple[str, ...] = ()
    """Tell of holds that somebody in one of these groups can answer; empty: of all."""


def check_notify(notify: dict[str, NotifySettings], where: str) -> None:
    """Refuse contradictions.

    Raises:
        OperatorError: `config_refused`.
    """
    for name, one in notify.items():
        at = f"{where} [notify.{name}]"
        if bool(one.url) is not (one.kind == "webhook"):
            raise OperatorError(
                Reason.CONFIG_REFUSED, "`url` belongs to kind = 'webhook'; others keep it in the safe", where=at
            )
        if not one.secret:
            raise OperatorError(Reason.CONFIG_REFUSED, "`secret` must name a value of the safe", where=at)
