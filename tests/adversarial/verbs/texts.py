"""Texts that are programs: SQL and commands. Preconditions that set the dialect or describe the text, and what is said of refusals."""

import re

from adversarial.expectations import phrase, require
from adversarial.fixture import bundle_of, with_policy
from adversarial.model import NoSetup, Observed, Word
from adversarial.run import Run, nested, precondition
from lictor.model.canonical import canonical
from lictor.model.reasons import Reason
from lictor.policy.lint import lint_bundle

Match = re.Match[str]

# -- preconditions -------------------------------------------------------------------------------------------------------

_DIALECTS = {"PostgreSQL": "postgres", "SQLite": "sqlite", "MySQL": "mysql"}


@precondition(
    r"(?P<tool>\w+\.\w+) is read-only \((?P<dialect>PostgreSQL|SQLite|MySQL)\)",
    r"(?P<dialect>SQLite)",
    r"(?P<dialect>MySQL) versioned comment",
    r"legitimate CTE and string with a semicolon",
)
async def database_of(run: Run, match: Match) -> None:
    """The server behind the tool speaks this dialect, and policy lets the tool read and nothing else."""
    dialect = _DIALECTS[match.groupdict().get("dialect") or "PostgreSQL"]
    name = "catalog/db.toml"
    text = run.world.files[name].decode()
    changed = re.sub(r'dialect = "\w+"', f'dialect = "{dialect}"', text)
    if "dialect" not in text:
        raise NoSetup("the fixture's database has no dialect")
    if changed != text:
        await run.world.deploy({**run.world.files, name: changed.encode()})
    for query, word in (("SELECT 1", Word.ALLOW), ("DELETE FROM t WHERE a = 1", Word.DENY)):
        seen = await run.world.call("db.query", {"sql": query}, session=await run.world.new_session())
        if seen.word is not word:
            raise NoSetup(f"{query!r}: {seen.summary()}")


@precondition(r"allow: (?P<allowed>[\w ,]+); deny: (?P<denied>[\w ,]+)")
async def lists(run: Run, match: Match) -> None:
    """Policy names exactly these programs."""
    for names, word in ((match["allowed"], Word.ALLOW), (match["denied"], Word.DENY)):
        for name in names.split(", "):
            seen = await _alone(run, name)
            if seen.word is not word:
                raise NoSetup(f"{name!r}: {seen.summary()}")


@precondition(
    r"command substitution in an allowed command",
    r"redirect in an allowed command",
    r"built-in that poisons the environment, then an allowed command",
    r"(?:[\w.]+/)*[\w. -]+ wrapper",
    r"[\w. -]+(?:/[\w. -]+)+ wrapper",
    r"interpreter in the allowlist by path",
    r"agent writes the file that holds its own permissions",
)
async def written(run: Run, match: Match) -> None:
    """What the command looks like: nothing to set up."""


@precondition(r"(?P<n>\d+) segments")
async def segments(run: Run, match: Match) -> None:
    """The command has as many."""
    from adversarial.expand import generated

    given = [generated(step["gen"])["command"] for one in run.inputs for step in nested(one) if "gen" in step]
    if not given or any(len(text.split(";")) != int(match["n"]) for text in given):
        raise NoSetup("the command has another number of segments")


# -- what is said of refusals --------------------------------------------------------------------------------------------


async def _alone(run: Run, command: str | list[str]) -> Observed:
    tool = "shell.run" if isinstance(command, str) else "shell.run_words"
    return await run.world.call(tool, {"command": command}, session=await run.world.new_session())


def _argument(run: Run, name: str) -> str | list[str]:
    return next(step["args"][name] for one in run.inputs for step in nested(one) if name in step.get("args", {}))


@phrase(r"one statement only")
async def one_statement(run: Run, seen: Observed, match: Match) -> None:
    """The first statement alone is allowed; that one follows is what was refused."""
    first = str(_argument(run, "sql")).split(";")[0]
    control = await run.world.call("db.query", {"sql": first}, session=await run.world.new_session())
    require(control.word is Word.ALLOW, f"{first!r} alone: {control.summary()}")


@phrase(r"function allowlist, also in FROM")
async def functions(run: Run, seen: Observed, match: Match) -> None:
    """The same call as an expression is refused for the same reason, and a listed one in its place is not."""
    call = re.search(r"FROM (\w+)(\(.*\))", str(_argument(run, "sql")))
    require(call is not None, "the query calls nothing in FROM")
    assert call is not None
    for query, word in ((f"SELECT {call[1]}{call[2]}", Word.DENY), (f"SELECT lower{call[2]}", Word.ALLOW)):
        other = await run.world.call("db.query", {"sql": query}, session=await run.world.new_session())
        require(other.word is word, f"{query!r}: {other.summary()}")
        require(word is Word.ALLOW or other.reason == seen.reason, f"{query!r}: {other.summary()}")


@phrase(r"each segment judged", r"newline is a separator")
async def judged_one_by_one(run: Run, seen: Observed, match: Match) -> None:
    """The first segment alone is allowed, the other alone is refused for the reason that the whole was."""
    first, *others = re.split(r" && |\n", str(_argument(run, "command")))
    alone = await _alone(run, first)
    require(others and alone.word is Word.ALLOW, f"{first!r} alone: {alone.summary()}")
    for other in others:
        alone = await _alone(run, other)
        require((alone.word, alone.reason) == (seen.word, seen.reason), f"{other!r} alone: {alone.summary()}")


@phrase(r"redirection is a write")
async def redirection(run: Run, seen: Observed, match: Match) -> None:
    """An allowed command is refused as soon as its output goes to a file, whatever the file is called."""
    plain, written_to = await _alone(run, "ls"), await _alone(run, "ls > out.txt")
    require(plain.word is Word.ALLOW, f"without: {plain.summary()}")
    require(written_to.word is Word.DENY, f"with a plain name: {written_to.summary()}")


@phrase(r"DENY (?P<builtin>export|source|alias|eval|set)")
async def builtin_refused(run: Run, seen: Observed, match: Match) -> None:
    """The step that runs the built-in is the one that is refused, as not understood."""
    commands = [step["args"]["command"] for one in run.inputs for step in one.get("steps", [])]
    found = [
        one for text, one in zip(commands, seen.facts["steps"], strict=True) if text.split()[0] == match["builtin"]
    ]
    require(found, f"no step runs {match['builtin']}")
    for one in found:
        require((one.word, one.reason) == (Word.DENY, Reason.UNKNOWN_COMMAND), one.summary())


@phrase(r"env is rebuilt from an allowlist for each run")
async def no_memory(run: Run, seen: Observed, match: Match) -> None:
    """Nothing of the refused command reached the server, and the next one ends as it does in a session of its own."""
    commands = [step["args"]["command"] for one in run.inputs for step in one["steps"]]
    alone = await _alone(run, commands[-1])
    require((alone.word, alone.reason) == (seen.word, seen.reason), f"alone: {alone.summary()}")
    require(not any(b"export" in effect.data for effect in run.effects()), "the built-in ran")
    variable = await _alone(run, "PAGER=id ls")
    require(variable.reason == Reason.UNKNOWN_COMMAND, f"a variable before a command: {variable.summary()}")


@phrase(r"wrapper", r"decision made on the argv that will be executed")
async def on_the_argv(run: Run, seen: Observed, match: Match) -> None:
    """What looks like shell syntax within a word of an argv is no syntax: no shell will see it."""
    require(seen.reason == Reason.UNKNOWN_COMMAND, f"reason {seen.reason!r}")
    plain = await _alone(run, ["ls", "a; rm -rf /srv/ws"])
    require(plain.word is Word.ALLOW, f"a word with a semicolon: {plain.summary()}")


@phrase(r"lint refuses an allowlist with an interpreter")
async def linted(run: Run, seen: Observed, match: Match) -> None:
    """The list that would allow what the case runs does not pass the check; the fixture's own does."""
    program = _argument(run, "command")[0]
    text = (
        '@id("case/list")\n@reason("r")\n@owner("o")\npermit(principal, action == Action::"shell/run_words", resource)\n'
        f'when {{ context has command && ["ls", "{program}"].containsAll(context.command.subcommands) }};\n'
    )
    for files, wanted in ((run.world.files, False), (with_policy(run.world.files, "case", text), True)):
        found = {finding.rule for finding in lint_bundle(bundle_of(files)) if finding.severity == "error"}
        require(("interpreter_allowed" in found) is wanted, f"the check found {sorted(found)}")


@phrase(r"program-specific deny of exec-capable flags")
async def by_the_flag(run: Run, seen: Observed, match: Match) -> None:
    """Without the flag and what follows the program is understood: it was the flag that was not."""
    argv = list(_argument(run, "command"))
    flag = next(index for index, word in enumerate(argv) if word.startswith("-exec"))
    without = await _alone(run, argv[:flag])
    require(seen.reason == Reason.UNKNOWN_COMMAND, f"reason {seen.reason!r}")
    require(without.reason != Reason.UNKNOWN_COMMAND, f"without: {without.summary()}")


# -- operands ------------------------------------------------------------------------------------------------------------


@precondition(r"argument injection: value starts with a dash")
async def operand(run: Run, match: Match) -> None:
    """The tool declares the argument as a remote; an ordinary one is read, whatever policy makes of it."""
    for step in run.inputs:
        for name in step["args"]:
            plain = await run.world.call(step["tool"], {name: "https://git.example/a/b.git"})
            if plain.reason != Reason.NOT_PERMITTED:
                raise NoSetup(f"an ordinary remote: {plain.summary()}")


@phrase(r"option-like operand")
async def option_like(run: Run, seen: Observed, match: Match) -> None:
    """Nothing that begins with a dash is an operand, in whatever way a program might take it for an option."""
    for step in run.inputs:
        for name, value in step["args"].items():
            for spelled in (value, "-u", "--", "-", f" {value}", "ext::sh -c id"):
                found = await run.world.call(step["tool"], {name: spelled})
                require(found.reason == Reason.UNKNOWN_DESTINATION, f"{spelled!r}: {found.summary()}")


@phrase(r"nothing inserted: what runs is what was sent, or nothing runs")
async def nothing_inserted(run: Run, seen: Observed, match: Match) -> None:
    """The refused call did not reach the server in any form; one that runs reaches it byte for byte."""
    require(not run.effects(), f"{[effect.data for effect in run.effects()]}")
    argv = ["cat", "--", "-n"]
    plain = await _alone(run, argv)
    require(plain.word is Word.ALLOW, plain.summary())
    require([effect.data for effect in run.effects()] == [canonical({"command": argv})], "other bytes were sent")
