"""A message: each recipient by the bundle's directory, strangers and look-alikes marked, subject, text and attachments counted.

Nobody is asked over a network: whether a mailbox exists is not known. Refuses to know mail servers.
"""

import re
from typing import Any, Final

from lictor.model.catalog import CatalogEntry, DestinationSelector, many
from lictor.model.errors import CallerError
from lictor.model.preview_rule import MessagePreview
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.mail import email_target
from lictor.previews.alike import alike
from lictor.previews.asking import Ask, NotFoundOutError
from lictor.previews.parts import Found, counted, cut, size

MAX_RECIPIENTS: Final = 200
_PLAIN: Final = DestinationSelector()


def make(ask: Ask, rule: MessagePreview, directory: Directory, found: Found) -> None:
    """Say who gets what.

    Raises:
        NotFoundOutError: the recipients cannot be read.
    """
    selector = ask.entry.destination or _PLAIN
    rows, strangers, likes = _recipients(_named(ask, rule), selector, directory)
    if not rows:
        raise NotFoundOutError("no recipient was found in the arguments")
    if strangers:
        who = ", ".join(cut(name, 80) for name in strangers[:5]) + (" and others" if len(strangers) > 5 else "")
        found.say(
            "Outside", f"{counted(len(strangers), 'recipient')} in no group of the directory: {who}", warning=True
        )
    for name, other in likes:
        found.say("Look-alike", f"{name} is not {other}, which the directory lists", warning=True)
    if any(row[1].startswith("unknown") for row in rows):
        found.whole = False
    shown = rows[:MAX_RECIPIENTS]
    found.table(counted(len(rows), "recipient"), ("to", "who that is"), shown, left_out=max(0, len(rows) - len(shown)))
    _content(ask, rule, found)


def _named(ask: Ask, rule: MessagePreview) -> list[str]:
    pointers, separator = _where(ask.entry, rule)
    found: list[str] = []
    for value in ask.texts(pointers):
        parts: list[Any] = value if isinstance(value, list) else [value]
        for part in parts:
            if not isinstance(part, str):
                raise NotFoundOutError("a recipient is no text")
            found += re.split(f"[{re.escape(separator)}]", part) if separator else [part]
    return list(dict.fromkeys(part.strip(" ") for part in found))


def _where(entry: CatalogEntry, rule: MessagePreview) -> tuple[tuple[str, ...], str]:
    if many(rule.to):
        return many(rule.to), rule.separator
    if entry.destination is None or entry.destination.kind != "email":
        raise NotFoundOutError("the catalogue does not say where the recipients stand")
    return entry.destination.targets, rule.separator or entry.destination.separator


def _recipients(
    names: list[str], selector: DestinationSelector, directory: Directory
) -> tuple[list[tuple[str, str]], list[str], list[tuple[str, str]]]:
    """Rows, strangers, and those that look like somebody else."""
    known = sorted({address for group in directory.emails.values() for address in group})
    domains = sorted({domain for group in directory.domains.values() for domain in group})
    rows: list[tuple[str, str]] = []
    strangers: list[str] = []
    likes: list[tuple[str, str]] = []
    for name in names:
        members = directory.emails.get(name)
        if members is not None:
            rows += [(address, f"by the group {name}") for address in members]
            continue
        try:
            target = email_target(name, selector, directory, "")
        except CallerError as error:
            rows.append((name, f"unknown: {error.message}"))
            strangers.append(name)
            continue
        if target.directory:
            rows.append((target.address, f"in {', '.join(target.directory)}"))
            continue
        strangers.append(target.address)
        rows.append((target.address, f"outside, at {target.domain or target.host}"))
        other = alike(target.address, known) or alike(target.host, domains)
        if other:
            likes.append((target.address, other))
    return rows, strangers, likes


def _content(ask: Ask, rule: MessagePreview, found: Found) -> None:
    if rule.subject and ask.has(rule.subject):
        found.say("Subject", ask.text(rule.subject, "the subject"))
    if rule.body and ask.has(rule.body):
        body = ask.text(rule.body, "the text")
        lines = found.text("Text", body)
        found.say("Length", f"{counted(lines, 'line')}, {size(len(body.encode('utf-8', 'surrogatepass')))}")
    attached = ask.texts(many(rule.attachments))
    if attached:
        rows = [(value if isinstance(value, str) else f"a {type(value).__name__}",) for value in attached]
        found.table(counted(len(rows), "attachment"), ("what the arguments say",), rows)
