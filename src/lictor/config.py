"""Typed settings of `lictor.toml`. Unknown keys refuse the start; there is no fail-open setting to misspell.

What decides (policy, catalogue, registry) is the rest of the bundle. Every default carries its unit and its reason.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from lictor.api.settings import OAuth, SignIn, Tls, check_oauth
from lictor.channels.settings import NotifySettings, check_notify
from lictor.identity.settings import IssuerSettings, check_issuers
from lictor.model.errors import OperatorError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.previews.settings import PreviewAuthority, check_previews
from lictor.records.cosign import WitnessKey
from lictor.service.people.passkey_site import people_url
from lictor.sinks.settings import SinkSettings, check_sinks
from lictor.stores.cosigned import NAME as WITNESS_NAME
from lictor.stores.private import check_ours
from lictor.telemetry.settings import MetricsSettings, TelemetrySettings, check_telemetry


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where `lictor serve` listens and under which name clients know it."""

    host: str = "127.0.0.1"
    """Loopback: the gateway speaks plain HTTP; put a TLS proxy in front before you change this."""
    port: int = 8700
    public_url: str = ""
    """What clients and approvers type; also the audience of task tokens. Default: http://<host>:<port>."""
    allowed_hosts: tuple[str, ...] = ()
    """Host headers accepted besides that of `public_url` (DNS rebinding)."""
    allowed_origins: tuple[str, ...] = ()
    """Browser origins accepted on the MCP endpoint; none by default."""
    tls: Tls = Tls()
    """TLS at our own door; without it the gateway speaks plain HTTP."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One MCP server: a command to start, or a URL. Commands come from this file only, never over HTTP."""

    command: tuple[str, ...] = ()
    url: str = ""
    headers: dict[str, str] = {}
    env: dict[str, str] = {}
    """Set for the command, besides what `pass_env` names; nothing else of our environment is passed on."""
    pass_env: tuple[str, ...] = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
    cwd: str = ""
    shared: bool = False
    """One connection for all tasks. Only for servers without state of their own."""


class BundleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How changes of the bundle come into force."""

    second_person: bool = False
    """A bundle that permits more than the one in force waits for an operator who did not make the change."""


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the master key of the safe is (docs/how-to/credentials.md)."""

    key: Literal["file", "command", "keyring"] = "file"
    """A file of the state folder for the owner alone; a command that unwraps it with a KMS; the OS keyring."""
    unseal: tuple[str, ...] = ()
    """The command: the wrapped key on its standard input, the key on its standard output. No shell."""
    seal: tuple[str, ...] = ()
    """The other way round, for the first key and for changing it."""

    def __post_init__(self) -> None:
        """Refuse a contradiction."""
        if bool(self.unseal) is not (self.key == "command") or (self.seal and not self.unseal):
            raise ValueError("`unseal` (and `seal`) belong to broker.key = 'command'")


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long what was sealed beside the log can be read (docs/how-to/erase.md). Records themselves stay."""

    payloads_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 0
    """Days after the end of a task at which its sealing key is destroyed; 0: never, so that every decision replays."""


class ShadowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A second bundle that decides nothing: what it would have answered otherwise is recorded."""

    bundle: str = ""
    """Its folder, relative to the bundle; empty: none."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What others get to see of the log (docs/how-to/verify-the-log.md)."""

    serve: bool = False
    """Whether `lictor serve` answers anybody at `/log` with the checkpoint and hash tiles (C2SP tlog-tiles); no records."""
    entries: bool = False
    """Whether it answers there with the records, too: to operators only."""
    witness_every_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60
    """Seconds between two submissions to a witness; what was rewritten since the last one goes unseen."""

    def __post_init__(self) -> None:
        """Refuse a contradiction."""
        if self.entries and not self.serve:
            raise ValueError("log.entries needs log.serve")


class WitnessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One witness of the log (docs/how-to/witness.md)."""

    key: str
    """Its verifier key, `name+hash+key`, from whoever runs it."""
    url: str = ""
    """Its submission prefix; `/add-checkpoint` is added. https, or http on this machine."""
    command: tuple[str, ...] = ()
    """Instead of a URL: a second key of ours, in a KMS. The message on standard input, its Ed25519 signature in base64 on
    standard output. No shell."""
    ca_file: str = ""
    """Certificates that its TLS is verified with instead of the system's; relative to the bundle."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `lictor.toml`."""

    listen: Listen = Listen()
    bundle: BundleSettings = BundleSettings()
    broker: BrokerSettings = BrokerSettings()
    retention: RetentionSettings = RetentionSettings()
    shadow: ShadowSettings = ShadowSettings()
    state: str = ".lictor"
    """Folder of log, keys and locks, relative to the bundle."""
    log_name: str = "lictor.local/log"
    """Origin line of the log's checkpoints; name your organisation's log for good before the first record."""
    hold_wait_s: float = 0.0
    """How long a held call waits for people before it is answered "approve, then retry"."""
    task_ttl_s: int = 3_600
    """Life of a task that `lictor run` opens."""
    connections: int = 256
    """Server connections open at the same time: each may be a process."""
    limits: Limits = Limits()
    servers: dict[str, ServerSettings] = {}
    issuers: dict[str, IssuerSettings] = {}
    """Whose tokens and certificates prove who a workload is."""
    oauth: OAuth = OAuth()
    """Who is believed at the token service and at the MCP endpoint."""
    sign_in: SignIn = SignIn()
    """How people sign in at the console, besides enrolled secrets."""
    notify: dict[str, NotifySettings] = {}
    """Who is told that something waits for people (docs/how-to/notify.md)."""
    log: LogSettings = LogSettings()
    witness: dict[str, WitnessSettings] = {}
    """Who cosigns that the log only grows."""
    sinks: dict[str, SinkSettings] = {}
    """Where the log is sent, besides being kept here (docs/how-to/export.md)."""
    previews: dict[str, PreviewAuthority] = {}
    """What the gateway itself may read to show people effects (docs/how-to/previews.md)."""
    metrics: MetricsSettings = MetricsSettings()
    """Figures for Prometheus (docs/how-to/observe.md)."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """Traces for OpenTelemetry."""

    @property
    def public_url(self) -> str:
        """The URL clients use, without trailing slash."""
        scheme = "https" if self.listen.tls.cert else "http"
        return (self.listen.public_url or f"{scheme}://{self.listen.host}:{self.listen.port}").rstrip("/")

    @property
    def people_url(self) -> str:
        """The URL to give to people: with `localhost` for a loopback address, since no passkey belongs to an IP."""
        return people_url(self.public_url)

    @property
    def audience(self) -> str:
        """What a task token must be for."""
        return f"{self.public_url}/mcp"

    @property
    def hosts(self) -> frozenset[str]:
        """Host headers accepted, lower case."""
        return frozenset({urlsplit(self.public_url).netloc.lower(), *(h.lower() for h in self.listen.allowed_hosts)})


def load_settings(text: str, where: str = "lictor.toml") -> Settings:
    """Parse and check settings.

    Raises:
        OperatorError: `config_refused`: not TOML, unknown key, wrong type, contradiction; `where` names file and place.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"not TOML: {error}", where=where) from None
    try:
        settings = msgspec.convert(raw, Settings, strict=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise OperatorError(
            Reason.CONFIG_REFUSED, str(error), where=where, remedy="see docs/reference/settings.md"
        ) from None
    for name, server in settings.servers.items():
        _check_server(name, server, where)
    check_issuers(settings.issuers, where)
    check_oauth(settings.oauth, settings.sign_in, settings.listen.tls, settings.issuers, where)
    check_previews(settings.previews, where)
    check_notify(settings.notify, where)
    check_telemetry(settings.metrics, settings.telemetry, where)
    check_sinks(settings.sinks, where)
    for name, witness in settings.witness.items():
        _check_witness(name, witness, where)
    _check_url(settings, where)
    return settings


def read_settings(folder: Path) -> Settings:
    """Settings of a bundle folder; a missing file means all defaults.

    Raises:
        OperatorError: as `load_settings`, or the file cannot be read, or others can change it.
    """
    path = folder / "lictor.toml"
    try:
        check_ours(path)
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"cannot be read: {error}", where=str(path)) from None
    return load_settings(text, str(path))


def _check_server(name: str, server: ServerSettings, where: str) -> None:
    if bool(server.command) == bool(server.url):
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"server {name!r} needs either command or url", where=f"{where} [servers.{name}]"
        )
    if server.url and urlsplit(server.url).scheme not in {"http", "https"}:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"server {name!r}: url must be http or https", where=f"{where} [servers.{name}]"
        )
    if server.url and (server.env or server.cwd):
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"server {name!r}: env and cwd belong to a command",
            where=f"{where} [servers.{name}]",
        )


def _check_witness(name: str, witness: WitnessSettings, where: str) -> None:
    place = f"{where} [witness.{name[:80]}]"
    if bool(witness.url) is bool(witness.command):
        raise OperatorError(Reason.CONFIG_REFUSED, "a witness has either a url or a command", where=place)
    if WITNESS_NAME.fullmatch(name) is None:
        raise OperatorError(Reason.CONFIG_REFUSED, "a witness is named with a-z, 0-9, - and _", where=place)
    try:
        WitnessKey.parse(witness.key)
    except OperatorError as error:
        raise OperatorError(error.reason, error.message, remedy=error.remedy, where=place) from None


def _check_url(settings: Settings, where: str) -> None:
    parts = urlsplit(settings.public_url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query or parts.username:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"public_url {settings.public_url[:120]!r} must be scheme://host[:port]", where=where
        )
