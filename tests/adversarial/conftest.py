"""The case file is a parameter: `--cases FILE`, or `LICTOR_CASES`, or our own copy."""

import pytest

from adversarial.model import TALLY, cases_path, read_cases


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", metavar="FILE", default=None, help="adversarial cases to run instead of our own copy")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = read_cases(cases_path(metafunc.config.getoption("cases", None)))
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line: passed, wrong outcomes, and what the runner could not read or set up."""
    if TALLY:
        terminalreporter.write_line(
            "adversarial cases: " + ", ".join(f"{count} {kind}" for kind, count in sorted(TALLY.items()))
        )
