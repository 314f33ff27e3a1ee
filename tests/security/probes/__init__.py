"""Probes of `lictor.toml`: importing the modules fills the table."""

from security.probes import evidence, limits, observing, people, servers, serving, sinking, telling
from security.probes.table import PROBES, Probe, findings

__all__ = [
    "PROBES",
    "Probe",
    "evidence",
    "findings",
    "limits",
    "observing",
    "people",
    "servers",
    "serving",
    "sinking",
    "telling",
]
