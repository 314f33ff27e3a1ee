"""A schema with every type, random policies over it, random requests, and a translated formula's value on one of them."""

import random
from typing import Any

import msgspec
import z3
from cedarpy import PolicySet, policies_to_json_str

from lictor.model.ids import PolicyId
from lictor.pdp.engine.entities import Directory
from lictor.pdp.facts import moment
from lictor.policy.prove.constants import datetime_of, decimal_of, duration_of
from lictor.policy.prove.environment import environments
from lictor.policy.prove.logic import text
from lictor.policy.prove.symbols import Symbols
from lictor.policy.prove.terms import plain

SCHEMA = """
entity User {team: String, level: Long, mail?: String};
entity Group in [Group];
entity Agent in [Group] {owner: User, team: String, autonomy: Long, nick?: String, roles: Set<String>};
entity Server;
entity Tool in [Server] {risk: Long};
action "read"; action "write";
action "s/look" in [Action::"read"] appliesTo {principal: [Agent], resource: [Tool], context: CONTEXT};
action "s/change" in [Action::"write"] appliesTo {principal: [Agent], resource: [Tool], context: CONTEXT};
""".replace(
    "CONTEXT",
    """{n: Long, m?: Long, s: String, t?: String, b: Bool, tags: Set<String>, nums: Set<Long>, who: User, people: Set<User>,
    now: datetime, since?: datetime, d: decimal, dur: duration, rec: {x: Long, y?: String, "odd name": Bool},
    opt?: {z: Bool, w?: Long}, spare: Set<{q: Long}>, addr: ipaddr}""",
)
ENTITIES: list[dict[str, Any]] = [
    {"uid": {"type": "User", "id": "ann"}, "attrs": {"team": "red", "level": 3}, "parents": []},
    {"uid": {"type": "User", "id": "bob"}, "attrs": {"team": "blue", "level": -1, "mail": "b@x"}, "parents": []},
    {"uid": {"type": "Group", "id": "top"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Group", "id": "low"}, "attrs": {}, "parents": [{"type": "Group", "id": "top"}]},
    {"uid": {"type": "Group", "id": 'q"\\'}, "attrs": {}, "parents": []},
    {"uid": {"type": "Server", "id": "s"}, "attrs": {}, "parents": []},
    {
        "uid": {"type": "Agent", "id": "one"},
        "attrs": {"owner": {"__entity": {"type": "User", "id": "ann"}}, "team": "red", "autonomy": 2, "roles": ["x"]},
        "parents": [{"type": "Group", "id": "low"}],
    },
    {
        "uid": {"type": "Agent", "id": "two"},
        "attrs": {
            "owner": {"__entity": {"type": "User", "id": "ghost"}},
            "team": "a\\u{41}",
            "autonomy": 5,
            "nick": "",
            "roles": [],
        },
        "parents": [],
    },
    {
        "uid": {"type": "Tool", "id": "s/look"},
        "attrs": {"risk": 0},
        "parents": [{"type": "Server", "id": "s"}],
    },
    {"uid": {"type": "Tool", "id": "loose"}, "attrs": {"risk": 9223372036854775807}, "parents": []},
]
STRINGS = ["", "a", "red", "blue", "x", "a\\u{41}", "é😀", 'q"', "a*b", "b@x"]
LONGS = [0, 1, -1, 3, 7, 2**53, 2**63 - 1, -(2**63)]
MOMENTS = ["1970-01-01", "2026-01-01T10:00:00Z", "2025-12-31T23:59:59.999Z", "1969-12-30T01:02:03.004Z"]
DECIMALS = ["0.0", "1.5", "-2.2500", "922337203685477.5807"]
DURATIONS = ["0ms", "1h", "-1d2h", "90s", "-1500ms"]
USERS = ["ann", "bob", "ghost"]


def quoted(value: str) -> str:
    """As a Cedar string."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Writer:
    """Writes random expressions, well typed for the evaluator most of the time, erring some of it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def pick(self, *options: Any) -> str:
        chosen = self.rng.choice(options)
        return str(chosen() if callable(chosen) else chosen)

    def boolean(self, depth: int) -> str:
        r, d = self.rng, depth - 1
        if depth <= 0:
            return self.pick(
                "true",
                "false",
                "context.b",
                'context.rec["odd name"]',
                "context has m",
                "context has opt.w",
                "principal has nick",
                "context.who has mail",
                'principal in Group::"top"',
                'principal in Group::"low"',
                'principal == Agent::"one"',
                'resource in Server::"s"',
                'action in Action::"read"',
                "context has nothing",
                'principal is Agent in Group::"q\\"\\\\"',
                "resource is Tool",
                'action == Action::"s/look"',
            )
        return self.pick(
            lambda: f"({self.boolean(d)} && {self.boolean(d)})",
            lambda: f"({self.boolean(d)} || {self.boolean(d)})",
            lambda: f"!({self.boolean(d)})",
            lambda: f"(if {self.boolean(d)} then {self.boolean(d)} else {self.boolean(d)})",
            lambda: f"({self.long(d)} {r.choice(['<', '<=', '>', '>=', '==', '!='])} {self.long(d)})",
            lambda: f"({self.string(d)} {r.choice(['==', '!='])} {self.string(d)})",
            lambda: f"({self.string(d)} like {self.pattern()})",
            lambda: f"{self.strings(d)}.{r.choice(['containsAny', 'containsAll'])}({self.strings(d)})",
            lambda: f"{self.strings(d)}.contains({self.string(d)})",
            lambda: f"({self.strings(d)} == {self.strings(d)})",
            lambda: f"{self.strings(d)}.isEmpty()",
            lambda: f"{self.longs(d)}.contains({self.long(d)})",
            lambda: f"({self.longs(d)} == {self.longs(d)})",
            lambda: f"({self.moment(d)} {r.choice(['<', '<=', '>', '>=', '=='])} {self.moment(d)})",
            lambda: f"({self.duration(d)} {r.choice(['<', '>='])} {self.duration(d)})",
            lambda: (
                f"{self.decimal()}.{r.choice(['lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual'])}({self.decimal()})"
            ),
            lambda: f"({self.duration(d)}.toSeconds() == {r.choice([-2, -1, 0, 1])})",
            lambda: f"({self.user(d)} == {self.user(d)})",
            lambda: f"context.people.contains({self.user(d)})",
            lambda: f"(principal in [{self.parent()}, {self.parent()}])",
            lambda: f"({self.record(d)} == {self.record(d)})",
            lambda: f"({self.user(d)} has mail)",
        )

    def long(self, depth: int) -> str:
        d = depth - 1
        if depth <= 0:
            number = self.rng.choice(LONGS)
            return self.pick(
                number if number > -(2**63) else "context.n",
                "context.n",
                "context.m",
                "principal.autonomy",
                "resource.risk",
                "context.rec.x",
                "context.opt.w",
            )
        return self.pick(
            lambda: f"({self.long(d)} {self.rng.choice(['+', '-', '*'])} {self.long(d)})",
            lambda: f"(-({self.long(d)}))",
            lambda: f"{self.user(d)}.level",
            lambda: f"(if {self.boolean(d)} then {self.long(d)} else {self.long(d)})",
            lambda: (
                f"{self.duration(d)}.{self.rng.choice(['toSeconds', 'toMilliseconds', 'toMinutes', 'toHours', 'toDays'])}()"
            ),
            lambda: f"{{p: {self.long(d)}, r: {self.string(d)}}}.p",
        )

    def string(self, depth: int) -> str:
        d = depth - 1
        if depth <= 0:
            return self.pick(
                quoted(self.rng.choice(STRINGS)),
                "context.s",
                "context.t",
                "principal.team",
                "principal.nick",
                "context.rec.y",
            )
        return self.pick(
            lambda: f"{self.user(d)}.team",
            lambda: f"{self.user(d)}.mail",
            lambda: f"(if {self.boolean(d)} then {self.string(d)} else {self.string(d)})",
            lambda: f"(if {self.boolean(d)} then {self.record(d)} else {self.record(d)}).y",
        )

    def pattern(self) -> str:
        return (
            '"'
            + "".join(self.rng.choice(["*", "a", "\\*", "\\\\", "e", "r", "é"]) for _ in range(self.rng.randint(0, 4)))
            + '"'
        )

    def strings(self, depth: int) -> str:
        return self.pick(
            "context.tags",
            "principal.roles",
            lambda: "[" + ", ".join(self.string(depth - 1) for _ in range(self.rng.randint(0, 3))) + "]",
        )

    def longs(self, depth: int) -> str:
        return self.pick(
            "context.nums", lambda: "[" + ", ".join(self.long(depth - 1) for _ in range(self.rng.randint(1, 3))) + "]"
        )

    def moment(self, depth: int) -> str:
        d = depth - 1
        return self.pick(
            "context.now",
            "context.since",
            lambda: f"datetime({quoted(self.rng.choice(MOMENTS))})",
            *(
                [lambda: f"{self.moment(d)}.offset({self.duration(d)})", lambda: f"{self.moment(d)}.toDate()"]
                if depth > 0
                else []
            ),
        )

    def duration(self, depth: int) -> str:
        d = depth - 1
        return self.pick(
            "context.dur",
            lambda: f"duration({quoted(self.rng.choice(DURATIONS))})",
            *(
                [lambda: f"{self.moment(d)}.durationSince({self.moment(d)})", lambda: f"{self.moment(d)}.toTime()"]
                if depth > 0
                else []
            ),
        )

    def decimal(self) -> str:
        return self.pick("context.d", lambda: f"decimal({quoted(self.rng.choice(DECIMALS))})")

    def parent(self) -> str:
        return self.pick('Group::"top"', 'Group::"low"', 'Agent::"two"')

    def user(self, depth: int) -> str:
        d = depth - 1
        return self.pick(
            "principal.owner",
            "context.who",
            *([lambda: f"(if {self.boolean(d)} then principal.owner else context.who)"] if depth > 0 else []),
        )

    def record(self, depth: int) -> str:
        return self.pick(
            "context.rec",
            lambda: (
                f'{{x: {self.long(depth - 1)}, y: {self.string(depth - 1)}, "odd name": {self.boolean(depth - 1)}}}'
            ),
        )

    def policy(self) -> str:
        scope = [
            self.pick(
                "principal",
                'principal == Agent::"one"',
                'principal in Group::"top"',
                "principal is Agent",
                'principal is Agent in Group::"low"',
            ),
            self.pick(
                "action",
                'action in [Action::"read"]',
                'action == Action::"s/change"',
                'action in [Action::"s/look", Action::"write"]',
            ),
            self.pick("resource", 'resource == Tool::"loose"', 'resource in Server::"s"', "resource is Tool"),
        ]
        clauses = [
            f"{self.rng.choice(['when', 'unless'])} {{ {self.boolean(self.rng.randint(0, 3))} }}"
            for _ in range(self.rng.randint(0, 2))
        ]
        return f"{self.rng.choice(['permit', 'permit', 'forbid'])}({', '.join(scope)}) {' '.join(clauses)};"


def random_request(rng: random.Random) -> tuple[str, str, str, dict[str, Any]]:
    """Principal, action, resource, context."""
    user = lambda: {"__entity": {"type": "User", "id": rng.choice(USERS)}}  # noqa: E731
    ms = lambda: rng.choice([0, 1_767_261_600_000, 1_767_225_599_999, 253_402_300_799_999])  # noqa: E731
    context: dict[str, Any] = {
        "n": rng.choice(LONGS),
        "s": rng.choice(STRINGS),
        "b": rng.random() < 0.5,
        "tags": rng.sample(STRINGS, rng.randint(0, 3)),
        "nums": rng.sample(LONGS, rng.randint(0, 3)),
        "who": user(),
        "people": [user() for _ in range(rng.randint(0, 2))],
        "now": moment(ms()),
        "d": {"__extn": {"fn": "decimal", "arg": rng.choice(DECIMALS)}},
        "dur": {"__extn": {"fn": "duration", "arg": rng.choice(DURATIONS)}},
        "rec": {"x": rng.choice(LONGS), "odd name": rng.random() < 0.5},
        "spare": [],
        "addr": {"__extn": {"fn": "ip", "arg": "192.0.2.1"}},
    }
    optional = {
        "m": rng.choice(LONGS),
        "t": rng.choice(STRINGS),
        "since": moment(ms()),
        "opt": {"z": rng.random() < 0.5},
    }
    context.update({name: value for name, value in optional.items() if rng.random() < 0.6})
    if rng.random() < 0.5:
        context["rec"]["y"] = rng.choice(STRINGS)
    if "opt" in context and rng.random() < 0.5:
        context["opt"]["w"] = rng.choice(LONGS)
    return rng.choice(["one", "two"]), rng.choice(["s/look", "s/change"]), rng.choice(["s/look", "loose"]), context


def parsed(policy_text: str) -> tuple[dict[PolicyId, Any], dict[PolicyId, Any]]:
    """JSON and syntax trees by id."""
    document = msgspec.json.decode(policies_to_json_str(policy_text))
    trees = PolicySet.from_json_str(msgspec.json.encode(document).decode()).to_pst().static_policies
    return (
        {PolicyId(name): policy for name, policy in document["staticPolicies"].items()},
        {PolicyId(name): tree for name, tree in trees.items()},
    )


def environment_of(schema: str, action: str) -> Any:
    """The one environment of an action."""
    return next(one for one in environments(schema) if one.action == action)


class UndeterminedError(AssertionError):
    """A formula that one whole request does not give a value."""


class Concrete:
    """Values of the symbols in one request, so that a formula can be evaluated."""

    def __init__(
        self, symbols: Symbols, entities: list[dict[str, Any]], principal: str, resource: str, context: Any
    ) -> None:
        self.symbols = symbols
        self.directory = Directory(entities)
        env = symbols.environment
        self.entities = {(e["uid"]["type"], e["uid"]["id"]): e for e in entities}
        self.roots = {
            "principal": self.entities[env.principal, principal]["attrs"],
            "resource": self.entities[env.resource, resource]["attrs"],
            "context": context,
        }
        self.pairs = [(symbols.principal.z, text(principal)), (symbols.resource.z, text(resource))]
        self.pairs += [(z, self._has(path)) for path, z in symbols.flags.items()]
        self.pairs += [(z, self._sorted(self._at(path), z.sort())) for path, z in symbols.values.items()]

    def truth(self, formula: Any) -> bool:
        """The formula's value."""
        if isinstance(formula, bool):
            return formula
        formula = self._memberships(z3.substitute(formula, *self.pairs))
        value = z3.simplify(formula)
        if z3.is_true(value) or z3.is_false(value):
            return z3.is_true(value)
        solver = z3.Solver()
        solver.add(value, *self._functions())
        yes = solver.check()
        opposite = z3.Solver()
        opposite.add(z3.Not(value), *self._functions())
        no = opposite.check()
        if {str(yes), str(no)} != {"sat", "unsat"}:
            raise UndeterminedError(f"{yes} {no} {value}")
        return yes == z3.sat

    def _functions(self) -> list[Any]:
        """The chained entities' attributes, by the real ones."""
        found = []
        types = self.symbols.environment.entities
        for type_name in {entity.type for entity in self.symbols.chained.values()}:
            there = z3.Function(f"there {type_name}", z3.StringSort(), z3.BoolSort())
            for id_ in USERS:
                entity = self.entities.get((type_name, id_))
                found.append(there(text(id_)) == (entity is not None))
                for name, attribute in types[type_name].attributes.attributes.items():
                    if entity is None:
                        continue
                    label = f"{type_name}.{name}"
                    if attribute.optional:
                        has = z3.Function("has " + label, z3.StringSort(), z3.BoolSort())
                        found.append(has(text(id_)) == (name in entity["attrs"]))
                    if name in entity["attrs"]:
                        sort = z3.IntSort() if plain(attribute.type).name == "Long" else z3.StringSort()
                        function = z3.Function(label, z3.StringSort(), sort)
                        found.append(function(text(id_)) == self._sorted(entity["attrs"][name], sort))
        return found

    def _memberships(self, formula: Any) -> Any:
        pairs = []
        for pair in self.symbols.memberships.values():
            child = z3.simplify(z3.substitute(pair.child.z, *self.pairs)).as_string()
            uid = (pair.parent.type, pair.parent.literal)
            pairs.append((pair.truth, z3.BoolVal(uid in self.directory.ancestors((pair.child.type, child)))))
        return z3.substitute(formula, *pairs)

    def _at(self, path: tuple[str, ...]) -> Any:
        value: Any = self.roots[path[0]]
        for name in path[1:]:
            if not isinstance(value, dict) or name not in value:
                return None
            value = value[name]
        return value

    def _has(self, path: tuple[str, ...]) -> Any:
        value = self._at(path[:-1])
        return z3.BoolVal(isinstance(value, dict) and path[-1] in value)

    def _sorted(self, value: Any, sort: Any) -> Any:
        if sort.kind() == z3.Z3_ARRAY_SORT:
            made = z3.EmptySet(sort.domain())
            for item in value or []:
                made = z3.Store(made, self._sorted(item, sort.domain()), True)
            return made
        if value is None:
            return {z3.Z3_BOOL_SORT: z3.BoolVal(False), z3.Z3_INT_SORT: z3.IntVal(0)}.get(sort.kind(), z3.StringVal(""))
        if isinstance(value, bool):
            return z3.BoolVal(value)
        if isinstance(value, int):
            return z3.IntVal(value)
        if isinstance(value, str):
            return text(value)
        if "__entity" in value:
            return text(value["__entity"]["id"])
        read = {"datetime": datetime_of, "decimal": decimal_of, "duration": duration_of}[value["__extn"]["fn"]]
        return z3.IntVal(read(value["__extn"]["arg"]))


def random_of(type_: Any, rng: random.Random, strings: list[str]) -> Any:
    """A random value of a schema type, as Cedar JSON."""
    type_ = plain(type_)
    if hasattr(type_, "attributes"):
        return {
            name: random_of(attribute.type, rng, strings)
            for name, attribute in type_.attributes.items()
            if not attribute.optional or rng.random() < 0.6
        }
    if hasattr(type_, "element"):
        return [random_of(type_.element, rng, strings) for _ in range(rng.randint(0, 2))]
    match type_.name:
        case "Bool":
            return rng.random() < 0.5
        case "Long":
            return rng.choice([0, 1, 2, 3, 5, 100, 10**9])
        case "datetime":
            return moment(rng.choice([0, 1_767_225_600_000, 1_767_261_600_000]))
        case "decimal":
            return {"__extn": {"fn": "decimal", "arg": rng.choice(DECIMALS)}}
        case "duration":
            return {"__extn": {"fn": "duration", "arg": rng.choice(DURATIONS)}}
        case "ipaddr":
            return {"__extn": {"fn": "ip", "arg": "192.0.2.1"}}
        case _:
            return rng.choice(strings)
