"""What a credential is narrowed to: texts from `credentials.toml`, and from the one call it is lent for (facts S7, CRED-06).

A value comes from the sealed arguments or from what they were found to mean, never from anything a model says beside them. What
is not there, or is no short text, narrows nothing and so refuses the loan. Refuses to know what a provider makes of a value.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from lictor.model.action import ActionRequest
from lictor.model.errors import CallerError
from lictor.model.lease import Credential, Narrowing
from lictor.model.reasons import Reason
from lictor.pdp.normalise import point
from lictor.policy.credentials import MAX_NARROW
from lictor.service.credentials.loan import refused

Facts = Callable[[ActionRequest], Awaitable[Mapping[str, Mapping[str, Any]]]]
"""What a call's arguments mean (`Authorize.facts`)."""


def fixed(credential: Credential) -> dict[str, str]:
    """The values that need no call.

    Raises:
        CredentialRefusedError: `unknown_value`: there are others.
    """
    if credential.by_call:
        raise refused(credential, Reason.UNKNOWN_VALUE, "it is narrowed to what a call is about, and this is none")
    return {name: source for name, source in credential.narrow.items() if isinstance(source, str)}


async def narrowed(credential: Credential, call: ActionRequest | None, facts: Facts) -> dict[str, str]:
    """Values by name.

    Args:
        call: what the credential is lent for; None: nothing in particular, like a list.

    Raises:
        CredentialRefusedError: `unknown_value`: a call is needed, or it does not say a value, or not as a short printable text.
    """
    if call is None or not credential.by_call:
        return fixed(credential)
    found = {name: source for name, source in credential.narrow.items() if isinstance(source, str)}
    asked = {name: source for name, source in credential.narrow.items() if isinstance(source, Narrowing)}
    arguments = call.arguments.open()
    known: Mapping[str, Mapping[str, Any]] = {}
    if any(source.fact for source in asked.values()):
        try:
            known = await facts(call)
        except CallerError as error:
            raise refused(credential, error.reason, "what the call is about is not known") from None
    for name, source in asked.items():
        member, _, fact = source.fact.partition(".")
        value = point(arguments, source.argument) if source.argument else known.get(member, {}).get(fact)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NARROW or not value.isprintable():
            where = source.argument or source.fact
            text = f"the call has no text of 1 to {MAX_NARROW} printable characters at {where!r:.80}"
            raise refused(credential, Reason.UNKNOWN_VALUE, text)
        found[name] = value
    return found


def texts(narrow: Mapping[str, str]) -> list[str]:
    """As policy reads them: `name=value`. A name holds no `=`."""
    return sorted(f"{name}={value}" for name, value in narrow.items())
