"""Put Lictor in front of the servers an MCP client starts, and take it away again.

Rewrites `command` and `args` of each entry that starts a process; every other byte of the file stays. Works in two
steps, so that a person sees the diff before anything is written: `plan` reads, `apply` writes. Refuses to know how the
client runs, what the servers do, and where secrets go; never wraps what it does not fully understand.

What a crash of `apply` means: before the replacement the client's file is as it was, and a backup equal to it may lie
beside it (a new `apply` uses it, `unwrap` clears it away); after it the file is wrapped, backup and note are complete.
"""

from lictor.cli.wrapping.difference import diff
from lictor.cli.wrapping.entries import server_name
from lictor.cli.wrapping.planning import plan
from lictor.cli.wrapping.plans import Applied, Entry, Plan
from lictor.cli.wrapping.reversing import plan_unwrap
from lictor.cli.wrapping.writing import apply, unwrap

__all__ = [
    "Applied",
    "Entry",
    "Plan",
    "apply",
    "diff",
    "plan",
    "plan_unwrap",
    "server_name",
    "unwrap",
]
