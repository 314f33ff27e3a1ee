"""Asks, before a decision, where an action's paths lead, if its catalogue entry says so. Refuses to judge: `decide` does.

If the process dies here, nothing is known and nothing ran.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError
from lictor.pdp.decide import Pdp
from lictor.pdp.normalise import paths_to_resolve
from lictor.ports import Files

_NOTHING: Final[dict[str, str]] = {}


async def resolved_paths(files: Files | None, pdp: Pdp, request: ActionRequest) -> dict[str, str]:
    """`Snapshot.resolved` for a request; what is not in it is refused by `decide`, so nobody to ask refuses all."""
    offering = pdp.offering(request.kind, request.server, request.name)
    selector = offering.entry.path if offering is not None else None
    if selector is None or selector.resolve == "none" or files is None:
        return _NOTHING
    try:
        paths = paths_to_resolve(selector, request.arguments.open())
    except CallerError:
        return _NOTHING  # `decide` refuses the same path with its reason
    return await files.resolve(paths)


def places(resolved: Mapping[str, str]) -> str:
    """Digest of where paths lead; empty for none."""
    return sha256_digest(msgspec.json.encode(resolved, order="sorted")) if resolved else ""
