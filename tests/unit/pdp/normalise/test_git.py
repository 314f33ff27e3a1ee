"""Git remotes and refs: one address for a repository however it is written; programs, local paths and guesses refused."""

import subprocess

import pytest

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.pdp.normalise import Directory, destination_of
from lictor.pdp.normalise.git import repository_problem

KNOWN = Directory(repositories={"ours": ("github.com/acme/*", "git.corp.example:2222/a/b")})


def reached(remote, **more):
    return destination_of(DestinationSelector(git="/r", **more), {"r": remote}, KNOWN)


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/acme/app",
        "https://github.com/Acme/App.git",
        "https://GitHub.com:443/acme/app/",
        "ssh://git@github.com/acme/app.git",
        "ssh://git@github.com:22/acme/app.git",
        "git@github.com:acme/app.git",
        "github.com:/acme/app",
    ],
)
def test_one_repository(remote):
    """Every form of it has the one address."""
    found = reached(remote)
    assert (found.address, found.host, found.directory) == ("github.com/acme/app", "github.com", ("ours",))


def test_neighbours_are_others():
    """A prefix of a name is no directory above it; ports count; case counts where the host tells it."""
    assert reached("https://github.com/acme-evil/app").external
    assert reached("ssh://git.corp.example:2222/a/b").directory == ("ours",)
    assert reached("ssh://git.corp.example/a/b").external
    assert reached("ssh://git.corp.example:2222/A/b").external


@pytest.mark.parametrize(
    "remote",
    [
        "ext::sh -c id",
        "ext::sh",
        "fd::17/foo",
        "-oProxyCommand=id",
        "ssh://-oProxyCommand=id/x",
        "ssh://git@-oProxyCommand=id/x",
        "-oProxyCommand=id:acme/app",
        "git@-evil:acme/app",
        "git@github.com:-x/app",
        "git@github.com:acme/../evil",
        "git@github.com:../evil",
        "git@github.com:~root/x",
        "git@github.com:acme//app",
        "https://github.com/acme/app?x",
        "https://github.com/acme/app#x",
        "https://github.com/acme%2fapp",
        "https://user:pw@github.com/acme/app",
        "https://token@github.com/acme/app",
        "http://github.com/acme/app",
        "git://github.com/acme/app",
        "file:///srv/x",
        "/srv/x",
        "../x",
        "./x",
        "C:/x",
        "C:\\x",
        "origin",
        "github.com/acme/app",
        "https://github.com",
        "https://github.com/",
        "https://github.com/.git",
        "https://evil.example\\@github.com/acme/app",
        "git@github.com:acme/app\n",
        "",
        None,
        1,
    ],
)
def test_what_is_no_remote(remote):
    """Unknown."""
    with pytest.raises(CallerError):
        reached(remote)


def refs(ref, **more):
    selector = DestinationSelector(git="/r", ref="/ref", force="/f")
    found = destination_of(selector, {"r": "git@github.com:acme/app", "ref": ref, **more}, KNOWN)
    return found.git.cedar()


@pytest.mark.parametrize(
    ("ref", "name", "force", "delete"),
    [
        ("main", "main", False, False),
        ("feature/x", "feature/x", False, False),
        ("refs/heads/main", "main", False, False),
        ("HEAD:main", "main", False, False),
        ("dev:refs/heads/main", "main", False, False),
        ("+dev:main", "main", True, False),
        ("+main", "main", True, False),
        (":main", "main", False, True),
        ("v1:refs/tags/v1", "refs/tags/v1", False, False),
    ],
)
def test_refs(ref, name, force, delete):
    """Which ref changes, by force or not, deleted or not."""
    assert refs(ref) == {
        "host": "github.com",
        "repository": "acme/app",
        "ref": name,
        "refs": [name],
        "force": force,
        "delete": delete,
    }


def test_force_by_argument():
    """A flag of its own counts; it has to be a boolean."""
    assert refs("main", f=True)["force"]
    assert not refs("main", f=None)["force"]
    with pytest.raises(CallerError):
        refs("main", f="true")


BAD_REFS = ["HEAD", "@", "", ":", "+", "-x", "--force", "a..b", "a b", "a~1", "a^", "a?", "a*", "refs/heads/*:refs/heads/*", "a[", "a\\b", "a.lock",
            "a.lock/b", ".a", "a/.b", "a/", "a.", "/a", "a//b", "a@{1}", "a:b:c", "heads/main", "tags/v1", "a\x7f", "a\n", "^main", "dev:HEAD", "mäin", 1, None]  # fmt: skip


@pytest.mark.parametrize("ref", BAD_REFS)
def test_no_refs(ref):
    """Patterns, guesses, options, and what git itself refuses."""
    with pytest.raises(CallerError):
        refs(ref)


@pytest.mark.parametrize("name", ["main", "feature/x", "a@b", "a.b", "a+b", "x/y/z", "a=b", "a{b"])
def test_git_agrees(name):
    """Differential: what is accepted, `git check-ref-format --branch` accepts as the same name."""
    assert refs(name)["ref"] == name
    done = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == name


def test_directory_entries():
    """In the form that remotes are normalised to."""
    for good in ("github.com/acme/app", "github.com/acme/*", "github.com/*", "git.corp.example:2222/a/b"):
        assert not repository_problem(good)
    for bad in (
        "github.com/Acme/*",
        "GitHub.com/acme",
        "github.com/acme/app.git",
        "github.com",
        "https://github.com/a",
        "github.com/a//b",
        "",
    ):
        assert repository_problem(bad), bad
