"""What the catalogue says of an entry's preview: which kind of effect it has, and where in the arguments its parts stand.

A rule is a tagged table, `preview = { kind = "file", … }`. It changes what people are shown and what an approval rests on; it
never permits anything. Refuses to know how a preview is made.
"""

from typing import Any, Literal

import msgspec

Pointers = str | tuple[str, ...]
"""One JSON pointer, or several."""

FileAction = Literal["write", "create", "append", "delete", "move", "edit", "directory"]


class _Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all have in common: nothing."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """Where it reads, beside the entry's own selectors."""
        return ()


class FilePreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="file"):
    """Old against new, on the gateway's own file system. The entry's `path` must be of `resolve = "host"`."""

    action: FileAction
    path: str
    """Pointer to the path; one of the entry's `path`. With `*`, for `delete` only, several."""
    content: str = ""
    """`write`, `create`, `append`: pointer to the text."""
    base64: bool = False
    """The content is base64."""
    to: str = ""
    """`move`: pointer to where it goes; one of the entry's `path`."""
    edits: str = ""
    """`edit`: pointer to an array of replacements, one after the other."""
    old: str = "oldText"
    new: str = "newText"
    every: bool = False
    """`edit`: each place of the old text is replaced, not the first alone."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """Path, content, target and edits."""
        return tuple(filter(None, (self.path, self.content, self.to, self.edits)))


class ListPreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="list"):
    """A pattern expanded below a root of the gateway's own file system: everything it touches, counted and listed."""

    pattern: Pointers
    roots: dict[str, str]
    """Absolute directories by name; a pattern must begin with one of them."""
    base: str = ""
    """The root that relative patterns start from."""
    hidden: bool = False
    """Whether `*` matches names that begin with a dot; a server's own rule."""
    limit: int = 100
    """More matches than these stand first, as a warning."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """The patterns."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern


class CommandPreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="command"):
    """The files among a command's words, by content, and where it runs. The entry must have `command`."""

    cwd: str = ""
    """Pointer to the working directory."""
    base: str = ""
    """The directory it runs in when nothing else says so; absolute."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """The working directory."""
        return (self.cwd,) if self.cwd else ()


class SqlPreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sql"):
    """Rows a statement would touch. The entry must have `sql`."""

    authority: str = ""
    """`[previews.NAME]` of `lictor.toml`; without one the number of rows is said to be unknown."""


class HttpPreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="http"):
    """What a URL or host leads to. The entry must have `destination` of kind `url` or `host`."""

    lookup: Literal["listed", "any", "none"] = "listed"
    """Which names are looked up before anybody has answered: a look-up tells the owner of a name."""
    follow: bool = False
    """Ask (HEAD, no credentials) where listed hosts redirect to, before anybody has answered."""
    strict: bool = False
    """Other addresses than those shown void the approval."""


class MessagePreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="message"):
    """Recipients, one by one, by the directory."""

    to: Pointers = ()
    """Pointers to addresses, or to names of directory groups; without it those of the entry's `destination`."""
    separator: str = ""
    """A string may hold several, cut at each of these characters."""
    subject: str = ""
    body: str = ""
    attachments: Pointers = ()

    @property
    def pointers(self) -> tuple[str, ...]:
        """Recipients and what they get."""
        lists = [(one,) if isinstance(one, str) and one else tuple(one) for one in (self.to, self.attachments)]
        return (*lists[0], *filter(None, (self.subject, self.body)), *lists[1])


class GitPreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="git"):
    """Commits and files a push brings. The entry must have `destination` of kind `git` with `ref`."""

    repository: str = ""
    """Pointer to the path of the local clone; one of the entry's `path`, of `resolve = "host"`."""
    clone: str = ""
    """Instead of it: the clone's absolute path."""
    protected: tuple[str, ...] = ("main", "master", "release/*")
    """Branches whose push stands first, as a warning; `*` stands for anything."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """The clone."""
        return (self.repository,) if self.repository else ()


class PaymentPreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="payment"):
    """Who is paid, and how often before. The entry must have `destination` of kind `account`, and `value`."""


class ToolPreview(_Rule, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="tool"):
    """A tool of the same server says what would happen: its word, not ours."""

    tool: str
    """A tool whose effect is `read`, or this one with a `put` that makes it a dry run."""
    put: dict[str, Any] = {}
    """JSON values put into the arguments, by pointer."""
    drop: tuple[str, ...] = ()
    """Pointers to arguments it does not get."""
    check: bool = True
    """It is asked again when an approval is used, and another answer voids the approval."""


PreviewRule = (
    FilePreview
    | ListPreview
    | CommandPreview
    | SqlPreview
    | HttpPreview
    | MessagePreview
    | GitPreview
    | PaymentPreview
    | ToolPreview
)
