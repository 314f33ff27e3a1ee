"""The witnesses of a house's log, as its settings say: how they are reached, and where their signatures are kept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lictor.app.house import House
from lictor.config import WitnessSettings
from lictor.ports import Clock
from lictor.records.cosign import WitnessKey, cosigned_with, message
from lictor.records.note import read_note
from lictor.records.submission import Submission
from lictor.service.log.cosigning import Cosigning, Line, Post
from lictor.stores.cosigned import keep_cosigned, read_cosigned
from lictor.stores.keys import LOG_FILE
from lictor.stores.signer import run_signer
from lictor.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from lictor.credentials.http import Client


def cosigning_of(house: House) -> Cosigning:
    """What has the log witnessed; without witnesses it does nothing.

    Raises:
        OperatorError: `config_refused`: a witness's address or key cannot be used.
    """
    return Cosigning(
        [_line(house, name, settings) for name, settings in house.settings.witness.items()],
        store=house.store,
        key=house.keys.log_keys(house.settings.log_name),
        open_log=lambda: SqliteStore.open_unverified(house.state / LOG_FILE),
        clock=house.clock,
        say=house.say,
        every_s=house.settings.log.witness_every_s,
    )


def _line(house: House, name: str, settings: WitnessSettings) -> Line:
    key = WitnessKey.parse(settings.key)
    return Line(
        name=name,
        key=key,
        blind=bool(settings.command),
        post=signing(settings.command, key, house.clock) if settings.command else _reached(house, name, settings),
        kept=lambda: read_cosigned(house.state).get(name),
        keep=lambda note: keep_cosigned(house.state, name, note),
    )


def _reached(house: House, name: str, settings: WitnessSettings) -> Post:
    from lictor.credentials.http import Client  # noqa: PLC0415 - only where there are witnesses
    from lictor.credentials.options import read_url  # noqa: PLC0415

    ca_file = str(house.folder.path / settings.ca_file) if settings.ca_file else ""
    return _post(Client(read_url(settings.url, f"[witness.{name}] url"), ca_file=ca_file))


def signing(command: Sequence[str], key: WitnessKey, clock: Clock) -> Post:
    """A key of our own behind a command, spoken to as if it were a witness: it signs whatever it is given.

    So it is no second opinion. It is a key that cannot be taken away with the disk (decision 0017).
    """

    async def post(body: bytes) -> tuple[int, bytes]:
        text = read_note(Submission.read(body).note).text
        time_s = clock.now_ms() // 1_000
        line = cosigned_with(text, key, time_s, await run_signer(command, message(text, time_s)))
        return 200, line.line().encode()

    return post


def _post(client: "Client") -> Post:
    from lictor.model.secret import Secret  # noqa: PLC0415

    async def post(body: bytes) -> tuple[int, bytes]:
        fields = {"Accept": "text/plain", "Content-Type": "text/plain; charset=utf-8"}
        reply = await client.call("POST", "/add-checkpoint", fields=fields, body=Secret(body.decode()))
        return reply.status, reply.body

    return post
