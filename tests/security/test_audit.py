"""The dependency audit is green only where every installed package was asked about; skipped and unreachable are red (goal R23)."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from security.advisories import AUDIT, Index, audit, reached, served


def test_green_where_every_package_was_asked_about(tmp_path: Path) -> None:
    """Each installed distribution but our own, and no more."""
    index = Index()
    with served(index, tmp_path) as environment:
        done = audit(environment, tmp_path)
    assert (done.returncode, "none skipped" in done.stdout) == (0, True), done.stderr
    installed = {
        one.metadata["Name"].lower().replace("_", "-").replace(".", "-") for one in importlib.metadata.distributions()
    }
    assert sorted(index.asked) == sorted(installed - {"lictor"})


def test_red_where_an_advisory_is_known(tmp_path: Path) -> None:
    """The package and the advisory are named."""
    with served(Index(bad={"msgspec": "PYSEC-2099-1"}), tmp_path) as environment:
        done = audit(environment, tmp_path)
    assert done.returncode != 0
    assert "msgspec" in done.stderr
    assert "PYSEC-2099-1" in done.stderr


def test_red_where_one_package_is_skipped(tmp_path: Path) -> None:
    """The index does not know it."""
    with served(Index(unknown=frozenset({"cedarpy"})), tmp_path) as environment:
        done = audit(environment, tmp_path)
    assert done.returncode != 0
    assert "cedarpy" in done.stderr
    assert "none skipped" not in done.stdout


def test_red_where_nobody_answers(tmp_path: Path) -> None:
    """No advisory source at all."""
    (tmp_path / "none.pem").touch()
    done = audit(reached("http://127.0.0.1:9", tmp_path / "none.pem"), tmp_path)
    assert done.returncode != 0
    assert "audit: " in done.stderr
    assert "none skipped" not in done.stdout


def test_control_without_our_script_a_skipped_everything_is_green(tmp_path: Path) -> None:
    """pip-audit by itself says that nothing is known where it asked nobody: this is what the script and --strict are for."""
    pins = tmp_path / "pins.txt"
    pins.write_text("msgspec==0.20\nidna==3.10\n")
    words = ["--no-deps", "--disable-pip", "-r", str(pins), "--cache-dir", str(tmp_path / "cache")]
    with served(Index(knows_nothing=True), tmp_path) as environment:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *words], env=environment, capture_output=True, text=True, check=False
        )
        ours = audit(environment, tmp_path)
    assert (done.returncode, "No known vulnerabilities found" in done.stdout + done.stderr) == (0, True)
    assert ours.returncode != 0


@pytest.mark.parametrize(
    ("code", "report", "said"),
    [
        (0, "", "no report"),
        (0, "[]", "no report"),
        (0, '{"dependencies": []}', "one 1.0 was not audited"),
        (0, '{"dependencies": [{"name": "One", "version": "0.9", "vulns": []}]}', "audited as 0.9"),
        (0, '{"dependencies": [{"name": "one", "skip_reason": "x"}]}', "one was skipped"),
        (1, '{"dependencies": [{"name": "one", "version": "1.0", "vulns": []}]}', "ended with 1"),
    ],
)
def test_what_the_report_leaves_out_is_red(code: int, report: str, said: str) -> None:
    """Whatever a later pip-audit takes for success."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    loader = SourceFileLoader("audit_script", str(AUDIT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    assert any(said in line for line in script.problems({"one": "1.0"}, code, report))
    good = '{"dependencies": [{"name": "one", "version": "1.0", "vulns": []}]}'
    assert script.problems({"one": "1.0"}, 0, good) == []


def test_the_sbom_names_every_package_once(tmp_path: Path) -> None:
    """CycloneDX; what the base install brings is `required`."""
    file = tmp_path / "sbom.json"
    subprocess.run([sys.executable, str(AUDIT), "--sbom", str(file)], check=True, capture_output=True)
    found = json.loads(file.read_text())
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "lictor")
    scopes = {one["name"]: one["scope"] for one in found["components"]}
    assert len(scopes) == len(found["components"]) > 50
    assert {scopes[name] for name in ("cedarpy", "msgspec", "cryptography")} == {"required"}
    assert scopes["z3-solver"] == "optional"
    assert scopes["pytest"] == "excluded"
