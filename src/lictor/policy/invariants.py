"""`invariants.toml`: what must hold of every request, as claims for the prover.

Conditions are Cedar, parsed by Cedar itself, so there is one language. Reads and refuses; it knows neither the solver nor
whether a claim holds. A claim that cannot be read refuses the file: one that nobody checks is worse than none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cedarpy import PolicySet, Schema, pst, validate_policies

from lictor.model.errors import OperatorError
from lictor.policy.documents import Document, convert, only_keys, read_toml, tables
from lictor.policy.guard import parse_policy_text
from lictor.policy.names import IDENTIFIER
from lictor.policy.problems import Problems, quote
from lictor.policy.standing import STANDING

FILE: Final = "invariants.toml"
OUTCOMES: Final = ("allow", "needs_approval", "deny")
CHANGES: Final = ("raise", "lower", "add", "remove", "empty")
BUILT_IN: Final = "built in"
"""Where a standing claim stands."""
NO_ERRORS: Final = "no_policy_errs"
_FACT: Final = re.compile(r"(principal|context)((?:\.[A-Za-z_][A-Za-z0-9_]*)+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One Cedar expression over principal, action, resource and context; `policy` is it as the condition of a permit."""

    where: str
    text: str
    policy: Mapping[str, Any]
    tree: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """For every request for which `when` holds and `unless` does not: `never` does not come out, or `always` does."""

    name: str
    title: str
    where: str
    when: Condition | None
    unless: Condition | None
    never: str
    always: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tightening:
    """Changing one fact never makes the outcome laxer.

    Attributes:
        fact: path from `principal` or `context`.
        change: `raise` or `lower` a Long; `add` to a set; `remove` an optional member; `empty` a set in an optional record, which
            must be no better than the record's absence.
    """

    name: str
    title: str
    where: str
    fact: tuple[str, ...]
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoErrors:
    """No policy can end in an error."""

    name: str
    title: str
    where: str


Claim = Invariant | Tightening | NoErrors


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Everything that is to hold, and which of the standing claims somebody has given up, and why."""

    claims: tuple[Claim, ...]
    waived: Mapping[str, str]


class _InvariantTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    title: str
    when: str = ""
    unless: str = ""
    never: str = ""
    always: str = ""


class _TighteningTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    title: str
    fact: str
    change: str


class _WaivedTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    reason: str


def read_claims(files: Mapping[str, bytes]) -> Claims:
    """The standing claims and those of a bundle's `invariants.toml`, where it has one.

    Raises:
        BundleRefused: with every fault of the file.
    """
    problems = Problems()
    standing = _read(BUILT_IN, STANDING.encode(), problems)
    own, waived = _read(FILE, files[FILE], problems) if FILE in files else ((), {})
    problems.raise_if_any()
    errors = NoErrors(name=NO_ERRORS, title="no policy can end in an error", where=BUILT_IN)
    known: dict[str, Claim] = {claim.name: claim for claim in (errors, *standing[0])}
    for claim in own:
        if claim.name in known:
            problems.add(claim.where, f"{quote(claim.name)} is a standing claim", "choose another name")
    for name, where in waived.items():
        if name not in known:
            problems.add(where[1], f"{quote(name)} is no standing claim", f"known: {', '.join(known)}")
    problems.raise_if_any()
    kept = tuple(claim for name, claim in known.items() if name not in waived)
    return Claims(claims=(*kept, *own), waived={name: reason for name, (reason, _) in waived.items()})


def check_conditions(claims: Claims, schema: str) -> None:
    """Type-check every condition against the bundle's schema, strictly, as policy is.

    Raises:
        BundleRefused: with every fault.
    """
    problems = Problems()
    compiled = Schema.from_str(schema)
    for claim in claims.claims:
        for condition in (claim.when, claim.unless) if isinstance(claim, Invariant) else ():
            if condition is None:
                continue
            result = validate_policies(_wrapped(condition.text), compiled)
            for error in [] if result.validation_passed else result.errors:
                problems.add(condition.where, " ".join(str(error.error).split())[:300])
    problems.raise_if_any()


def _read(file: str, data: bytes, problems: Problems) -> tuple[tuple[Claim, ...], dict[str, tuple[str, str]]]:
    document = read_toml(file, data, problems)
    if document is None:
        return (), {}
    only_keys(document, ("invariants", "tightening", "waived"), problems)
    claims: list[Claim] = []
    for kind, read in (("invariants", _invariant), ("tightening", _tightening)):
        for name, raw in tables(document, kind, problems).items():
            claim = read(document, name, raw, problems)
            if claim is None:
                continue
            if IDENTIFIER.fullmatch(name) is None or name in {known.name for known in claims}:
                problems.add(
                    _at(document, (kind, name)), f"{quote(name)} is taken, or not at most 64 of a-z, 0-9 and '_'"
                )
            claims.append(claim)
    waived: dict[str, tuple[str, str]] = {}
    for name, raw in tables(document, "waived", problems).items():
        table = convert(document, ("waived", name), raw, _WaivedTable, problems)
        where = _at(document, ("waived", name))
        if table is not None and not table.reason.strip():
            problems.add(where, f"waiving {quote(name)} needs a reason", 'reason = "…"')
        elif table is not None:
            waived[name] = (table.reason, where)
    return tuple(claims), waived


def _at(document: Document, path: tuple[str, ...]) -> str:
    return BUILT_IN if document.file == BUILT_IN else document.lines.where(path)


def _invariant(document: Document, name: str, raw: Any, problems: Problems) -> Invariant | None:
    path = ("invariants", name)
    table = convert(document, path, raw, _InvariantTable, problems)
    if table is None:
        return None
    where = _at(document, path)
    if bool(table.never) == bool(table.always) or (table.never or table.always) not in OUTCOMES:
        problems.add(where, f"{quote(name)} needs exactly one of never and always", f"one of {', '.join(OUTCOMES)}")
    return Invariant(
        name=name,
        title=table.title,
        where=where,
        when=_condition(table.when, _at(document, (*path, "when")), problems),
        unless=_condition(table.unless, _at(document, (*path, "unless")), problems),
        never=table.never,
        always=table.always,
    )


def _tightening(document: Document, name: str, raw: Any, problems: Problems) -> Tightening | None:
    path = ("tightening", name)
    table = convert(document, path, raw, _TighteningTable, problems)
    if table is None:
        return None
    where = _at(document, path)
    if table.change not in CHANGES:
        problems.add(where, f"{quote(table.change)} is no change", f"one of {', '.join(CHANGES)}")
    if _FACT.fullmatch(table.fact) is None:
        problems.add(where, f"{quote(table.fact)} is no fact", "write it as context.task.calls or principal.autonomy")
    return Tightening(name=name, title=table.title, where=where, fact=tuple(table.fact.split(".")), change=table.change)


def _wrapped(text: str) -> str:
    return f"permit (principal, action, resource) when {{ {text}\n}};"


def _condition(text: str, where: str, problems: Problems) -> Condition | None:
    """Cedar's own reading of a condition. Text that closes the brace and goes on is not one condition, and is refused."""
    if not text:
        return None
    try:
        document = msgspec.json.decode(parse_policy_text(FILE, _wrapped(text)), type=dict[str, Any])
        (policy,) = document["staticPolicies"].values()
        whole = {"staticPolicies": {"condition": policy}, "templates": {}, "templateLinks": []}
        tree = PolicySet.from_json_str(msgspec.json.encode(whole).decode()).to_pst().static_policies["condition"]
        (clause,) = tree.clauses
    except OperatorError as error:
        problems.add(where, f"not a condition: {error.message}")
        return None
    except (ValueError, KeyError, RecursionError) as error:
        problems.add(where, f"not one condition: {quote(' '.join(str(error).split()))}")
        return None
    if type(clause) is not pst.When or document.get("templates"):
        problems.add(where, "not one condition")
        return None
    return Condition(where=where, text=text, policy=policy, tree=clause.expr)
