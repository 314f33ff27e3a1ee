"""Which names a bundle may use. Narrow on purpose: an id that needs escaping, or looks like another, is a way round a rule.

Refuses to know files; a name is a string and the answer is a sentence.
"""

import re
from typing import Final

_SERVER: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9])*", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TAG: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(?::[a-z0-9][a-z0-9._-]{0,63})?", re.ASCII)
_IN_HOST: Final = re.compile(r"(?:https?|wss?|ftp):/{0,2}[^/]*\*", re.ASCII | re.IGNORECASE)
IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
"""Names of measures, signals and claims: what policy can write behind a dot."""
_HUMAN: Final = re.compile(r"[a-z][a-z0-9]{0,31}:[!#-\[\]-~]{1,128}", re.ASCII)

MAX_SERVER: Final = 32
MAX_THING: Final = 256
"""Characters of a tool or prompt name; MCP 2025-11-25 (server/tools) recommends at most 128."""
MAX_URI: Final = 2048

CLASSES: Final = ("read", "write", "destructive")
KINDS: Final = ("tool.call", "resource.read", "prompt.get", "feature.use", "credential.use", "task.open")
KNOWN_TAGS: Final = ("communicates", "executes", "spends")
"""Tags that policy may always name, whether or not something has them yet."""
KNOWN_LABELS: Final = ("confidential", "untrusted")
"""Kinds of label that policy may always name, whether or not something yields them yet."""
FEATURES: Final = ("sampling", "elicitation", "roots", "completion", "logging")


def server_problem(name: str) -> str:
    """Why this is no server name; empty when it is one. No `__`: it separates server and tool in public names."""
    if len(name) > MAX_SERVER or not _SERVER.fullmatch(name):
        return f"a server name is at most {MAX_SERVER} of a-z, 0-9 and single hyphens between them"
    return ""


def name_problem(name: str) -> str:
    """Why this is no agent, group, team, environment or purpose name."""
    return (
        ""
        if _NAME.fullmatch(name)
        else "a name is at most 64 of A-Z, a-z, 0-9, '.', '_', '-', and starts with one of the first three"
    )


def tag_problem(name: str) -> str:
    """Why this is no tag. Tags, classes and kinds are action groups side by side, so they must not meet."""
    if name in CLASSES or name in KINDS:
        return "a tag must not be named like an effect class or a kind of action"
    return "" if _TAG.fullmatch(name) else "a tag is at most 64 of a-z, 0-9, '.', '_', '-', and starts with a letter"


def label_problem(name: str) -> str:
    """Why this is no label."""
    return "" if _LABEL.fullmatch(name) else "a label is `kind` or `kind:detail` in a-z, 0-9, '.', '_', '-'"


def human_problem(name: str) -> str:
    """Why this is no person's id."""
    return "" if _HUMAN.fullmatch(name) else "a person is `issuer:name` in printable ASCII, such as os:alice"


def thing_problem(name: str) -> str:
    """Why this can be no tool or prompt name here: what cannot be shown truthfully cannot be judged."""
    if not 0 < len(name) <= MAX_THING or not name.isprintable() or name != name.strip():
        return f"a tool or prompt name is 1 to {MAX_THING} printable characters"
    return ""


def resource_problem(pattern: str) -> str:
    """Why this is no resource URI or prefix."""
    if not 0 < len(pattern) <= MAX_URI or not pattern.isascii() or not pattern.isprintable() or " " in pattern:
        return f"a resource is a URI of at most {MAX_URI} printable ASCII characters"
    if "*" in pattern[:-1]:
        return "only a last `*` is a pattern, meaning every URI with that beginning"
    if ":" not in pattern:
        return "a URI begins with its scheme, such as file:"
    if _IN_HOST.fullmatch(pattern):
        return "a prefix of a web address reaches behind its host, such as https://host/*: hosts with that beginning are others'"
    return ""
