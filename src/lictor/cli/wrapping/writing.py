"""Writes what was planned."""

from pathlib import Path

import msgspec

from lictor.cli import clients
from lictor.cli.wrapping.beside import Note, backup_file, digest, keep_backup, note_file, require_ours
from lictor.cli.wrapping.plans import Applied, Plan
from lictor.cli.wrapping.reversing import plan_unwrap
from lictor.model.errors import LictorError, OperatorError
from lictor.model.reasons import Reason
from lictor.stores.private import private_folder


def apply(plan: Plan) -> Applied:
    """Write a plan made by `plan`: backup first, then the note, then the file in one step.

    Raises:
        OperatorError: `conflict`: the file changed since planning, or an older, different backup lies there;
            `config_refused`: something could not be written. The client's file is then as it was.
    """
    if plan.how != "wrap":
        raise OperatorError(Reason.CONFIG_REFUSED, "this plan is for unwrapping", where=str(plan.path))
    if not plan.changed:
        return Applied(plan=plan, backup=None)
    before, after = plan.before.encode(), plan.after.encode()
    if clients.resolve(plan.path) != plan.target:
        raise OperatorError(
            Reason.CONFLICT, "the symbolic link points elsewhere now", remedy="run it again", where=str(plan.path)
        )
    clients.require_unchanged(plan.target, before)
    backup, note_path = plan.backup or backup_file(plan.target), note_file(plan.target)
    require_ours(note_path)
    if plan.backup is not None:
        private_folder(plan.backup.parent)
    made = keep_backup(backup, before)
    named = str(plan.backup) if plan.backup is not None else ""
    note = Note(version=1, original=digest(before), wrote=digest(after), command=plan.command, backup=named)
    try:
        clients.replace(note_path, msgspec.json.encode(note) + b"\n", expected=None)
        clients.replace(plan.target, after, expected=before)
    except LictorError:
        if made:
            clients.remove(note_path)
            clients.remove(backup)
        raise
    return Applied(plan=plan, backup=backup)


def unwrap(path: Path) -> Plan:
    """Take Lictor out of one file, then delete backup and note. Returns what was done; `notes` says what was not.

    Raises:
        OperatorError: as `plan_unwrap` and `apply`.
    """
    plan = plan_unwrap(path)
    if plan.changed:
        clients.replace(plan.target, plan.after.encode(), expected=plan.before.encode())
    for leftover in plan.leftovers:
        clients.remove(leftover)
    return plan
