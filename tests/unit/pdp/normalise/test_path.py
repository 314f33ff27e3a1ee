"""Paths: below which root, lexically and where links lead; everything with two readings is unknown."""

import pytest

from lictor.model.catalog import PathSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.path import path_facts, paths_to_resolve

POSIX = {"ws": "/srv/ws", "secret": "/srv/ws/secret", "tmp": "/tmp"}


def facts(path, *, resolved=None, pointer="/p", roots=POSIX, **more):
    selector = PathSelector(pointer=pointer, roots=roots, **more)
    arguments = path if isinstance(path, dict) else {"p": path}
    return path_facts(selector, arguments, resolved or {}).cedar()


def refused(path, **more):
    with pytest.raises(CallerError) as error:
        facts(path, **more)
    assert error.value.reason is Reason.UNKNOWN_PATH
    return error.value


def test_an_ordinary_path():
    """Root, what is below it, and its names."""
    assert facts("/srv/ws/src/.git/Config.TXT") == {
        "root": "ws",
        "relative": "src/.git/Config.TXT",
        "inside": True,
        "name": "Config.TXT",
        "extension": "txt",
        "hidden": True,
        "count": 1,
        "roots": ["ws"],
        "names": ["config.txt"],
        "extensions": ["txt"],
        "segments": [".git", "config.txt", "src"],
    }


@pytest.mark.parametrize(
    ("path", "root", "relative"),
    [
        ("/srv/ws", "ws", ""),
        ("/srv/ws/", "ws", ""),
        ("/srv/ws/./a//b/", "ws", "a/b"),
        ("/srv/ws/secret/x", "secret", "x"),
        ("/srv/ws/secrets/x", "ws", "secrets/x"),
        ("/tmp/a b", "tmp", "a b"),
        ("/srv/ws/é", "ws", "é"),
        ("/srv/ws/100%", "ws", "100%"),
        ("/srv/ws/[id].tsx", "ws", "[id].tsx"),
    ],
)
def test_the_nearest_root_wins(path, root, relative):
    """Compared part by part; what does not matter is dropped."""
    found = facts(path)
    assert (found["root"], found["relative"]) == (root, relative)


@pytest.mark.parametrize(
    "path", ["/srv/ws-evil/secret", "/srv", "/", "/etc/passwd", "/srv/wsx", "/SRV/ws/a", "/srv/WS/a"]
)
def test_outside_every_root(path):
    """Refused, or a fact where the entry says so (PATH-02, CVE-2025-53110)."""
    assert "none of the declared roots" in refused(path).message
    found = facts(path, outside="fact")
    assert (found["root"], found["inside"]) == ("", False)


@pytest.mark.parametrize(
    "path",
    [
        "/srv/ws/../../etc/passwd",
        "/srv/ws/a/../b",
        "/srv/ws/..",
        "..",
        "//srv/ws/a",
        "/srv/ws/a\nb",
        "/srv/ws\\..\\x",
        "/srv/ws/a\\b",
        "~/x",
        "/srv/ws/~/x",
        "/srv/ws/~root",
        "a",
        "./a",
        "",
        " ",
        "/srv/ws/a ",
        "/srv/ws/ a",
        "/srv/ws/a /b",
        "/srv/ws/*",
        "/srv/ws/a?",
        "/srv/ws/%2e%2e/x",
        "/srv/ws/a%2Fb",
        "/srv/ws/a%5cb",
        "/srv/ws/%252e",
        "/srv/ws/%00",
        "/srv/ws/.g\u200cit",
        "/srv/ws/a\u202egpj",
        "/srv/ws/e\u0301",
        "/srv/ws/\ud800",
        "/srv/ws/\ufeffa",
        "/srv/ws/a\u2028b",
        "/srv/ws/" + "a" * 256,
        "/srv/ws/" + "é" * 128,
        "/srv/ws/" + "a/" * 2100,
        "file:///srv/ws/a",
        "FILE:/srv/ws/a",
        "https://x.example/srv/ws/a",
        None,
        1,
        ["/srv/ws/a"],
    ],
)
def test_what_has_two_readings(path):
    """PATH-01, 03, 09 and their kin: unknown, also where the outside is a fact."""
    refused(path)
    refused(path, outside="fact")


def test_a_nul_is_no_path_at_all():
    """PATH-03: malformed, not merely unknown."""
    with pytest.raises(CallerError) as error:
        facts("/srv/ws\x00/../etc/passwd")
    assert (error.value.reason, error.value.where) == (Reason.INVALID_ARGUMENTS, "/p")


def test_relative_paths():
    """From a declared root, or from another argument's path."""
    assert facts("a/b", base="ws")["relative"] == "a/b"
    assert facts(".", base="ws")["relative"] == ""
    found = facts({"repo": "/srv/ws/r", "f": ["a", "b/c"]}, pointer="/f/*", base="/repo")
    assert (found["count"], found["segments"]) == (3, ["a", "b", "c", "r"])
    refused({"repo": "/srv/ws/r", "f": ["../../../etc/shadow"]}, pointer="/f/*", base="/repo")
    refused({"repo": "/etc", "f": ["a"]}, pointer="/f/*", base="/repo")
    refused({"repo": "r", "f": ["a"]}, pointer="/f/*", base="/repo")
    refused({"f": ["/srv/ws/a"]}, pointer="/f/*", base="/repo")


def test_several_paths():
    """Single members are empty where they differ; one outside is enough to refuse."""
    found = facts({"a": "/srv/ws/x.py", "b": "/tmp/.env"}, pointer=("/a", "/b"))
    assert (found["root"], found["relative"], found["hidden"], found["inside"]) == ("", "", True, True)
    assert found["roots"] == ["tmp", "ws"]
    assert found["names"] == [".env", "x.py"]
    refused({"a": "/srv/ws/x.py", "b": "/etc/x"}, pointer=("/a", "/b"))


def test_names_are_folded_for_lists_of_names():
    """PATH-07: `.ENV` is `.env` for a rule that forbids it, on whatever file system."""
    assert facts("/srv/ws/.ENV")["names"] == [".env"]
    assert facts("/srv/ws/.ENV")["name"] == ".ENV"
    assert facts("/srv/ws/.\u017fecret")["names"] == [".secret"]
    refused("/srv/ws/.\u212aEY")
    found = facts("/SRV/ws/.ENV", case_sensitive=False)
    assert (found["root"], found["name"], found["relative"]) == ("ws", ".env", ".env")


@pytest.mark.parametrize(
    ("path", "relative"),
    [("C:\\Work\\a\\B.txt", "a/b.txt"), ("c:/work/A", "a"), ("C:\\WORK", ""), ("a\\b", None)],
)
def test_windows(path, relative):
    """Either separator, any case; relative ones only from a base."""
    roots = {"w": "C:\\work"}
    if relative is None:
        refused(path, roots=roots, style="windows")
        assert facts(path, roots=roots, style="windows", base="w")["relative"] == "a/b"
    else:
        found = facts(path, roots=roots, style="windows")
        assert (found["root"], found["relative"]) == ("w", relative)


@pytest.mark.parametrize(
    "path",
    [
        "\\\\server\\share",
        "\\\\?\\C:\\work\\a",
        "\\\\.\\C:\\work",
        "//server/share",
        "\\work\\a",
        "/work/a",
        "C:a",
        "C:",
        "D:..\\x",
        "C:\\work\\..\\x",
        "C:\\work\\a.",
        "C:\\work\\a ",
        "C:\\work\\a:stream",
        "C:\\work\\a::$DATA",
        "C:\\work\\CON",
        "C:\\work\\nul.txt",
        "C:\\work\\COM1",
        "C:\\work\\PROGRA~1",
        "C:\\work\\a<b",
        "CC:\\work\\a",
    ],
)
def test_what_windows_reads_otherwise(path):
    """UNC, verbatim, devices, streams, drive-relative, short names, dropped dots and blanks."""
    refused(path, roots={"w": "C:\\work"}, style="windows")
    refused(path, roots={"w": "C:\\work"}, style="windows", base="w")


@pytest.mark.parametrize(
    ("uri", "relative"), [("file:///srv/ws/a%20b", "a b"), ("file:///srv/ws/%C3%A9", "é"), ("FILE:///srv/ws/x", "x")]
)
def test_file_uris(uri, relative):
    """Where declared: one decode."""
    assert facts(uri, uri=True)["relative"] == relative
    assert facts("/srv/ws/x", uri=True)["relative"] == "x"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/ws/%2e%2e/%2e%2e/etc/passwd",
        "file:///srv/ws/%252e%252e/x",
        "file:///srv/ws/../x",
        "file:///srv/ws/./../x",
        "file://host/srv/ws/x",
        "file://localhost/srv/ws/x",
        "file:/srv/ws/x",
        "file:srv",
        "file:////srv/ws/x",
        "file:///srv/ws/a%2fb",
        "file:///srv/ws/a%00",
        "file:///srv/ws/a?x",
        "file:///srv/ws/a#x",
        "file:///srv/ws/%ff",
        "file:///srv/ws/%zz",
        "file:///srv/ws/a\\b",
        "file:///C|/x",
        "http://srv/ws/x",
        "file:///srv/ws/e%CC%81",
        "file:///etc/passwd",
    ],
)
def test_file_uris_of_two_readings(uri):
    """PATH-09."""
    refused(uri, uri=True)


def test_links_are_facts():
    """PATH-04: policy sees where a link leads; a missing answer is a refusal; a root may be a link itself."""
    roots = {"ws": "/srv/ws"}
    selector = PathSelector(pointer="/p", roots=roots, resolve="host")
    assert paths_to_resolve(selector, {"p": "/srv/ws/./l/x"}) == {"/p": "/srv/ws/l/x", "root:ws": "/srv/ws"}
    real = {"root:ws": "/data/ws"}
    found = facts("/srv/ws/l/.env", roots=roots, resolve="host", resolved={**real, "/p": "/data/ws/real/prod"})
    assert (found["relative"], found["names"], found["hidden"]) == ("real/prod", [".env", "prod"], True)
    refused("/srv/ws/l/passwd", roots=roots, resolve="host", resolved={**real, "/p": "/etc/passwd"})
    refused("/srv/ws/l/passwd", roots=roots, resolve="host", resolved=real)
    refused("/srv/ws/l/passwd", roots=roots, resolve="host", resolved={"/p": "/srv/ws/x"})
    refused("/etc/l", roots=roots, resolve="host", resolved={**real, "/p": "/data/ws/x"})


def test_folding_never_makes_a_root():
    """Letters that only full case folding takes for one another are different directories."""
    roots = {"ws": "/srv/straße"}
    assert facts("/SRV/Straße/a", roots=roots, case_sensitive=False)["root"] == "ws"
    refused("/srv/strasse/a", roots=roots, case_sensitive=False)
    refused("/srv/stra\u1e9ee/a", roots=roots, case_sensitive=False)


def test_more_names_than_policy_should_read():
    """Bounded over all paths of a call."""
    refused({"p": ["/srv/ws/" + "a/" * 1500] * 2}, pointer="/p/*")


def test_what_a_windows_host_resolves():
    """With its separator; a drive alone is its root, not its current directory."""
    selector = PathSelector(pointer="/p", roots={"w": "C:\\"}, style="windows", resolve="host")
    assert paths_to_resolve(selector, {"p": "c:/"})["/p"] == "C:\\"
    assert paths_to_resolve(selector, {"p": "c:/a/b"})["/p"] == "C:\\a\\b"
