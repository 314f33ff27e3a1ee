"""How deeply a policy's expressions nest, measured on its JSON form without recursion.

Deep expressions are where the engine fails open (facts S4, S5: the evaluator gives up, the forbid is skipped) or kills
the process (facts C2). Refuses to know any operator: it counts containers, so a new construct cannot slip past it.
"""

from collections.abc import Mapping
from typing import Any, Final

MAX_EXPRESSION_DEPTH: Final = 60
"""Nested expressions in one clause. The engine's JSON reader stops at 128 containers, which is 61 expressions in a policy
set; its syntax tree stops at 100 expressions, and from 1,400 on it kills the process (facts C2, C3)."""

_CONTAINERS_PER_LEVEL: Final = 2  # an operator is {"op": {"left": …}}: two containers


def expression_depth(policy: Mapping[str, Any]) -> int:
    """Nesting of a policy's clauses, in expression levels (rounded up).

    Args:
        policy: one static policy in Cedar's JSON form.
    """
    return max((_containers(clause) for clause in policy.get("conditions", ())), default=0)


def too_deep(policy: Mapping[str, Any]) -> bool:
    """Whether a policy nests deeper than `MAX_EXPRESSION_DEPTH` in any clause (facts S5, C2)."""
    return expression_depth(policy) > MAX_EXPRESSION_DEPTH


def _containers(clause: Any) -> int:
    deepest = 0
    stack: list[tuple[Any, int]] = [(clause.get("body") if isinstance(clause, dict) else clause, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, dict):
            deepest = max(deepest, depth)
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            deepest = max(deepest, depth)
            stack.extend((child, depth + 1) for child in node)
    return -(-deepest // _CONTAINERS_PER_LEVEL)
