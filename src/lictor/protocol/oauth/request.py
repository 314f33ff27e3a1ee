"""A token request as the service takes it (RFC 8693 2.1, RFC 6749 4.4 with RFC 7523 2.2): a form in, one value out.

What it does not know it leaves alone, as RFC 6749 3.2 asks; what it knows has to be right. Refuses to know whether it is true.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from lictor.protocol.oauth.details import Existing, NewTask, read_wanted
from lictor.protocol.oauth.errors import refuse

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT: Final = "client_credentials"
GRANTS: Final = (EXCHANGE, CLIENT)
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN: Final = _TYPE + "access_token"
TYPES: Final = frozenset({ACCESS_TOKEN, _TYPE + "jwt", _TYPE + "id_token"})
ASSERTIONS: Final = frozenset(
    {
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
    }
)
MAX_TOKEN: Final = 16 * 1024


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a task token. Nothing in it is believed yet; its tokens are not shown."""

    grant: Literal["exchange", "client"]
    wanted: Existing | NewTask | None = None
    """None: the agent's own proof says it, signed (`lictor_task`)."""
    subject: str = ""
    """Whose authority: a person's, an application's, a task's; or the agent's own proof."""
    actor: str = ""
    """The agent's proof, where the subject is somebody else."""
    assertion: str = ""
    """The client's own proof of itself; the client is the agent."""

    def __repr__(self) -> str:
        return f"TokenRequest(grant={self.grant!r}, …)"


def read_request(form: Mapping[str, str], *, resource: str) -> TokenRequest:
    """Read a token request.

    Args:
        form: each parameter once (`form.read_form`).
        resource: our one endpoint; a token for another is none of ours (RFC 8707 2).

    Raises:
        OAuthError: `unsupported_grant_type`, `invalid_request`, `invalid_client`, `invalid_target`, `invalid_scope`,
            `invalid_authorization_details`.
    """
    grant = form.get("grant_type", "")
    if grant not in GRANTS:
        refuse("unsupported_grant_type" if grant else "invalid_request", f"grant_type is {' or '.join(GRANTS)}")
    if "client_secret" in form:
        refuse(
            "invalid_client", "there are no client secrets here: prove the workload", remedy="see docs/how-to/tokens.md"
        )
    for name in ("resource", "audience"):
        if form.get(name, resource) != resource:
            refuse("invalid_target", f"{name} must be {resource}")
    assertion = _assertion(form)
    if grant == CLIENT:
        if "subject_token" in form or "actor_token" in form:
            refuse("invalid_request", "subject_token and actor_token belong to a token exchange")
        return TokenRequest(grant="client", wanted=_wanted(form), assertion=assertion)
    if form.get("requested_token_type", ACCESS_TOKEN) not in {ACCESS_TOKEN, _TYPE + "jwt"}:
        refuse("invalid_request", f"requested_token_type is {ACCESS_TOKEN}")
    subject = _token(form, "subject_token")
    if not subject:
        refuse("invalid_request", "a token exchange needs a subject_token")
    actor = _token(form, "actor_token")
    if actor and assertion:
        refuse("invalid_request", "prove the agent by actor_token or by client_assertion, not by both")
    return TokenRequest(grant="exchange", wanted=_wanted(form), subject=subject, actor=actor, assertion=assertion)


def _wanted(form: Mapping[str, str]) -> Existing | NewTask | None:
    return read_wanted(form.get("authorization_details", ""), form.get("scope", ""))


def _token(form: Mapping[str, str], name: str) -> str:
    token, stated = form.get(name, ""), form.get(f"{name}_type", "")
    if bool(token) != bool(stated):
        refuse("invalid_request", f"{name} and {name}_type come together")
    if token and stated not in TYPES:
        refuse("invalid_request", f"{name}_type is one of access_token, jwt, id_token (RFC 8693 3)")
    if len(token) > MAX_TOKEN or not token.isascii():
        refuse("invalid_request", f"{name} is at most {MAX_TOKEN} ASCII characters")
    return token


def _assertion(form: Mapping[str, str]) -> str:
    assertion, stated = form.get("client_assertion", ""), form.get("client_assertion_type", "")
    if bool(assertion) != bool(stated):
        refuse("invalid_client", "client_assertion and client_assertion_type come together")
    if assertion and stated not in ASSERTIONS:
        refuse("invalid_client", "client_assertion_type is that of RFC 7523 2.2, or jwt-spiffe")
    if len(assertion) > MAX_TOKEN or not assertion.isascii():
        refuse("invalid_client", f"client_assertion is at most {MAX_TOKEN} ASCII characters")
    return assertion
