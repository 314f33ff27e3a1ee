"""A bundle into a `Pdp`: entities, offerings with their validators and encoders, the engine. Once for each revision.

What can only be found by compiling (a schema that cannot be typed, a selector that points at nothing, a policy the engine does
not take) refuses the bundle here, all of it at once. Refuses to know folders, and how policy text was checked before.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lictor.model.action import ActionKind
from lictor.model.agent import Agent
from lictor.model.catalog import CatalogEntry
from lictor.model.content import Content
from lictor.model.errors import CallerError, OperatorError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason
from lictor.pdp.decide import Entity, Offering, Pdp
from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.normalise.domains import warm
from lictor.pdp.shapes import compile_encoder
from lictor.policy.arguments import ArgumentsValidator
from lictor.policy.bundle import Bundle
from lictor.policy.cedarschema import ActionType, action_type, arguments_schema, resource_of, schema_text
from lictor.policy.declared import declared_names
from lictor.policy.guard import parse_policy_text
from lictor.policy.load import check_revision, load_bundle, policy_texts
from lictor.policy.problems import Problems, quote
from lictor.policy.text import ParsedPolicy, parse_policies
from lictor.policy.uris import check_uri

Arguments = dict[str, Any]


def compile_bundle(bundle: Bundle) -> Pdp:
    """Compile.

    Raises:
        BundleRefused: with every fault of the catalogue.
        OperatorError: `bundle_refused` or `no_policy`: what the engine does not take.
    """
    actions, offerings = _offerings(bundle)
    if any(offering.entry.destination for offering in offerings):
        warm()  # the Public Suffix List takes 50 ms: now, not in somebody's call
    engine = CedarEngine(
        {policy.id: policy.json for policy in bundle.policies}, schema_text(actions.values()), entities(bundle)
    )
    exact: dict[tuple[ActionKind, str, str], Offering] = {}
    prefixes: dict[str, list[tuple[str, Offering]]] = {}
    for offering in offerings:
        entry = offering.entry
        if entry.kind is ActionKind.RESOURCE and entry.name.endswith("*"):
            prefixes.setdefault(entry.server, []).append((entry.name[:-1], offering))
        else:
            exact[entry.kind, entry.server, entry.name] = offering
    return Pdp(
        revision=bundle.revision,
        agents=bundle.agents,
        purposes=frozenset(bundle.purposes),
        humans=bundle.humans,
        approvers=bundle.approvers,
        directory=bundle.directory,
        content=Content(
            rules=bundle.content_rules,
            kinds=frozenset(watch.kind for entry in bundle.entries for watch in entry.watch.values()),
        ),
        definitions=bundle.definitions,
        words=declared_names(bundle.definitions.values()),
        measures=bundle.measures,
        signals=bundle.signals,
        credentials=bundle.credentials,
        applications=bundle.applications,
        proofs=bundle.proofs,
        exact=exact,
        prefixes={server: tuple(sorted(found, key=_longest_first)) for server, found in prefixes.items()},
        engine=engine,
    )


def compile_files(revision: PolicyRevision, files: Mapping[str, bytes]) -> Pdp:
    """Compile the kept files of a revision, for replay. They were guarded when they were put in force.

    Raises:
        OperatorError: the files are not exactly those of the revision, or do not compile any more.
    """
    check_revision(revision, files)
    return compile_bundle(load_bundle(files, parse_guarded(files)))


def parse_guarded(files: Mapping[str, bytes]) -> tuple[ParsedPolicy, ...]:
    """The policies of files that a guard's child has parsed before, parsed again in this process (facts C1).

    Raises:
        OperatorError: `bundle_refused`.
    """
    found: list[ParsedPolicy] = []
    for path, text in policy_texts(files).items():
        found.extend(parse_policies(path, text, parse_policy_text(path, text)))
    return tuple(found)


def bundle_actions(bundle: Bundle) -> list[ActionType]:
    """The schema's actions of a bundle.

    Raises:
        BundleRefused: a thing's schema cannot be typed.
    """
    return list(_offerings(bundle)[0].values())


def entities(bundle: Bundle) -> list[dict[str, Any]]:
    """Every entity there is, as Cedar JSON: agents, their groups, servers, things. Actions come from the schema."""
    groups = sorted({group for agent in bundle.agents.values() for group in agent.groups})
    servers = sorted({entry.server for entry in bundle.entries if entry.server})
    things = [
        _entity(resource_of(entry), parents=[("Server", entry.server)] if entry.server else ())
        for entry in bundle.entries
    ]
    return [
        *(_entity(("AgentGroup", group)) for group in groups),
        *(_agent(agent) for agent in bundle.agents.values()),
        *(_entity(("Server", server)) for server in servers),
        *things,
    ]


def _agent(agent: Agent) -> dict[str, Any]:
    attributes = {
        "owner": agent.owner,
        "team": agent.team,
        "autonomy": agent.autonomy,
        "environment": agent.environment,
    }
    return _entity(("Agent", agent.id), attributes, parents=[("AgentGroup", group) for group in agent.groups])


def _entity(uid: Entity, attributes: Mapping[str, Any] | None = None, parents: Iterable[Entity] = ()) -> dict[str, Any]:
    return {
        "uid": {"type": uid[0], "id": uid[1]},
        "attrs": dict(attributes or {}),
        "parents": [{"type": type_, "id": id_} for type_, id_ in parents],
    }


def _offerings(bundle: Bundle) -> tuple[dict[str, ActionType], list[Offering]]:
    problems = Problems()
    actions: dict[str, ActionType] = {}
    offerings: list[Offering] = []
    for entry in bundle.entries:
        key = (entry.kind, str(entry.server), entry.name)
        where = bundle.lines.get(key, f"catalog/{entry.server}.toml")
        definition = bundle.definitions.get(key)
        try:
            action = action_type(entry, definition, bundle.measures)
            offerings.append(offering_of(entry, definition, action))
        except (OperatorError, ValueError) as error:
            problems.take(_as_refusal(error, entry), where)
            continue
        actions.setdefault(action.name, action)
        for pointer in _pointers(entry):
            if not _points(arguments_schema(entry, definition), pointer):
                problems.add(
                    where,
                    f"{quote(pointer)} points at nothing that {quote(entry.name)} declares",
                    "every call would be refused: point at a declared argument",
                )
    problems.raise_if_any()
    return actions, offerings


def offering_of(entry: CatalogEntry, definition: Mapping[str, Any] | None, action: ActionType) -> Offering:
    """How one thing's arguments are checked and typed.

    Raises:
        OperatorError: `tool_unusable`.
    """
    resource = resource_of(entry)
    if entry.kind is ActionKind.FEATURE:
        # What a feature carries is the protocol's own, checked at the door; policy sees only that there is something.
        return Offering(entry=entry, resource=resource, check=_anything, encode=_unseen)
    validator = ArgumentsValidator(arguments_schema(entry, definition))
    check: Callable[[Arguments], None] = validator.check
    if entry.kind is ActionKind.RESOURCE:
        check = _resource_check(validator, entry.name)
    return Offering(entry=entry, resource=resource, check=check, encode=compile_encoder(action.shape))


def _resource_check(validator: ArgumentsValidator, pattern: str) -> Callable[[Arguments], None]:
    def check(arguments: Arguments) -> None:
        validator.check(arguments)
        if pattern.endswith("*"):
            check_uri(arguments["uri"])

    return check


def _anything(arguments: Arguments) -> None:
    if type(arguments) is not dict:
        raise CallerError(Reason.INVALID_ARGUMENTS, "the arguments are not an object")


def _unseen(arguments: Arguments) -> tuple[dict[str, Any], bool]:  # noqa: ARG001 - one signature for all encoders
    return {}, True


def _as_refusal(error: OperatorError | ValueError, entry: CatalogEntry) -> OperatorError:
    reason = error.reason if isinstance(error, OperatorError) else Reason.TOOL_UNUSABLE
    place = f" at {error.where}" if isinstance(error, OperatorError) and error.where else ""
    text = error.message if isinstance(error, OperatorError) else " ".join(str(error).split())[:200]
    message = f"{quote(entry.name)} cannot be typed: {text}{place}"
    return OperatorError(reason, message, remedy="remove the entry: a thing without one is denied")


def _pointers(entry: CatalogEntry) -> list[str]:
    return list(dict.fromkeys(entry.pointers))


_UNSURE: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"})


def _points(schema: Any, pointer: str) -> bool:
    """Whether a JSON pointer can name a declared argument; only a plain list of properties says no."""
    for token in pointer.split("/")[1:]:
        if not isinstance(schema, dict) or not _UNSURE.isdisjoint(schema):
            return True
        properties = schema.get("properties")
        name = token.replace("~1", "/").replace("~0", "~")
        if "items" in schema or "prefixItems" in schema:
            return True
        if not isinstance(properties, dict) or name not in properties:
            return False
        schema = properties[name]
    return True


def _longest_first(item: tuple[str, Offering]) -> tuple[int, str]:
    return -len(item[0]), item[0]
