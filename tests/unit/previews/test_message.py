"""Messages: each recipient by the directory, strangers first."""

import pytest

from lictor.model.catalog import DestinationSelector
from lictor.model.preview_rule import MessagePreview
from lictor.pdp.normalise.directory import Directory
from lictor.previews.alike import alike
from previews_world import Bench, entry, told

DIRECTORY = Directory(emails={"team": ("ada@corp.example", "bob@corp.example")}, domains={"inside": ("corp.example",)})
MAIL = entry(
    destination=DestinationSelector(email="/to/*"),
    preview=MessagePreview(subject="/subject", body="/body", attachments="/files/*"),
)


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path, DIRECTORY)


async def test_recipients_are_told_apart(bench: Bench) -> None:
    """Groups by name, strangers as a warning before everything else."""
    made = await bench.preview(MAIL, {"to": ["ADA@corp.example", "eve@evil.example"], "subject": "Hi", "body": "a\nb"})
    assert made.parts[0].warning
    assert made.parts[0].text == "1 recipient in no group of the directory: eve@evil.example"
    assert "ada@corp.example | in inside, team" in told(made)
    assert "eve@evil.example | outside, at evil.example" in told(made)
    assert "[Subject] Hi" in told(made)
    assert "2 lines, 3 bytes" in told(made)


@pytest.mark.parametrize(
    "name", ["ada@c0rp.example", "ada@corp.exarnple", "adaa@corp.example", "dad@corp.example", "ada@corp-example.com"]
)
async def test_a_look_alike_is_marked(bench: Bench, name: str) -> None:
    """By the address, or by the domain."""
    made = await bench.preview(MAIL, {"to": [name]})
    expected = name not in {"ada@corp-example.com", "adaa@corp.example", "dad@corp.example"}
    assert ("Look-alike" in told(made)) is expected  # within the domain nobody is a stranger


async def test_a_group_is_expanded(bench: Bench) -> None:
    """A name of the directory that stands for several."""
    of = entry(preview=MessagePreview(to="/to"))
    made = await bench.preview(of, {"to": "team"})
    assert "2 recipients" in told(made)
    assert "bob@corp.example | by the group team" in told(made)


@pytest.mark.parametrize("to", [[], None, [7], ["no address"], "x", {}])
async def test_recipients_that_cannot_be_read_are_said(bench: Bench, to) -> None:
    """Unknown, and never nobody."""
    made = await bench.preview(MAIL, {"to": to})
    assert not made.whole
    assert made.parts[0].warning


async def test_attachments_are_counted(bench: Bench) -> None:
    """By what the arguments say."""
    made = await bench.preview(MAIL, {"to": ["ada@corp.example"], "files": ["a.pdf", {"x": 1}]})
    assert "2 attachments" in told(made)


@pytest.mark.parametrize(
    ("name", "other", "like"),
    [
        ("paypaI.com", "paypal.com", True),
        ("rnicrosoft.com", "microsoft.com", True),
        ("DE89370400440532013001", "DE89370400440532013000", True),
        ("DE89370400440532103000", "DE89370400440532013000", True),
        ("DE02120300000000202051", "DE89370400440532013000", False),
        ("a@x.example", "a@x.example", False),
    ],
)
def test_alike(name: str, other: str, like: bool) -> None:
    """One character, two exchanged, or the same at a glance."""
    assert bool(alike(name, [other])) is like
