"""The program of `docs/how-to/notify.md`: what a receiver checks a delivery with."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "notify.md").read_text("utf-8")
KEY = "a key of thirty-two characters.."


def genuine() -> Callable[[str, dict[str, str], bytes], bool]:
    """The function that stands on the page."""
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block
    names: dict[str, Any] = {}
    exec(block[1], names)
    found: Callable[[str, dict[str, str], bytes], bool] = names["genuine"]
    return found
