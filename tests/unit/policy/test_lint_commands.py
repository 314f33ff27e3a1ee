"""The lint that keeps interpreters out of lists of allowed commands."""

import pytest

from bundles import bundle
from lictor.policy.lint import lint_bundle

HEAD = '@id("p")\n@reason("r")\n@owner("o")\npermit (principal, action in [Action::"read"], resource) when {\n'


def rules(condition: str) -> set[str]:
    """Ids of what is found in a permit with this condition."""
    return {finding.rule for finding in lint_bundle(bundle(f"{HEAD} context has command && {condition} }};"))}


@pytest.mark.parametrize("program", ["bash", "/bin/zsh", "python3.12", "SH", "awk", "xargs", "make test", "ssh"])
@pytest.mark.parametrize("fact", ["programs", "subcommands"])
def test_an_interpreter_in_a_list_is_an_error(program: str, fact: str) -> None:
    """By path, by version and in capitals as well."""
    assert "interpreter_allowed" in rules(f'["ls", "{program}"].containsAll(context.command.{fact})')


@pytest.mark.parametrize(
    "condition",
    [
        '["ls", "git status"].containsAll(context.command.subcommands)',
        '!context.command.programs.containsAny(["bash", "python3"])',
        '["bash"].containsAll(context.labels)',
    ],
)
def test_other_lists_are_left_alone(condition: str) -> None:
    """Plain programs, lists of what is denied, and lists of something else."""
    assert "interpreter_allowed" not in rules(condition)
