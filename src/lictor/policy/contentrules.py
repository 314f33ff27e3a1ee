"""`labels.toml`: which content gets which labels, whoever sent it. Refuses to know what content looks like."""

from typing import Final

import msgspec

from lictor.model.content import ContentRule, Holds
from lictor.pdp.facts import families
from lictor.pdp.origins.content import folded
from lictor.policy.documents import Document, convert, only_keys, tables
from lictor.policy.names import label_problem, name_problem
from lictor.policy.problems import Problems, quote

MAX_RULES: Final = 100
MAX_LITERALS: Final = 100
"""Literals of one rule: each is looked for in every reply."""
SHORTEST_LITERAL: Final = 3
LONGEST_LITERAL: Final = 500


class _Rule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    labels: tuple[str, ...]
    contains: tuple[str, ...] = ()
    holds: tuple[Holds, ...] = ()
    actions: tuple[str, ...] = ()


def read_content_rules(document: Document, actions: frozenset[str], problems: Problems) -> tuple[ContentRule, ...]:
    """`[rules.NAME]` tables.

    Args:
        actions: every action the catalogue knows; a rule for another one would never be used.
    """
    only_keys(document, ("rules",), problems)
    found = tables(document, "rules", problems)
    if len(found) > MAX_RULES:
        problems.add(document.lines.where(("rules",)), f"more than {MAX_RULES} rules")
    rules = []
    for name, raw in found.items():
        table = convert(document, ("rules", name), raw, _Rule, problems)
        if table is None:
            continue
        for key, value, problem in _faults(name, table, actions):
            if problem:
                where = ("rules", name, key) if key else ("rules", name)
                problems.add(document.lines.where(where), f"{quote(value)}: {problem}")
        rules.append(
            ContentRule(
                name=name,
                labels=tuple(families(table.labels)),
                contains=table.contains,
                holds=table.holds,
                actions=table.actions,
            )
        )
    return tuple(rules)


def _faults(name: str, rule: _Rule, actions: frozenset[str]) -> list[tuple[str, object, str]]:
    faults: list[tuple[str, object, str]] = [("", name, name_problem(name))]
    faults += [("labels", label, label_problem(label)) for label in rule.labels]
    if not rule.labels:
        faults.append(("labels", [], "a rule gives at least one label"))
    if not rule.contains and not rule.holds:
        faults.append(("", name, "a rule says what the content contains or holds"))
    if len(rule.contains) > MAX_LITERALS:
        faults.append(("contains", name, f"a rule has at most {MAX_LITERALS} literals"))
    for literal in rule.contains:
        if not SHORTEST_LITERAL <= len(folded(literal)) <= LONGEST_LITERAL or not literal.strip():
            faults.append(("contains", literal, f"a literal has {SHORTEST_LITERAL} to {LONGEST_LITERAL} characters"))
    faults += [
        ("actions", action, "the catalogue has no such action; it is written server/tool")
        for action in rule.actions
        if action not in actions
    ]
    return faults
