"""The transition tables. A pair that is not listed is an illegal step; the diagrams in the documentation are drawn from these.

What a crash means:

* task `open`: nothing; budgets and labels were committed with the execution that used them.
* hold `pending`: it stays, or expires to deny. `approved`: the approval is not lost; the agent's retry finds it.
  `consumed`: the approval is spent in the same commit that starts the execution, so it never counts twice.
* execution `started`: the effect may or may not have happened; recovery makes it `indeterminate`, and nothing runs it again.
"""

from typing import Final

TASK: Final = {("open", "close"): "closed"}

HOLD: Final = {
    ("", "open"): "pending",
    ("pending", "approve"): "approved",
    ("pending", "deny"): "denied",
    ("pending", "expire"): "expired",
    ("approved", "deny"): "denied",
    ("approved", "expire"): "expired",
    ("approved", "consume"): "consumed",
}

EXECUTION: Final = {
    ("", "start"): "started",
    ("started", "executed"): "executed",
    ("started", "failed"): "failed",
    ("started", "indeterminate"): "indeterminate",
}
