"""Keys that nobody knows, at every level of `lictor.toml` and in every other file of the bundle: what refuses them."""

import json
from collections.abc import Callable

import tomlkit

from lictor.config import Settings, load_settings
from lictor.model.errors import OperatorError
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import parse_guarded
from lictor.policy.load import load_bundle
from lictor.policy.problems import BundleRefused
from security.probes.keys import tables
from security.probes.stand import files, nested
from security.probes.table import written

KEY = "fail_open"
GOOD = {
    "servers.stub.url": "http://127.0.0.1:9/",
    "issuers.corp.kind": "jwks",
    "issuers.corp.url": "https://corp.example",
    "issuers.corp.file": "keys.json",
}
TABLES = tables(Settings)
_REGISTERED = 'owner = "a"\nreview_by = 2099-01-01\n'
_ASK = {
    "name": "ask",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
_TOOL = f'[tools.ask]\neffect = "read"\npin = "{pin_of(_ASK)}"\n'
FILES: list[tuple[str, str]] = [
    *(
        (name, "")
        for name in (
            "agents.toml",
            "applications.toml",
            "approvers.toml",
            "catalog/stub.toml",
            "credentials.toml",
            "directory.toml",
            "labels.toml",
            "measures.toml",
            "signals.toml",
        )
    ),
    ("agents.toml", f'purposes = ["x"]\n[agents.x]\n{_REGISTERED}'),
    ("agents.toml", f'purposes = ["x"]\n[agents.x]\n{_REGISTERED}[[agents.x.proofs]]\nissuer = "a"\nsubject = "b"\n'),
    ("agents.toml", 'purposes = ["x"]\n[humans."os:x"]\ngroups = ["a"]\n'),
    ("applications.toml", f"[applications.x]\n{_REGISTERED}"),
    ("approvers.toml", '[approvers."os:x"]\ngroups = ["a"]\n'),
    ("catalog/stub.toml", _TOOL),
    ("catalog/stub.toml", f'{_TOOL}[tools.ask.destination]\nurl = "/text"\n'),
    ("catalog/stub.toml", f'{_TOOL}[tools.ask.path]\npointer = "/text"\nroots = {{ a = "/a" }}\n'),
    ("catalog/stub.toml", f'{_TOOL}[tools.ask.sql]\ntext = "/text"\ndialect = "postgres"\n'),
    ("catalog/stub.toml", f'{_TOOL}[tools.ask.command]\ntext = "/text"\n'),
    ("catalog/stub.toml", f'{_TOOL}[tools.ask.value]\namount = "/text"\ncurrency = "EUR"\ncurrencies = ["EUR"]\n'),
    ("catalog/stub.toml", f'{_TOOL}[tools.ask.watch.to]\npointer = "/text"\nkind = "text"\n'),
    ("catalog/stub.toml", '[features.logging]\neffect = "read"\n'),
    (
        "credentials.toml",
        '[credentials.x]\nserver = "stub"\ndestination = "https://a.example"\nprovider = "static"\nheaders = { A = "{secret}" }\n',
    ),
    ("labels.toml", '[rules.x]\nlabels = ["a"]\ncontains = ["abc"]\n'),
    ("measures.toml", '[measures.x]\nof = "count"\nwhere = { effects = ["read"] }\nper = ["task"]\nwindow = "1h"\n'),
    ("signals.toml", '[signals.x]\nat_least = 0.5\nlay = "suspended"\n'),
]
"""(file, what stands before the unknown key)."""

Load = Callable[[str], object]


def refusal_of_table(table: str, load: Load = load_settings) -> str:
    """Why settings with an unknown key in a table refuse the start; empty: they do not."""
    place = written(f"{table}.{KEY}").lstrip(".")
    load(tomlkit.dumps(nested(GOOD)))  # without it they are good
    try:
        load(tomlkit.dumps(nested({**GOOD, place: True})))
    except OperatorError as error:
        return error.message
    return ""


def refusal_of_file(path: str, text: str) -> str:
    """Why a bundle with an unknown key in a file is refused; empty: it is not."""
    definitions = (
        {"catalog/stub.definitions.json": json.dumps({"tools": [_ASK]})} if path.startswith("catalog/") else {}
    )
    if text:  # without it the file is good
        load_bundle(files(**definitions, **{path: text}), _PARSED)
    try:
        load_bundle(files(**definitions, **{path: f"{text}{KEY} = true\n"}), _PARSED)
    except BundleRefused as error:
        return "\n".join(problem.message for problem in error.problems)
    return ""


_PARSED = parse_guarded(files())
