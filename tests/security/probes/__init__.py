"""Probes of `lictor.toml`: importing the modules fills the table."""

from security.probes import limits, people, servers, serving, telling
from security.probes.table import PROBES, Probe, findings

__all__ = ["PROBES", "Probe", "findings", "limits", "people", "servers", "serving", "telling"]
