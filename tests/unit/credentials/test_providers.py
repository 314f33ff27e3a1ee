"""The registry: every name leads to a provider; what is missing or wrong is refused with what to do."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lictor.credentials import providers
from lictor.credentials.providers import KINDS, make
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from servers.lending import Wall, vault


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_provider_refuses_unknown_options(name: str) -> None:
    """A misspelt option is refused, never ignored."""
    with pytest.raises(OperatorError) as caught:
        make(name, {"no_such_option": True}, vault(), clock=Wall())
    assert caught.value.reason is Reason.CONFIG_REFUSED


def test_an_unknown_provider_is_refused() -> None:
    """By name, and with the names there are."""
    with pytest.raises(OperatorError) as caught:
        make("keychain", {}, vault(), clock=Wall())
    assert caught.value.reason is Reason.CONFIG_REFUSED
    assert "postgres" in caught.value.remedy


@pytest.mark.parametrize(("name", "driver"), [("postgres", "asyncpg"), ("aws", "botocore")])
def test_a_missing_driver_is_told_with_its_extra(name: str, driver: str) -> None:
    """Without the extra the options are refused and the way to install it is said."""
    code = (
        f"import sys; sys.modules[{driver!r}] = None\n"
        "from lictor.credentials.providers import make\n"
        "from lictor.model.errors import OperatorError\n"
        f"try: make({name!r}, {{}}, None, clock=None)\n"
        "except OperatorError as error: print(error.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"pip install 'lictor[{name}]'"


def test_naming_the_providers_loads_none() -> None:
    """The registry alone brings no driver."""
    code = (
        "import sys; import lictor.credentials.providers; print({'asyncpg', 'botocore', 'joserfc'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert providers.KINDS


def test_the_pages_examples_make_providers() -> None:
    """Every example of the how-to is read by the provider it is for, and each dynamic provider has one."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "credentials-providers.md"
    shown = set()
    for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for one in tomllib.loads(block)["credentials"].values():
            make(one["provider"], one["options"], vault(), clock=Wall())
            shown.add(one["provider"])
    assert shown == {"aws", "github", "oauth", "postgres", "vault"}
