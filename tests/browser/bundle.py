"""The bundle of the office: four servers, two agents that work and one whose review is overdue, three people who approve."""

import getpass
import json
import sys
from pathlib import Path
from typing import Final

from browser.office import OFFERED, REFUND_BEFORE
from lictor.policy.catalogue import pin_of

ME: Final = f"os:{getpass.getuser()}"
ADA: Final = "os:ada"
BOB: Final = "os:bob"
VIEWER: Final = "os:vera"
ANN: Final = "os:ann"
"""Whom the agents work for."""
PEOPLE: Final = (ME, ADA, BOB)
IBAN: Final = "DE89370400440532013000"

APPROVERS: Final = f"""\
four_eyes = false
operators = ["operations"]
authors = ["operations"]
overriders = ["operations"]

[approvers."{ME}"]
groups = ["owner", "operations"]

[approvers."{ADA}"]
groups = ["owner", "finance", "operations"]

[approvers."{BOB}"]
groups = ["finance"]

[viewers."{VIEWER}"]
groups = []
"""
AGENTS: Final = """\
purposes = ["prepare-release", "pay-invoices"]

[agents.assistant]
owner = "os:ada"
team = "lantern"
autonomy = 2
review_by = 2099-12-31
delegates_to = ["researcher"]

[agents.researcher]
owner = "os:bob"
team = "lantern"
autonomy = 1
review_by = 2099-12-31

[agents.scout]
owner = "os:bob"
team = "lantern"
review_by = 2026-01-31
"""
POLICY: Final = """\
@id("tasks/by-hand")
@owner("os:ada")
@reason("whoever is at the machine opens tasks")
permit (principal, action == Action::"task:open", resource)
when { ["operator", "agent"].contains(context.input.opener.kind) };

@id("reads/free")
@owner("os:ada")
@reason("reading is free")
permit (principal, action in Action::"read", resource);

@id("exports/free")
@owner("os:ada")
@reason("exports stay in the house")
permit (principal, action == Action::"files/export", resource);

@id("writes/one-person")
@owner("os:ada")
@reason("a person looks at each change before it happens")
permit (principal, action in Action::"write", resource)
when { context has approval && context.approval.groups.contains("owner") };

@id("money/two-people")
@owner("os:bob")
@reason("money leaves when two people of finance sign with a passkey")
permit (principal, action in Action::"spends", resource)
when {
  context has approval && context.approval.groups.contains("finance") &&
  context.approval.people >= 2 && context.approval.strength >= 3 && !context.approval.ahead
};

@id("money/never-by-one")
@owner("os:bob")
@reason("one person is not enough for money")
forbid (principal, action in Action::"spends", resource)
unless {
  context has approval && context.approval.groups.contains("finance") &&
  context.approval.people >= 2 && context.approval.strength >= 3
};

@id("nothing/destroyed")
@owner("os:ada")
@reason("agents destroy nothing")
forbid (principal, action in Action::"destructive", resource);

@id("strangers/no-mail-after-the-web")
@owner("os:ada")
@reason("a task that read a stranger's words mails nobody outside")
forbid (principal, action in Action::"communicates", resource)
when { context.effect.class == "write" && context.labels.contains("untrusted:web") && context has destination && context.destination.external };
"""
CATALOGUE: Final = {
    "files": {
        "read_file": 'effect = "read"\npath = { pointer = "/path", roots = { project = PROJECT }, resolve = "host" }\n',
        "write_file": 'effect = "write"\npath = { pointer = "/path", roots = { project = PROJECT }, resolve = "host" }\n'
        'preview = { kind = "file", action = "write", path = "/path", content = "/content" }\n',
        "export": 'effect = "write"\nreversible = true\n',
        "wipe": 'effect = "destructive"\npath = { pointer = "/path", roots = { project = PROJECT }, resolve = "host" }\n',
    },
    "web": {
        "fetch": 'effect = "read"\ntags = ["communicates"]\nlabels = ["untrusted:web"]\ndestination = { url = "/url" }\n'
        'watch = { url = { pointer = "/url", kind = "url" } }\n'
    },
    "bank": {
        "list_invoices": 'effect = "read"\nlabels = ["confidential:finance"]\n',
        "pay": 'effect = "write"\ntags = ["spends"]\ndestination = { account = "/iban" }\n'
        'value = { amount = "/amount", currency = "EUR", currencies = ["EUR"] }\npreview = { kind = "payment" }\n'
        'watch = { iban = { pointer = "/iban", kind = "account" } }\n',
        "refund": 'effect = "write"\ntags = ["spends"]\n',
    },
    "mail": {
        "send": 'effect = "write"\ntags = ["communicates"]\ndestination = { email = "/to" }\n'
        'watch = { to = { pointer = "/to", kind = "email" } }\n'
        'preview = { kind = "message", subject = "/subject", body = "/body" }\n'
    },
}


def write(folder: Path, project: Path, effects: Path, *, port: int, hold_wait_s: float) -> Path:
    """The bundle, for a gateway on this port."""
    office = str(Path(__file__).with_name("office.py"))
    servers = "".join(
        f"\n[servers.{name}]\ncommand = {json.dumps([sys.executable, office, name, str(effects)])}\n"
        for name in OFFERED
    )
    files = {
        "lictor.toml": f'log_name = "lantern.example/agents"\nhold_wait_s = {hold_wait_s}\n[listen]\nport = {port}\n{servers}',
        "agents.toml": AGENTS,
        "approvers.toml": APPROVERS,
        "directory.toml": f'[domains]\nhouse = ["lantern.example"]\n[accounts]\npayees = ["{IBAN}"]\n',
        "policies/office.cedar": POLICY,
    }
    for server, entries in CATALOGUE.items():
        known = {one["name"]: one for one in OFFERED[server]}
        if server == "bank":
            known["refund"] = REFUND_BEFORE
        text = "".join(
            f'[tools.{name}]\npin = "{pin_of(known[name])}"\n{entry.replace("PROJECT", json.dumps(str(project)))}\n'
            for name, entry in entries.items()
        )
        files[f"catalog/{server}.toml"] = text
        files[f"catalog/{server}.definitions.json"] = json.dumps({"tools": list(known.values())}, indent=1)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder
