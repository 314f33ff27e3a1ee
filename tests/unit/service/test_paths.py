"""Paths are looked up before a decision where the catalogue says so, and nowhere else."""

import json

from bundles import bundle, request, snapshot
from lictor.attributes.files import HostFiles
from lictor.model.decision import Allow, Deny
from lictor.model.reasons import Reason
from lictor.pdp.decide import decide
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle
from lictor.service.calls.paths import resolved_paths

DEFINITION = {"name": "t", "inputSchema": {"type": "object", "properties": {"p": {"type": "string"}}}}
POLICY = '@id("one")\npermit (principal, action == Action::"fs/t", resource) when { context has path && context.path.inside };'


def house(root, resolve="host"):
    entry = (
        f'[tools.t]\neffect = "read"\npin = "{pin_of(DEFINITION)}"\n'
        f'path = {{ pointer = "/p", roots = {{ ws = "{root}" }}, resolve = "{resolve}" }}\n'
    )
    changes = {"catalog/fs.toml": entry, "catalog/fs.definitions.json": json.dumps({"tools": [DEFINITION]})}
    return compile_bundle(bundle(POLICY, **changes))


async def decided(pdp, path, files):
    asked = request("t", {"p": path})
    resolved = await resolved_paths(files, pdp, asked)
    return decide(pdp, asked, snapshot(pdp, asked, resolved=resolved))


async def test_a_link_out_of_its_root(tmp_path):
    """PATH-04 on a real file system: inside is allowed, out through a link is refused, and so is a link to nowhere."""
    root = tmp_path.resolve() / "ws"
    root.mkdir()
    (root / "in").mkdir()
    (root / "out").symlink_to("/etc")
    (root / "none").symlink_to(root / "gone")
    pdp, files = house(root), HostFiles()
    assert isinstance(await decided(pdp, f"{root}/in/new", files), Allow)
    for bad in ("out/passwd", "none", "in/../../x"):
        found = await decided(pdp, f"{root}/{bad}", files)
        assert isinstance(found, Deny)
        assert found.reason is Reason.UNKNOWN_PATH
    files.close()


async def test_control_without_looking(tmp_path):
    """The same link passes where nobody follows it: the text alone cannot tell."""
    root = tmp_path.resolve() / "ws"
    root.mkdir()
    (root / "out").symlink_to("/etc")
    assert isinstance(await decided(house(root, "none"), f"{root}/out/passwd", None), Allow)


async def test_nobody_to_ask_refuses_all(tmp_path):
    """A gateway without access to files denies what has to be looked up."""
    found = await decided(house(tmp_path.resolve()), f"{tmp_path.resolve()}/a", None)
    assert isinstance(found, Deny)
    assert found.reason is Reason.UNKNOWN_PATH
