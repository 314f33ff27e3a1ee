"""`applications.toml`: the programs that may ask for tasks, who answers for each, and how it proves itself. Never a secret.

An application is no agent: it is code that somebody wrote, opening tasks for people it has authenticated. What it may open is
policy's word (`context.input.opener`). Refuses to know stores and tokens.
"""

from datetime import date

import msgspec

from lictor.model.application import Application
from lictor.model.identity import Proof
from lictor.policy.documents import Document, convert, only_keys, tables
from lictor.policy.names import name_problem
from lictor.policy.problems import Problems, quote
from lictor.policy.proofs import check_proofs
from lictor.policy.registry import LAST_REVIEW, end_of


class _Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    owner: str
    review_by: date
    groups: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()


def read_applications(document: Document, problems: Problems) -> dict[str, Application]:
    """`[applications.NAME]`, by name; one without owner or review date is refused (OWASP NHI1)."""
    only_keys(document, ("applications",), problems)
    found: dict[str, Application] = {}
    for name, raw in tables(document, "applications", problems).items():
        path = ("applications", name)
        where = document.lines.where(path)
        if problem := name_problem(name):
            problems.add(where, f"{quote(name)}: {problem}")
        table = convert(document, path, raw, _Table, problems)
        if table is None:
            continue
        if not table.owner.strip() or not table.owner.isprintable():
            problems.add(where, f"application {quote(name)} has no owner", "name the person or team who answers for it")
        if not 1970 <= table.review_by.year < LAST_REVIEW.year:
            problems.add(where, f"review_by must be between 1970 and {LAST_REVIEW}")
        for group in table.groups:
            if problem := name_problem(group):
                problems.add(document.lines.where((*path, "groups")), f"{quote(group)}: {problem}")
        found[name] = Application(
            name=name,
            owner=table.owner,
            review_by_ms=end_of(min(table.review_by, LAST_REVIEW)),
            groups=tuple(sorted(set(table.groups))),
            proofs=table.proofs,
        )
    check_proofs(document, "applications", {name: one.proofs for name, one in found.items()}, problems)
    return found
