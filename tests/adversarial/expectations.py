"""Reading `expected`: outcome words, HTTP status, JSON-RPC code, reason code, and phrases, each of which has its checker.

What is not read is a failure of the runner, never a pass: a clause without checker, a word we do not know, a refusal whose
reason nobody states. What stands in brackets explains and is not checked.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from adversarial.model import Observed, Unreadable, Word, Wrong
from adversarial.run import Run
from lictor.model.reasons import Reason

ALIASES: Final[dict[str, tuple[frozenset[Reason], str]]] = {
    "HeaderMismatch": (frozenset({Reason.HEADER_MISMATCH}), "the specification's name of the same code"),
    "approval_principal": (
        frozenset({Reason.APPROVAL_PRINCIPAL, Reason.STATE_PRINCIPAL}),
        "over MCP an approval is named only inside the sealed requestState, which is refused as another principal's before it is read",
    ),
    "outside_root": (
        frozenset({Reason.UNKNOWN_PATH}),
        "a path that is not certainly below a declared root is an unknown path, whatever the reason for the doubt",
    ),
    "protected_path": (
        frozenset({Reason.FORBIDDEN}),
        "what is protected is said by policy, in a forbid on the facts of the path",
    ),
    "userinfo_not_allowed": (
        frozenset({Reason.UNKNOWN_DESTINATION}),
        "a URL that readers split in different places leads nowhere certain, whatever it is that splits them",
    ),
    "content_changed": (
        frozenset({Reason.PRECONDITION_CHANGED}),
        "content is one of several things an approval rests on; which one changed is for people, in the preview",
    ),
    "address_class": (
        frozenset({Reason.FORBIDDEN}),
        "which addresses may be reached is said by policy, in a forbid on the facts of the destination",
    ),
    "registry_state": (
        frozenset({Reason.UNKNOWN_AGENT, Reason.AGENT_INACTIVE, Reason.AGENT_NO_OWNER, Reason.AGENT_REVIEW_OVERDUE}),
        "one code for each state of the registry: not in it, out of service, nobody's, not looked at in time",
    ),
    "approval_unavailable": (
        frozenset({Reason.APPROVAL_UNAVAILABLE, Reason.CANNOT_RECORD}),
        "holds live in the record store: there is no other approval service that could be down",
    ),
}
"""The one place where a case's word stands for another code of ours: the codes, and why they mean the same."""

IMPLIED: Final[tuple[tuple[str, frozenset[Reason]], ...]] = (
    (r"limit [\d,.]+\n", frozenset({Reason.INVALID_ARGUMENTS, Reason.UNKNOWN_VALUE})),
    (r"boolean for a number", frozenset({Reason.INVALID_ARGUMENTS})),
    (r"Cedar Long", frozenset({Reason.UNSAFE_INTEGER, Reason.NUMBER_RANGE})),
    (r"currency omitted", frozenset({Reason.UNKNOWN_VALUE})),
    (r"REJECT NUL", frozenset({Reason.INVALID_ARGUMENTS})),
    (r"(?:root|symlink) /", frozenset({Reason.UNKNOWN_PATH})),
    (r"deny list", frozenset({Reason.FORBIDDEN})),
    (r"file URI", frozenset({Reason.INVALID_ARGUMENTS})),
    (r"forbid when .* absent", frozenset({Reason.POLICY_ERROR})),
    (r"raw strings: host", frozenset({Reason.FORBIDDEN})),
    (r"raw strings: .* in resource names", frozenset({Reason.INVALID_ARGUMENTS, Reason.UNKNOWN_RESOURCE})),
    (r"database (?:unreachable|accepts reads)|disk full", frozenset({Reason.CANNOT_RECORD})),
    (r"PDP times out", frozenset({Reason.POLICY_TIMEOUT, Reason.POLICY_ERROR, Reason.INTERNAL})),
    (r"classifier says", frozenset({Reason.NOT_PERMITTED, Reason.FORBIDDEN, Reason.UNKNOWN_PATH})),
    (r"commit in another\n", frozenset({Reason.APPROVAL_PRINCIPAL, Reason.STATE_PRINCIPAL})),
    (r"policy changed to forbid", frozenset({Reason.FORBIDDEN})),
    (r"tainted content", frozenset({Reason.NEEDS_APPROVAL, Reason.FORBIDDEN, Reason.NOT_PERMITTED})),
    (r"body larger than the inspection buffer", frozenset({Reason.TOO_LARGE})),
    (r"^(?:\w+\.\w+ is read-only|SQLite\n|allow: .*; deny: )", frozenset({Reason.FORBIDDEN})),
    (r"^MySQL versioned comment", frozenset({Reason.UNKNOWN_QUERY})),
    (r"^interpreter in the allowlist", frozenset({Reason.FORBIDDEN})),
    (r"^allow suffix \S+ \(without dot\)", frozenset({Reason.NOT_PERMITTED})),
    (r"^allow (?:host|suffix) |^ws:, |^argument injection", frozenset({Reason.UNKNOWN_DESTINATION})),
    (r"^working directory is a symlink", frozenset({Reason.PRECONDITION_CHANGED})),
    (r"^empty code_verifier", frozenset({Reason.UNAUTHENTICATED})),
    (r"^authorize with registered redirect", frozenset({Reason.INVALID_ARGUMENTS})),
    (r"^metadata by other encodings", frozenset({Reason.FORBIDDEN, Reason.UNKNOWN_DESTINATION})),
    (r"^plain http while", frozenset({Reason.NOT_PERMITTED})),
    (r"^path rule ", frozenset({Reason.FORBIDDEN})),
    (r"^agent asks for the secret itself", frozenset({Reason.UNKNOWN_TOOL})),
    (r"^base URL override", frozenset({Reason.UNKNOWN_ARGUMENT})),
    (r"^secret in a tool argument", frozenset({Reason.CREDENTIAL_IN_ARGUMENTS})),
    (r"^task ends", frozenset({Reason.TASK_CLOSED, Reason.UNAUTHENTICATED})),
    (r"^\d+ segments|^command substitution|^redirect in|wrapper\n", frozenset({Reason.UNKNOWN_COMMAND})),
)
"""Reasons asserted where a case states none, by what its precondition or its expectation says."""

PARSED: Final = frozenset({Reason.UNKNOWN_DESTINATION})
"""What the cases call rejected as well: a text that its parser refused. Over MCP a URL is an argument of a well-formed message, so
the refusal belongs to structure and not to the door; that no policy took part is checked all the same."""

_BY_WORD: Final = {Word.HOLD: frozenset({Reason.NEEDS_APPROVAL}), Word.ALLOW: frozenset({Reason.PERMITTED})}
_BY_CODE: Final = {-32020: frozenset({Reason.HEADER_MISMATCH, Reason.DUPLICATE_HEADER})}
_WITHOUT_REASON: Final = frozenset({Word.DETECT, Word.QUARANTINE, Word.REFUSED, Word.UNKNOWN})
"""Words that say what was done, not why it was refused; what was found or refused is checked by phrases."""

_WORDS = "|".join(Word)
_OUTCOME = re.compile(
    rf"(?:(?P<subject>second|calls|every call|\d{{3}}) )?(?P<words>(?:{_WORDS})(?:/(?:{_WORDS}))*)\b(?:: )?(?P<rest>.*)",
    re.DOTALL,
)
_ARROW = re.compile(rf"(?P<what>.+?)\s*-> (?P<words>(?:{_WORDS})(?:/(?:{_WORDS}))*)\b(?P<rest>.*)", re.DOTALL)
_SINGLE = "|".join(reason for reason in Reason if "_" not in reason)
_TOKEN = re.compile(
    r"\s*(?:JSON-RPC\b|(?P<code>-\d{5})\b|(?P<status>\d{3})\b(?!%)"
    rf"|(?P<name>[A-Za-z]+(?:_[a-z0-9]+)+|HeaderMismatch|{_SINGLE})\b)"
)
_BRACKETS = re.compile(r"\s*\([^()]*\)")

Check = Callable[[Run, Observed, re.Match[str]], Awaitable[None]]
PHRASES: list[tuple[re.Pattern[str], Check]] = []


def phrase(*patterns: str) -> Callable[[Check], Check]:
    """Register the checker of a phrase; the pattern has to match all of it. A checker raises `Wrong`."""

    def register(check: Check) -> Check:
        PHRASES.extend((re.compile(pattern, re.DOTALL), check) for pattern in patterns)
        return check

    return register


def require(holds: object, message: str) -> None:
    """Raise `Wrong` unless something holds."""
    if not holds:
        raise Wrong(message)


@dataclass(slots=True)
class Clause:
    """One outcome as stated."""

    words: frozenset[Word]
    subject: str = ""
    status: int | None = None
    code: int | None = None
    reasons: frozenset[Reason] = frozenset()
    aliased: bool = False
    rest: str = ""
    names: list[str] = field(default_factory=list)


def clauses(expected: str) -> list[str]:
    """The expectation cut at semicolons with a blank behind them, outside brackets."""
    parts, depth, current = [], 0, ""
    for char in expected:
        depth += (char == "(") - (char == ")")
        if char == " " and current.endswith(";") and depth == 0:
            parts.append(current[:-1])
            current = ""
        else:
            current += char
    return [part.strip() for part in [*parts, current] if part.strip()]


def bare(text: str) -> str:
    """Without what stands in brackets, however deep."""
    while (shorter := _BRACKETS.sub("", text)) != text:
        text = shorter
    return text


async def judge(run: Run, seen: Observed, expected: str) -> None:
    """Hold what was seen against every clause.

    Raises:
        Unreadable: a clause that nobody can check.
        Wrong: one that does not hold.
    """
    read = [(text, reader_of(text, f"{run.precondition}\n{expected}")) for text in clauses(expected)]
    if not read:
        raise Unreadable("nothing is expected")
    for text, check in read:
        try:
            await check(run, seen)
        except Wrong as error:
            raise Wrong(f"{text!r}: {error}; seen: {seen.summary()}") from None


def reader_of(text: str, context: str) -> Callable[[Run, Observed], Awaitable[None]]:
    """What checks a clause: a phrase, as it stands or without its explanation, or an outcome with phrases behind it.

    Raises:
        Unreadable: nothing does.
    """
    found = _phrase(text) or _alternatives(text, context) or _outcome(text, context) or _phrase(bare(text))
    if found is None:
        raise Unreadable(f"no checker reads {text!r}")
    return found


def _phrase(text: str) -> Callable[[Run, Observed], Awaitable[None]] | None:
    for pattern, check in PHRASES:
        match = pattern.fullmatch(text.strip())
        if match is not None:

            async def run_it(run: Run, seen: Observed, match: re.Match[str] = match, check: Check = check) -> None:
                await check(run, seen, match)

            return run_it
    return None


def _alternatives(text: str, context: str) -> Callable[[Run, Observed], Awaitable[None]] | None:
    """`REJECT a or b`: the outcome, or the phrase."""
    plain = bare(text)
    left, found, right = plain.partition(" or ")
    first = _outcome(left, context) if found and " or " not in right else None
    second = _phrase(right) if first else None
    if first is None or second is None:
        return None

    async def either(run: Run, seen: Observed) -> None:
        try:
            await first(run, seen)
        except Wrong as error:
            try:
                await second(run, seen)
            except Wrong as other:
                raise Wrong(f"neither: {error}; {other}") from None

    return either


def _outcome(text: str, context: str) -> Callable[[Run, Observed], Awaitable[None]] | None:
    plain = bare(text).strip()
    arrow = _ARROW.fullmatch(plain)
    match = arrow or _OUTCOME.fullmatch(plain)
    if match is None:
        return None
    clause = _clause(match, "" if arrow else match["subject"] or "")
    rest = _phrase(clause.rest) if clause.rest else None
    if clause.rest and rest is None:
        return None
    if not clause.reasons:
        clause.reasons = _implied(clause, context)

    async def check(run: Run, seen: Observed) -> None:
        for one in _subjects(run, seen, clause.subject):
            _compare(run, one, clause)
        if rest is not None:
            await rest(run, seen)

    return check


def _clause(match: re.Match[str], subject: str) -> Clause:
    clause = Clause(words=frozenset(Word(word) for word in match["words"].split("/")), subject=subject)
    if subject.isdigit():
        clause.status, clause.subject = int(subject), ""
    rest = match["rest"]
    while token := _TOKEN.match(rest):
        if token["code"]:
            clause.code = int(token["code"])
        elif token["status"]:
            clause.status = int(token["status"])
        elif token["name"]:
            _add_reason(clause, token["name"])
        rest = rest[token.end() :]
    clause.rest = rest.strip(" ,:")
    return clause


def _add_reason(clause: Clause, name: str) -> None:
    if name in ALIASES:
        clause.reasons |= ALIASES[name][0]
        clause.aliased = True
    elif name in list(Reason):
        clause.reasons |= {Reason(name)}
    else:
        raise Unreadable(f"no reason of ours is called {name!r}")


def _implied(clause: Clause, context: str) -> frozenset[Reason]:
    if clause.code is not None:
        if clause.code not in _BY_CODE:
            raise Unreadable(f"no reason is known for code {clause.code}")
        return _BY_CODE[clause.code]
    if clause.words <= _WITHOUT_REASON:
        return frozenset()
    if len(clause.words) == 1 and next(iter(clause.words)) in _BY_WORD:
        return _BY_WORD[next(iter(clause.words))]
    for pattern, reasons in IMPLIED:
        if re.search(pattern, context):
            return reasons
    if clause.rest:
        return frozenset()  # the phrase behind it states the reason; `STATES_REASON` makes sure that it does
    raise Unreadable(f"no reason is stated or implied for {'/'.join(sorted(clause.words))}")


def _subjects(run: Run, seen: Observed, subject: str) -> list[Observed]:
    match subject:
        case "second":
            if len(seen.facts.get("steps", [])) < 2:
                raise Unreadable("there is no second step")
            return [seen.facts["steps"][1]]
        case "calls":
            return [seen.facts["call"]]
        case "every call":
            return list(seen.facts["calls"])
        case _:
            return [seen]


def _compare(run: Run, seen: Observed, clause: Clause) -> None:
    require(seen.word is not None or not clause.words, "there was no outcome")
    # A refusal at the strict door is earlier than the denial a case expects; it counts where the reason is the expected one.
    earlier = seen.word is Word.REJECT and Word.DENY in clause.words and seen.reason in clause.reasons
    parsed = seen.word is Word.DENY and Word.REJECT in clause.words and seen.reason in clause.reasons & PARSED
    require(seen.word in clause.words or earlier or parsed, f"{seen.word} instead of {'/'.join(sorted(clause.words))}")
    if clause.reasons:
        wanted = ", ".join(sorted(clause.reasons))
        require(seen.reason in clause.reasons, f"reason {seen.reason!r} instead of {wanted}")
    if clause.status is not None:
        require(seen.status == clause.status, f"status {seen.status} instead of {clause.status}")
    if clause.code is not None:
        require(seen.code == clause.code, f"code {seen.code} instead of {clause.code}")
    if seen.word is Word.REJECT or parsed:
        _check_rejected(run, seen)


def _check_rejected(run: Run, seen: Observed) -> None:
    """Refused by the parser or the schema: no policy took part, and what is named is something the case sent."""
    for decision in run.decisions():
        if decision.reason == seen.reason:
            require(not decision.policies, "policies took part in a rejection")
    given = seen.facts.get("given")
    # An argument that no definition declares is a model's word: records hold none of these, and its bytes lie sealed.
    about_arguments = seen.reason in {Reason.INVALID_ARGUMENTS, Reason.UNKNOWN_VALUE}
    if given and about_arguments:
        errors = " ".join(error for decision in run.decisions() for error in decision.errors)
        require(
            any(name in errors or _folded(name) in _folded(errors) for name in given),
            f"{errors!r} names none of {given}",
        )


def _folded(text: str) -> str:
    return text.replace("'", "").casefold()
