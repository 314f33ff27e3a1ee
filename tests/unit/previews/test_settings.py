"""`[previews.NAME]`: authorities to read, refused where they could not be meant."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from lictor.config import load_settings
from lictor.model.errors import OperatorError
from lictor.model.preview_rule import PreviewRule
from lictor.previews.settings import PostgresAuthority, SqliteAuthority

POSTGRES = (
    'kind = "postgres"\nhost = "db.example.org"\ndatabase = "shop"\nuser = "looker"\npassword_secret = "shop.looker"\n'
)


def test_both_kinds_load() -> None:
    """With their defaults."""
    text = f'[previews.shop]\n{POSTGRES}\n[previews.local]\nkind = "sqlite"\npath = "/srv/x.db"\n'
    found = load_settings(text).previews
    assert isinstance(found["shop"], PostgresAuthority)
    assert found["shop"].tls == "verify"
    assert not found["shop"].rollback
    assert found["local"] == SqliteAuthority(path="/srv/x.db")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x", 'kind = "oracle"'),
        ("x", 'kind = "sqlite"\npath = "relative.db"'),
        ("x", 'kind = "sqlite"\npath = "/x.db"\nmax_bytes = 0'),
        ("x", 'kind = "sqlite"\npath = "/x.db"\nuser = "x"'),
        ("x", POSTGRES + 'tls = "off"'),
        ("x", POSTGRES + 'tls = "maybe"'),
        ("x", POSTGRES + "port = 0"),
        ("x", POSTGRES.replace("shop.looker", "a b")),
        ("x", POSTGRES.replace('"looker"', '""')),
        ("x", POSTGRES + 'password = "secret"'),
        ("X y", 'kind = "sqlite"\npath = "/x.db"'),
    ],
)
def test_what_is_refused(name: str, text: str) -> None:
    """The start is; a password never stands in the file."""
    with pytest.raises(OperatorError) as refused:
        load_settings(f'[previews."{name}"]\n{text}\n')
    assert "secret" not in refused.value.message or "password_secret" in refused.value.message


@pytest.mark.parametrize(("heading", "struct"), [("SQLite", SqliteAuthority), ("PostgreSQL", PostgresAuthority)])
def test_every_key_is_documented_with_its_default(heading: str, struct: type) -> None:
    """In the reference of the settings."""
    text = (Path(__file__).parents[3] / "docs/reference/settings.md").read_text("utf-8")
    rows = text.partition(f"## `[previews.NAME]`: {heading}\n")[2].partition("\n## ")[0]
    said = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", rows, re.MULTILINE))
    assert set(said) == {"kind", *struct.__struct_fields__}
    for name, default in zip(reversed(struct.__struct_fields__), reversed(struct.__struct_defaults__), strict=False):
        if said[name] != "required":
            assert json.loads(said[name].strip("`")) == default


def test_every_kind_of_preview_is_documented_with_its_keys() -> None:
    """In the reference of the bundle."""
    text = (Path(__file__).parents[3] / "docs/reference/bundle.md").read_text("utf-8")
    section = text.partition("### Previews\n")[2].partition("**The pin.**")[0]
    found: dict[str, set[str]] = {}
    kind = ""
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3:
            kind = cells[0].strip("`") or kind
            found.setdefault(kind, set()).update(re.findall(r"`(\w+)`", cells[1]))
    for rule in get_args(PreviewRule):
        assert found[rule.__struct_config__.tag] == set(rule.__struct_fields__)
