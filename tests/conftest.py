"""What all tests share: how Hypothesis runs. One fault a run, so that a control can name the error it expects."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lictor", deadline=None, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("lictor"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "lictor")
