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
from servers.lending import Wall, credential, vault


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


@pytest.mark.parametrize(
    ("name", "options", "asked", "longest"),
    [
        ("static", {"secret": "it"}, 60, 60),
        ("command", {"command": ["door"]}, 60, 3_600),
        ("command", {"command": ["door"], "max_life_s": 120}, 60, 120),
        (
            "oauth",
            {"token_url": "https://a.test/t", "client_id": "l", "secret": "it", "scopes": ["x"], "max_life_s": 600},
            60,
            600,
        ),
        (
            "github",
            {
                "app_id": "1",
                "installation_id": 1,
                "key_secret": "it",
                "owner": "o",
                "repositories": ["r"],
                "permissions": {"contents": "read"},
            },
            60,
            3_600,
        ),
        (
            "aws",
            {
                "role": "arn:aws:iam::123456789012:role/a",
                "policy": {"Statement": [{"Effect": "Deny"}]},
                "ambient": True,
            },
            60,
            900,
        ),
        ("vault", {"url": "https://v.test", "path": "database/creds/r", "token_secret": "it"}, 60, 60),
        (
            "postgres",
            {"host": "d.test", "database": "d", "user": "u", "password_secret": "it", "roles": ["r"]},
            60,
            2_592_000,
        ),
    ],
)
def test_each_says_how_long_what_it_made_may_live(
    name: str, options: dict[str, object], asked: int, longest: int
) -> None:
    """Never shorter than asked: whoever got no answer looks for it so long."""
    made = make(name, options, vault(), clock=Wall())
    assert made.longest_s(asked) == longest >= asked


@pytest.mark.parametrize(
    ("provider", "grant", "person"),
    [("oauth", "token_exchange", True), ("oauth", "", False), ("aws", "token_exchange", False)],
)
def test_who_acts_for_a_person(provider: str, grant: str, person: bool) -> None:
    """A token exchange does; nothing else."""
    assert providers.for_person(credential(provider, {"grant": grant} if grant else {})) is person
