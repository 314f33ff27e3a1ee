"""Requests to the outside, judged by where they lead."""

import html
import re
from typing import Any

from adversarial import fixture
from adversarial.expectations import phrase, require
from adversarial.fixture import with_policy
from adversarial.model import NoSetup, Observed, Unreadable, Word
from adversarial.run import OUTSIDE, Run, nested, perform, precondition, verb
from lictor.model.reasons import Reason
from lictor.policy.lint import lint_bundle

Match = re.Match[str]
TOOL = "web.request"
SECRET = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE"
"""A secret by its published form, from AWS's documentation."""


@verb("http.egress", "method", "url", "body")
async def egress(run: Run, step: dict[str, Any]) -> Observed:
    """An HTTP request, as a call of a tool that declares its URL as destination.

    This is the request that a forward proxy has to build from what it is sent, before it resolves a name or opens a connection: the
    same action, the same facts, the same decision. What only a proxy sees (the addresses behind a name, redirects) is not here, and a
    case that needs it cannot be read.
    """
    arguments = {name: step[name] for name in ("method", "url", "body") if name in step}
    seen = await run.world.call(TOOL, arguments)
    seen.facts |= {"given": list(arguments), "arguments": arguments}
    return seen


async def _get(run: Run, url: str, *, method: str = "GET") -> Observed:
    """In a task that has seen nothing."""
    session = await run.world.new_session()
    return await run.world.call(TOOL, {"method": method, "url": url}, session=session)


async def _reaches(run: Run, *urls: str) -> None:
    for url in urls:
        plain = await _get(run, url)
        if plain.word is not Word.ALLOW:
            raise NoSetup(f"{url} is refused: {plain.summary()}")


# -- what is reached otherwise -------------------------------------------------------------------------------------------


@precondition(r"allow host (?P<host>[\w.]+):(?P<port>\d+)")
async def host_allowed(run: Run, match: Match) -> None:
    """This host on this port, and on no other."""
    await _reaches(run, f"https://{match['host']}:{match['port']}/", f"https://{match['host']}/")
    other = await _get(run, f"https://{match['host']}:{int(match['port']) + 1}/")
    if other.word is not Word.DENY:
        raise NoSetup(f"another port: {other.summary()}")


@precondition(r"allow suffix \.(?P<domain>[\w.]+)")
async def suffix_allowed(run: Run, match: Match) -> None:
    """What lies below the domain is in the directory."""
    await _list(run, f'[hosts]\napi = ["*.{match["domain"]}"]\n')
    await _reaches(run, f"https://below.{match['domain']}/")


@precondition(r"allow suffix (?P<domain>[\w.]+) \(without dot\)")
async def loose_suffix(run: Run, match: Match) -> None:
    """As the directory says it, where it cannot be said wrongly: the domain and what lies below. As a rule it is for the check."""
    await _list(run, f'[domains]\napi = ["{match["domain"]}"]\n')
    await _reaches(run, f"https://{match['domain']}/", f"https://below.{match['domain']}/")


async def _list(run: Run, directory: str) -> None:
    text = f'{directory}\n[emails]\ndocs = ["nobody@docs.example"]\n'
    await run.world.deploy({**run.world.files, "directory.toml": text.encode()})


@phrase(r"lint error on policy")
async def lint_refuses_the_suffix(run: Run, seen: Observed, match: Match) -> None:
    """The rule as the case states it is an error of the check; with the dot it is none."""
    found = re.search(r"suffix (?P<domain>[\w.]+)", run.precondition)
    require(found, "no suffix is stated")
    suffix = found["domain"] if found else ""
    loose, strict = (_linted(run, pattern) for pattern in (f"*{suffix}", f"*.{suffix}"))
    require(loose.get("look_alike_host") == "error", f"the check found {loose}")
    require("look_alike_host" not in strict, f"with the dot too: {strict}")


def _linted(run: Run, pattern: str) -> dict[str, str]:
    rule = (
        '@id("case/rule")\n@owner("test")\n@reason("case")\n'
        'permit(principal, action == Action::"web/request", resource)\n'
        f'when {{ context has destination && context.destination.host like "{pattern}" }};\n'
    )
    findings = lint_bundle(fixture.bundle_of(with_policy(run.world.files, "case", rule)))
    return {finding.rule: finding.severity for finding in findings if "case.cedar" in finding.where}


@precondition(r"metadata by (?:literal|other encodings)")
async def metadata(run: Run, match: Match) -> None:
    """Everything else may be reached, so that only the address can be what is refused."""
    text = '@id("case/anywhere")\npermit(principal, action == Action::"web/request", resource);\n'
    await run.world.deploy(with_policy(run.world.files, "case", text))
    await _reaches(run, "http://elsewhere.example/latest/meta-data/")


@phrase(r"all")
async def every_encoding(run: Run, seen: Observed, match: Match) -> None:
    """Read as the address it is, and forbidden as that; or not read because others read it differently."""
    decisions = run.decisions()
    require(len(decisions) == 1, f"{len(decisions)} decisions")
    if seen.reason == Reason.FORBIDDEN:
        require(decisions[0].policies == ("fixture/request-addresses",), f"forbidden by {decisions[0].policies}")
    else:
        require(any("two readings" in error for error in decisions[0].errors), f"{decisions[0].errors}")


@precondition(r"plain http while only https is allowed")
async def only_https(run: Run, match: Match) -> None:
    """With https the same is reached."""
    await _reaches(run, *(_secure(step["url"]) for step in run.inputs))


@phrase(r"scheme")
async def by_scheme(run: Run, seen: Observed, match: Match) -> None:
    """The scheme alone: no policy permits it, and with the other one it runs."""
    url = seen.facts["arguments"]["url"]
    other = await _get(run, _secure(url))
    require(url != _secure(url) and other.word is Word.ALLOW, other.summary())


def _secure(url: str) -> str:
    return re.sub(r"^http:", "https:", url)


@precondition(r"(?P<schemes>(?:[a-z]+:, )+)(?P<relative>\S+, \S+)")
async def strange_schemes(run: Run, match: Match) -> None:
    """Everything may be reached; the phrase tries each of them."""
    await metadata(run, match)


@phrase(r"scheme/relative")
async def not_absolute(run: Run, seen: Observed, match: Match) -> None:
    """Every one that is listed, for a host that may be reached."""
    for listed in run.precondition.split(", "):
        url = f"{listed}//api.corp.example/" if listed.endswith(":") else listed
        tried = await _get(run, url)
        require((tried.word, tried.reason) == (Word.DENY, Reason.UNKNOWN_DESTINATION), f"{url}: {tried.summary()}")
    require(not run.effects(), "something ran")


@phrase(r"backslash")
async def by_backslash(run: Run, seen: Observed, match: Match) -> None:
    """Without it the same text is a URL like any other, to a host nobody vouches for."""
    without = await _get(run, seen.facts["arguments"]["url"].replace("\\", ""))
    require((without.word, without.reason) == (Word.DENY, Reason.NOT_PERMITTED), without.summary())


# -- paths ---------------------------------------------------------------------------------------------------------------


@precondition(r"path rule (?P<path>/\S+) only")
async def path_rule(run: Run, match: Match) -> None:
    """On the hosts of the case nothing but this path and what lies below may be asked for."""
    path = match["path"]
    hosts = sorted({step["url"].split("/")[2] for step in run.inputs})
    text = (
        '@id("case/paths")\nforbid(principal, action == Action::"web/request", resource)\n'
        f'when {{ context has destination && ["{hosts[0]}"].containsAny(context.destination.hosts) }}\n'
        "unless { context.destination has path\n"
        f'  && (context.destination.path == "{path}" || context.destination.path like "{path}/*") }};\n'
    )
    await run.world.deploy(with_policy(run.world.files, "case", text))
    await _reaches(run, f"https://{hosts[0]}{path}", f"https://{hosts[0]}{path}/a%20b?x=/../y#z")


@phrase(r"same for (?P<spellings>.+)")
async def spelled_otherwise(run: Run, seen: Observed, match: Match) -> None:
    """Each spelling in place of what it stands for, and for what the plain path would reach."""
    url = seen.facts["arguments"]["url"]
    tried = {spelled for spelling in match["spellings"].split(", ") for spelled in _spelled(url, spelling)}
    for spelled in sorted(tried - {url}):
        found = await _get(run, spelled)
        require((found.word, found.reason) == (Word.DENY, Reason.FORBIDDEN), f"{spelled}: {found.summary()}")
    require(len(tried) >= len(match["spellings"].split(", ")), f"only {tried}")
    require(not run.effects(), "something ran")


def _spelled(url: str, spelling: str) -> list[str]:
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    base = f"{scheme}://{host}"
    match spelling:
        case "%2e%2e":
            return [f"{base}/{path.replace('..', spelling)}", f"{base}/{path.replace('..', '.%2E')}"]
        case ";/..":
            return [f"{base}/{path.replace('/..', spelling)}", f"{base}/{path.replace('..', '..;')}"]
        case "//":
            return [f"{base}/{path.replace('/..', '//..')}", f"{base}//{path}"]
        case _ if spelling.startswith("/"):
            return [f"{base}/{path.rsplit('/', 1)[0]}{spelling}", f"{base}{spelling}"]
        case _:
            raise Unreadable(f"no spelling: {spelling!r:.80}")


# -- what was read before ------------------------------------------------------------------------------------------------


@precondition(r"read secret file, then post to an allowed external host")
async def secret_first(run: Run, match: Match) -> None:
    """The file holds a secret by its published form; in a task that has read nothing the same request runs."""
    run.world.servers.results["fs.read_file"] = SECRET
    sent = next(step for one in run.inputs for step in nested(one) if step["op"] == "http.egress")
    await _reaches(run, sent["url"])
    alone = await _get(run, sent["url"], method=sent["method"])
    if alone.word is not Word.ALLOW:
        raise NoSetup(f"the request by itself: {alone.summary()}")


@phrase(r"label of read data flows into the session")
async def label_flows(run: Run, seen: Observed, match: Match) -> None:
    """The read ran, its label is on the task, and it is for the label that the request is stopped."""
    first, last = seen.facts["steps"][0], seen.facts["steps"][-1]
    require(first.word is Word.ALLOW, f"the read: {first.summary()}")
    require(last.reason in {Reason.NEEDS_APPROVAL, Reason.FORBIDDEN}, f"reason {last.reason!r}")
    labels = run.world.store.task((await run.world.session()).task.id).labels
    require("confidential:secret" in labels, f"labels: {labels}")
    require(len(run.effects()) == 1, f"{len(run.effects())} effects instead of the read alone")
    run.world.servers.results["fs.read_file"] = "nothing secret"
    plain = await run.world.new_session()
    await run.world.call("fs.read_file", {}, session=plain)
    sent = last.facts["arguments"]
    control = await run.world.call(TOOL, sent, session=plain)
    require(control.word is Word.ALLOW, f"after an ordinary file: {control.summary()}")


# -- what comes back -----------------------------------------------------------------------------------------------------


@precondition(r"link/image in a tool result or answer")
async def linking_result(run: Run, match: Match) -> None:
    """The verb does it."""


@verb("upstream.result", "text")
async def result(run: Run, step: dict[str, Any]) -> Observed:
    """A page says this; the agent passes it on in an action that a person is asked about, the only place where we show what it wrote.

    Connections and look-ups of this process are counted over all of it.
    """
    text = step["text"]
    run.world.servers.results["web.fetch"] = text
    with OUTSIDE as outside:
        read = await run.world.call("web.fetch", {}, session=await run.world.new_session())
        seen = await perform(run, {"op": "approval.render", "args": {"text": text}})
    seen.facts |= {"outside": list(outside), "read": read}
    return seen


@phrase(r"not fetched by the gateway")
async def not_fetched(run: Run, seen: Observed, match: Match) -> None:
    """The agent got the result as it is, and nobody went anywhere for it: no connection, no look-up, no other call."""
    require(seen.facts["read"].word is Word.ALLOW, seen.facts["read"].summary())
    require("evil.example" in seen.facts["read"].text, "the text was not handed on")
    require(not seen.facts["outside"], f"{seen.facts['outside']}")
    require([effect.server for effect in run.effects()] == ["web"], f"{len(run.effects())} effects")


@phrase(r"URL neutralised for surfaces it controls")
async def neutralised(run: Run, seen: Observed, match: Match) -> None:
    """On the page it is text: no element loads or leads to it, and the browser is told to load nothing. So in the terminal."""
    page, terminal = seen.facts["screens"]["web"], seen.facts["screens"]["cli"]
    url = re.search(r"https?://[^\s)]+", seen.facts["arguments"]["text"])
    require(url, "there is no link in it")
    host = url[0].split("/")[2] if url else ""
    require(not any(host in tag for tag in re.findall(r"<[^>]*>", page)), "an element of the page leads to it")
    foreign = r"""<(?:iframe|object|embed|link[^>]+http|img(?![^>]+src="/static/))"""
    require(not re.search(foreign, page, re.IGNORECASE), "something is loaded")
    require(host in html.unescape(page) and host in terminal, "it is not shown at all")
    header = seen.facts["page"].header("content-security-policy")
    require("default-src 'none'" in header and "img-src http" not in header, f"{header!r}")
    require("\x1b]8" not in terminal, "the terminal is given a link")
