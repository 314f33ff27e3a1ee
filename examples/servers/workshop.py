"""The coding agent's workshop: commands, tests, pushes and deployments in one folder. `python3 workshop.py FOLDER`.

Commands really run (through a POSIX shell, as the catalogue says), pushes really push; a deployment only says that it would.
What tests may do is not for a gateway to say: run this in a sandbox.
"""

import subprocess
import sys
from pathlib import Path

from toolbox import Arguments, Tool, serve, text

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
LONGEST_S = 120


def _ran(*argv: str) -> str:
    done = subprocess.run(argv, cwd=FOLDER, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    said = f"{done.stdout}{done.stderr}"[-20_000:]
    if done.returncode:
        raise ValueError(f"exit code {done.returncode}\n{said}")
    return said


def _run(arguments: Arguments) -> str:
    return _ran("/bin/sh", "-c", arguments["command"])


def _run_tests(_: Arguments) -> str:
    return _ran(sys.executable, "-B", "-m", "unittest", "discover", "-q")


def _delete_file(arguments: Arguments) -> str:
    (FOLDER / arguments["path"]).unlink()
    return f"deleted {arguments['path']}"


def _git_push(arguments: Arguments) -> str:
    force = ("--force-with-lease",) if arguments.get("force") else ()
    return _ran("git", "push", *force, "--", arguments["remote"], arguments["branch"])


def _deploy(arguments: Arguments) -> str:
    return f"would deploy to {arguments['environment']}"


TOOLS = (
    Tool("run", "Run a shell command in the workspace.", {"command": text("POSIX shell text")}, _run),
    Tool("run_tests", "Run the tests; an error when one fails.", {}, _run_tests),
    Tool("delete_file", "Delete one file for good.", {"path": text("path below the workspace")}, _delete_file),
    Tool(
        "git_push",
        "Push a branch of the workspace to a remote.",
        {
            "remote": text("URL of the remote"),
            "branch": text("branch or refspec"),
            "force": {"type": "boolean", "description": "replace what is there"},
        },
        _git_push,
        optional=("force",),
    ),
    Tool(
        "deploy",
        "Deploy the workspace.",
        {"environment": text("where to", enum=["staging", "production"])},
        _deploy,
    ),
)

if __name__ == "__main__":
    serve("workshop", TOOLS)
