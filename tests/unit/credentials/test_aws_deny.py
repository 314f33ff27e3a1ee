"""The Deny for a session: it stays until the session has ended by AWS's clock too."""

from typing import Any

import pytest

from lictor.credentials.aws import SKEW_MS, Aws, AwsOptions
from lictor.credentials.aws_policy import policy_name
from lictor.testing.clock import ManualClock
from servers import lending

NOW = 1_795_259_520_000


class Iam:
    """A role's inline policies."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def get_paginator(self, _: str) -> "Iam":
        return self

    def paginate(self, **_: Any) -> list[dict[str, list[str]]]:
        return [{"PolicyNames": list(self.names)}]

    def delete_role_policy(self, *, PolicyName: str, **_: Any) -> None:  # noqa: N803 - AWS's name
        self.names.remove(PolicyName)

    def put_role_policy(self, *, PolicyName: str, **_: Any) -> None:  # noqa: N803
        self.names.append(PolicyName)


@pytest.mark.parametrize(("ago_ms", "kept"), [(1, True), (SKEW_MS, True), (SKEW_MS + 1, False)])
def test_a_clock_that_is_ahead_takes_no_deny_away(ago_ms: int, kept: bool) -> None:
    """A session whose Deny went a few minutes early is alive again for those minutes."""
    options = AwsOptions.read(
        {
            "role": "arn:aws:iam::123456789012:role/r",
            "policy": {"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]},
            "ambient": True,
            "revoke": "deny",
        }
    )
    old = policy_name("lictor-lease_aaaaaaaa", NOW - ago_ms)
    iam = Iam(old)
    Aws(options, lending.vault(), ManualClock(NOW))._attach(iam, "r", "lictor-lease_bbbbbbbb", NOW + 1)
    assert (old in iam.names) is kept
    assert policy_name("lictor-lease_bbbbbbbb", NOW + 1) in iam.names
