"""Session policies and tags: facts of a grant become JSON values, and cannot become more than values.

A fact with `*`, `?` or `$` would be a pattern or a variable inside an IAM string, so it is refused. Refuses to know the API.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lictor.credentials.options import need, need_template, place, too_wide

_EMBEDDED: Final = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9_.@+=/-]{1,512}", re.ASCII)
"""Inside a longer string. No colon: it parts the fields of an ARN; no step up and no empty step in a key."""
_WHOLE: Final = re.compile(r"[A-Za-z0-9_.@+=/:, -]{1,512}", re.ASCII)
"""As the whole string."""
_ALONE: Final = re.compile(r"\{[a-z][a-z0-9_]{0,31}\}", re.ASCII)
_TAG: Final = re.compile(r"[\w .:/=+@-]{1,256}")
_SESSION: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_NOT_SESSION: Final = re.compile(r"[^\w+=,.@-]", re.ASCII)
_MOST_CHARS: Final = 2_048
"""Of a session policy (AssumeRole, Policy)."""
_NAME: Final = re.compile(r"lictor-deny-(\d{10,13})-[A-Za-z0-9_-]{1,90}", re.ASCII)


def check_policy(template: Mapping[str, Any]) -> None:
    """Refuse a template that is no policy, or whose keys hold facts.

    Raises:
        OperatorError: `config_refused`.
    """
    need(bool(template.get("Statement")), "policy has a Statement: a session without one has all of its role")

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                need("{" not in key and "}" not in key, "policy: facts are values, not keys")
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)
        elif isinstance(value, str):
            need("$" not in value, "policy: variables of IAM are not used, facts are")
            need_template(value, "policy")
        else:
            need(value is None or isinstance(value, bool | int), "policy holds texts, lists and tables")

    look(dict(template))


def session_policy(template: Mapping[str, Any], narrow: Mapping[str, str]) -> str:
    """The policy of one session as compact JSON. Another role cannot be assumed from it: that session would outlive this one.

    Raises:
        UpstreamError: `unknown_value`: a fact is missing or could mean more than itself; the policy is too long.
    """

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [placed(inner) for inner in value]
        if isinstance(value, str):
            return place(value, narrow, _WHOLE if _ALONE.fullmatch(value) else _EMBEDDED)
        return value

    whole = placed(dict(template))
    statements = whole["Statement"] if isinstance(whole["Statement"], list) else [whole["Statement"]]
    last = {"Effect": "Deny", "Action": ["sts:AssumeRole*", "sts:GetFederationToken"], "Resource": "*"}
    text = msgspec.json.encode({"Version": "2012-10-17", **whole, "Statement": [*statements, last]}).decode()
    if len(text) > _MOST_CHARS:
        raise too_wide(f"the session policy has {len(text)} characters, AWS takes {_MOST_CHARS}")
    return text


def deny_policy(session: str) -> str:
    """A policy that takes everything from one session of a role, by its name, which no other session has."""
    condition = {"StringLike": {"aws:userid": f"*:{session}"}}
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
    return msgspec.json.encode({"Version": "2012-10-17", "Statement": [statement]}).decode()


def policy_name(session: str, expires_at_ms: int) -> str:
    """Under which a Deny is attached; it says when it is no longer needed."""
    return f"lictor-deny-{expires_at_ms}-{session}"


def is_over(name: str, now_ms: int) -> bool:
    """Whether an attached policy is a Deny of ours whose session has ended by itself."""
    found = _NAME.fullmatch(name)
    return found is not None and int(found[1]) < now_ms


def fitted_tag(value: str) -> str:
    """A tag's value: as it is where it fits, else its digest."""
    return value if _TAG.fullmatch(value) else f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"


def fitted_name(value: str) -> str:
    """A source identity: as it is where it fits, else readable with a digest that keeps two apart."""
    if _SESSION.fullmatch(value):
        return value
    digest = hashlib.sha256(value.encode()).hexdigest()[:16]
    return f"{_NOT_SESSION.sub('-', value)[:40]}.{digest}"
