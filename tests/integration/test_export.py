"""The log on its way out: a real gateway, a collector that kills it at the worst moment, and exports as people make them."""

import asyncio
import csv
import http.server
import io
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

import warm
from integration import control, live
from lictor.model.errors import OperatorError
from lictor.model.ids import HumanId
from lictor.records.merkle import leaf_hash
from lictor.stores.tail import LogTail
from notify_page import KEY, genuine

pytestmark = pytest.mark.timeout(240)


class Collector:
    """Keeps what it is sent; `on_batch` runs once a batch is kept, before it is answered."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.heads: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.on_batch: Callable[[], None] = lambda: None
        self.answer = 204
        self.open = threading.Event()
        """Nothing is answered before it is set."""
        self.open.set()
        self.asked = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked += 1
                outer.open.wait(60)
                if outer.answer < 300:
                    outer.got += json.loads(body)
                    outer.heads.put(({name.lower(): value for name, value in self.headers.items()}, body))
                    outer.on_batch()
                self.send_response(outer.answer)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def numbers(self) -> list[int]:
        return [event["metadata"]["sequence"] for event in list(self.got)]

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def until(holds: Callable[[], bool], wait_s: float = 60.0) -> None:
    ends = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.02)


def made(folder: Path, collector: Collector, more: str = "") -> control.Gateway:
    gateway = control.make(folder, control.FILES)
    with (gateway.folder / "lictor.toml").open("a") as settings:
        settings.write(f'[sinks.siem]\nkind = "webhook"\nsecret = "siem.key"\n{more}')
        settings.write(f'url = "http://127.0.0.1:{collector.server.server_port}/in"\n')
    done = warm.run("secret", "set", "siem.key", "--bundle", str(gateway.folder), text=KEY)
    assert done.returncode == 0, done.stderr
    return gateway


def log_of(folder: Path) -> list[tuple[int, bytes, bytes]]:
    """Every entry: number, data, leaf hash."""
    tail = LogTail(folder / ".lictor" / "log.db")
    try:
        return [(entry.seq, entry.data, entry.leaf) for entry in tail.read(0, 100_000)]
    finally:
        tail.close()


def test_nothing_is_lost_when_the_gateway_dies_between_the_delivery_and_its_place(
    tmp_path: Path, collector: Collector
) -> None:
    """Killed with -9 as soon as a batch is delivered, before its place is kept: it is sent again, and everything arrives in order."""
    gateway = made(tmp_path / "bundle", collector)
    deaths: list[int] = []

    def die() -> None:
        if len(deaths) < 2:
            deaths.append(len(collector.got))
            gateway.kill(0)

    collector.on_batch = die
    for _ in range(2):
        try:
            gateway.start()
        except RuntimeError:
            gateway.processes[-1].wait()  # it was killed before it listened
        gateway.processes[-1].wait(60)
        gateway.processes.clear()
    assert len(deaths) == 2
    gateway.start()
    try:
        assert gateway.call("POST", "/v1/tasks", control.wish()).status == 201
        until(lambda: set(collector.numbers) == {seq for seq, _, _ in log_of(gateway.folder)})
    finally:
        gateway.stop()
    entries = {seq: (data, leaf) for seq, data, leaf in log_of(gateway.folder)}
    assert list(dict.fromkeys(collector.numbers)) == sorted(entries)
    assert len(collector.numbers) > len(entries)  # what was delivered as it died came twice
    for event in collector.got:
        data, leaf = entries[event["metadata"]["sequence"]]
        assert event["raw_data"].encode() == data
        assert leaf_hash(event["raw_data"].encode()) == leaf
        assert event["metadata"]["uid"] == f"lictor.local/log/{event['metadata']['sequence']}"
    head, body = collector.heads.get()
    assert genuine()(KEY, head, body)


def test_a_dead_sink_is_nobodys_problem_but_its_own(tmp_path: Path, collector: Collector) -> None:
    """While it answers 503 calls go on and `doctor` says how far it is behind; it catches up, and the operator hears of both."""
    collector.answer = 503
    gateway = made(tmp_path / "bundle", collector, 'format = "ocsf"\nkinds = ["privilege"]\n')
    gateway.start()
    try:
        began = time.monotonic()
        for _ in range(5):
            assert gateway.call("POST", "/v1/tasks", control.wish()).status == 201
        took = time.monotonic() - began
        until(lambda: b"sink 'siem' takes nothing now" in errors(gateway))
        told = json.loads(warm.run("doctor", "--json", "--bundle", str(gateway.folder)).stdout)
        sink = next(check for check in told if check["name"] == "sink")
        assert sink["state"] == "warn"
        assert "records wait for it" in sink["text"]
        collector.answer = 204
        tasks = [
            seq
            for seq, data, _ in log_of(gateway.folder)
            if json.loads(data)["record"]["type"].startswith("privilege.")
        ]
        until(lambda: set(tasks) <= set(collector.numbers))
        until(lambda: b"takes records again" in errors(gateway))
        assert {event["metadata"]["event_code"].partition(".")[0] for event in collector.got} == {"privilege"}
        assert took < 30
    finally:
        gateway.stop()


def test_a_sink_that_must_keep_up_stops_everything(tmp_path: Path, collector: Collector) -> None:
    """With `max_behind` nothing runs while it is too far behind, the gateway is not ready, and it goes on without a restart."""
    gateway = made(tmp_path / "bundle", collector, "max_behind = 50\n")
    gateway.start()
    try:
        until(lambda: gateway.call("GET", "/v1/readyz").status == 200)
        collector.answer = 500
        until(lambda: gateway.call("POST", "/v1/tasks", control.wish()).status == 201 and size(gateway) > 120)
        until(lambda: gateway.call("GET", "/v1/readyz").status == 503)
        collector.answer = 204
        until(lambda: gateway.call("GET", "/v1/readyz").status == 200)
    finally:
        gateway.stop()


async def test_the_last_records_leave_before_the_gateway_ends(tmp_path: Path) -> None:
    """A sink that is well has everything when the process ends: nothing waits in it for the next start."""
    gateway = await asyncio.to_thread(control.make, tmp_path / "bundle", control.FILES)
    with (gateway.folder / "lictor.toml").open("a") as settings:
        settings.write('[sinks.archive]\nkind = "file"\nformat = "lictor"\npath = "exports/out.jsonl"\n')
    async with live.started(gateway.folder) as (house, runtime, _):
        await house.applications.enrol("desk", by="os:ann", vouched_by=HumanId("os:ann"))
        assert runtime.sinks.keep_up
    written = [json.loads(line) for line in (gateway.folder / ".lictor/exports/out.jsonl").read_text().splitlines()]
    entries = log_of(gateway.folder)
    assert [one["seq"] for one in written] == [seq for seq, _, _ in entries]
    assert written[-1]["entry"]["record"]["type"] == "privilege.application_enrolled"
    told = json.loads(warm.run("doctor", "--json", "--bundle", str(gateway.folder)).stdout)
    assert [check["state"] for check in told if check["name"] == "sink"] == ["ok"], told


async def test_a_sink_that_hangs_holds_up_nobody(tmp_path: Path, collector: Collector) -> None:
    """While a delivery hangs, records are made as fast as ever, and its lag is known; then it gets them all."""
    gateway = await asyncio.to_thread(made, tmp_path / "bundle", collector)
    collector.open.clear()
    async with live.started(gateway.folder) as (house, runtime, _):
        await asyncio.to_thread(until, lambda: collector.asked > 0)
        size = house.store.size()
        began = time.monotonic()
        for _ in range(50):
            await house.applications.enrol("desk", by="os:ann", vouched_by=HumanId("os:ann"))
            assert runtime.sinks.lags()["siem"] >= house.store.size() - size
        assert time.monotonic() - began < 8  # sooner than the delivery gives up
        collector.open.set()
        await asyncio.to_thread(until, lambda: set(collector.numbers) == set(range(house.store.size())))


@pytest.mark.parametrize("path", ["../out.jsonl", "log.db", "../policies/x.cedar"])
async def test_a_file_sink_stays_out_of_our_own_folders(tmp_path: Path, path: str) -> None:
    """In the bundle folder its file would keep the bundle from loading; among the state's files it could be one of them."""
    gateway = await asyncio.to_thread(control.make, tmp_path / "bundle", control.FILES)
    with (gateway.folder / "lictor.toml").open("a") as settings:
        settings.write(f'[sinks.archive]\nkind = "file"\npath = "{path}"\n')
    with pytest.raises(OperatorError, match="would write"):
        async with live.started(gateway.folder):
            """Not reached."""


async def test_a_sink_without_its_key_says_so_and_ends_at_once(tmp_path: Path, collector: Collector) -> None:
    """The operator hears which secret is missing; the key that is set later is taken up; the end does not wait for a sink that fails."""
    gateway = await asyncio.to_thread(made, tmp_path / "bundle", collector)
    warm.run("secret", "remove", "siem.key", "--bundle", str(gateway.folder))
    said: list[str] = []
    async with live.started(gateway.folder) as (house, runtime, _):
        house.say = said.append
        runtime.sinks.pumps["siem"]._say = said.append
        await asyncio.to_thread(until, lambda: "siem" in runtime.sinks.failing())
        assert "the safe has no 'siem.key'" in runtime.sinks.failing()["siem"]
        assert runtime.sinks.lags()["siem"] == house.store.size()
        assert collector.got == []
        warm.run("secret", "set", "siem.key", "--bundle", str(gateway.folder), text=KEY)
        await asyncio.to_thread(until, lambda: len(set(collector.numbers)) == house.store.size())
        collector.answer = 500
        await house.applications.enrol("desk", by="os:ann", vouched_by=HumanId("os:ann"))
        await asyncio.to_thread(until, lambda: bool(runtime.sinks.failing()))
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert any("takes records again" in line for line in said)


def size(gateway: control.Gateway) -> int:
    return len(log_of(gateway.folder))


def errors(gateway: control.Gateway) -> bytes:
    return (gateway.folder.parent / f"stderr-{gateway.ports[0]}").read_bytes()


# -- lictor export -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a short log of several kinds."""
    gateway = control.make(tmp_path_factory.mktemp("export") / "bundle", control.FILES)
    for human in ("os:ann", "os:bob"):
        done = warm.run(
            "task",
            "open",
            "--agent",
            "helper",
            "--human",
            human,
            "--purpose",
            "support",
            "--bundle",
            str(gateway.folder),
        )
        assert done.returncode == 0, done.stderr
    return gateway.folder


def export(bundle: Path, *words: str, code: int = 0) -> str:
    done = warm.run("export", "--bundle", str(bundle), *words)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def test_each_format_has_every_record(bundle: Path, tmp_path: Path) -> None:
    """JSON lines, OCSF, CloudEvents, CSV and Parquet: as many rows as the log has entries, each with its leaf hash."""
    entries = log_of(bundle)
    leaves = [leaf.hex() for _, _, leaf in entries]
    own = [json.loads(line) for line in export(bundle, "-").splitlines()]
    assert [one["leaf"] for one in own] == leaves
    assert [
        json.dumps(one["entry"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() for one in own
    ] == [data for _, data, _ in entries]
    ocsf = [json.loads(line) for line in export(bundle, "--format", "ocsf", "-").splitlines()]
    assert [one["unmapped"]["lictor"]["leaf_hash"] for one in ocsf] == leaves
    cloud = [json.loads(line) for line in export(bundle, "--format", "cloudevents", "-").splitlines()]
    assert [one["leafhash"] for one in cloud] == leaves
    rows = list(csv.DictReader(io.StringIO(export(bundle, "--format", "csv", "-"))))
    assert [row["leaf"] for row in rows] == leaves
    path = tmp_path / "log.parquet"
    assert f"{len(entries)} of {len(entries)} records" in export(bundle, "--format", "parquet", str(path))
    table = parquet.read_table(path)
    assert table.column("leaf").to_pylist() == leaves
    assert [int(at.timestamp() * 1_000) for at in table.column("at").to_pylist()] == [
        json.loads(data)["at"] for _, data, _ in entries
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_part_of_the_log(bundle: Path) -> None:
    """`--kind`, `--task` and `--since` leave out the rest; what belongs to a task comes with it though it does not name it."""
    everything = [json.loads(line) for line in export(bundle, "--format", "cloudevents", "-").splitlines()]
    tasks = [one["data"]["record"]["task"]["id"] for one in everything if one["type"].endswith("privilege.task_opened")]
    mine = export(bundle, "--format", "csv", "--task", tasks[0], "-")
    rows = list(csv.DictReader(io.StringIO(mine)))
    assert {row["task"] for row in rows} == {tasks[0]}
    assert "privilege.task_opened" in {row["type"] for row in rows}
    kinds = export(bundle, "--kind", "decision", "--kind", "privilege.task_opened", "-").splitlines()
    found = {json.loads(line)["entry"]["record"]["type"] for line in kinds}
    assert found == {"decision.made", "privilege.task_opened"}
    assert export(bundle, "--since", "2999-01-01", "-") == ""
    assert "neither a kind nor a tag" in export(bundle, "--kind", "decisions", "-", code=5)


def test_nothing_is_written_over(bundle: Path, tmp_path: Path) -> None:
    """A file that is there stays as it is, and no half one is left where the export cannot be made."""
    path = tmp_path / "log.jsonl"
    path.write_text("mine")
    assert "is there already" in export(bundle, str(path), code=5)
    assert path.read_text() == "mine"
    assert "cannot be written" in export(bundle, str(tmp_path / "no" / "log.jsonl"), code=5)
    assert [one.name for one in tmp_path.iterdir()] == ["log.jsonl"]
