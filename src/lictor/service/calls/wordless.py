"""What may be written down of an error: our own words, and none of those it quotes.

Messages quote what they are about, and that may be a word of a model, a person or a server; records hold none of these
(`model.record`). Names of arguments stay where a reviewed definition declares them (`Pdp.words`). What exactly was wrong can be
read again from what is sealed with the request, as long as it is: a decision is a function of that.
Refuses to know which error it was.
"""

import re
from collections.abc import Collection
from itertools import groupby
from typing import Final

from lictor.model.action import ActionRequest
from lictor.model.decision import Decision
from lictor.model.reasons import Reason

CUT: Final = "'...'"
"""Stands for what was quoted."""
_MAX_TYPE: Final = 60
"""Characters of an error's type."""
_MAX_INDEX: Final = 6
"""Digits of a place in a list; longer ones are somebody's number."""
ELSEWHERE: Final = "*"
"""Stands for a member that has no name of the protocol's."""

# Names of policies and of the engine's functions are their authors'. A quote that stands behind a letter is an apostrophe. What
# comes behind anything else that is quoted goes with it: where a quote ends cannot be told once the message was cut.
_KEPT: Final = re.compile(r"policy `[\w.\-]*`|evaluating `[a-z]+` extension function|(?<!\w)b?['\"`].*", re.DOTALL)
_POINTER: Final = re.compile(r"/.*?(?:: |$)", re.DOTALL)
_MEMBERS: Final = frozenset(
    {
        *("jsonrpc", "id", "method", "params", "result", "error", "code", "message", "data"),
        *("name", "arguments", "uri", "ref", "type", "argument", "value", "context", "cursor", "level", "_meta"),
        *("protocolVersion", "capabilities", "clientInfo", "progressToken", "inputResponses", "requestState"),
    }
)
_THEIRS: Final = frozenset({"arguments", "_meta", "data", "value", "context", "inputResponses"})
"""Members below which every name is somebody else's."""


def wordless(message: str, *, plain: bool = False, words: Collection[str] = ()) -> str:
    """An error's message up to what it quotes, and of the place it begins with the names that may be told.

    Args:
        plain: whether no name in what it is about holds a colon and a space, so that the first of these ends the place.
        words: names that may be told.
    """
    if not message.startswith("/"):
        return _KEPT.sub(_kept, message)
    found = _POINTER.match(message) if plain else None
    if found is None:
        return f"/{ELSEWHERE}"
    steps = found[0].removesuffix(": ")[1:].split("/")
    where = "/".join(one for one, _ in groupby(step if step in words or _number(step) else ELSEWHERE for step in steps))
    said = message[found.end() :]
    return f"/{where}: {_KEPT.sub(_kept, said)}" if said else f"/{where}"


def _number(step: str) -> bool:
    """Whether it is a place in a list."""
    return len(step) <= _MAX_INDEX and step.isascii() and step.isdigit()


def _kept(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith(("policy ", "evaluating ")) else CUT


def told(request: ActionRequest, decision: Decision, words: Collection[str]) -> tuple[str, ...]:
    """What is written down of the errors of a decision. `words`: of the bundle it was decided under."""
    if decision.reason is Reason.INTERNAL:  # nobody foresaw it, and so nobody knows what it says
        return tuple(error.partition(":")[0][:_MAX_TYPE] for error in decision.errors)
    plain = b": " not in request.arguments.data  # canonical JSON has spaces in strings only
    return tuple(wordless(error, plain=plain, words=words) for error in decision.errors)


def place(where: str, words: Collection[str] = ()) -> str:
    """Where an error is: of a JSON pointer the members that the protocol or a reviewed definition names.

    What is no pointer is ours already.
    """
    if not where.startswith("/"):
        return wordless(where)
    found, theirs = [], False
    for step in where[1:].split("/"):
        known = not theirs and (step in _MEMBERS or _number(step))
        found.append(step if known or (theirs and step in words) else ELSEWHERE)
        theirs = theirs or not known or step in _THEIRS
    return "/" + "/".join(found)
