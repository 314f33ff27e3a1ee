"""Arguments into facts. What cannot be normalised is unknown, and unknown is denied.

Pure and deterministic; hostile input assumed: one noun a module, one spelling for each thing, and where two readers could
disagree, none. Refuses to know policy.
"""

from lictor.pdp.normalise.directory import Directory, valid_host_pattern
from lictor.pdp.normalise.money import Value, value_of
from lictor.pdp.normalise.path import PathFacts, paths_to_resolve
from lictor.pdp.normalise.pointers import point
from lictor.pdp.normalise.select import Selected, destination_of, select, select_once
from lictor.pdp.normalise.target import Destination, Target

__all__ = [
    "Destination",
    "Directory",
    "PathFacts",
    "Selected",
    "Target",
    "Value",
    "destination_of",
    "paths_to_resolve",
    "point",
    "select",
    "select_once",
    "valid_host_pattern",
    "value_of",
]
