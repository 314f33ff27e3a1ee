"""Decisions by day as bars: SVG without a script or a style of its own, with a table of the same for those who do not see it."""

from collections.abc import Iterator, Sequence
from typing import Final

from lictor.service.evidence.reporting.shapes import Day

_HEIGHT: Final = 120
_WIDTH: Final = 720
_GAP: Final = 0.2
_PARTS: Final = (("allowed", "Allowed"), ("held", "Held"), ("denied", "Denied"))
_NARROWEST: Final = 7
"""Days that a chart has room for at the least: one day alone is no wall."""


def chart(days: Sequence[Day]) -> Iterator[str]:
    """The lines of a figure; none without days."""
    if not days:
        return
    most = max(day.allowed + day.held + day.denied for day in days) or 1
    step = _WIDTH / max(len(days), _NARROWEST)
    yield '<figure class="chart">'
    keys = "".join(f'<span class="key key-{name}">{label}</span>' for name, label in _PARTS)
    most_words = f'<span class="most">highest: {most:,} a day</span>'
    yield f'<figcaption>Decisions by day <span class="keys">{keys}</span>{most_words}</figcaption>'
    yield f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
    for place, day in enumerate(days):
        top = float(_HEIGHT)
        for name, _ in _PARTS:
            height = getattr(day, name) / most * _HEIGHT
            if not height:
                continue
            top -= height
            left = place * step + step * _GAP / 2
            yield (
                f'<rect class="bar-{name}" x="{left:.2f}" y="{top:.2f}" width="{step * (1 - _GAP):.2f}" height="{height:.2f}"/>'
            )
    yield "</svg>"
    yield f'<div class="ends"><span>{days[0].day}</span><span>{days[-1].day if len(days) > 1 else ""}</span></div>'
    yield '<div class="hear"><table><caption>Decisions by day</caption>'
    heads = "".join(f'<th scope="col">{label}</th>' for label in ("Day", *(label for _, label in _PARTS)))
    yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    for day in days:
        yield f'<tr><th scope="row">{day.day}</th><td>{day.allowed}</td><td>{day.held}</td><td>{day.denied}</td></tr>'
    yield "</tbody></table></div>"
    yield "</figure>"
