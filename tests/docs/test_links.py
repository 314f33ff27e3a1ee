"""Links lead somewhere, citations in the code can be looked up, and every decision has its parts."""

import re
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def without_code(text: str) -> str:
    """The prose: no fenced blocks, no code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(text: str) -> set[str]:
    """The fragments that the headings of a page make."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#+ (.+)$", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        kept = "".join(c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
        found.add(kept.replace(" ", "-"))
    return found


def broken(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            faults.append(f"{target}: no such file")
        elif fragment and fragment not in anchors(path.read_text("utf-8")):
            faults.append(f"{target}: no such heading")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    """Each relative link leads to a file, and to a heading where it names one."""
    assert broken(page, page.read_text("utf-8")) == []


def test_a_broken_link_is_found() -> None:
    """Control: a wrong file and a wrong heading are both reported."""
    readme = ROOT / "README.md"
    assert len(broken(readme, "[a](docs/nowhere.md) [b](SECURITY.md#nothing-here) [c](SECURITY.md#reporting)")) == 2


def test_every_page_is_reachable_from_the_readme() -> None:
    """No page is an orphan."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)#\s:]+\.md)[)#]", without_code(page.read_text("utf-8")))
        waiting += [(page.parent / target).resolve() for target in targets]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen] == []


def test_documents_that_the_code_cites_exist() -> None:
    """A path under docs/ in code or configuration is a page; an ADR number is a decision."""
    cited: set[str] = set()
    numbers: set[str] = set()
    for path in [*SOURCES, *(ROOT / "src").rglob("*.toml"), *(ROOT / "src").rglob("*.cedar"), ROOT / "pyproject.toml"]:
        text = path.read_text("utf-8")
        cited.update(re.findall(r"\bdocs/(?:adr|explanation|how-to|reference|tutorials)/[\w.-]+\.md", text))
        numbers.update(re.findall(r"\bADR (\d{4})", text))
    assert cited
    assert [name for name in sorted(cited) if not (ROOT / name).is_file()] == []
    assert [number for number in sorted(numbers) if not list((ROOT / "docs" / "adr").glob(f"{number}-*.md"))] == []


def test_identifiers_that_comments_cite_are_explained() -> None:
    """Facts (S1, C2), goals (R3) and case classes (BIND-01) in the code can be looked up."""
    text = (ROOT / "docs" / "explanation" / "threats.md").read_text("utf-8")
    source = "\n".join(path.read_text("utf-8") for path in SOURCES)
    facts = set(re.findall(r"\bfacts ([SCR]\d+)\b", source)) | set(re.findall(r"[(,;] ?(R\d+)[),;]", source))
    classes = set(re.findall(r"\b([A-Z]{4})-\d\d\b", source))
    assert {"S1", "S7", "R9"} <= facts
    assert [name for name in sorted(facts) if not re.search(rf"^\| {name} \|", text, re.MULTILINE)] == []
    assert [name for name in sorted(classes) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "adr").glob("0*.md")), ids=lambda page: page.name)
def test_a_decision_has_its_parts(page: Path) -> None:
    """Question, drivers, options, outcome, what would change our mind: in this order, on one page."""
    text = page.read_text("utf-8")
    wanted = ["Question", "Drivers", "Options", "Outcome", "What would change our mind"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == wanted
    assert text.startswith(f"# {page.name[:4]} ")
    assert text.count("\n") <= 80


def test_changelog_sections_are_in_order() -> None:
    """Security, Removed, Deprecated, Added, Changed, Fixed, in each release."""
    order = ["Security", "Removed", "Deprecated", "Added", "Changed", "Fixed"]
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    for release in releases:
        places = [order.index(name) for name in re.findall(r"^### (.+)$", release, re.MULTILINE)]
        assert places
        assert places == sorted(set(places))
