"""The transition tables. A pair that is not listed is an illegal step; the diagrams in the documentation are drawn from these.

What a crash means:

* task `open`: nothing; budgets and labels were committed with the execution that used them.
* hold `pending`: it stays with the answers it has (`assent`: not all that are needed yet), or expires to deny. `approved`: the
  approval is not lost; the agent's retry finds it. `consumed`: the approval is spent in the same commit that starts the
  execution, so it never counts twice.
* lease `asked`: a credential may exist that nobody has a name for; it is searched for and revoked. `active`: it is revoked when
  its task is over. `revoking`: the provider is asked again, until it confirms or the credential's own life is over.
* execution `started`: the effect may or may not have happened; recovery makes it `indeterminate`, and nothing runs it again.
  A person may find out (`confirmed`, `refuted`).
"""

from typing import Final

TASK: Final = {("open", "close"): "closed"}

HOLD: Final = {
    ("", "open"): "pending",
    ("pending", "assent"): "pending",
    ("pending", "approve"): "approved",
    ("pending", "withdraw"): "pending",
    ("pending", "deny"): "denied",
    ("pending", "expire"): "expired",
    ("approved", "deny"): "denied",
    ("approved", "expire"): "expired",
    ("approved", "withdraw"): "pending",
    ("approved", "consume"): "consumed",
}

EXECUTION: Final = {
    ("", "start"): "started",
    ("started", "executed"): "executed",
    ("started", "failed"): "failed",
    ("started", "indeterminate"): "indeterminate",
    ("indeterminate", "confirmed"): "confirmed",
    ("indeterminate", "refuted"): "refuted",
}

LEASE: Final = {
    ("asked", "give"): "active",
    ("asked", "end"): "revoking",
    ("asked", "never"): "never",
    ("asked", "expired"): "expired",
    ("active", "end"): "revoking",
    ("active", "expired"): "expired",
    ("revoking", "give"): "revoking",
    ("revoking", "keep"): "revoking",
    ("revoking", "revoked"): "revoked",
    ("revoking", "expired"): "expired",
    ("revoking", "never"): "never",
}
