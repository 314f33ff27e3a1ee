"""`[[agents.NAME.proofs]]`: what has to be proved to be somebody, checked as a bundle is read. Refuses to know tokens.

A proof that names nobody in particular would make every workload of its issuer this agent; one that two names share makes both
nobody (`pdp.proof`). Both are faults of the bundle, found here and not at the door.
"""

from collections.abc import Mapping
from typing import Final

from lictor.model.identity import Proof
from lictor.policy.documents import Document
from lictor.policy.problems import Problems, quote

MAX_PROOFS: Final = 20
_MAX_TEXT: Final = 2_048


def check_proofs(document: Document, table: str, proofs: Mapping[str, tuple[Proof, ...]], problems: Problems) -> None:
    """Note what is wrong with the proofs below `[table.NAME]`, by name."""
    seen: dict[tuple[str, str, tuple[tuple[str, str], ...]], str] = {}
    for name, stated in proofs.items():
        if len(stated) > MAX_PROOFS:
            problems.add(document.lines.where((table, name, "proofs")), f"more than {MAX_PROOFS} proofs")
        for index, proof in enumerate(stated):
            where = document.lines.where((table, name, "proofs", index))
            problem = _problem(proof)
            if problem:
                problems.add(where, f"proof {index + 1} of {quote(name)}: {problem[0]}", problem[1])
            key = (proof.issuer, proof.subject, tuple(sorted(proof.claims.items())))
            if key in seen:
                problems.add(
                    where, f"{quote(name)} and {quote(seen[key])} have the same proof", "whose it is must be certain"
                )
            seen.setdefault(key, name)


def _problem(proof: Proof) -> tuple[str, str] | None:
    texts = [proof.issuer, proof.subject, *proof.claims, *proof.claims.values()]
    if not proof.issuer:
        return "it names no issuer", "one of [issuers.NAME] in lictor.toml"
    if not proof.subject and not proof.claims:
        return "it names neither a subject nor a claim", "everybody whom the issuer knows would be this agent"
    if any(not name or not value for name, value in proof.claims.items()):
        return "a claim without name or value", "an empty text proves nothing"
    if any(not text.isprintable() or len(text) > _MAX_TEXT for text in texts):
        return "it holds what is not printable, or too long", "it is compared as it stands"
    return None
