"""Deciding within a deadline. Refuses to know what becomes of the answer."""

import time
from collections.abc import Callable

from lictor.model.action import ActionRequest
from lictor.model.decision import Decision, Deny
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp, decide


def decided_in_time(
    pdp: Pdp,
    request: ActionRequest,
    snapshot: Snapshot,
    encoded: bytes,
    most_s: float,
    stopwatch: Callable[[], float] = time.monotonic,
) -> Decision:
    """Decide within a deadline, or deny.

    The engine cannot be interrupted, but its work is bounded (`pdp.decide.MAX_PARTS`, `policy.guard`): what takes longer
    all the same was not foreseen. Its answer is thrown away, whatever it was, and kept nowhere (case POLE-16).
    """
    began = stopwatch()
    decision = decide(pdp, request, snapshot, encoded=encoded)
    took = stopwatch() - began
    if 0 <= took <= most_s:
        return decision
    return Deny(
        request=decision.request,
        snapshot=decision.snapshot,
        revision=decision.revision,
        reason=Reason.POLICY_TIMEOUT,
        errors=(f"decided in {took * 1_000:.0f} ms, which is more than {most_s * 1_000:.0f} ms",),
    )
