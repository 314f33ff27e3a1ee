"""The report as a document: which sections there are, in which order, and what the first ones say."""

from lictor.cli.reporting.attention import attention
from lictor.cli.reporting.document import (
    Block,
    Cell,
    Chart,
    Code,
    Document,
    Group,
    Items,
    Para,
    Section,
    Table,
    Tiles,
    Tone,
    badge,
    mixed,
    moment,
    name,
    nothing,
    number,
    ours,
    share,
    theirs,
    typed,
)
from lictor.cli.reporting.pages_controls import controls, frameworks
from lictor.cli.reporting.pages_people import agents, people
from lictor.cli.reporting.pages_state import credentials, executions, policy, refusals, restrictions
from lictor.service.evidence.reporting.shapes import LogShown, Report, Witnessed


def document_of(report: Report) -> Document:
    """All of it."""
    return Document(
        title="What this deployment shows",
        about=_about(report),
        sections=(
            Section("summary", "At a glance", _summary(report)),
            Section("attention", "Look at this first", _attention(report)),
            Section("log", "The log, and how to check it yourself", _log(report.log)),
            controls(report),
            people(report),
            restrictions(report),
            agents(report),
            credentials(report),
            executions(report),
            policy(report),
            refusals(report),
            frameworks(report),
            Section("method", "How this was counted", _method(report)),
        ),
    )


def _about(report: Report) -> tuple[tuple[str, Cell], ...]:
    since = max(report.since_ms, report.first_ms)
    return (
        ("Log", theirs(report.log.name)),
        ("From (UTC)", ours(moment(since)) if since else ours("the log's beginning")),
        ("Until, not included (UTC)", ours(moment(report.until_ms))),
        ("Records in the period", number(report.counted)),
        ("Policy in force at the end", mixed(name(report.revision[:19])) if report.revision else ours("none")),
        ("Made by", ours(f"Lictor {report.lictor}, standards of {report.standards}")),
    )


def _summary(report: Report) -> tuple[Block, ...]:
    decided = report.count("decision.made")
    given, denied = report.count("approval.given"), report.count("approval.denied")
    verified = {True: ("verified", "good"), False: ("damaged", "bad"), None: ("not verified", "")}
    word, tone = verified[report.log.verified]
    shown: tuple[Tone, ...] = ("", "good", "warn", "bad")
    tiles: list[tuple[str, str, Tone]] = [
        ("decisions", f"{decided:,}", ""),
        ("allowed", f"{report.count('decision.allow'):,}", ""),
        ("denied", f"{report.count('decision.deny'):,}", ""),
        ("people were asked", f"{report.count('decision.needs_approval'):,}", ""),
        ("answered yes", share(given, given + denied) if given + denied else "no answer", ""),
        ("executions", f"{report.count('execution.started'):,}", ""),
        ("overrides", f"{report.totals['overrides']:,}", "warn" if report.totals["overrides"] else ""),
        ("outcome unknown", f"{report.totals['unknown']:,}", "bad" if report.totals["unknown"] else ""),
        ("restrictions in force", f"{report.totals['in_force']:,}", "warn" if report.totals["in_force"] else ""),
        ("the log", word, next(one for one in shown if one == tone)),
    ]
    return (Tiles(tuple(tiles)), Chart(report.days)) if report.days else (Tiles(tuple(tiles)),)


def _attention(report: Report) -> tuple[Block, ...]:
    lines = attention(report)
    if not lines:
        return (Para(ours("Nothing that these figures can show. What they cannot show stands at the end.")),)
    return (Items(lines),)


def _log(log: LogShown) -> tuple[Block, ...]:
    state = {True: badge("verified", "good"), False: badge("damaged", "bad"), None: badge("not verified", "none")}
    rows = [
        (ours("Records"), number(log.size)),
        (ours("Merkle root"), theirs(log.root) if log.root else mixed(nothing("not computed for this report"))),
        (ours("Every record, checkpoint and rule"), mixed(state[log.verified])),
        (ours("Compared with"), ours(log.anchor) if log.anchor else mixed(nothing("nothing"))),
        *((mixed("Witness ", name(one.witness)), _seen(one)) for one in log.witnesses),
        (ours("Decisions made again"), _replayed(log)),
    ]
    facts = Table("The log", ("What", "As it is"), tuple((first, _plain(last)) for first, last in rows), "")
    checkpoint: tuple[Block, ...] = (
        Para(ours("The newest signed checkpoint, as it stands in the state folder:")),
        Code(tuple(log.checkpoint.rstrip("\n").split("\n")), "The newest signed checkpoint"),
    )
    check = (
        mixed("On the machine: ", typed("lictor log verify"), " reads every record and recomputes the root."),
        mixed(
            "Against a checkpoint that somebody else has kept: ",
            typed("lictor log verify --anchor FILE"),
            " finds a cut tail, a rollback and a rewrite, also by the holder of the key.",
        ),
        mixed("Every decision again, from its record: ", typed("lictor replay"), "."),
        mixed("This report again: the same command with the same ", typed("--until"), " gives the same bytes."),
    )
    damage: tuple[Block, ...] = (
        (Group("Findings", badge("damaged", "bad"), (Items(tuple(map(theirs, log.findings))),)),)
        if log.findings
        else ()
    )
    return (
        facts,
        *damage,
        *(checkpoint if log.checkpoint else ()),
        Para(ours("Nobody has to believe this page. To check it:")),
        Items(check),
    )


def _seen(one: Witnessed) -> Cell:
    if not one.size:
        return mixed(nothing("has cosigned nothing of this log yet"))
    return ours(f"has seen the first {one.size:,} records, last at {moment(one.at_ms)}")


def _plain(cell: Cell) -> Cell:
    return Cell(cell.parts)


def _replayed(log: LogShown) -> Cell:
    if log.replayed is None:
        return mixed(nothing("not asked for: "), typed("--replay"))
    words = ", ".join(f"{count:,} {name}" for name, count in log.replayed.items() if count)
    different = log.replayed.get("different", 0) + log.replayed.get("broken", 0)
    return ours(words or "no decision", tone="bad" if different else "")


def _method(report: Report) -> tuple[Block, ...]:
    lines = (
        "Every figure counts records of the log whose time lies in the period. The beginning belongs to it, the end does not.",
        "What stands (restrictions, credentials, open holds) is followed from the log's first record to the end of the period.",
        "A decision counts for a published control when a policy that made it names the control, by the policy as it stood then.",
        "No evidence means that nothing was counted. It does not mean that a control is missing, nor that it would fail.",
        "Which of our controls answers to which published one is the project's judgement. Nobody conforms to anything by it.",
        "Names come from agents, servers and people. They are drawn so that no two look alike and none can pose as this report.",
    )
    span = ours("The log begins at ", moment(report.first_ms), ".") if report.first_ms else ours("The log is empty.")
    return (Items((*(ours(line) for line in lines), span)),)
