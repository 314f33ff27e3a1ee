"""What the tests' own machinery promises: what shares something runs in one worker."""

import pytest


@pytest.mark.xdist_group("together")
def test_a_group_reaches_the_dispatcher(request):
    """Else every worker would make what its file makes once, and nobody would notice."""
    in_groups = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@together") or not in_groups
