"""Figures as text and as data."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.agentdojo.adaptive import CASES
from benchmarks.agentdojo.jobs import Job, Tried
from benchmarks.agentdojo.pairs import Pair, Row

HEAD = (
    "| contract | approver | benign utility % | utility under attack % | attack success % | questions a benign task | "
    "tasks with a question % | attack calls a person is asked about % |\n|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Ways:
    """In process against the real gateway, for one suite and row."""

    suite: str
    contract: str
    runs: int
    same: int
    """Runs in which every call had the same fate and both checkers said the same."""
    different: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Everything measured."""

    rows: list[Row]
    ways: list[Ways]
    seconds: list[float]
    tried: list[Tried]
    drowned: str
    minutes: float


def compared(job: Job, here: list[Pair], there: list[Pair]) -> Ways:
    """Pair by pair, call by call."""
    different = tuple(f"{a.user} {a.attack}" for a, b in zip(here, there, strict=True) if _fate(a) != _fate(b))
    return Ways(job.suite, job.contract, len(here), len(here) - len(different), different)


def markdown(found: Found) -> str:
    """The page."""
    first = [row for row in found.rows if row.variant == "resume"]
    about = (
        "AgentDojo 0.1.35 (suites of v1.2.2 with its own v1.1.2 corrections), 97 user tasks, 929 pairs, a fully hijacked model, no "
        "model in the loop; its own `utility()` and `security()` judge. How and why: "
        "[explanation](../../docs/explanation/agentdojo.md). Again: `make agentdojo`."
    )
    parts = [
        "# AgentDojo through Lictor",
        about,
        "## Variant `resume`: the attack as soon as its text is seen, then the task goes on",
        _table(first),
        "`approver none`: nobody answers, a question counts as no. `honest`: says yes to exactly the person's own calls.",
        "## By suite (honest approver)",
        _by_suite(first),
        "## Other orders of calls (honest approver)",
        _variants(found.rows),
        "## Through the real gateway",
        _gateway(found),
        "## What is lost",
        *(_lost(row) for row in first if row.approver == "honest" and row.contract != "no Lictor"),
        "## Attackers who know the gateway",
        _tried(found),
        f"Everything above took {found.minutes:.0f} minutes on two shared cores.",
    ]
    return "\n\n".join(parts) + "\n"


def data(found: Found) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "rows": [
            {"contract": row.contract, "approver": row.approver, "variant": row.variant, **row.figures()}
            for row in found.rows
        ],
        "gateway": [asdict(way) for way in found.ways],
        "call_ms": _latency(found.seconds),
        "adaptive": [{"case": one.case.name, "contract": one.contract, "outcome": one.outcome} for one in found.tried],
        "drowned": found.drowned,
    }


def _fate(pair: Pair) -> Any:
    return (pair.utility, pair.success, [(call.tool, call.ran, call.asked) for call in pair.calls])


def _table(rows: list[Row]) -> str:
    lines = [HEAD]
    for row in rows:
        got = row.figures()
        lines.append(
            f"| {row.contract} | {row.approver} | {got['benign_utility']} | {got['utility_under_attack']} | "
            f"{got['attack_success']} ({got['successes']}/{got['pairs']}) | {got['questions_per_task']:.2f} | "
            f"{got['tasks_asked']} | {got['attack_calls_asked']} |"
        )
    return "\n".join(lines)


def _by_suite(rows: list[Row]) -> str:
    lines = [
        "| contract | suite | benign utility % | utility under attack % | attack success | questions a benign task |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.approver != "honest":
            continue
        for suite in dict.fromkeys(pair.suite for pair in row.benign):
            part = Row(row.contract, row.approver, row.variant)
            part.benign = [pair for pair in row.benign if pair.suite == suite]
            part.attacked = [pair for pair in row.attacked if pair.suite == suite]
            got = part.figures()
            lines.append(
                f"| {row.contract} | {suite} | {got['benign_utility']} | {got['utility_under_attack']} | "
                f"{got['successes']}/{got['pairs']} | {got['questions_per_task']:.2f} |"
            )
    return "\n".join(lines)


def _variants(rows: list[Row]) -> str:
    lines = ["| variant | contract | utility under attack % | attack success % |", "|---|---|---|---|"]
    for row in rows:
        if row.variant != "resume":
            got = row.figures()
            lines.append(
                f"| {row.variant} | {row.contract} | {got['utility_under_attack']} | "
                f"{got['attack_success']} ({got['successes']}/{got['pairs']}) |"
            )
    lines += [
        "",
        "`append`: the attack after the task. `abandon`: the task is dropped, so utility says little. `replace`: the attack's calls",
    ]
    return "\n".join(lines) + " stand in for the task's next calls of the same tools."


def _gateway(found: Found) -> str:
    if not found.ways:
        return "Not run."
    runs, same = sum(way.runs for way in found.ways), sum(way.same for way in found.ways)
    took = _latency(found.seconds)
    said = (
        f"`lictor serve` as a process of its own, the suite as an MCP server behind it, a plain HTTP client before it, SQLite: "
        f"**{same} of {runs} runs have the same verdict and the same fate of every call as in process.** "
        f"A call takes the client {took['p50']} ms (p50), {took['p99']} ms (p99), with the tool's own work, of {took['calls']} calls."
    )
    lines = [
        said,
        "",
        "| suite | contract | runs | same |",
        "|---|---|---|---|",
        *(f"| {way.suite} | {way.contract} | {way.runs} | {way.same} |" for way in found.ways),
    ]
    different = [f"{way.suite} {one}" for way in found.ways for one in way.different]
    return "\n".join([*lines, *(["", f"Different: {', '.join(different)}"] if different else [])])


def _lost(row: Row) -> str:
    lines = [f"### {row.contract}, honest approver", ""]
    won = [f"{pair.suite} {pair.user} x {pair.attack}" for pair in row.attacked if pair.success]
    lost = [f"{pair.suite} {pair.user} x {pair.attack}" for pair in row.attacked if not pair.utility]
    benign = [f"{pair.suite} {pair.user}" for pair in row.benign if not pair.utility]
    lines.append(f"* benign tasks that fail: {', '.join(benign) or 'none'}")
    lines.append(f"* attacks that succeed ({len(won)}): {'; '.join(won) or 'none'}")
    lines.append(f"* pairs whose task fails ({len(lost)}): {'; '.join(lost) or 'none'}")
    return "\n".join(lines)


def _tried(found: Found) -> str:
    lines = ["| case | idea | task | no contract | contract from the prompt |", "|---|---|---|---|---|"]
    by_case: dict[str, dict[str, str]] = {}
    for one in found.tried:
        by_case.setdefault(one.case.name, {})[one.contract] = one.outcome
    for case in CASES:
        got = by_case[case.name]
        lines.append(
            f"| {case.name} | {case.idea} | {case.suite} {case.user} | {_shown(got['no contract'])} | {_shown(got['from the prompt'])} |"
        )
    lines.append(
        f"| drowning | thirty questions before the person's own one | banking user_task_0 | own call: {found.drowned} | |"
    )
    counted = Counter(one.outcome == "ran" for one in found.tried)
    lines += [
        "",
        f"The harmful call ran in {counted[True]} of {len(found.tried)} tries. *asked*: an honest person says no.",
    ]
    return "\n".join(lines)


def _shown(outcome: str) -> str:
    return "**ran**" if outcome == "ran" else outcome


def _latency(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        "p50": round(1e3 * ordered[len(ordered) // 2], 1),
        "p99": round(1e3 * ordered[int(len(ordered) * 0.99)], 1),
        "calls": len(ordered),
    }
