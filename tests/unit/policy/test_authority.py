"""Authority is decided like any other action, and no rule about classes of effects reaches it."""

from typing import Any

import msgspec
import pytest
from tests import bundles

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.contract import Clause, Contract, ContractSource
from lictor.model.decision import Allow, Deny
from lictor.model.ids import AgentId, HumanId, RequestId, ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.pdp.decide import Pdp, decide
from lictor.policy.problems import BundleRefused

CREDENTIALS = """\
[credentials.token]
server = "fs"
destination = "https://files.example"
provider = "static"
headers = { Authorization = "Bearer {token}" }
"""
EVERY_CLASS = """
@id("everything")
@reason("a broad rule")
permit (principal, action in [Action::"read", Action::"write", Action::"destructive"], resource);
"""
LENDS = """
@id("lends")
@reason("the coder's own server")
permit (principal == Agent::"coder", action == Action::"credential:fs/token", resource == Credential::"fs/token")
when { context.destination.host == "files.example" && context.input.ttl_s <= 900 };
"""
OPENS = """
@id("opens")
@reason("a person starts the coder")
permit (principal == Agent::"coder", action == Action::"task:open", resource == Purpose::"development")
when { context.input.opener.kind == "person" && context.input.opener.groups.contains("staff") };
"""


def engine(policy: str) -> Pdp:
    return bundles.pdp(policy, **{"credentials.toml": CREDENTIALS})


def use(agent: str = "coder", ttl_s: int = 900) -> ActionRequest:
    url = "https://files.example"
    given = {"provider": "static", "lease": "task", "ttl_s": ttl_s, "destination": url, "url": url}
    return bundles.request("token", given, kind=ActionKind.CREDENTIAL, agent=agent)


def opening(purpose: str = "development", kind: str = "person", groups: tuple[str, ...] = ("staff",)) -> ActionRequest:
    opener = {"kind": kind, "name": "os:alice", "groups": list(groups)}
    given: dict[str, Any] = {
        "opener": opener,
        "ttl_s": 60,
        "calls": 10,
        "currencies": [],
        "largest": 0,
        "contract": False,
    }
    return ActionRequest.make(
        id=RequestId("r"),
        kind=ActionKind.TASK,
        server=ServerName(""),
        name=purpose,
        arguments=SealedArguments.seal(given),
        agent=AgentId("coder"),
        human=HumanId("os:alice"),
        task=TaskId("t"),
    )


def answer(policy: str, asked: ActionRequest, **changes: Any) -> Any:
    pdp = engine(policy)
    return decide(pdp, asked, bundles.snapshot(pdp, asked, **changes))


def test_a_permit_for_every_class_is_none_for_authority():
    """Neither a task nor a credential comes with the right to read, write or destroy."""
    for asked in (use(), opening()):
        refused = answer(EVERY_CLASS, asked)
        assert isinstance(refused, Deny)
        assert refused.reason is Reason.NOT_PERMITTED
    assert isinstance(answer(EVERY_CLASS, bundles.request("erase", {})), Allow)


def test_a_credential_is_lent_where_policy_says_so():
    """By agent, destination and life."""
    assert isinstance(answer(LENDS, use()), Allow)
    assert isinstance(answer(LENDS, use(agent="guest")), Deny)
    assert isinstance(answer(LENDS, use(ttl_s=901)), Deny)


def test_a_task_is_opened_where_policy_says_so():
    """By agent, purpose and who asks."""
    assert isinstance(answer(OPENS, opening()), Allow)
    assert isinstance(answer(OPENS, opening(kind="application")), Deny)
    assert isinstance(answer(OPENS, opening(groups=())), Deny)
    refused = answer(OPENS, opening(purpose="payments"))
    assert isinstance(refused, Deny)
    assert refused.reason is Reason.UNKNOWN_TASK


def test_a_credential_nobody_declared_is_unknown():
    """There is no lending by a name alone."""
    asked = bundles.request("other", {}, kind=ActionKind.CREDENTIAL)
    refused = answer(LENDS, asked)
    assert isinstance(refused, Deny)
    assert refused.reason is Reason.UNKNOWN_CREDENTIAL


def test_a_suspended_agent_is_lent_nothing():
    """Restrictions reach authority too."""
    laid = Containment(
        id="c", scope=Scope.AGENT, target="coder", restriction=Restriction.SUSPENDED, by="os:bob", laid_at_ms=1
    )
    for policy, asked in ((LENDS, use()), (OPENS, opening())):
        refused = answer(policy, asked, containments=(laid,))
        assert isinstance(refused, Deny)
        assert refused.reason is Reason.CONTAINED


def test_a_contract_is_about_servers_only():
    """What its actions need is not in it; and what it does not cover stays outside."""
    pdp = engine(LENDS + EVERY_CLASS)
    contract = Contract(source=ContractSource.PERSON, clauses=(Clause(action="fs/read_file"),))
    for asked, expected in ((use(), Allow), (bundles.request("erase", {}), Deny)):
        taken = bundles.snapshot(pdp, asked)
        assert taken.task is not None
        state = msgspec.structs.replace(taken.task, contract=contract, contract_used=(0,))
        assert isinstance(decide(pdp, asked, msgspec.structs.replace(taken, task=state)), expected)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('server = "fs"', 'server = "nobody"', "knows no server"),
        ("https://files.example", "https://files.example/mcp", "origin"),
        ("https://files.example", "https://FILES.example", "origin"),
        ("https://files.example", "https://user@files.example", "origin"),
        ("https://files.example", "command", "takes headers"),
        ("{token}", "token", "one {field}"),
        ("{token}", "{token}\\r\\nX: y", "one {field}"),
        ("{token}", "{token} {}", "one {field}"),
        ("Authorization", "Host", "no field"),
        ('"static"', '"static"\nttl_s = 86400', "ttl_s"),
        ('"static"', '"static"\nlease = "for ever"', "lease"),
        ('"static"', '"static"\nvalue = "sk-live"', "unknown key"),
        ("credentials.token", 'credentials."to ken"', "a name is"),
    ],
)
def test_what_could_lead_a_credential_elsewhere_is_refused(old: str, new: str, says: str):
    """One server, one origin, a place that carries a credential, an hour at most; and no secret in the file."""
    assert CREDENTIALS.count(old) == 1
    with pytest.raises(BundleRefused) as refused:
        bundles.bundle(LENDS, **{"credentials.toml": CREDENTIALS.replace(old, new)})
    assert says in str(refused.value)
