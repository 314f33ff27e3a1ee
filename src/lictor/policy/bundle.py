"""What a user writes, loaded: one bundle, whole or refused. Values only; `load.py` makes it, `compile.py` makes a Pdp of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lictor.model.action import ActionKind
from lictor.model.agent import Agent
from lictor.model.application import Application
from lictor.model.catalog import CatalogEntry
from lictor.model.content import ContentRule
from lictor.model.history import Measure
from lictor.model.identity import Proof
from lictor.model.ids import AgentId, HumanId, PolicyRevision
from lictor.model.lease import Credential
from lictor.model.signal import SignalRule
from lictor.pdp.normalise import Directory
from lictor.pdp.roles import Approvers
from lictor.policy.text import ParsedPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One revision of policy, catalogue, registry, approvers and directory.

    Attributes:
        revision: content hash over `files`.
        files: the decision-relevant files by relative POSIX path: everything but `lictor.toml` and `tests/`.
        definitions: pinned definitions of tools and prompts as pulled and looked at, by (kind, server, name).
        lines: where each catalogue entry stands, as `file:line`, for messages.
    """

    revision: PolicyRevision
    files: dict[str, bytes]
    policies: tuple[ParsedPolicy, ...]
    entries: tuple[CatalogEntry, ...]
    definitions: dict[tuple[ActionKind, str, str], dict[str, Any]]
    agents: dict[AgentId, Agent]
    purposes: tuple[str, ...]
    humans: dict[HumanId, tuple[str, ...]]
    approvers: Approvers
    directory: Directory
    lines: dict[tuple[ActionKind, str, str], str]
    content_rules: tuple[ContentRule, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)
    signals: Mapping[str, SignalRule] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    applications: Mapping[str, Application] = field(default_factory=dict)
    proofs: Mapping[AgentId, tuple[Proof, ...]] = field(default_factory=dict)
