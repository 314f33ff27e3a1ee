"""The bundle's files into one `Bundle`, whole or refused with every fault at its file and line.

Pure: it is handed bytes by relative path, and policies parsed already (`text.py`, after the guard). Refuses to know folders,
Cedar's meaning and the engine; what only compilation can tell (`compile.py`) is refused there.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from lictor.model.action import action_name
from lictor.model.application import Application
from lictor.model.canonical import canonical, sha256_digest
from lictor.model.content import ContentRule
from lictor.model.errors import OperatorError
from lictor.model.history import Measure
from lictor.model.ids import PolicyRevision, ServerName
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.signal import SignalRule
from lictor.pdp.normalise import Directory
from lictor.pdp.roles import Approvers
from lictor.policy.applications import read_applications
from lictor.policy.authority import credential_entries, purpose_entries
from lictor.policy.bundle import Bundle
from lictor.policy.catalogue import Catalogue, Definitions, read_catalogue, read_definitions
from lictor.policy.contentrules import read_content_rules
from lictor.policy.credentials import read_credentials
from lictor.policy.documents import read_json, read_toml
from lictor.policy.measures import read_measures
from lictor.policy.names import server_problem
from lictor.policy.problems import BundleRefused, Problem, Problems, quote
from lictor.policy.registry import People, read_agents, read_approvers, read_directory
from lictor.policy.signals import read_signals
from lictor.policy.text import ParsedPolicy

AGENTS: Final = "agents.toml"
APPLICATIONS: Final = "applications.toml"
APPROVERS: Final = "approvers.toml"
CREDENTIALS: Final = "credentials.toml"
DIRECTORY: Final = "directory.toml"
INVARIANTS: Final = "invariants.toml"
LABELS: Final = "labels.toml"
MEASURES: Final = "measures.toml"
SIGNALS: Final = "signals.toml"
SETTINGS: Final = "lictor.toml"
_SINGLE: Final = frozenset(
    {AGENTS, APPLICATIONS, APPROVERS, CREDENTIALS, DIRECTORY, INVARIANTS, LABELS, MEASURES, SETTINGS, SIGNALS}
)
_CATALOGUE: Final = re.compile(r"catalog/([^/]+?)(\.definitions\.json|\.toml)")
_POLICY: Final = re.compile(r"policies/[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.cedar", re.ASCII)
_TESTS: Final = re.compile(r"tests/[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.toml", re.ASCII)


def is_known(path: str) -> bool:
    """Whether a file of this name belongs into a bundle at all. Unknown ones are refused: a misnamed rule is no rule."""
    return path in _SINGLE or any(form.fullmatch(path) for form in (_POLICY, _TESTS, _CATALOGUE))


def is_policy(path: str) -> bool:
    """Whether this is policy text."""
    return _POLICY.fullmatch(path) is not None


def is_test(path: str) -> bool:
    """Whether this is a file of policy tests."""
    return _TESTS.fullmatch(path) is not None


def decides(path: str) -> bool:
    """Whether a file can change a decision; only these make the revision."""
    return path not in (SETTINGS, INVARIANTS) and not is_test(path)


def revision_of(files: Mapping[str, bytes]) -> PolicyRevision:
    """Content hash over the decision-relevant files, by path."""
    digests = {path: sha256_digest(data) for path, data in files.items() if decides(path)}
    return PolicyRevision(sha256_digest(canonical({"lictor": "bundle/1", "files": dict(digests)})))


def policy_texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The policy files as text, by path, in order.

    Raises:
        BundleRefused: a policy file is not UTF-8.
    """
    problems = Problems()
    texts: dict[str, str] = {}
    for path in sorted(filter(is_policy, files)):
        try:
            texts[path] = files[path].decode("utf-8")
        except UnicodeDecodeError as error:
            problems.add(path, f"not UTF-8 at byte {error.start}")
    problems.raise_if_any()
    return texts


def load_bundle(files: Mapping[str, bytes], policies: Sequence[ParsedPolicy]) -> Bundle:
    """Make the bundle.

    Args:
        files: every file of the folder by relative POSIX path, without those whose name begins with a dot.
        policies: what the `policies/*.cedar` among them say.

    Raises:
        BundleRefused: with all faults of all files; `no_policy` where everything else is right and there is no policy.
    """
    problems = Problems()
    for path in files:
        if not is_known(path):
            problems.add(path, "this file does not belong into a bundle", "move it out, or begin its name with a dot")
    people = _agents(files, problems)
    approvers = _approvers(files, problems)
    applications = _applications(files, problems)
    directory = _directory(files, problems)
    catalogue, definitions = _catalogue(files, problems)
    content_rules = _content_rules(files, catalogue, problems)
    measures = _measures(files, catalogue, problems)
    signals = _signals(files, problems)
    credentials = _credentials(files, catalogue, problems)
    _check_unique(policies, problems)
    problems.raise_if_any()
    if not policies:
        raise BundleRefused(
            [Problem("policies", "there is no policy", "add at least one permit to policies/")], Reason.NO_POLICY
        )
    entries = (*catalogue.entries, *purpose_entries(people.purposes), *credential_entries(credentials.values()))
    return Bundle(
        revision=revision_of(files),
        files={path: files[path] for path in sorted(files) if decides(path)},
        policies=tuple(sorted(policies, key=lambda policy: policy.id)),
        entries=tuple(sorted(entries, key=lambda entry: (entry.server, entry.kind, entry.name))),
        definitions=definitions,
        agents=dict(people.agents),
        purposes=people.purposes,
        humans=dict(people.humans),
        approvers=approvers,
        applications=applications,
        proofs=dict(people.proofs),
        directory=directory,
        lines=catalogue.lines,
        content_rules=content_rules,
        measures=measures,
        signals=signals,
        credentials=credentials,
    )


def check_revision(revision: PolicyRevision, files: Mapping[str, bytes]) -> None:
    """Refuse files that are not exactly those of a revision.

    Raises:
        OperatorError: `bundle_refused`.
    """
    if not all(decides(path) for path in files) or revision_of(files) != revision:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"the kept files are not those of revision {revision[:80]!r}")


def _agents(files: Mapping[str, bytes], problems: Problems) -> People:
    if AGENTS not in files:
        problems.add(AGENTS, "the file is missing", "register at least one agent; see: lictor init")
        return People()
    document = read_toml(AGENTS, files[AGENTS], problems)
    return read_agents(document, problems) if document else People()


def _approvers(files: Mapping[str, bytes], problems: Problems) -> Approvers:
    document = read_toml(APPROVERS, files[APPROVERS], problems) if APPROVERS in files else None
    return read_approvers(document, problems) if document else Approvers()


def _applications(files: Mapping[str, bytes], problems: Problems) -> dict[str, Application]:
    document = read_toml(APPLICATIONS, files[APPLICATIONS], problems) if APPLICATIONS in files else None
    return read_applications(document, problems) if document else {}


def _directory(files: Mapping[str, bytes], problems: Problems) -> Directory:
    document = read_toml(DIRECTORY, files[DIRECTORY], problems) if DIRECTORY in files else None
    return read_directory(document, problems) if document else Directory()


def _measures(files: Mapping[str, bytes], catalogue: Catalogue, problems: Problems) -> dict[str, Measure]:
    document = read_toml(MEASURES, files[MEASURES], problems) if MEASURES in files else None
    return read_measures(document, catalogue.entries, problems) if document else {}


def _signals(files: Mapping[str, bytes], problems: Problems) -> dict[str, SignalRule]:
    document = read_toml(SIGNALS, files[SIGNALS], problems) if SIGNALS in files else None
    return read_signals(document, problems) if document else {}


def _credentials(files: Mapping[str, bytes], catalogue: Catalogue, problems: Problems) -> dict[str, Credential]:
    document = read_toml(CREDENTIALS, files[CREDENTIALS], problems) if CREDENTIALS in files else None
    # A server that nobody has reviewed yet has a file of its own, without entries: it may be lent to, and nothing of it runs.
    named = {ServerName(path[len("catalog/") : -len(".toml")]) for path in files if path.startswith("catalog/")}
    servers = frozenset(entry.server for entry in catalogue.entries) | named
    return read_credentials(document, servers, problems) if document else {}


def _content_rules(files: Mapping[str, bytes], catalogue: Catalogue, problems: Problems) -> tuple[ContentRule, ...]:
    document = read_toml(LABELS, files[LABELS], problems) if LABELS in files else None
    if document is None:
        return ()
    actions = frozenset(action_name(entry.kind, entry.server, entry.name) for entry in catalogue.entries)
    return read_content_rules(document, actions, problems)


def _catalogue(files: Mapping[str, bytes], problems: Problems) -> tuple[Catalogue, Definitions]:
    catalogue, definitions = Catalogue(), Definitions()
    servers: dict[str, dict[str, str]] = {}
    for path in sorted(files):
        found = _CATALOGUE.fullmatch(path)
        if found:
            servers.setdefault(found[1], {})[found[2]] = path
    for server, paths in servers.items():
        _server(server, paths, files, catalogue, definitions, problems)
    return catalogue, definitions


def _server(
    server: str,
    paths: Mapping[str, str],
    files: Mapping[str, bytes],
    catalogue: Catalogue,
    definitions: Definitions,
    problems: Problems,
) -> None:
    kept, entries = paths.get(".definitions.json", ""), paths.get(".toml", "")
    problem = server_problem(server)
    if problem:
        problems.add(entries or kept, f"{quote(server)}: {problem}", "rename the file to the server's name")
        return
    if kept:
        raw = read_json(kept, files[kept], problems)
        if raw is None:
            return  # every pin would be called missing beside the one fault there is
        definitions.update(read_definitions(kept, server, raw, problems))
    if not entries:
        problems.add(kept, f"definitions without {f'catalog/{server}.toml'!r}", "draft it: lictor catalog pull SERVER")
        return
    document = read_toml(entries, files[entries], problems)
    if document is not None:
        read_catalogue(document, ServerName(server), definitions, catalogue, problems)


def _check_unique(policies: Sequence[ParsedPolicy], problems: Problems) -> None:
    """Cedar does not look for equal ids, and one of the two would vanish (facts 2)."""
    first: dict[str, ParsedPolicy] = {}
    for policy in policies:
        other = first.setdefault(policy.id, policy)
        if other is not policy:
            problems.add(
                policy.where, f"@id({quote(policy.id)}) is already used at {other.where}", "choose another @id"
            )
