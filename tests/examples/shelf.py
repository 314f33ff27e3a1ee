"""The example bundles, as tests see them."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from lictor.policy.bundle import Bundle
from lictor.policy.casefiles import Suite, read_suites
from lictor.policy.compile import parse_guarded
from lictor.policy.load import load_bundle
from lictor.stores.bundle_folder import BundleFolder

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("coding-agent", "data-analyst", "finance-assistant", "support-desk")


@cache
def loaded(name: str) -> tuple[dict[str, bytes], Bundle, tuple[Suite, ...]]:
    """Files, bundle and cases of an example."""
    folder = BundleFolder(EXAMPLES / "bundles" / name)
    files = folder.read()
    return files, load_bundle(files, folder.parse(files)), read_suites(files)


def with_policies(bundle: Bundle, text: str) -> Bundle:
    """The bundle under another policy."""
    return replace(bundle, policies=tuple(parse_guarded({"policies/control.cedar": text.encode()})))
