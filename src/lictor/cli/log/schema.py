"""`lictor log schema`: the JSON Schema of what stands in the log. Needs no bundle."""

import argparse
import json
from typing import Any

from lictor.cli.output import Exit


def add(actions: Any) -> None:
    """Arguments."""
    schema = actions.add_parser("schema", help="print the JSON Schema of the log's entries (docs/reference/schema)")
    schema.set_defaults(run=_schema)


def _schema(_: argparse.Namespace) -> int:
    from lictor.model.schema import record_schema

    print(json.dumps(record_schema(), indent=2))
    return Exit.OK
