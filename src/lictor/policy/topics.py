"""What a policy looks at, in a few words: the facts its conditions read and the classes its scope names.

Good for counting what kind of rule stopped something. Refuses to say what a policy decides.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from lictor.policy.names import CLASSES, KNOWN_TAGS

FACTS: Final[Mapping[str, str]] = {
    "labels": "labels",
    "origin": "origin",
    "destination": "destination",
    "git": "destination",
    "measures": "measures",
    "value": "value",
    "effect": "effect",
    "chain": "chain",
    "posture": "posture",
    "approval": "approval",
    "contract": "contract",
    "command": "arguments",
    "sql": "arguments",
    "path": "arguments",
    "input": "arguments",
}
"""Topic by member of the context. `user`, `task` and `now` are read by policies of any kind."""
TOPICS: Final = tuple(dict.fromkeys(FACTS.values()))


def topics_of(policy: Mapping[str, Any]) -> frozenset[str]:
    """The topics of one policy.

    Args:
        policy: its JSON form (`ParsedPolicy.json`).
    """
    read = frozenset(FACTS[name] for name in _members(policy.get("conditions", ())) if name in FACTS)
    named = {name for name in _actions(policy.get("action", {})) if name in CLASSES or name in KNOWN_TAGS}
    return read | ({"effect"} if named else frozenset())


def _members(root: object) -> Iterator[str]:
    """Members of `context` that an expression reads or asks for."""
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            for operator in (".", "has"):
                access = node.get(operator)
                if isinstance(access, Mapping) and access.get("left") == {"Var": "context"}:
                    yield str(access.get("attr", ""))
            waiting.extend(node.values())
        elif isinstance(node, list | tuple):
            waiting.extend(node)


def _actions(scope: Mapping[str, Any]) -> Iterable[str]:
    entities = [scope.get("entity"), *scope.get("entities", ())]
    return [str(one.get("id", "")) for one in entities if isinstance(one, Mapping)]
