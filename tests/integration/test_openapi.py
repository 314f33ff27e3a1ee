"""The OpenAPI document against the running gateway: schemathesis calls every operation and follows every link."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration import control
from integration.control import Gateway

EXAMPLES = 40


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = control.make(tmp_path_factory.mktemp("openapi") / "bundle")
    made.start()
    yield made
    made.stop()


def described(gateway: Gateway) -> dict[str, Any]:
    """The task routes, with names that this bundle knows: otherwise nearly every opening is refused by policy.

    Not the kill switch: whoever has authenticated may pull it, and then nothing is opened any more.
    """
    document: dict[str, Any] = gateway.call("GET", "/v1/openapi.json").body
    document["paths"] = {path: rows for path, rows in document["paths"].items() if path.startswith("/v1/tasks")}
    schemas = document["components"]["schemas"]
    schemas["Opening"]["properties"]["agent"] = {"enum": ["helper"]}
    schemas["Opening"]["properties"]["purpose"] = {"enum": ["support"]}
    schemas["Delegation"]["properties"]["agent"] = {"enum": ["clerk"]}
    return document


CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
"""
"""Its own list, and 413: a body may break the schema by nothing but its size."""


def checked(
    gateway: Gateway, document: dict[str, Any], folder: Path, *more: str, token: str = "", config: str = CONFIG
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis: all checks; as the desk, or with a task's token."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(config)
    words = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", gateway.url, "--checks", "all"),
        *("-H", f"Authorization: Bearer {token or gateway.secrets['desk']}"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES), "--seed", "1"),
        *("--no-color", "--generation-database", "none", *more),
    ]
    return subprocess.run(words, check=False, capture_output=True, text=True, cwd=folder, timeout=110)


def test_the_document_is_openapi(gateway: Gateway) -> None:
    """3.1, with every task route in it, each with a summary, problem details for refusals, and security."""
    document = gateway.call("GET", "/v1/openapi.json").body
    assert document["openapi"] == "3.1.0"
    assert document["security"] == [{"bearer": []}]
    found = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert {
        ("post", "/v1/tasks"),
        ("get", "/v1/tasks"),
        ("get", "/v1/tasks/{task}"),
        ("post", "/v1/tasks/{task}/close"),
        ("post", "/v1/tasks/{task}/delegate"),
        ("post", "/v1/tasks/{task}/contract"),
    } <= found
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert "application/problem+json" in operation["responses"]["401"]["content"]


def test_the_gateway_does_what_the_document_says(gateway: Gateway, tmp_path: Path) -> None:
    """Every check, links followed: no failure."""
    done = checked(gateway, described(gateway), tmp_path)
    assert done.returncode == 0, done.stdout[-6_000:]
    assert " covered" in done.stdout, "no link was followed"
    assert "0 covered" not in done.stdout


ACCESS_CONFIG = f"""{CONFIG}
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "404", "410", "413"]
"""
"""Well-formed, and refused: a denial that is none (400, as the profile says), JSON that two readers could take differently."""


def test_the_access_routes_do_what_the_document_says(gateway: Gateway, tmp_path: Path) -> None:
    """The same for what agents ask, with a task's token."""
    document: dict[str, Any] = gateway.call("GET", "/v1/openapi.json").body
    document["paths"] = {path: rows for path, rows in document["paths"].items() if path.startswith("/access/")}
    assert document["paths"].keys() == {"/access/v1/evaluation", "/access/v1/request", "/access/v1/request/{id}"}
    assert {json.dumps(row["security"]) for rows in document["paths"].values() for row in rows.values()} == {
        json.dumps([{"task": []}])
    }
    token = gateway.call("POST", "/v1/tasks", control.wish()).body["token"]
    done = checked(
        gateway,
        document,
        tmp_path,
        "--max-examples",
        "20",
        "--phases",
        "coverage,fuzzing",
        token=token,
        config=ACCESS_CONFIG,
    )
    assert done.returncode == 0, done.stdout[-6_000:]


@pytest.mark.parametrize("fault", ["member", "status", "link"])
def test_a_document_that_says_otherwise_is_found_out(gateway: Gateway, tmp_path: Path, fault: str) -> None:
    """Control: a member that is not there, a status that is missing, an answer of another type."""
    document = described(gateway)
    opening = document["paths"]["/v1/tasks"]["post"]
    match fault:
        case "member":
            document["components"]["schemas"]["Opening"]["properties"]["extra"] = {"type": "string"}
        case "status":
            del opening["responses"]["201"]
        case _:
            document["components"]["schemas"]["OpenedTask"]["properties"]["expires_at_ms"] = {"type": "string"}
    done = checked(gateway, document, tmp_path, "--max-failures", "1")
    assert done.returncode == 1, done.stdout[-3_000:]
