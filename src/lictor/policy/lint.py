"""`lictor policy check`: strict validation by the engine, then our own lints, each with id, severity, place and what to do.

An error means that a policy does not do what it says; a warning that a person should look. Refuses to know folders; nothing here
decides anything.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cedarpy import Schema, pst, validate_policies

from lictor.model.action import ActionKind, action_name
from lictor.model.catalog import CatalogEntry
from lictor.pdp.engine import slicing
from lictor.pdp.engine.slicing import Key, Keys, scope_keys
from lictor.policy.bundle import Bundle
from lictor.policy.cedarschema import RESOURCE_TYPE, ActionType, resource_of, schema_text
from lictor.policy.compile import bundle_actions
from lictor.policy.lintplaces import PLACE_RULES
from lictor.policy.lintrules import RULES, Known, Severity
from lictor.policy.linttext import foreign_words, hidden_characters, mixed_script
from lictor.policy.names import CLASSES, KNOWN_LABELS
from lictor.policy.problems import Problems, quote
from lictor.policy.reach import action_keys, agent_keys, policy_trees, thing_keys
from lictor.policy.standards import ANNOTATION, instead_of, named, unknown
from lictor.policy.text import ParsedPolicy

MAX_FINDINGS: Final = 1_000
OPENS: Final = action_name(ActionKind.TASK, "", "")
"""Opening a task, as policy names it."""
_FOR_ACTION: Final = re.compile(r' for Action::"(?:[^"\\]|\\.)*"')
_TEXT_FILES: Final = (".cedar", ".toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to look at.

    Attributes:
        rule: stable id of the lint.
        where: `file:line`.
        policy: the policy's `@id`, or empty.
        fix: what to do.
    """

    rule: str
    severity: Severity
    where: str
    message: str
    fix: str = ""
    policy: str = ""

    def __str__(self) -> str:
        """One line: `file:line: error: message [rule] (fix)`."""
        named = f" in {self.policy}" if self.policy else ""
        hint = f" ({self.fix})" if self.fix else ""
        return f"{self.where}: {self.severity}: {self.message}{named} [{self.rule}]{hint}"


def lint_bundle(bundle: Bundle) -> tuple[Finding, ...]:
    """Everything there is to say about a bundle, by place; errors and warnings.

    Raises:
        OperatorError: the bundle does not compile; there is no point in looking closer.
    """
    actions = bundle_actions(bundle)
    trees = policy_trees(bundle.policies)
    found = [
        *_validate(bundle, actions),
        *_rules(bundle, trees),
        *_reach(bundle, trees, actions),
        *_openings(trees, actions),
        *_annotations(bundle),
        *_controls(bundle),
        *_texts(bundle),
        *_entries(bundle),
    ]
    return tuple(sorted(set(found), key=_place)[:MAX_FINDINGS])


def refuse_invalid(bundle: Bundle) -> None:
    """Refuse a bundle whose policies fail strict validation: a forbid with a mistyped action would simply never fire.

    Raises:
        BundleRefused: with every such policy.
        OperatorError: the bundle does not compile.
    """
    problems = Problems()
    for finding in _validate(bundle, bundle_actions(bundle)):
        problems.add(
            finding.where, f"{finding.message} in {finding.policy or 'the policies'}", "see: lictor policy check"
        )
    problems.raise_if_any()


def has_errors(findings: Sequence[Finding]) -> bool:
    """Whether a check fails."""
    return any(finding.severity == "error" for finding in findings)


def _validate(bundle: Bundle, actions: Sequence[ActionType]) -> Iterator[Finding]:
    """The engine's strict validation. It names policies by position, so we hand it ours in order."""
    schema = Schema.from_str(schema_text(actions, phantoms=True))
    text = "\n".join(policy.text for policy in bundle.policies)
    result = validate_policies(text, schema, release_gil=True)
    actions_of: dict[tuple[int, str], list[str]] = {}
    for error in result.errors:
        position = str(error.policy_id).removeprefix("policy")
        number = int(position) if position.isdigit() and int(position) < len(bundle.policies) else -1
        message = " ".join(str(error.error).split()).removeprefix(f"for policy `{error.policy_id}`, ")[:400]
        # The engine says the same of each action a scope reaches: one finding, with how many actions it is about.
        found = actions_of.setdefault((number, _FOR_ACTION.sub("", message)), [])
        found += _FOR_ACTION.findall(message)
    for (number, message), names in actions_of.items():
        policy = bundle.policies[number] if number >= 0 else None
        more = f" (and {len(names) - 1} more actions)" if len(names) > 1 else ""
        yield Finding(
            rule="invalid",
            severity="error",
            where=policy.where if policy else "policies",
            message=f"{message}{min(names) if names else ''}{more}",
            policy=policy.id if policy else "",
        )
    if not result.validation_passed and not result.errors:
        yield Finding(rule="invalid", severity="error", where="policies", message="strict validation failed")


def _rules(bundle: Bundle, trees: Mapping[str, pst.Template]) -> Iterator[Finding]:
    known = _known(bundle)
    for policy in bundle.policies:
        for rule in (*RULES, *PLACE_RULES):
            for fault in rule(trees[policy.id], known):
                yield Finding(
                    rule=fault.rule,
                    severity=fault.severity,
                    where=policy.where,
                    message=fault.message,
                    fix=fault.fix,
                    policy=policy.id,
                )


def _known(bundle: Bundle) -> Known:
    entities: dict[str, set[str]] = {name: set() for name in RESOURCE_TYPE.values()}
    for entry in bundle.entries:
        type_, id_ = resource_of(entry)
        entities[type_].add(id_)
    entities["Server"] = {entry.server for entry in bundle.entries if entry.server}
    entities["Agent"] = set(bundle.agents)
    entities["AgentGroup"] = {group for agent in bundle.agents.values() for group in agent.groups}
    return Known(
        entities={type_: frozenset(ids) for type_, ids in entities.items()},
        approver_groups=bundle.approvers.groups,
        labels=frozenset(
            {
                *KNOWN_LABELS,
                *(label for entry in bundle.entries for label in entry.labels),
                *(label for rule in bundle.content_rules for label in rule.labels),
            }
        ),
        purposes=frozenset(bundle.purposes),
        host_groups=bundle.directory.groups,
        classes=frozenset(CLASSES),
    )


def _reach(bundle: Bundle, trees: Mapping[str, pst.Template], actions: Sequence[ActionType]) -> Iterator[Finding]:
    """Policies that name something, yet meet no agent or no thing. A rule about a class that is still empty is fine."""
    agents = [agent_keys(agent) for agent in bundle.agents.values()]
    groups = {action.name: action.groups for action in actions}
    things = [(action_keys(name, groups[name]), thing_keys(entry)) for name, entry in _named(bundle.entries)]
    for policy in bundle.policies:
        tree = trees[policy.id]
        wanted, resource, principal = (
            slicing.action_keys(tree.action),
            scope_keys(tree.resource),
            scope_keys(tree.principal),
        )
        within = [keys for action, keys in things if not action.isdisjoint(wanted)]
        if within and not _any(within, resource):
            yield _unreached(policy, "the resource scope meets none of the things its actions are about")
        if agents and not _any(agents, principal):
            yield _unreached(policy, "the principal scope meets no registered agent")


def _openings(trees: Mapping[str, pst.Template], actions: Sequence[ActionType]) -> Iterator[Finding]:
    """Opening a task is denied like everything that no permit reaches, and without a task nothing else happens either."""
    groups = [action.groups for action in actions if action.kind is ActionKind.TASK]
    if not groups:
        return
    keys = action_keys(OPENS, groups[0])
    permits = (tree for tree in trees.values() if tree.effect == "permit")
    if all(keys.isdisjoint(slicing.action_keys(tree.action)) for tree in permits):
        yield Finding(
            rule="no_task_opens",
            severity="warning",
            where="policies",
            message="no policy permits anybody to open a task, so no agent can do anything",
            fix='add a permit for action == Action::"task:open", such as: when { context.input.opener.kind == "operator" }',
        )


def _named(entries: Sequence[CatalogEntry]) -> list[tuple[str, CatalogEntry]]:
    return [(action_name(entry.kind, entry.server, entry.name), entry) for entry in entries]


def _any(candidates: Sequence[Keys], asked: tuple[Key, ...]) -> bool:
    return any(keys.issuperset(asked) for keys in candidates)


def _unreached(policy: ParsedPolicy, message: str) -> Finding:
    return Finding(
        rule="never_matches",
        severity="warning",
        where=policy.where,
        message=message,
        fix="correct the scope, or remove the policy",
        policy=policy.id,
    )


def _annotations(bundle: Bundle) -> Iterator[Finding]:
    """People read @reason in refusals and call @owner at night."""
    for policy in bundle.policies:
        for name in ("reason", "owner"):
            if not policy.annotations.get(name, "").strip():
                yield Finding(
                    rule=f"missing_{name}",
                    severity="warning",
                    where=policy.where,
                    message=f"no @{name}",
                    fix=f'add @{name}("...")',
                    policy=policy.id,
                )


def _controls(bundle: Bundle) -> Iterator[Finding]:
    """A control that no framework has counts for nothing in a report, and looks as if it did."""
    for policy in bundle.policies:
        for name in unknown(named(policy.annotations.get(ANNOTATION, ""))):
            near = instead_of(name)
            yield Finding(
                rule="unknown_control",
                severity="warning",
                where=policy.where,
                message=f"no framework that is known here has the control {quote(name)}",
                fix=f"perhaps {near}" if near else "see: docs/explanation/standards.md",
                policy=policy.id,
            )


def _texts(bundle: Bundle) -> Iterator[Finding]:
    for file, data in bundle.files.items():
        if not file.endswith(_TEXT_FILES):
            continue  # definitions are servers' own words: they are pinned, not read as rules
        for line, called in hidden_characters(data.decode("utf-8", "replace")):
            message = f"a character that does not show: {called}"
            yield Finding(
                rule="hidden_character", severity="error", where=f"{file}:{line}", message=message, fix="remove it"
            )
    for policy in bundle.policies:
        for line, word, mixed in foreign_words(policy.text):
            where = f"{policy.file}:{policy.line + line - 1}"
            yield _foreign(where, word, mixed=mixed, policy=policy.id)


def _entries(bundle: Bundle) -> Iterator[Finding]:
    for entry in bundle.entries:
        where = bundle.lines.get((entry.kind, str(entry.server), entry.name), f"catalog/{entry.server}.toml")
        if not entry.name.isascii():
            yield _foreign(where, entry.name, mixed=mixed_script(entry.name))
        if entry.name.endswith("*") and not entry.name.endswith(("/*", ":*")):
            yield Finding(
                rule="loose_prefix",
                severity="warning",
                where=where,
                message=f"{quote(entry.name)} also matches names that only begin like it",
                fix="end the prefix with / before the *",
            )
        if "communicates" in entry.tags and entry.destination is None:
            yield Finding(
                rule="unknown_recipient",
                severity="warning",
                where=where,
                message=f"{quote(entry.name)} communicates, but nothing says with whom",
                fix='add: destination = { url = "/pointer/to/the/url" }, if its arguments name a URL',
            )


def _foreign(where: str, word: str, *, mixed: bool, policy: str = "") -> Finding:
    severity: Severity = "error" if mixed else "warning"
    said = "mixes scripts, as look-alikes do" if mixed else "is not ASCII"
    return Finding(
        rule="mixed_script" if mixed else "not_ascii",
        severity=severity,
        where=where,
        message=f"{quote(word)} {said}",
        fix="write names in ASCII",
        policy=policy,
    )


def _place(finding: Finding) -> tuple[Any, ...]:
    file, _, line = finding.where.rpartition(":")
    place = (file, int(line)) if line.isdigit() else (finding.where, 0)
    return (*place, finding.severity, finding.rule, finding.message)
