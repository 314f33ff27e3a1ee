"""The page's address and its token: what refuses the start."""

import pytest

from lictor.app import metrics
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_that_is_taken_refuses_the_start(host: str) -> None:
    """With the address, so that the operator knows which."""
    with metrics._listening(host, 0) as first:
        port = first.getsockname()[1]
        assert metrics._shown(first) == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        with pytest.raises(OperatorError, match=str(port)) as caught:
            metrics._listening(host, port)
    assert caught.value.reason is Reason.CONFIG_REFUSED


def test_a_token_that_is_not_there_refuses_the_start() -> None:
    """A page for nobody in particular is not served instead."""
    assert metrics._token("", {}) == ""
    assert metrics._token("T", {"T": "sesame"}) == "sesame"
    for environment in ({}, {"T": ""}):
        with pytest.raises(OperatorError):
            metrics._token("T", environment)
