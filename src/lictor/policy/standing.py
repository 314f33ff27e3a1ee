"""The claims every bundle is held to unless it waives them by name, with a reason: what the gateway promises, in the same words.

Refuses to know how they are read and proved (`invariants.py`, `prove/`).
"""

from typing import Final

STANDING: Final = """\
[invariants.no_unapproved_destruction]
title = "no agent with autonomy 3 or more destroys anything without an approval"
when = 'action in Action::"destructive" && principal.autonomy >= 3'
unless = 'context has approval'
never = "allow"

[tightening.approval_names_groups]
title = "an approval from nobody's group is worth nothing"
fact = "context.approval.groups"
change = "empty"

[tightening.approval_only_helps]
title = "taking an approval away never permits"
fact = "context.approval"
change = "remove"

[tightening.more_approvers_only_help]
title = "fewer approvers never permit"
fact = "context.approval.people"
change = "lower"

[tightening.stronger_proof_only_helps]
title = "a weaker proof of who approved never permits"
fact = "context.approval.strength"
change = "lower"

[tightening.labels_only_tighten]
title = "having seen more never permits"
fact = "context.labels"
change = "add"

[tightening.autonomy_only_tightens]
title = "more autonomy never permits"
fact = "principal.autonomy"
change = "raise"

[tightening.calls_only_tighten]
title = "more calls never permit"
fact = "context.task.calls"
change = "raise"

[tightening.age_only_tightens]
title = "a task's age never permits"
fact = "context.task.age_s"
change = "raise"

[tightening.posture_only_tightens]
title = "being held more tightly never permits"
fact = "context.posture"
change = "raise"

[tightening.depth_only_tightens]
title = "a longer chain of delegation never permits"
fact = "context.chain.depth"
change = "raise"

[tightening.spending_only_tightens]
title = "having spent more never permits"
fact = "context.value.task_total"
change = "raise"
"""
