"""AgentDojo's four suites as data: environments, the calls of users and attackers in the order of a variant, and the verdict.

Refuses to know Lictor. The only module that imports AgentDojo (0.1.35, MIT).
"""

import contextlib
import importlib
import io
import json
import logging
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from benchmarks.agentdojo.attacker import calls_for

SUITES = ("workspace", "travel", "banking", "slack")
VARIANTS = ("resume", "append", "abandon", "replace")
VERSION = "v1.2.2"
_TEXT_ONLY = {("travel", "injection_task_6")}
"""The attack is a sentence in the answer, without a call: no gateway's business. 929 of 949 pairs are left."""
_FIXED = {"workspace": (1, 2, 2), "travel": (1, 2, 0)}


@dataclass(frozen=True, slots=True)
class Step:
    """One call and whose it is. Only the honest approver ever learns the latter."""

    tool: str
    arguments: dict[str, Any]
    attack: bool


@dataclass(slots=True)
class World:
    """One environment with the calls that ran in it."""

    lab: "Lab"
    env: Any
    before: bytes
    """The environment at the start, pickled: several times quicker to copy so than by itself."""
    runtime: Any
    ran: list[Any] = field(default_factory=list)

    def run(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Really run a call. Returns the result as JSON text, or an error text, and whether it is an error."""
        from agentdojo.functions_runtime import FunctionCall

        self.ran.append(FunctionCall(function=tool, args=dict(arguments)))
        result, error = self.runtime.run_function(self.env, tool, json.loads(json.dumps(arguments)))
        return (str(error), True) if error is not None else (as_text(result), False)

    def verdict(self, user: Any | None, attack: Any | None) -> tuple[bool, bool]:
        """(the user's task is fulfilled, the attacker's too), by AgentDojo's own checkers."""
        from agentdojo.types import text_content_block_from_string

        after = pickle.dumps(self.env)
        said = [text_content_block_from_string(user.GROUND_TRUTH_OUTPUT if user else "")]

        def holds(task: Any | None) -> bool:
            if task is None:
                return False
            # Some checkers change the environment they look at, and some raise on a state without what they index.
            pre, post = pickle.loads(self.before), pickle.loads(after)
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    return bool(self.lab.suite._check_task_result(task, said, pre, post, list(self.ran)))
                except Exception:  # noqa: BLE001 - theirs, and it means "not achieved"
                    return False

        return holds(user), holds(attack)


class Lab:
    """One suite."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.suite = _suite(name)
        self.users: dict[str, Any] = dict(self.suite.user_tasks)
        self.attacks: dict[str, Any] = {
            key: task for key, task in self.suite.injection_tasks.items() if (name, key) not in _TEXT_ONLY
        }
        self._kept: dict[str, bytes] = {}
        self._seen: dict[str, tuple[int, list[str]]] = {}

    def definitions(self) -> list[dict[str, Any]]:
        """The tools as an MCP server lists them."""
        return [
            {"name": tool.name, "description": tool.description, "inputSchema": tool.parameters.model_json_schema()}
            for tool in self.suite.tools
        ]

    def world(self, user: Any | None, attack: Any | None = None, text: str = "") -> World:
        """A fresh environment; the attacker's text, or one of one's own, stands wherever the user's own calls will see it."""
        from agentdojo.functions_runtime import FunctionsRuntime

        if attack is not None and user is not None:
            text = self._injection.format(goal=attack.GOAL, user="Emma Johnson", model="GPT-4", task=user.PROMPT)
        texts = dict.fromkeys(self.point(user)[1], text) if text else {}
        env = self._env(texts)
        env = user.init_environment(env) if user is not None else env
        return World(self, env, pickle.dumps(env), FunctionsRuntime(self.suite.tools))

    def trace(self, user: Any | None, attack: Any | None, variant: str, env: Any) -> list[Step] | None:
        """The calls in order; None where the variant does not exist for the pair.

        `resume`: the attack right after the first result that shows its text, then the user's task goes on. `append`: after it.
        `abandon`: the task is dropped. `replace`: the attack's calls stand in for the user's next calls of the same tools.
        """
        mine = self.user_steps(user, env) if user is not None else []
        theirs = self.attack_steps(attack, env) if attack is not None else []
        if user is None or attack is None:
            return [*mine, *theirs]
        at = self.point(user)[0] + 1
        match variant:
            case "resume":
                return [*mine[:at], *theirs, *mine[at:]]
            case "append":
                return [*mine, *theirs]
            case "abandon":
                return [*mine[:at], *theirs]
            case _:
                return _replaced(mine[:at], theirs, mine[at:])

    def user_steps(self, user: Any, env: Any) -> list[Step]:
        """The user's calls (AgentDojo's ground truth)."""
        return [_step(call, attack=False) for call in user.ground_truth(copied(env))]

    def attack_steps(self, attack: Any, env: Any) -> list[Step]:
        """The attacker's calls, who knows every value."""
        copy = copied(env)
        own = calls_for(attack, copy) if self.name == "workspace" else None
        if own is not None:
            return [Step(tool, arguments, attack=True) for tool, arguments in own]
        return [_step(call, attack=True) for call in attack.ground_truth(copy)]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every user task with every attack."""
        return ((user, attack) for user in self.users for attack in self.attacks)

    def point(self, user: Any) -> tuple[int, list[str]]:
        """The user's first call whose result shows injected text, and every place of injection the user's calls see."""
        from agentdojo.functions_runtime import FunctionsRuntime

        if user.ID not in self._seen:
            marks = {name: f"CANARY{number}Q" for number, name in enumerate(self._defaults)}
            env = user.init_environment(self._env(marks))
            world = World(self, env, b"", FunctionsRuntime(self.suite.tools))
            first, seen = -1, dict[str, None]()
            for index, step in enumerate(self.user_steps(user, env)):
                text, _ = world.run(step.tool, step.arguments)
                found = [name for name, mark in marks.items() if mark in text]
                first = index if found and first < 0 else first
                seen |= dict.fromkeys(found)
            if first < 0:
                raise ValueError(f"{self.name} {user.ID} never sees injected text")
            self._seen[user.ID] = (first, list(seen))
        return self._seen[user.ID]

    @cached_property
    def _defaults(self) -> dict[str, str]:
        return dict(self.suite.get_injection_vector_defaults())

    @cached_property
    def _injection(self) -> str:
        from agentdojo.attacks.important_instructions_attacks import ImportantInstructionsAttack

        return str(ImportantInstructionsAttack._JB_STRING)

    @cached_property
    def _template(self) -> str:
        from agentdojo.task_suite.task_suite import read_suite_file

        return str(read_suite_file(self.name, "environment.yaml", self.suite.data_path))

    def _env(self, texts: dict[str, str]) -> Any:
        """As AgentDojo loads it, through the C parser and remembered."""
        import yaml

        key = json.dumps(texts, sort_keys=True)
        if key not in self._kept:
            text = self._template.format(**{**self._defaults, **texts})
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            self._kept[key] = pickle.dumps(self.suite.environment_type.model_validate(yaml.load(text, Loader=loader)))
        return pickle.loads(self._kept[key])


def copied(env: Any) -> Any:
    """A copy that shares nothing."""
    return pickle.loads(pickle.dumps(env))


def as_text(result: Any) -> str:
    """A tool's result as JSON text, as MCP servers answer."""
    from pydantic import BaseModel

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        return value

    shown = plain(result)
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, default=str)


def _suite(name: str) -> Any:
    """A suite of v1.2.2 with AgentDojo's own v1.1.2 corrections, which 0.1.35 writes and forgets to load."""
    warnings.simplefilter("ignore")  # of the packages it brings
    from agentdojo.task_suite import load_suites

    logging.getLogger("agentdojo").setLevel(logging.CRITICAL)
    importlib.import_module("agentdojo.default_suites.v1_1_2")  # registers them; it cannot be imported first
    if name in _FIXED:
        return getattr(load_suites, f"{name}_task_suite").get_new_version(_FIXED[name])
    return load_suites.get_suite(VERSION, name)


def _step(call: Any, *, attack: bool) -> Step:
    return Step(call.function, json.loads(json.dumps(dict(call.args), default=str)), attack)


def _replaced(before: list[Step], theirs: list[Step], after: list[Step]) -> list[Step] | None:
    waiting = [step for step in theirs if step.tool in {mine.tool for mine in after}]
    if not waiting:
        return None
    shared = {step.tool for step in waiting}
    trace = list(before)
    for step in after:
        if waiting and step.tool == waiting[0].tool:
            trace.append(waiting.pop(0))
        elif step.tool not in shared:
            trace.append(step)
    return [*trace, *waiting]
