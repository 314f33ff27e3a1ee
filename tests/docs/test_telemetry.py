"""Reference, dashboard and alerts name what there is: a metric or attribute without its row, or a panel without its metric, fails."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lictor.telemetry import attributes
from lictor.telemetry.families import FAMILIES, FROM_CALLS, FROM_LOG, NOW, Family
from lictor.telemetry.tally import REASONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "telemetry.md").read_text("utf-8")
DASHBOARD = ROOT / "contrib" / "grafana" / "lictor.json"
ALERTS = ROOT / "contrib" / "prometheus" / "lictor-alerts.yml"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
WORDS = {"le", "instance", "job"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    text = PAGE.partition(f"{heading}\n")[2]
    lines = text[text.index("|---") :].split("\n")[1:]
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


@pytest.mark.parametrize(
    ("heading", "families"),
    [
        ("### Counted from the log", FROM_LOG),
        ("### Seen in this process", FROM_CALLS),
        ("### Looked up when the page is read", NOW),
    ],
)
def test_every_metric_has_its_row(heading: str, families: tuple[Family, ...]) -> None:
    """Name, kind, labels and words are those of the code, in its order."""
    expected = []
    for family in families:
        name = family.name + (SUFFIXES["counter"][0] if family.kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in family.labels) or "none"
        expected.append([f"`{name}`", family.kind, labels, family.says.rstrip(".").casefold()])
    assert [[*row[:3], row[3].casefold()] for row in rows(heading)] == expected


def test_every_attribute_has_its_row() -> None:
    """Spans carry what the page lists, and the page lists nothing else."""
    table = PAGE.partition("| Attribute | On | Is |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == attributes.ALL


def samples() -> dict[str, Family]:
    """Every sample name of the page of figures."""
    return {name + end: family for name, family in FAMILIES.items() for end in SUFFIXES[family.kind]}


def named(expression: str) -> Iterator[tuple[str, str]]:
    """Each metric in an expression, and what stands in its braces."""
    for found in re.finditer(r"\b(lictor_[a-z_]+)(?:\{([^}]*)\})?", expression):
        yield found[1], found[2] or ""


def wrong(expression: str) -> list[str]:
    """What an expression names that there is not."""
    found = []
    for name, braces in named(expression):
        family = samples().get(name)
        if family is None:
            found.append(name)
            continue
        found += [
            f"{name}{{{label}}}"
            for label in re.findall(r"(\w+)\s*[=!]", braces)
            if label not in {*family.labels, *WORDS}
        ]
    known = {label for name, _ in named(expression) if name in samples() for label in samples()[name].labels} | WORDS
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        found += [f"by {label}" for label in re.split(r",\s*", grouped) if label not in known]
    found += [f"reason {word}" for word in re.findall(r'reason="([a-z_]+)"', expression) if word not in REASONS]
    return found


def expressions(value: Any) -> Iterator[str]:
    """Every `expr` and query in a document."""
    if isinstance(value, dict):
        for key, member in value.items():
            if key in {"expr", "query"} and isinstance(member, str):
                yield member
            yield from expressions(member)
    elif isinstance(value, list):
        for member in value:
            yield from expressions(member)


def test_the_dashboard_names_what_there_is() -> None:
    """Every metric and label of every panel; and every metric is on some panel or in some alert."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    found = list(expressions(dashboard))
    assert len(found) > 30
    assert [fault for one in found for fault in wrong(one)] == []
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_alerts_name_what_there_is() -> None:
    """The same for the alerts, and for what their words quote."""
    document = yaml.safe_load(ALERTS.read_text("utf-8"))
    rules = document["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    assert [fault for rule in rules for fault in wrong(rule["expr"])] == []
    for rule in rules:
        labels = {label for name, _ in named(rule["expr"]) for label in samples()[name].labels}
        quoted = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        assert set(quoted) <= labels
        assert rule["labels"]["severity"] in {"warning", "critical"}


@pytest.mark.parametrize(
    "expression",
    ["lictor_readyness", "lictor_decisions", 'lictor_ready{tool="x"}', "sum by (agent) (lictor_decisions_total)"],
)
def test_what_there_is_not_is_found(expression: str) -> None:
    """Control: a name or label that does not exist is caught."""
    assert wrong(expression)


def test_the_how_to_names_what_there_is() -> None:
    """Metrics in the text exist."""
    text = (ROOT / "docs" / "how-to" / "observe.md").read_text("utf-8")
    assert [name for name, _ in named(text) if name not in samples()] == []
