"""The windowed `count` of dogwood-py, after so many earlier events. Runs under a Python that has it; knows nothing of ours."""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import examples.fastapi_simple as example
from dogwood import native

SIZES = tuple(map(int, sys.argv[1:])) or (10, 300, 1_000)


def main() -> None:
    """Median CPU of one decision, in microseconds, by the number of events before it."""
    folder = Path(example.__file__).parent
    names = ("quota_policy.dw", "schema.cedarschema", "event.dwschema")
    authorizer = native.NativeAuthorizer(*((folder / name).read_text() for name in names))
    found: dict[int, float] = {}
    times: list[float] = []
    for number in range(1, max(SIZES) + 1):
        begun = time.thread_time_ns()
        authorizer.authorize_request(
            "Agent::Action::Transfer",
            'Agent::OAuthUser::"alice"',
            'Agent::Gateway::"trading"',
            {"amount": 20, "user": "alice"},
        )
        times.append((time.thread_time_ns() - begun) / 1e3)
        if number in SIZES:
            found[number] = median(times[-10:])
    print(json.dumps({"version": version("dogwood-py"), "us": found}))


main()
