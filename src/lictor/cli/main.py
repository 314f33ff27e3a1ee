"""`lictor`: finds the command, imports only that one, runs it. Start-up time is part of every MCP client's start."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from lictor import __version__
from lictor.cli.output import Exit, fail
from lictor.model.errors import LictorError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "watch a real agent client meet real MCP servers through Lictor"),
    "init": ("init", "write a commented starter bundle"),
    "run": ("run", "start one MCP server behind Lictor, over stdio (what `wrap` puts into client configurations)"),
    "serve": ("serve", "serve the configured MCP servers and the approval page over HTTP"),
    "wrap": ("wrap", "put Lictor in front of the MCP servers of your clients (shows the diff first)"),
    "unwrap": ("wrap", "take it out again, byte for byte"),
    "pending": ("holds", "actions that wait for a person"),
    "approve": ("holds", "approve exactly one held action"),
    "deny": ("holds", "deny one held action"),
    "approver": ("approver", "give people of approvers.toml a secret; list and forget passkeys"),
    "application": ("application", "give an application of the bundle a secret"),
    "task": ("task", "open, bind, hand on, list, show and close tasks"),
    "agents": ("agents", "register, review, look at and take agents out of service"),
    "contain": ("contain", "restrict agents, owners, tasks, servers or actions, and lift restrictions"),
    "kill": ("kill", "stop an agent, an owner's agents, a task, a server, an action or everything, now"),
    "release": ("kill", "let what was killed or restricted go on; a recorded privilege change"),
    "secret": ("secret", "keep secrets for the credential broker in the safe"),
    "leases": ("leases", "show credentials on loan, and end them"),
    "signal": ("signal", "say what was observed about a task; it can only tighten"),
    "policy": ("policy", "check, test, prove, compare, explain and draft policy"),
    "catalog": ("catalog", "draft catalogue entries from a server's own list"),
    "witness": ("witness", "run a witness: it cosigns logs that only grow, where their operators cannot reach it"),
    "log": ("log", "show and verify the record log"),
    "export": ("export", "write the log as CSV, Parquet, OCSF, CloudEvents or JSON lines"),
    "replay": ("replay", "decide every recorded request again and compare"),
    "backtest": ("backtest", "what another bundle would have answered to everything in the log"),
    "shadow": ("shadow", "what the bundle in shadow would have answered otherwise"),
    "report": ("report", "what the log shows: by control, by person, by agent; HTML, Markdown or JSON"),
    "token": ("token", "rotate and show the keys that task tokens are signed with"),
    "dev-issuer": ("dev_issuer", "run an OpenID issuer for this machine alone; it asks for no password"),
    "doctor": ("doctor", "check the whole installation"),
}
"""Command: module in `lictor.cli`, one line of help."""

ELSEWHERE: dict[str, str] = {
    "check": "policy check",
    "test": "policy test",
    "explain": "policy explain",
    "prove": "policy prove",
    "diff": "policy diff",
    "draft": "policy draft",
    "verify": "log verify",
    "erase": "log erase",
    "open": "task open",
    "close": "task close",
    "tasks": "task list",
    "agent": "agents",
    "start": "serve",
}
"""Words people try first, and where they are."""
_TAKES_A_COMMAND = frozenset({"run", "catalog"})
_EPILOG = """\
start here:
  lictor demo                 see it work, one minute, nothing to configure
  lictor init                 write ./lictor, a starter bundle
  lictor wrap                 show what would change in your MCP clients' configuration

exit codes: 0 done, 1 the answer is no, 2 usage, 3 configuration or bundle refused, 4 store, 5 refused, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), "")
    parser = _parser(command if command in COMMANDS else "")
    if command and command not in COMMANDS:
        parser.print_usage(sys.stderr)
        parser.exit(
            Exit.USAGE, f"lictor: there is no command {command[:40]!r}{_meant(command)}; all of them: lictor --help\n"
        )
    split = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:split])
    args.command = words[split + 1 :]  # what follows is another program's command line: none of it is read as ours
    if args.command and command not in _TAKES_A_COMMAND:
        parser.error(f"{command or 'lictor'} takes no command behind --")
    if not getattr(args, "run", None):
        parser.print_help()
        return Exit.USAGE
    try:
        return int(args.run(args))
    except LictorError as error:
        return fail(error, as_json=bool(getattr(args, "json", False)))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return Exit.OK


class _Parser(argparse.ArgumentParser):
    """Whoever names a group of commands and none of it is shown the group."""

    def error(self, message: str) -> NoReturn:
        """Say it and exit."""
        if message == "the following arguments are required: ACTION":
            self.print_help(sys.stderr)
            self.exit(Exit.USAGE)
        super().error(message)


def _meant(command: str) -> str:
    import difflib

    near = ELSEWHERE.get(command) or next(iter(difflib.get_close_matches(command, COMMANDS, 1)), "")
    return f"; perhaps: lictor {near}" if near else ""


def _parser(command: str) -> argparse.ArgumentParser:
    """The parser, with the arguments of one command only; the others are names with a line of help."""
    parser = _Parser(
        prog="lictor",
        description="Permission for AI agents, decided outside the model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lictor {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (module, line) in COMMANDS.items():
        sub = commands.add_parser(
            name, help=line, description=line, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == command:
            importlib.import_module(f"lictor.cli.{module}").add(name, sub)
    return parser


def common(parser: argparse.ArgumentParser) -> None:
    """Options that every command on a bundle has."""
    parser.add_argument(
        "--bundle", metavar="DIR", help="bundle folder (default: $LICTOR_BUNDLE, ./lictor, ~/.config/lictor)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
