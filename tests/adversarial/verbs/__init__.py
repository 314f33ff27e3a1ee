"""Handlers, one module for each family of verbs; importing them registers them."""

from adversarial.verbs import approvals, audit, calls, faults, lists, policy

__all__ = ["approvals", "audit", "calls", "faults", "lists", "policy"]
