"""Handlers, one module for each family of verbs; importing them registers them."""

from adversarial.verbs import (
    approvals,
    audit,
    calls,
    deadline,
    delegation,
    egress,
    faults,
    lists,
    measures,
    policy,
    signals,
    taints,
    texts,
)

__all__ = [
    "approvals",
    "audit",
    "calls",
    "deadline",
    "delegation",
    "egress",
    "faults",
    "lists",
    "measures",
    "policy",
    "signals",
    "taints",
    "texts",
]
