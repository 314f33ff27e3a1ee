"""What is said to whoever runs the process. Standard output belongs to the protocol, and prose about calls to the log."""

import sys


def warn(text: str) -> None:
    """One line for the operator, on standard error."""
    print(f"lictor: {text}", file=sys.stderr, flush=True)  # noqa: T201
