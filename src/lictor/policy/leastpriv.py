"""A least-privilege bundle from what was observed: each permit that was used, narrowed to who used it for what, and nothing else.

A drafted permit has all conditions of the permit it comes from, and more; every forbid stays word for word. So a draft can only
allow a part of what the bundle it comes from allows: that is its safety, and `lictor policy diff` proves it. A write asks for
approval, whatever it did before, and what destroys is never drafted. A person reads it before it is put in force. Refuses to know
the log.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cedarpy import pst

from lictor.model.action import ActionKind, action_name
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.model.errors import OperatorError
from lictor.policy.authority import AUTHORITY
from lictor.policy.bundle import Bundle
from lictor.policy.catalogue import SECTIONS
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.explain import condition_source, reads
from lictor.policy.guard import parse_policy_text
from lictor.policy.lint import refuse_invalid
from lictor.policy.load import is_policy, load_bundle
from lictor.policy.observed import FLAGS, SETS, Use
from lictor.policy.reach import policy_trees
from lictor.policy.recorded import toml_string
from lictor.policy.text import ParsedPolicy

OBSERVED: Final = "policies/observed.cedar"
KEPT: Final = "policies/kept.cedar"
_OWNER_GROUP: Final = "owner"
_SLUG: Final = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_MAX_SLUG: Final = 40
_HEADER: Final = """\
// Drafted from observed traffic: what each agent really used, and nothing more. Read every line before you put it in force.
// Each permit is one of yours with more conditions. What is missing here is denied, rare but needed work too: backtest it over a
// longer span, and widen where you know why.
"""
_KEPT_HEADER: Final = "// Every forbid of the bundle this was drafted from, word for word.\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastPrivilege:
    """A drafted bundle.

    Attributes:
        files: by path in the bundle.
        permits: how many were drafted.
        left_out: what was used and is not drafted, with the reason.
        whole_catalogue: some rule names things that nobody used, so the catalogue was kept as it is.
    """

    files: Mapping[str, bytes]
    permits: int
    left_out: tuple[str, ...]
    whole_catalogue: bool


_SAME_ACTION: Final = frozenset({ActionKind.RESOURCE, ActionKind.TASK})
"""Kinds whose action is the same for many things: the thing stands in the permit's head."""


@dataclass(slots=True)
class _Permit:
    """Uses that end up in one permit."""

    head: tuple[str, ...]
    conditions: tuple[str, ...]
    owner: str
    base: str
    uses: list[Use] = field(default_factory=list)


def draft_bundle(bundle: Bundle, files: Mapping[str, bytes], uses: Sequence[Use]) -> LeastPrivilege:
    """Draft.

    Args:
        bundle: the bundle the uses were decided with.
        files: the files of its folder; settings, registry, directory and the rest are taken over.
        uses: what was observed with it.

    Raises:
        OperatorError: the draft is not accepted by our own reader: not written, whatever the reason.
    """
    permits, left_out = _permits(bundle, uses)
    texts = {OBSERVED: _policy_text(permits, left_out).encode()}
    forbids = [policy.text.strip() for policy in bundle.policies if policy.effect == "forbid"]
    if forbids:
        texts[KEPT] = (_KEPT_HEADER + "\n\n".join(forbids) + "\n").encode()
    base = {path: data for path, data in files.items() if not is_policy(path) and not path.startswith("tests/")}
    least = {path: data for path, data in base.items() if not path.startswith("catalog/")}
    least |= {path: text.encode() for path, text in _catalogue(bundle, uses).items()} | texts
    whole = not _accepted(least)
    chosen = {**base, **texts} if whole else least
    _check(chosen)
    return LeastPrivilege(files=chosen, permits=len(permits), left_out=tuple(left_out), whole_catalogue=whole)


def _accepted(files: Mapping[str, bytes]) -> bool:
    try:
        _check(files)
    except OperatorError:
        return False
    return True


def _check(files: Mapping[str, bytes]) -> None:
    made = load_bundle(files, parse_guarded(files))
    refuse_invalid(made)
    compile_bundle(made)


# -- permits ---------------------------------------------------------------------------------------------------------------


def _permits(bundle: Bundle, uses: Sequence[Use]) -> tuple[list[_Permit], list[str]]:
    policies = {policy.id: policy for policy in bundle.policies}
    found: dict[tuple[tuple[str, ...], ...], _Permit] = {}
    left_out: list[str] = []
    for use in uses:
        policy = policies[use.key.permit]
        if use.entry.effect is EffectClass.DESTRUCTIVE:
            left_out.append(f"{_evidence(use)}: it destroys, and that is never drafted")
            continue
        conditions = _conditions(policy)
        if conditions is None:
            left_out.append(f"{_evidence(use)}: permit {policy.id} cannot be written down again")
            continue
        bounds = [*_scopes(policy), *_bounds(bundle, use)]
        if use.entry.effect is EffectClass.WRITE and not _asks(policy, use):
            groups = _approvers(bundle, use)
            if not groups:
                left_out.append(f"{_evidence(use)}: a write has to be asked for, and there are no approvers")
                continue
            bounds.append(f"context has approval && {_list(groups)}.containsAny(context.approval.groups)")
        resource = f"resource == {_uid(use.key.resource)}" if use.entry.kind in _SAME_ACTION else "resource"
        head = (f"principal == {_uid(('Agent', use.key.agent))}", resource)
        told = (*conditions, *(f"when {{ {one} }}" for one in bounds))
        owner = bundle.agents[use.key.agent].owner
        permit = found.setdefault((head, told, (policy.id,)), _Permit(head, told, owner, policy.id))
        permit.uses.append(use)
    return list(found.values()), left_out


def _conditions(policy: ParsedPolicy) -> list[str] | None:
    """The conditions of a permit as text that means exactly the same; None where that cannot be had.

    Read back and compared: a draft is only ever as narrow as its permit if not a character of it was lost on the way.
    """
    originals = list(policy.json.get("conditions", ()))
    texts = [condition_source(policy.json, one) for one in originals]
    try:
        text = "\n".join(("permit (principal, action, resource)", *texts)) + ";"
        again = msgspec.json.decode(parse_policy_text(OBSERVED, text))
    except OperatorError:
        return None
    (read,) = again["staticPolicies"].values()
    return texts if all(texts) and list(read["conditions"]) == originals else None


def _scopes(policy: ParsedPolicy) -> list[str]:
    """The scopes of the permit, as conditions: who leaves the group loses what was drafted from the group's permit."""
    found = []
    for variable in ("principal", "resource"):
        scope = policy.json.get(variable, {})
        entity = scope.get("entity") or scope.get("in", {}).get("entity")
        if entity and scope["op"] in {"in", "is"}:
            found.append(f"{variable} in {_uid((entity['type'], entity['id']))}")
    return found


def _asks(policy: ParsedPolicy, use: Use) -> bool:
    """Whether the permit asks for approval by itself, and had it every time."""
    return use.approved == use.count and ("context", "approval", "groups") in {path[:3] for path in reads(policy.json)}


def _approvers(bundle: Bundle, use: Use) -> list[str]:
    existing = sorted(bundle.approvers.groups)
    seen = sorted(use.approvals.intersection(existing))
    if seen:
        return seen
    return [_OWNER_GROUP] if _OWNER_GROUP in existing else existing[:1]


def _bounds(bundle: Bundle, use: Use) -> list[str]:
    """What all uses kept to, as Cedar."""
    found = [f"{_list(use.purposes)}.contains(context.task.purpose)"]
    shared = sorted(use.groups or (), key=lambda group: (_size(bundle, group), group))
    if shared:
        found.append(f"context has destination && context.destination.directory.contains({_string(shared[0])})")
    for path in SETS:
        seen = use.sets.get(path)
        if seen and not (path[0] == "destination" and (shared or (path[1] == "hosts" and use.sets.get(_ADDRESSES)))):
            found.append(f"context has {path[0]} && {_list(seen)}.containsAll(context.{path[0]}.{path[1]})")
    found += [f"context has {path[0]} && context.{path[0]}.{path[1]}" for path in FLAGS if use.flags.get(path)]
    if use.values:
        amounts = [
            f"(context.value.currency == {_string(currency)} && context.value.amount <= {amount})"
            for currency, amount in sorted(use.values.items())
        ]
        found.append(f"context has value && ({' || '.join(amounts)})")
    return found


_ADDRESSES: Final = ("destination", "addresses")


def _size(bundle: Bundle, group: str) -> int:
    directory = bundle.directory
    tables = (directory.hosts, directory.domains, directory.emails, directory.accounts, directory.repositories)
    return sum(len(table.get(group, ())) for table in tables)


# -- text ------------------------------------------------------------------------------------------------------------------


def _policy_text(permits: Sequence[_Permit], left_out: Sequence[str]) -> str:
    names: set[str] = set()
    parts = [_HEADER, *(_permit_text(permit, names) for permit in permits)]
    if left_out:
        parts.append("// Used, and not drafted:\n" + "".join(f"//   {_plain(line)}\n" for line in left_out))
    return "\n".join(parts)


def _permit_text(permit: _Permit, names: set[str]) -> str:
    uses = sorted(permit.uses, key=lambda use: use.key.action)
    agent = _slug(uses[0].key.agent)
    only = _slug(uses[0].key.action) if len({use.key.action for use in uses}) == 1 else _slug(permit.base)
    name = _unique(f"observed/{agent}/{only}", names)
    actions = [f"Action::{_string(action)}" for action in dict.fromkeys(use.key.action for use in uses)]
    action = f"action == {actions[0]}" if len(actions) == 1 else f"action in [{', '.join(actions)}]"
    count = sum(use.count for use in uses)
    since, until = min(use.first_ms for use in uses), max(use.last_ms for use in uses)
    too_many = sorted({f"{a}.{b}" for use in uses for (a, b), seen in use.sets.items() if seen is None})
    lines = [
        *(f"// {_plain(_evidence(use))}" for use in uses),
        *(f"// too many different values to list: {path}" for path in too_many),
        f"@id({_string(name)})",
        f"@owner({_string(permit.owner)})",
        f"@reason({_string(f'used {_times(count)} from {_day(since)} to {_day(until)}; narrowed from {permit.base}')})",
        f"permit (\n  {permit.head[0]},\n  {action},\n  {permit.head[1]}\n)",
        *permit.conditions,
    ]
    return "\n".join(lines) + ";\n"


def _evidence(use: Use) -> str:
    asked = f", {use.approved} of them approved" if use.approved else ""
    return (
        f"{use.key.agent} used {use.key.action} {_times(use.count)}{asked}, last on {_day(use.last_ms)}, "
        f"by {use.key.permit}, e.g. {use.example}"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times" if count else "never"


def _unique(name: str, names: set[str]) -> str:
    candidate, number = name, 1
    while candidate in names:
        number += 1
        candidate = f"{name}-{number}"
    names.add(candidate)
    return candidate


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d")


def _slug(text: str) -> str:
    return _SLUG.sub("-", text).strip("-")[:_MAX_SLUG] or "x"


def _plain(text: str) -> str:
    """For a comment: on one line, nothing that hides."""
    return json.dumps(text, ensure_ascii=True)[1:-1].replace('\\"', '"').replace("\x7f", "?")


def _uid(uid: tuple[str, str]) -> str:
    return f"{uid[0]}::{_string(uid[1])}"


def _list(values: Sequence[str] | set[str]) -> str:
    return f"[{', '.join(_string(value) for value in sorted(values))}]"


def _string(text: str) -> str:
    """A Cedar string literal in ASCII."""
    letters = (
        f"\\{letter}"
        if letter in '"\\'
        else letter
        if letter.isascii() and letter.isprintable()
        else f"\\u{{{ord(letter):x}}}"
        for letter in text
    )
    return f'"{"".join(letters)}"'


# -- catalogue -------------------------------------------------------------------------------------------------------------


def _catalogue(bundle: Bundle, uses: Sequence[Use]) -> dict[str, str]:
    """Entries and definitions of the things that were used or that a forbid names, as they were reviewed."""
    counts: dict[tuple[ActionKind, str, str], int] = {}
    for use in uses:
        if use.entry.kind in AUTHORITY:
            continue  # purposes and credentials have files of their own, and those are taken over
        key = (use.entry.kind, str(use.entry.server), use.entry.name)
        counts[key] = counts.get(key, 0) + use.count
    forbids = [policy for policy in bundle.policies if policy.effect == "forbid"]
    named = {uid.id for uid in pst.entity_uids(tuple(policy_trees(forbids).values())) if str(uid.type) == "Action"}
    for entry in bundle.entries:  # a forbid has to find the thing it names
        if entry.kind not in AUTHORITY and action_name(entry.kind, entry.server, entry.name) in named:
            counts.setdefault((entry.kind, str(entry.server), entry.name), 0)
    sections = {kind: section for section, kind in SECTIONS.items()}
    found: dict[str, str] = {}
    for server in sorted({key[1] for key in counts}):
        # Without an entry of its own a resource would be taken for one of a wider pattern: all of them, or none.
        resources = any(key[:2] == (ActionKind.RESOURCE, server) for key in counts)
        mine = [
            entry
            for entry in bundle.entries
            if entry.server == server
            and ((entry.kind, server, entry.name) in counts or (resources and entry.kind is ActionKind.RESOURCE))
        ]
        blocks = [
            _entry(entry, sections[entry.kind], counts.get((entry.kind, server, entry.name), 0)) for entry in mine
        ]
        head = f"# {server}: the things that were used, as they were reviewed. A thing without an entry is denied.\n"
        found[f"catalog/{server}.toml"] = "\n".join((head, *blocks))
        definitions: dict[str, list[Any]] = {"tools": [], "prompts": []}
        for entry in mine:
            definition = bundle.definitions.get((entry.kind, server, entry.name))
            if definition is not None:
                definitions[sections[entry.kind]].append(definition)
        if any(definitions.values()):
            found[f"catalog/{server}.definitions.json"] = json.dumps(definitions, indent=2, ensure_ascii=True) + "\n"
    return found


def _entry(entry: CatalogEntry, section: str, count: int) -> str:
    members = _members(entry)
    lines = [f"{name} = {_toml(value)}" for name, value in members.items() if name not in {"server", "kind", "name"}]
    return "\n".join((f"# used {_times(count)}", f"[{section}.{toml_string(entry.name)}]", *lines)) + "\n"


def _members(struct: msgspec.Struct) -> dict[str, Any]:
    """The members of a struct that are not as they are by default."""
    found = {}
    for one in msgspec.structs.fields(struct):
        value = getattr(struct, one.name)
        default = one.default_factory() if one.default_factory is not msgspec.NODEFAULT else one.default
        if value is not None and value != default:
            found[one.name] = value
    return found


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return toml_string(value)
        case int():
            return str(value)
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case msgspec.Struct():
            return _toml(_members(value))
        case dict():
            return "{ " + ", ".join(f"{toml_string(name)} = {_toml(item)}" for name, item in value.items()) + " }"
        case _:
            raise TypeError(type(value).__name__)
