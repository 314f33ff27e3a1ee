"""One type for each kind of identifier and digest, so that the type checker refuses a swap."""

from typing import NewType

AgentId = NewType("AgentId", str)
HumanId = NewType("HumanId", str)
TaskId = NewType("TaskId", str)
RequestId = NewType("RequestId", str)
DecisionId = NewType("DecisionId", str)
HoldId = NewType("HoldId", str)
ApprovalId = NewType("ApprovalId", str)
ExecutionId = NewType("ExecutionId", str)
InstanceId = NewType("InstanceId", str)
ServerName = NewType("ServerName", str)
PolicyId = NewType("PolicyId", str)

ArgumentsDigest = NewType("ArgumentsDigest", str)
"""`sha256:<hex>` of the sealed argument bytes: what goes upstream is exactly these bytes."""
ActionDigest = NewType("ActionDigest", str)
"""`sha256:<hex>` binding agent, human, task, server, kind, name and arguments: what an approval is for."""
SnapshotDigest = NewType("SnapshotDigest", str)
DefinitionDigest = NewType("DefinitionDigest", str)
"""`sha256:<hex>` of a tool's whole definition in canonical form: the pin."""
PolicyRevision = NewType("PolicyRevision", str)
"""`sha256:<hex>` over the bundle's decision-relevant files."""
LeaseId = NewType("LeaseId", str)
AllowanceId = NewType("AllowanceId", str)
SealDigest = NewType("SealDigest", str)
"""`sha256:<hex>` over action, preview, decision and hold: what an approver saw and said yes to."""
