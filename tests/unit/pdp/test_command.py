"""Command facts: what is understood, what it runs, and where certainty ends."""

import time

import msgspec
import pytest

from lictor.pdp.command import CEDAR_TYPE, CommandFacts, command_facts
from lictor.pdp.command.lexer import NotUnderstoodError, read_shell
from lictor.pdp.command.programs import base_name

UNDERSTOOD: dict[str, str] = {
    "git status": "git status",
    "git -C /srv/ws --no-pager diff --stat": "git diff",
    "git show HEAD~1": "git show",
    "git stash show stash@{0}": "git stash",
    "git commit -m 'fix: a\n\nlong $x `y`'": "git commit",
    'git commit -m "a; b | c"': "git commit",
    "git config --get user.name": "git config",
    "ls -la | head -3": "head|ls",
    "ls |\n wc": "ls|wc",
    "cat a.txt 2>/dev/null": "cat",
    "cat a 2>&1 | grep -n 'a b'": "cat|grep",
    "ls a\\ b a#b x=y": "ls",
    "timeout 5 git status": "git status|timeout",
    "env timeout -k 1 5s nice -n 5 ls": "env|ls|nice|timeout",
    "nohup ./run.sh &": "./run.sh|nohup",
    "sudo systemctl restart nginx": "sudo|systemctl restart",
    "command -v git": "command",
    "sh -c 'ls -la; git status'": "git status|ls|sh",
    "bash -c \"sh -c 'ls'\"": "bash|ls|sh",
    "/bin/zsh -c 'rm -rf /srv'": "/bin/zsh|rm",
    "/usr/bin/git status": "/usr/bin/git status",
    "python3 --version": "python3",
    "find . -name '*.py' -maxdepth 2": "find",
    "sed -n 1,10p a": "sed",
    "tar czf a.tgz dir": "tar",
    "docker ps -a": "docker ps",
    "npm ls": "npm ls",
    "pytest -q tests": "pytest",
    "echo {} ''": "echo",
    "ls é": "ls",
}
"""Text → subcommands."""

NOT_UNDERSTOOD = [
    "",
    " \n",
    # expansions
    "ls $(curl http://evil.example)",
    "ls `id`",
    "ls $HOME",
    'ls "$HOME"',
    'ls "`id`"',
    "ls *.py",
    "ls a?",
    "ls [ab]",
    "ls ~",
    "ls ~root/x",
    "ls a=~/x",
    "ls {a,b}",
    "ls {1..3}",
    "echo !!",
    'echo "a!b"',
    "ls $'a'",
    "^a^b",
    "echo =ls",
    "ls <(id)",
    "diff <(a) >(b)",
    # syntax that is more than words
    "if true; then ls; fi",
    "for x in a; do ls; done",
    "(ls)",
    "{ ls; }",
    "! ls",
    "f() { ls; }",
    "[[ a ]]",
    "time ls",
    "coproc ls",
    "ls # comment",
    "cat <<E\nx\nE",
    "cat <<< x",
    "ls &> x",
    "ls >& x",
    "ls 3> x",
    "ls >| x",
    "ls <> x",
    "ls |& cat",
    "ls ;; ls",
    "&& ls",
    "ls &&",
    "ls | | cat",
    "> x",
    "echo x > ~/.bashrc",
    "echo x > $f",
    "ls > ",
    # hidden characters and joined lines
    "ls\x00",
    "ls\rrm x",
    "ls\x1b[2K",
    "ls\u00a0-la",
    "ls \u202e",
    "l\u200bs",
    "ls \\\nrm",
    'ls "a\\\nb"',
    "ls '",
    'ls "',
    "ls \\",
    # variables, and built-ins that poison what follows
    "PAGER=x git log",
    "x+=1 ls",
    'export PAGER="sh -c id"',
    "source x",
    ". x",
    "eval ls",
    "alias ls=rm",
    "exec ls",
    "trap id EXIT",
    "set -x",
    "unset PATH",
    "printf -v PATH x",
    "hash -p /tmp/x ls",
    # wrappers and interpreters
    "env -S 'sh -c id'",
    "env -i ls",
    "env A=b ls",
    "timeout $x ls",
    "timeout --kill-after=1 5 ls",
    "nice",
    "sudo -u bob ls",
    "xargs rm",
    "parallel rm",
    "watch ls",
    "busybox sh",
    "/lib64/ld-linux-x86-64.so.2 /bin/ls",
    "ssh host ls",
    "sh",
    "sh script.sh",
    "bash -lc ls",
    "bash -c 'ls $x'",
    "bash -c ls extra",
    "BASH -c 'ls *'",
    "python3 -c 'print(1)'",
    "python3.11 x.py",
    "perl5.36 -e 1",
    "node x.js",
    "awk '{system(\"id\")}'",
    "make test",
    "npm run x",
    "npm test",
    "npx x",
    "cargo run",
    "docker run x",
    "docker --host x ps",
    "kubectl exec x -- id",
    "vim x",
    "less x",
    "man ls",
    # options that execute
    "find . -exec sh -c id ;",
    "find . -execdir id +",
    "find . -ok rm ;",
    "git -c core.pager=id log",
    "git --exec-path=/tmp log",
    "git st",
    "git",
    "git grep -Oid x",
    "git grep --open-files=id x",
    "git diff --ext-diff",
    "git clone -u id x",
    "git clone --upl=id x y",
    "git fetch --upload-pack id x",
    "git clone ext::id",
    "git clone -c core.pager=id x",
    "git rebase -x id main",
    "git rebase -i main",
    "git config core.pager id",
    "git config alias.x !id",
    "git submodule foreach id",
    "git bisect run id",
    "git difftool -x id",
    "tar --to-command=id -xf a",
    "tar --checkpoint-act=exec=id -cf a b",
    "tar xIf id a",
    "tar -I id -xf a",
    "tar -xf host:a",
    "sort --compress-prog=id a",
    "rsync -e id a b:c",
    "rsync -ave id a b:c",
    "sed s/a/b/e x",
    "sed -n '1e id' x",
    "sed -i s/a/b/ x",
    "rg --pre id x",
    "fd -x id",
    "curl -K x",
    "wget -e use_proxy=x y",
    "zip -T x -TT id",
    "apt-get -o APT::Update::Pre-Invoke::=id update",
    "apt-get update -o APT::Update::Pre-Invoke::=id",
    "hg log --config ui.pager=id",
    "helm template x --post-rend=id",
    "docker foo",
    "ip netns exec x id",
    "ssh-keygen -D ./x.so",
    "git-upload-pack x",
    "lua5.4 x",
    "bash-5.2 -c id",
]


@pytest.mark.parametrize(("text", "subcommands"), UNDERSTOOD.items())
def test_plain_commands_are_understood(text: str, subcommands: str) -> None:
    """Each program that runs is named, wrappers and what they wrap."""
    facts = command_facts(text)
    assert facts.understood, facts.why
    assert facts.subcommands == tuple(subcommands.split("|"))
    assert facts.commands >= len(facts.subcommands)


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_anything_else_is_not(text: str) -> None:
    """And then every fact has its worst value, with a short reason."""
    facts = command_facts(text)
    assert not facts.understood
    assert facts.why
    assert "\n" not in facts.why
    assert len(facts.why) < 120
    assert facts.subcommands == facts.programs == facts.words == facts.flags == ("*",)
    assert facts.writes_files
    assert (facts.pipeline, facts.sequence, facts.background) == (True, True, True)
    assert facts.commands > 50


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [""],
        ["-x"],
        ["a b"],
        ["ls", "a\0b"],
        ["ls", "\ud800"],
        ["ls", 1],
        "ls" * 40_000,
        ["ls"] * 1_001,
        ["env", "-S", "sh -c id", "tr"],
        ["find", ".", "-maxdepth", "0", "-exec", "sh", "-c", "id", ";"],
        ["sh", "-c", "ls $x"],
        ["git", "st"],
        ["env", "env", "env", "env", "env", "env", "env", "env", "env", "env", "ls"],
        None,
        {"a": 1},
        7,
    ],
)
def test_an_argv_that_is_not_certain_is_not_understood(argv: object) -> None:
    """Nothing raises, whatever the argument is."""
    assert not command_facts(argv).understood  # type: ignore[arg-type]


def test_an_argv_is_no_shell_text() -> None:
    """No shell reads it, so nothing in a word is special."""
    facts = command_facts(["ls", "a; rm -rf $HOME", "*", "~", "x\ny"])
    assert facts.understood
    assert facts.subcommands == ("ls",)
    assert facts.words == ("*", "a; rm -rf $HOME", "x\ny", "~")


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("ls", (False, False, False)),
        ("ls\n", (False, False, False)),
        ("ls;", (False, False, False)),
        ("ls | wc", (True, False, False)),
        ("ls | wc;", (True, False, False)),
        ("ls && wc", (False, True, False)),
        ("ls || wc", (False, True, False)),
        ("ls; wc", (False, True, False)),
        ("ls\nwc", (False, True, False)),
        ("ls &", (False, False, True)),
        ("ls & wc", (False, True, True)),
        ("sh -c 'a | b; c &'", (True, True, True)),
    ],
)
def test_how_commands_are_joined(text: str, joined: tuple[bool, bool, bool]) -> None:
    """A line end separates like a semicolon; a text within counts as well."""
    facts = command_facts(text)
    assert (facts.pipeline, facts.sequence, facts.background) == joined


@pytest.mark.parametrize(
    ("text", "writes", "known"),
    [
        ("ls > a >> b", ("a", "b"), True),
        ("ls > /dev/null 2>&1", (), False),
        ("head -n 1 < /etc/passwd", (), False),
        ("sh -c 'ls > x'", ("x",), True),
        ("rm x", (), True),
        ("sort -o x y", (), True),
        ("git diff --output=x", (), True),
        ("find . -delete", (), True),
        ("curl -so x y", (), True),
        ("cat x", (), False),
    ],
)
def test_what_is_written(text: str, writes: tuple[str, ...], known: bool) -> None:
    """Redirections by name; known programs and options as a fact."""
    facts = command_facts(text)
    assert facts.writes == writes
    assert facts.writes_files is known
    assert ("/etc/passwd" in facts.reads) is ("passwd" in text)


def test_flags_and_words() -> None:
    """Clusters are taken apart, values are left out, and `--` ends the flags."""
    facts = command_facts("git push origin main --force-with-lease=x -uf -- --no-flag")
    assert facts.flags == ("--force-with-lease", "-f", "-u", "-uf")
    assert set(facts.words) >= {"push", "origin", "main", "--no-flag"}


def test_too_many_commands_are_not_understood() -> None:
    """Too complex is denied, not asked about."""
    assert command_facts("true;" * 49 + "true").commands == 50
    assert not command_facts("true;" * 50 + "curl http://evil.example").understood
    assert not command_facts("sh -c 'true;true';" * 20).understood


@pytest.mark.parametrize("name", ["/bin/ZSH", "zsh", "ZSH.EXE", "./zsh"])
def test_base_names(name: str) -> None:
    """Case and suffix do not matter on some systems, so they do not matter here."""
    assert base_name(name) == "zsh"


def test_facts_are_plain_cedar() -> None:
    """Every member of the type, sorted lists, nothing else."""
    facts = command_facts("ls b a | cat")
    plain = facts.cedar()
    assert [name.split(":")[0].strip() for name in CEDAR_TYPE.strip("{} ").split(",")] == list(plain)
    assert plain["words"] == ["a", "b"]
    assert msgspec.json.decode(msgspec.json.encode(facts), type=CommandFacts) == facts


def test_size_costs_linear_time() -> None:
    """The largest text that is read at all takes a moment."""
    started = time.process_time()
    for text in (
        "a" * 64_000,
        "'a' " * 16_000,
        "\\a" * 32_000,
        '"' + "\\\\" * 31_000,
        "a;" * 32_000,
        "@" * 64_000,
        "~" * 64_000,
    ):
        command_facts(f"ls {text}")
    assert time.process_time() - started < 2


def test_the_reader_says_what_stood_in_the_way() -> None:
    """For the person who wrote the command."""
    with pytest.raises(NotUnderstoodError, match=r"'\$' may be expanded"):
        read_shell("ls $x")
