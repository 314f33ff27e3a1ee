"""A counterexample as a case for `tests/*.toml`, if the whole of `decide` gives the same answer to it; else nothing.

The text is read back by the reader of test files and decided, so what is shown can be pasted and means what it says. Refuses to
know how the request was found.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lictor.model.action import ActionKind
from lictor.model.agent import Agent
from lictor.model.catalog import CatalogEntry
from lictor.model.decision import Allow, NeedsApproval
from lictor.model.errors import LictorError
from lictor.model.ids import AgentId, HumanId
from lictor.pdp.decide import decide
from lictor.policy.authority import AUTHORITY
from lictor.policy.bundle import Bundle
from lictor.policy.casefiles import read_suites
from lictor.policy.cases import facts_of_case, suite_pdp
from lictor.policy.cedarschema import KIND_GROUP, resource_of
from lictor.policy.names import CLASSES, human_problem, name_problem
from lictor.policy.prove.constants import datetime_of
from lictor.policy.prove.replay import Answer
from lictor.policy.prove.request import LAST_PRINTABLE_MS, SOME_MOMENT_MS, Asked
from lictor.policy.prove.subject import Subject
from lictor.policy.prove.unsupported import Unsupported

_FILE: Final = "tests/counterexample.toml"
_THING: Final = "something"
_SOMEBODY: Final = "os:somebody"
_NEWCOMER: Final = "newcomer"
_PLENTY: Final = 10**15
_COUNT: Final = "#count"
_CENTS: Final = 2


def case_text(subject: Subject, asked: Asked, answer: Answer, expect: str, name: str) -> str:
    """The case as TOML, or empty when it cannot be written as one that `decide` answers alike.

    Args:
        subject: the bundle.
        asked: the request.
        answer: what the engine says of it today.
        expect: what the case demands.
        name: the case's name.
    """
    try:
        bundle, registration, agent = _with_agent(subject.bundle, asked)
        target = _target(subject, asked)
        if target is None:
            return ""
        text = _case(asked, agent, target, answer, expect, name, bundle)
        if _decided(bundle, text) is not answer:
            return ""
    except (LictorError, Unsupported, ValueError, TypeError, KeyError):
        return (
            ""  # not every request the engine takes is one that can be written down: the request itself is shown then
        )
    return registration + text


def _decided(bundle: Bundle, text: str) -> Answer:
    (suite,) = read_suites({_FILE: text.encode()})
    pdp = suite_pdp(bundle, suite)
    decision = decide(pdp, *facts_of_case(pdp, suite.cases[0]))
    if isinstance(decision, Allow):
        return Answer.ALLOW
    return Answer.NEEDS_APPROVAL if isinstance(decision, NeedsApproval) else Answer.DENY


def _with_agent(bundle: Bundle, asked: Asked) -> tuple[Bundle, str, str]:
    """The bundle with the request's agent in it: registered already, or as one that could be."""
    name = asked.principal[1]
    if AgentId(name) in bundle.agents:
        return bundle, "", name
    entity = next(one for one in asked.entities if one["uid"] == {"type": "Agent", "id": name})
    name = name if not name_problem(name) else _NEWCOMER
    groups = tuple(sorted(parent["id"] for parent in entity["parents"] if parent["type"] == "AgentGroup"))
    known = entity["attrs"]
    agent = Agent(
        id=AgentId(name),
        owner=known["owner"] or "somebody",
        team=known["team"],
        autonomy=known["autonomy"],
        environment=known["environment"] or "development",
        groups=groups,
        review_by_ms=LAST_PRINTABLE_MS,
    )
    members = {"owner": agent.owner, "autonomy": agent.autonomy, "team": agent.team, "environment": agent.environment}
    shown = ", ".join(f"{member} = {_toml(value)}" for member, value in {**members, "groups": list(groups)}.items())
    text = f"# needs an agent like this in agents.toml: [agents.{name}]\n#   {shown}\n"
    return replace(bundle, agents={**bundle.agents, agent.id: agent}), text, name


def _target(subject: Subject, asked: Asked) -> tuple[str, str, CatalogEntry | None] | None:
    """Lines before the case, the case's target line, and the catalogue's entry."""
    for entry in subject.house.entries.get(asked.action, ()):
        if asked.resource != resource_of(entry):
            continue
        match entry.kind:
            case ActionKind.TASK:
                return "", f"opens = {_toml(entry.name)}", entry
            case ActionKind.TOOL | ActionKind.PROMPT | ActionKind.FEATURE | ActionKind.CREDENTIAL:
                return "", f"{entry.kind.value} = {_toml(f'{entry.server}/{entry.name}')}", entry
            case ActionKind.RESOURCE:
                uri = entry.name.replace("*", "any")
                return "", f"resource = {{ server = {_toml(entry.server)}, uri = {_toml(uri)} }}", None
    if subject.house.entries.get(asked.action):
        return None
    groups = next(one.groups for one in subject.environments if one.action == asked.action)
    if any(KIND_GROUP[kind] in groups for kind in AUTHORITY):
        return None
    effect = next((name for name in CLASSES if name in groups), asked.context["effect"]["class"])
    tags = sorted(name for name in groups if name not in CLASSES and "." not in name)
    lines = [f"[things.{_THING}]", f"effect = {_toml(effect)}"]
    lines += [f"tags = {_toml(tags)}"] if tags else []
    lines += ['destination = { url = "/url" }'] if "destination" in asked.context else []
    return "\n".join(lines) + "\n\n", f"thing = {_toml(_THING)}", None


def _case(
    asked: Asked,
    agent: str,
    target: tuple[str, str, CatalogEntry | None],
    answer: Answer,
    expect: str,
    name: str,
    bundle: Bundle,
) -> str:
    context = asked.context
    task = context["task"]
    human = context["user"]["id"]
    lines = [
        "[[case]]",
        f"name = {_toml(name)}",
        target[1],
        f"agent = {_toml(agent)}",
        f"human = {_toml(human if not human_problem(human) else HumanId(_SOMEBODY))}",
        f"purpose = {_toml(task['purpose'] or bundle.purposes[0])}",
    ]
    arguments = _arguments(context, target[2])
    lines += [f"arguments = {_toml(arguments)}"] if arguments and not target[1].startswith("resource") else []
    lines += [f"labels = {_toml(sorted(context['labels']))}"] if context["labels"] else []
    lines += [f"approval = {_toml(sorted(context['approval']['groups']))}"] if "approval" in context else []
    lines += [f"calls_used = {task['calls'] - 1}"] if task["calls"] > 1 else []
    if "value" in context:
        value = context["value"]
        lines.append(f"budget = {_toml({value['currency']: _PLENTY})}")
        lines.append(f"value_used = {_toml({value['currency']: value['task_total'] - value['amount']})}")
    moment = context["now"]["__extn"]
    if moment["fn"] == "datetime" and datetime_of(moment["arg"]) != SOME_MOMENT_MS:
        lines.append(f"now = {moment['arg']}")
    lines.append(f"expect = {_toml(expect)}  # today: {answer.value}")
    return target[0] + "\n".join(lines) + "\n"


def _arguments(context: Mapping[str, Any], entry: CatalogEntry | None) -> dict[str, Any]:
    found: dict[str, Any] = _plain(context["input"])
    destination = context.get("destination")
    if destination is not None:
        host = destination["host"] or "stranger.example"
        selector = entry.destination if entry is not None else None
        if selector is not None and selector.kind != "url":
            raise ValueError("a destination that is no URL")
        _put(
            found,
            selector.targets[0] if selector is not None else "/url",
            f"{destination['scheme'] or 'https'}://{host}/",
        )
    value = context.get("value")
    if value is not None and entry is not None and entry.value is not None:
        amount, digits = value["amount"], _CENTS if entry.value.digits is None else entry.value.digits
        whole, rest = divmod(amount, 10**digits)
        shown = f"{whole}.{rest:0{digits}d}" if digits else str(whole)
        _put(found, entry.value.amount, amount if entry.value.unit == "minor" else shown)
        if entry.value.currency.startswith("/"):
            _put(found, entry.value.currency, value["currency"])
    return found


def _put(document: dict[str, Any], pointer: str, value: Any) -> None:
    *way, last = (token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])
    for name in way:
        document = document.setdefault(name, {})
    document[last] = value


def _plain(value: Any) -> Any:
    """Typed input as the arguments it came from."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "__extn" in value:
        call = value["__extn"]
        return float(call["arg"]) if call["fn"] == "decimal" else call["arg"]
    return {name: _plain(item) for name, item in value.items() if not name.endswith(_COUNT)}


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=True) if value.isascii() else json.dumps(value, ensure_ascii=False)
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return (
                "{ "
                + ", ".join(f"{json.dumps(name, ensure_ascii=False)} = {_toml(item)}" for name, item in value.items())
                + " }"
            )
        case _:
            raise TypeError(f"{type(value).__name__} in a case")
