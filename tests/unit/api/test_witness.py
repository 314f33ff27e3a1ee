"""A witness over HTTP: statuses, the type of a size, bounds, and that faults of its folder are told and sign nothing."""

from hashlib import sha256

from adversarial.wire import ask
from lictor.api.witness import witness_app
from lictor.model.errors import StoreError
from lictor.records.submission import MAX_BODY, Submission
from unit.service.test_witness import ORIGIN, Kept, made, note

HASH = sha256(ORIGIN.encode()).hexdigest()
HEADERS = [("host", "witness.example")]


async def add(app, old, size, proof=()):
    return await ask(app, "POST", "/add-checkpoint", HEADERS, Submission(old, tuple(proof), note(size)).body())


def field(answer, name):
    return dict(answer.headers)[name.encode()].decode()


async def test_add_checkpoint_and_newest():
    """200 with a line, 409 with the size in its own type, 404 before anything was cosigned."""
    app = witness_app(made(), lambda error: None)
    assert (await ask(app, "GET", f"/{HASH}/checkpoint", HEADERS)).status == 404
    answer = await add(app, 0, 5)
    assert (answer.status, field(answer, "content-type")) == (200, "text/plain; charset=utf-8")
    conflict = await add(app, 0, 7)
    assert (conflict.status, conflict.body) == (409, b"5\n")
    assert field(conflict, "content-type") == "text/x.tlog.size"
    newest = await ask(app, "GET", f"/{HASH}/checkpoint", HEADERS)
    assert newest.status == 200
    assert newest.body.decode().startswith(f"{ORIGIN}\n5\n")


async def test_what_is_not_of_the_protocol():
    """Other paths and methods, bodies that are none, and too many bytes."""
    app = witness_app(made(), lambda error: None)
    assert (await ask(app, "GET", "/add-checkpoint", HEADERS)).status == 405
    assert (await ask(app, "GET", "/", HEADERS)).status == 404
    assert (await ask(app, "POST", "/add-checkpoint", HEADERS, b"")).status == 400
    assert (await ask(app, "POST", "/add-checkpoint", HEADERS, b"x" * (MAX_BODY + 1))).status == 413


async def test_a_folder_that_fails_is_told_and_signs_nothing():
    """503, without a signature; whoever runs the witness hears why."""
    kept, told = Kept(), []
    kept.broken = True
    app = witness_app(made(kept), told.append)
    answer = await add(app, 0, 5)
    assert answer.status == 503
    assert "\u2014".encode() not in answer.body
    assert [type(one) for one in told] == [StoreError]
    kept.notes[ORIGIN] = "nonsense"
    assert (await add(app, 0, 5)).status == 503
