"""Every bound there is, by name, with its unit in the name and the reason beside it.

One value of `Limits` is made from the configuration and handed down; nothing below reads a bound from anywhere else.
This module refuses to know who enforces a bound or what the answer to breaking one looks like.
"""

from typing import Final

import msgspec

DEPTH_CEILING: Final = 200
"""No configuration may allow deeper JSON: encoders below recurse once a level, and a stack is finite (facts S2)."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on what comes in, what is held and what is waited for. All are greater than zero.

    Raises:
        ValueError: a bound is zero or negative, deeper than `DEPTH_CEILING`, or contradicts another one.
    """

    # -- the strict door -----------------------------------------------------------------------------------------------
    message_bytes: int = 4 * 1024 * 1024
    """One message from a client: room for a file in `write_file`, far from what hurts a small machine."""
    arguments_bytes: int = 1024 * 1024
    """The sealed arguments of one call: they are hashed, judged, stored and shown to a person."""
    json_depth: int = 64
    """Nested containers, the root counts as one: real messages stay below 20."""
    json_members: int = 100_000
    """Object members and array elements of one message together: bounds objects made of few bytes each."""
    string_bytes: int = 4 * 1024 * 1024
    """One string in UTF-8: as much as a message, so that only an operator who wants less notices."""
    key_bytes: int = 4096
    """One object key in UTF-8: file paths are used as keys, documents are not."""
    header_bytes: int = 32 * 1024
    """All header fields of one HTTP request: a token, a few mirrored arguments."""
    header_value_bytes: int = 8192
    """One header value: the common bound of proxies in front of us."""

    # -- upstream servers ----------------------------------------------------------------------------------------------
    upstream_message_bytes: int = 16 * 1024 * 1024
    """One reply: screenshots and documents arrive as base64."""
    upstream_json_members: int = 1_000_000
    """Members and elements of one reply: tables are longer than arguments."""
    upstream_timeout_s: float = 60.0
    """From the last byte sent to the complete reply, unless progress arrives."""
    upstream_connect_timeout_s: float = 10.0
    """To reach a server, or to see a started one answer its first message."""
    list_pages: int = 100
    """Pages of one listing: a cursor that never ends is a server that lies."""
    list_items: int = 10_000
    """Tools, resources or prompts of one server: each costs memory and a policy type."""

    # -- tasks, holds, approvals ---------------------------------------------------------------------------------------
    inflight_per_task: int = 64
    """Calls of one task under way at the same time: no agent needs more, a loop does."""
    hold_ttl_s: float = 900.0
    """A held call waits this long for people, then it is denied."""
    approval_ttl_s: float = 600.0
    """An approval not used within this time is worth nothing: the world has moved on."""
    holds_per_task_per_minute: int = 20
    """Against wearing approvers out: above it a call that needs approval is denied."""
    delegation_depth: int = 4
    """Links between the agent that asks and the task a person opened: further down nobody oversees anything."""
    task_ttl_s: float = 8 * 3600.0
    """The longest life of a task: one working day."""

    # -- deciding and recording ----------------------------------------------------------------------------------------
    decide_timeout_s: float = 1.0
    """One decision: it takes a millisecond, and at the bounds of arguments a quarter of a second. A later one is a deny."""
    record_timeout_s: float = 10.0
    """Until a record is durable: late means that nothing runs."""
    record_queue: int = 10_000
    """Records waiting for the writer: a full queue denies instead of growing."""

    # -- revocation and time -------------------------------------------------------------------------------------------
    epoch_lease_s: float = 1.5
    """A process acts so long on the last state that the store confirmed. The promise is 2 s (facts R4): the rest is for the
    timer that notices, and for a server that has to be stopped."""
    clock_skew_s: float = 2.0
    """A clock so far behind the newest record, or off what has passed since, is believed no more (facts R15)."""

    def __post_init__(self) -> None:
        """Refuse a bound that bounds nothing, and bounds that contradict each other."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            # `not >` and not `<=`: a NaN from a configuration file compares false with everything.
            if not value > 0 or value == float("inf"):
                raise ValueError(f"limit {name} must be finite and greater than zero, not {value!r}")
        if self.json_depth > DEPTH_CEILING:
            raise ValueError(f"limit json_depth must be at most {DEPTH_CEILING}, not {self.json_depth!r}")
        if self.arguments_bytes > self.message_bytes:
            raise ValueError("limit arguments_bytes must not exceed message_bytes")
