"""`lictor report` over a real state folder: the same bytes again, nothing of a name gets out of its place, damage is said."""

import asyncio
import base64
import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import bundles
import report_world as world
from lictor.cli.main import main
from lictor.cli.output import Exit
from lictor.cli.report import SECTIONS
from lictor.cli.reporting.document import number, ours, share, span, theirs
from lictor.cli.reporting.html import _cell
from lictor.cli.reporting.markdown import LONGEST, noted
from lictor.config import read_settings
from lictor.model.ids import HumanId
from lictor.model.record import SignedOut
from lictor.ports import Batch
from lictor.protocol.display import render
from lictor.records.cosign import WitnessKey, cosign, with_cosignature
from lictor.records.note import read_note
from lictor.stores.cosigned import keep_cosigned
from lictor.stores.keys import Keys
from lictor.stores.snapshot import LogSnapshot
from lictor.stores.sqlite import SqliteStore

VOID = {"meta"}
ALPHABET = "ab `|\\<>&\"'*_[]()!#@~\n\r\t\x1b\x00\u202e\u200bа．"
PERIOD = ("--since", "all", "--until", world.UNTIL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment."""
    return world.deployment(tmp_path_factory.mktemp("lictor"))


def report(folder: Path, target: Path, *options: str) -> str:
    """A report in a file."""
    assert main(["report", "--bundle", str(folder), *PERIOD, "-o", str(target), *options]) == Exit.OK
    return target.read_text("utf-8")


class Reader(HTMLParser):
    """What a browser would find."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src", "action", "data", "srcset"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def read(text: str) -> Reader:
    """Read it, strictly."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


# -- what it writes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_the_same_log_gives_the_same_bytes(folder: Path, tmp_path: Path, name: str) -> None:
    """Twice the same command, twice the same file."""
    first = report(folder, tmp_path / name)
    assert report(folder, tmp_path / f"again-{name}") == first
    assert "os:bob" in first


def test_another_end_is_another_report(folder: Path, tmp_path: Path) -> None:
    """Control: the bytes depend on the period."""
    assert (
        main(
            ["report", "--bundle", str(folder), "--since", "all", "--until", "2026-11-26", "-o", str(tmp_path / "b.md")]
        )
        == 0
    )
    assert report(folder, tmp_path / "a.md") != (tmp_path / "b.md").read_text("utf-8")


def test_the_period_is_counted_back_from_its_end(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """`--since 1d` is a day before `--until`, not before now."""
    assert main(["report", "--bundle", str(folder), "--json", "--since", "1d", "--until", "2026-11-22T12:00Z"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert found["until_ms"] - found["since_ms"] == 86_400_000
    assert 0 < found["counted"] < found["log"]["size"]


def test_the_json_is_the_data(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Programs get every figure; the log is verified and replayed when that is asked for."""
    assert main(["report", "--bundle", str(folder), *PERIOD, "--json", "--replay"]) == Exit.OK
    found = json.loads(capsysbinary.readouterr().out)
    figures = {one["name"]: one["count"] for one in found["figures"]}
    assert figures["decision.made"] == figures["check.replayed"] == 15
    assert found["log"]["verified"] is True
    assert len(found["log"]["root"]) == 64
    assert found["surplus"]


def test_a_period_that_ends_before_it_begins_is_refused(folder: Path) -> None:
    """And so is a moment that is none."""
    assert main(["report", "--bundle", str(folder), "--since", "2026-11-22", "--until", "2026-11-21"]) == Exit.REFUSED
    assert main(["report", "--bundle", str(folder), "--since", "yesterday"]) == Exit.REFUSED


def test_sections_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    """Those that are named, in the report's order, and nothing else; the option knows all there are."""
    text = report(folder, tmp_path / "some.md", "--section", "people", "--section", "summary")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["At a glance", "Who approved what"]
    whole = read(report(folder, tmp_path / "all.html"))
    assert [one for one in whole.ids if one in SECTIONS] == list(SECTIONS)
    assert len(re.findall(r"<section ", (tmp_path / "all.html").read_text("utf-8"))) == len(SECTIONS)


# -- what it must not do -------------------------------------------------------------------------------------------------


def test_the_page_loads_and_runs_nothing(folder: Path, tmp_path: Path) -> None:
    """No script, no address but its own parts, no style outside the one block, whose hash its policy names."""
    text = report(folder, tmp_path / "r.html")
    page = read(text)
    assert not page.tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "image", "a\n"}
    assert not [name for name in page.attributes if name.startswith("on") or name == "style"]
    assert all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    style = text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in text
    assert "url(" not in style
    assert "@import" not in style


def test_a_hostile_name_stays_in_its_place(folder: Path, tmp_path: Path) -> None:
    """It is drawn as what it is, in both formats, and makes no tag, link, line, mention or movement."""
    page = read(report(folder, tmp_path / "r.html"))
    assert render(world.HOSTILE) in "".join(page.text)
    markdown = report(folder, tmp_path / "r.md")
    [line] = [
        line
        for line in markdown.splitlines()
        if "alert(1)" in line and line.startswith("| 2026") and "suspended" in line
    ][:1]
    assert f"`{noted(world.HOSTILE)}`" in line
    assert line.count("|") == 8
    for raw in ("\x1b", "\u202e", "\u200b", "\x00", "\r"):
        assert raw not in markdown
        assert raw not in "".join(page.text)
    assert "\n# Verified" not in markdown
    without = re.sub(r"`[^`\n]*`", "", markdown)
    assert "evil.example" not in without
    assert "@team" not in without


def texts() -> set[str]:
    """Texts that somebody would choose to leave their place with, and others like them."""
    rng = Random(7)
    chosen = {" ", "a", "`", "|", "[U+0060]", "\\`", "[x0]", "\\[x0]", "[U+007C]", "a ", " a", "a\\x20", "\n", "\\n"}
    return chosen | {"".join(rng.choices(ALPHABET, k=rng.randint(1, 10))) for _ in range(5_000)}


def kept_in_code(draw: Callable[[str], str]) -> bool:
    """Whether no two of them look alike, and none ends its code, its cell or its line."""
    drawn = {draw(text) for text in texts()}
    return len(drawn) == len(texts()) and not any(set(one) & set("`|\n\r\x1b\x00\u202e\u200b") for one in drawn)


def kept_in_box(draw: Callable[[str], str]) -> bool:
    """The same for a box of the page: between our own tags there is no other."""
    drawn = {draw(text) for text in texts()}
    inner = (re.sub(r'^<bdi class="t" dir="ltr">|</bdi>$|<span class="k-[a-z]+">|</span>', "", one) for one in drawn)
    return len(drawn) == len(texts()) and not any(set(one) & set('<>"\n\r\x1b\x00\u202e\u200b') for one in inner)


def test_different_names_never_look_alike() -> None:
    """In either format two different texts are drawn differently, and neither leaves its frame."""
    assert kept_in_code(noted)
    assert noted("") not in {noted(text) for text in texts()}
    assert kept_in_box(lambda text: _cell(theirs(text)))


CARELESS: tuple[Callable[[str], str], ...] = (
    str,
    render,
    lambda text: text.replace("`", "'").replace("|", "/"),
    escape,
)


@pytest.mark.parametrize("draw", CARELESS)
def test_a_careless_drawing_is_found(draw: Callable[[str], str]) -> None:
    """Control: text as it is, or merely rendered, or merely escaped, is caught by the same look."""
    assert not kept_in_code(draw)
    assert not kept_in_box(lambda text: f'<bdi class="t" dir="ltr">{draw(text)}</bdi>')


def test_long_names_say_how_long_they_are() -> None:
    """Head, tail, count and digest: two long names that differ in the middle still differ."""
    one, other = ("x" + "ab" * 5_000 + letter + "cd" * 5_000 for letter in "pq")
    assert noted(one) != noted(other)
    assert len(noted(one)) < LONGEST + 250


# -- damage ----------------------------------------------------------------------------------------------------------------


def test_damage_is_said_and_the_exit_code_is_no(tmp_path: Path) -> None:
    """A changed record: the report is written, says so first, and is no success."""
    folder = world.deployment(tmp_path / "b")
    with sqlite3.connect(folder / ".lictor" / "log.db") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE entries SET data = CAST(replace(data, 'os:alice', 'os:mallo') AS BLOB) WHERE seq = 1")
    target = tmp_path / "r.md"
    assert main(["report", "--bundle", str(folder), *PERIOD, "-o", str(target)]) == Exit.NO
    text = target.read_text("utf-8")
    assert "the log is damaged" in text
    assert text.index("the log is damaged") < text.index("How this was counted")
    assert main(["report", "--bundle", str(folder), *PERIOD, "-o", str(target), "--no-verify"]) == Exit.OK
    assert "the log was not verified for this report" in target.read_text("utf-8")


def test_without_a_log_there_is_no_report(tmp_path: Path) -> None:
    """Nothing is created either."""
    folder = world.deployment(tmp_path / "b")
    shutil.rmtree(folder / ".lictor")
    assert main(["report", "--bundle", str(folder)]) == Exit.STORE
    assert not (folder / ".lictor").exists()


# -- words -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(0, 0, "none"), (0, 9, "0 %"), (9, 9, "100 %"), (999, 1_000, "99 %"), (1, 1_000, "1 %"), (1, 2, "50 %")],
)
def test_a_share_is_not_rounded_to_all_or_nothing(part: int, whole: int, words: str) -> None:
    """Somebody who said no once did not always say yes."""
    assert share(part, whole) == words


def test_how_long() -> None:
    """One or two units."""
    assert [span(one) for one in (None, 0, 59, 60, 61, 3_600, 7_260, 90_000)] == [
        "not known", "under 1 s", "59 s", "1 min", "1 min 1 s", "1 h", "2 h 1 min", "1 d 1 h",
    ]  # fmt: skip
    assert ours("a").parts[0].foreign is False
    assert number(0).parts[0].tone == "none"


# -- witnesses -------------------------------------------------------------------------------------------------------------


def cosigned(folder: Path, note: str) -> dict[str, Any]:
    """The report's data of a log of whose two witnesses one has cosigned a checkpoint."""
    signer = Ed25519PrivateKey.generate()
    near = WitnessKey.of("witness.example/one", signer)
    far = WitnessKey.of("witness.example/two", Ed25519PrivateKey.generate())
    tables = [
        f'[witness.{name}]\nurl = "https://{name}.example/"\nkey = "{key.text()}"\n'
        for name, key in (("near", near), ("far", far))
    ]
    (folder / "lictor.toml").write_text("".join(tables))
    line = cosign(read_note(note).text, near.name, signer, 1_790_000_000)
    keep_cosigned(folder / ".lictor", "near", with_cosignature(note, line))
    target = folder / "r.md"
    done = main(["report", "--bundle", str(folder), *PERIOD, "-o", str(target)])
    return {"exit": done, "text": target.read_text("utf-8")}


def newest(folder: Path) -> str:
    """The newest checkpoint of a log."""
    with LogSnapshot(folder / ".lictor" / "log.db") as view:
        return list(view.checkpoints())[-1]


def test_what_a_witness_has_seen_is_said(tmp_path: Path) -> None:
    """The one that cosigned, how much of the log; the one that did not is named first, and is no damage."""
    folder = world.deployment(tmp_path / "b")
    found = cosigned(folder, newest(folder))
    assert found["exit"] == Exit.OK
    assert "| Witness `near` | has seen the first 54 records" in found["text"]
    assert "has cosigned nothing of this log yet: `far`" in found["text"]
    assert "verified against what a witness has seen of the log | 1 |" in found["text"]


def test_a_witness_that_has_seen_more_finds_a_rollback(tmp_path: Path) -> None:
    """Control: it saw a longer log, signed by the same key; this one was cut, and the report says that it is damaged."""
    folder, longer = world.deployment(tmp_path / "b"), tmp_path / "longer"
    shutil.copytree(folder, longer)
    keys = Keys.open(longer / ".lictor")
    store = SqliteStore(longer / ".lictor" / "log.db", signer=keys.signer, origin=keys_name(folder), anchor=None)
    asyncio.run(store.commit(Batch(at_ms=bundles.NOW, records=(SignedOut(human=HumanId("os:bob")),))))
    store.close()
    found = cosigned(folder, newest(longer))
    assert found["exit"] == Exit.NO
    assert "the log is damaged" in found["text"]


def keys_name(folder: Path) -> str:
    """What the log is called."""
    return read_settings(folder).log_name
