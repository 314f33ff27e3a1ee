"""Names the command facts rest on: shells, carriers, options that execute or write, git's own subcommands.

Sources: the manual pages of the programs named (coreutils 9, findutils 4.10, tar 1.35, git 2.47, curl 8, ripgrep 14);
GTFOBins for which of them start others. The lists of what is refused are long because they are the weaker half; the stronger
half is that policy has to name every program. Refuses to know how the names are found.
"""

import re
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHELLS: Final = frozenset(["sh", "bash", "dash", "zsh", "ash", "rbash"])
"""Shells whose literal subset is the same."""

_CARRIERS_WORDS: Final = """
fish csh tcsh ksh mksh pdksh yash xonsh nu elvish pwsh powershell cmd busybox toybox awk gawk mawk nawk original-awk
expect tclsh wish lua luajit deno bun ts-node tsx osascript jshell groovy scala clojure julia r rscript ghci runghc
irb erl iex elixir ocaml guile racket sbcl clisp gdb lldb dc bc m4 sqlite3 psql mysql mongosh redis-cli vi vim nvim
view ex ed emacs emacsclient nano pico micro helix hx less more most man info xargs parallel watch entr script
screen tmux byobu flock time strace ltrace perf valgrind chroot unshare nsenter setpriv capsh runuser su pkexec
systemd-run at batch crontab chrt taskset numactl catchsegv start-stop-daemon run-parts ssh sftp scp rsh rlogin
telnet mosh nc ncat netcat socat openssl make gmake cmake ninja meson bazel scons ant mvn gradle gradlew rake just
task npx pipx uvx bunx corepack tox nox hatch pre-commit poetry pdm rye direnv dotenv doppler chpst setuidgid
softlimit svc sg newgrp login docker-compose vagrant ansible ansible-playbook salt puppet chef terraform tofu pulumi
nix nix-shell guix dpkg rpm snap flatpak dmsetup mount umount ldconfig split csplit cpio sendmail mail mailx mutt ip
nmap tcpdump logrotate wine composer gem bundle bundler cpan cpanm easy_install journalctl service zypper pacman apk
rpmquery rpmdb rpmverify ssh-keygen ssh-agent ssh-add sshpass rlwrap unbuffer torify torsocks proxychains
proxychains4 faketime fakeroot sem rview rvim gvim vimdiff vimtutor vipw visudo xdotool xelatex latex pdflatex tex
pdftex lualatex luatex ftp lftp tftp nroff troff groff octave openvpn openvt pandoc pidstat restic scanmem slsh
smbclient tmate update-alternatives w3m lynx wall whiptail dialog run-mailcap xdg-open open start aspell ispell
check_by_ssh ghc cobc gcore knife setarch linux32 linux64 arch-chroot bwrap firejail proot multitime hyperfine
expect-lite ccache distcc mise asdf volta fnm nvm turbo nx lerna gulp grunt vite webpack jest mocha msbuild dotnet
swift zig sbt lein mix gcc g++ cc c++ clang clang++ tcc rustc ld pyenv rbenv nodenv jenv rustup eslint delta jj
tshark sudoedit chsh
"""
CARRIERS: Final = frozenset(_CARRIERS_WORDS.split())
"""Programs that run what their arguments, input or files say, or keep a way open to do so."""

CARRIER_PATTERN: Final = re.compile(
    r"(?:python|pypy|ipython|perl|ruby|php|node|nodejs|lua|tclsh|wish|guile|java|gawk|bash|zsh|ksh|vim|emacs|gdb)w?[0-9.-]*[a-z]{0,3}"
    r"|ld[.-].*|ld-linux.*|ld-musl.*|git-.*"
)
"""The same with version numbers behind the name; the dynamic loader; git's parts called directly."""

_POISONERS_WORDS: Final = """
export declare typeset local readonly unset set shopt setopt unsetopt alias unalias source . eval exec trap enable
builtin hash read mapfile readarray getopts let bind complete compgen compopt history fc umask ulimit zmodload
autoload functions emulate wait disown fg bg jobs pushd popd dirs return exit logout break continue shift suspend
integer float private nameref print zle zstyle sched vared zformat zparseopts zregexparse zcompile zargs zpty ztcp
zsocket zsystem compadd compdef
"""
POISONERS: Final = frozenset(_POISONERS_WORDS.split())
"""Built-ins that change what later commands mean, or run text (CVE-2026-22708: `export PAGER=…`, then an allowed `git log`)."""

DANGEROUS_LONG: Final[dict[str, tuple[str, ...]]] = {
    "git": (
        "exec",
        "exec-path",
        "upload-pack",
        "receive-pack",
        "ext-diff",
        "textconv",
        "open-files-in-pager",
        "extcmd",
        "config",
        "config-env",
        "template",
        "interactive",
        "edit-description",
        "tool",
        "filter-spec-exec",
        "separate-git-dir",
        "run-command",
    ),
    "tar": (
        "to-command",
        "checkpoint-action",
        "use-compress-program",
        "rsh-command",
        "rmt-command",
        "info-script",
        "new-volume-script",
    ),
    "sort": ("compress-program",),
    "install": ("strip-program",),
    "hg": ("config", "config-file", "ssh", "remotecmd", "pager", "debugger"),
    "svn": ("config-option", "config-dir", "editor-cmd", "diff-cmd", "diff3-cmd"),
    "helm": ("post-renderer", "post-renderer-args"),
    "apt": ("option", "config-file"),
    "apt-get": ("option", "config-file"),
    "brew": ("debug", "interactive", "cmd"),
    "rsync": ("rsh", "rsync-path", "daemon", "config", "filter"),
    "zip": ("unzip-command",),
    "curl": ("config", "engine"),
    "cargo": ("config",),
    "bat": ("pager",),
    "batcat": ("pager",),
    "wget": ("use-askpass", "config", "execute"),
    "rg": ("pre", "hostname-bin"),
    "fd": ("exec", "exec-batch"),
    "fdfind": ("exec", "exec-batch"),
    "ag": ("pager",),
    "gh": ("editor",),
    "kubectl": ("kubeconfig", "editor"),
    "pip": ("config-settings", "global-option", "build-option", "python"),
}
"""Long options that name or start a program."""

DANGEROUS_SHORT: Final[dict[str, str]] = {
    "apt": "oc",
    "apt-get": "oc",
    "hg": "e",
    "tar": "IF",
    "rsync": "e",
    "curl": "K",
    "wget": "e",
    "fd": "xX",
    "fdfind": "xX",
    "zip": "T",
}
"""Short ones, also within a cluster."""

OUTPUT_LONG: Final = (
    "output",
    "output-document",
    "output-file",
    "output-dir",
    "in-place",
    "remote-name",
    "dump-header",
    "log-file",
)
OUTPUT_SHORT: Final[dict[str, str]] = {
    "sort": "o",
    "curl": "oOD",
    "sed": "i",
    "gcc": "o",
    "tree": "o",
    "shuf": "o",
    "date": "s",
}
_WRITERS_WORDS: Final = """
tee cp mv rm rmdir mkdir touch ln install dd truncate chmod chown chgrp shred unlink mkfifo mknod patch wget tar
unzip zip gzip gunzip bzip2 xz zstd rsync sponge mktemp ar
"""
WRITERS: Final = frozenset(_WRITERS_WORDS.split())
"""Programs whose purpose is to write. Others may write as well."""

_WITH_SUBCOMMANDS_WORDS: Final = """
git docker podman kubectl helm npm pnpm yarn cargo go pip pip3 uv gh glab aws gcloud az systemctl apt apt-get brew
hg svn conda dnf yum
"""
NPM_OPTIONS: Final = (
    "script-shell",
    "shell",
    "node-options",
    "git",
    "browser",
    "viewer",
    "editor",
    "call",
    "userconfig",
    "globalconfig",
    "init-module",
    "onload-script",
)
"""Configuration of npm that names a program, or a file that does; any unambiguous beginning of it counts."""

GO_OPTIONS: Final = frozenset(["toolexec", "exec", "export", "compiled", "vettool", "fixtool", "overlay"])
"""Flags of go, with one dash or two, that start a program or the compiler."""

WITH_SUBCOMMANDS: Final = frozenset(_WITH_SUBCOMMANDS_WORDS.split())

REFUSED_SUBCOMMANDS: Final[dict[str, frozenset[str]]] = {
    "docker": _words("run exec create build buildx compose plugin container builder bake context debug"),
    "podman": _words("run exec create build compose container machine kube play unshare"),
    "kubectl": _words("exec run debug plugin edit config cp attach kustomize"),
    "npm": _words(
        """
        run run-script rum urn exec x start stop restart test t tst init create innit explore edit
        config c set rebuild rb
        """
    ),
    "cargo": _words("run r test t bench build b check c install rustc doc fix clippy package publish"),
    "go": _words("run generate test tool env vet build install"),
    "uv": _words("run tool x"),
    "conda": _words("run init"),
    "hg": _words("debugshell serve"),
    "systemctl": _words("edit set-environment import-environment"),
}
"""Subcommands that run what their arguments or files name."""

KNOWN_SUBCOMMANDS: Final[dict[str, frozenset[str]]] = {
    "npm": _words(
        """
        install i ci ls list view info outdated audit pack publish search ping whoami help root prefix
        explain why fund uninstall update prune dedupe version doctor
        """
    ),
    "docker": _words(
        """ps images logs inspect pull push rm rmi stop start restart kill stats top version info network volume
        tag login logout search port diff cp history events save load export import rename update pause
        unpause wait commit system image node service stack secret swarm"""
    ),
    "glab": _words("api auth ci incident issue label milestone mr release repo schedule snippet ssh-key user variable"),
    "helm": _words(
        "get history install lint list ls package pull push repo rollback search show status template uninstall upgrade version"
    ),
    "yarn": _words("add install remove list info why audit outdated version"),
    "pnpm": _words("add install remove list ls why audit outdated update"),
    "cargo": _words(
        """
        add remove tree metadata search update fetch fmt clean vendor version info
        locate-project generate-lockfile verify-project yank owner login logout new init
        """
    ),
    "gh": _words(
        """
        api auth browse cache gist issue label org pr project release repo ruleset run search secret
        ssh-key gpg-key status variable workflow attestation
        """
    ),
    "kubectl": _words(
        """
        get describe logs top explain version api-resources api-versions cluster-info auth diff apply
        create delete replace patch scale rollout label annotate expose autoscale cordon uncordon drain
        taint wait events set certificate port-forward proxy options
        """
    ),
}
"""Where a name that is not the program's own may be an alias, a script or an extension: all that are its own."""

GIT_GLOBAL: Final = frozenset(
    ["--no-pager", "--no-optional-locks", "--literal-pathspecs", "--no-replace-objects", "-P"]
)
_GIT_BUILTINS_WORDS: Final = """
add am annotate apply archive blame branch bundle cat-file check-attr check-ignore check-mailmap check-ref-format
checkout cherry cherry-pick clean clone column commit commit-graph commit-tree config count-objects describe diff
diff-files diff-index diff-tree fetch for-each-ref format-patch fsck gc grep hash-object init log ls-files ls-remote
ls-tree merge merge-base merge-file merge-tree mv name-rev notes pack-refs prune pull push range-diff read-tree
rebase reflog remote repack replace request-pull reset restore rev-list rev-parse revert rm shortlog show
show-branch show-ref sparse-checkout stash status stripspace switch symbolic-ref tag update-index update-ref
verify-commit verify-pack verify-tag version whatchanged worktree write-tree
"""
GIT_BUILTINS: Final = frozenset(_GIT_BUILTINS_WORDS.split())
"""Git's own subcommands, which no alias can replace, without those whose business is to run programs."""
