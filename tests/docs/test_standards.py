"""The page of the map is what the program prints."""

from pathlib import Path

from lictor.cli.reporting.markdown import markdown
from lictor.cli.reporting.pages_map import document_of_map

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "standards.md"


def test_the_page_is_the_map() -> None:
    """`lictor report --map` writes it."""
    assert PAGE.read_text("utf-8") == markdown(document_of_map())
