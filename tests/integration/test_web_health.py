"""/healthz and /metrics of a daemon, and that every alert and every graph names a metric that exists."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jgi_stager import metrics
from jgi_stager.clock import ManualClock
from jgi_stager.failures import NeedsPerson, Service, Transient
from jgi_stager.lifecycle import State
from jgi_stager.records import TaskKind
from jgi_stager.secrets import Secrets, credential_fingerprint
from jgi_stager.service.metrics_snapshot import MetricsReader
from jgi_stager.settings import Settings, WebSettings
from jgi_stager.steps import STEPS
from jgi_stager.steps.context import StepContext
from jgi_stager.store import Store, projects, requests, tallies, tasks
from jgi_stager.store.notices import put_notice
from jgi_stager.web import server
from jgi_stager.web.health import Monitor, status_line_now
from jgi_stager.web.server import serving
from processes_of_a_test import wait_for
from smtp_server import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Site:
    """A monitor over a real database, with a switch for what hangs, and its pages."""

    ctx: StepContext
    stuck: dict[str, float] = field(default_factory=dict)
    monitor: Monitor = field(init=False)
    port: int = 0

    def __post_init__(self) -> None:
        self.monitor = Monitor(self.ctx, lambda: self.stuck, MetricsReader(self.ctx.store, self.ctx.settings))

    def get(self, path: str) -> tuple[int, str]:
        self.monitor._taken_at = float("-inf")  # the next look is a fresh one
        return answered(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Every sample: (name, label values in the order of their names)."""
        found = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                found[(sample.name, *(sample.labels[name] for name in sorted(sample.labels)))] = sample.value
        return found


def answered(request: urllib.request.Request) -> tuple[int, str]:
    """The status and the page."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def site(store: Store, clock: ManualClock, tmp_path: Path) -> Iterator[Site]:
    from jgi_stager.circuit_breaker import CircuitBreaker

    nobody: Any = None  # no page asks a service
    ctx = StepContext(
        store,
        nobody,
        nobody,
        nobody,
        nobody,
        nobody,
        nobody,
        Settings(),
        Secrets(tmp_path),
        clock,
        CircuitBreaker(3600),
        threading.Event(),
    )
    metrics.announce(tuple(step.name for step in STEPS))
    found = Site(ctx)
    with serving(WebSettings(port=free_port()), found.monitor) as port:
        assert port is not None
        found.port = port
        yield found


def insert_project(store: Store, name: str, **states: int) -> None:
    """A project with so many files of 100 bytes in each state."""
    key = projects.insert_project(store, {"project_name": name, "accepted_name": name, "state": "active"})
    assert key
    documents = [
        {
            "project_name": name,
            "ap_gold_id": "Ga1",
            "jdp_file_id": f"{state}{n}",
            "state": state,
            "jdp_file_size": 100,
        }
        for state, count in states.items()
        for n in range(count)
    ]
    store.database["files"].insert_many(documents)


def test_a_healthy_daemon_is_live_and_ready(site: Site) -> None:
    status, body = site.get("/healthz")
    assert (status, json.loads(body)) == (200, {"live": True, "ready": True, "reasons": [], "alarms": []})
    assert site.get("/healthz/live")[0] == 200


def test_what_keeps_it_from_its_work_is_named(site: Site) -> None:
    now = site.ctx.clock.now()
    site.ctx.circuit_breaker.failed(
        NeedsPerson(Service.JDP, "the token has ended", "run: jgi-stager token set jdp"), now, ()
    )
    for _ in range(3):
        site.ctx.circuit_breaker.failed(
            Transient(Service.GOLD, "away"), now, credential_fingerprint(site.ctx.secrets, Service.GOLD)
        )
    status, body = site.get("/healthz")
    assert status == 503
    said = json.loads(body)
    assert said["live"]
    assert not said["ready"]
    assert any("token set jdp" in reason for reason in said["reasons"])
    assert any(reason.startswith("gold: does not answer") for reason in said["reasons"])
    assert site.get("/healthz/live")[0] == 200


def test_a_step_that_hangs_is_not_live(site: Site) -> None:
    site.stuck["verify"] = 700.0
    status, body = site.get("/healthz/live")
    assert status == 503
    assert "verify has not moved for 700 s" in json.loads(body)["reasons"]


def test_books_that_cannot_be_read_are_told_and_do_not_break_the_metrics(site: Site) -> None:
    site.monitor.metrics_reader = MetricsReader(_Broken(), site.ctx.settings)  # type: ignore[arg-type]
    assert site.get("/healthz")[0] == 503
    assert site.metrics()["jgi_stager_database_up",] == 0
    assert status_line_now(site.monitor).startswith("waiting for the database")


class _Broken:
    """Books that cannot be reached."""

    @property
    def clock(self) -> Any:
        from jgi_stager.store import StoreUnavailable

        raise StoreUnavailable("no server")


def test_files_and_bytes_are_counted_and_vanished_labels_are_zero(site: Site) -> None:
    store = site.ctx.store
    insert_project(store, "soil", pending=2, done=3)
    found = site.metrics()
    assert found["jgi_stager_files", "soil", "done"] == 3
    assert found["jgi_stager_bytes", "soil", "done"] == 300
    assert found["jgi_stager_files", "soil", "failed"] == 0
    assert found["jgi_stager_projects", "active"] == 1
    store.database["projects"].delete_many({})
    store.database["files"].delete_many({})
    found = site.metrics()
    assert found["jgi_stager_files", "soil", "done"] == 0
    assert found["jgi_stager_projects", "active"] == 0


def test_the_files_of_a_project_are_counted_by_its_tally(site: Site) -> None:
    store = site.ctx.store
    insert_project(store, "soil", done=2)
    assert site.metrics()["jgi_stager_files", "soil", "done"] == 2, "it has none yet: the files are counted"
    tallies.repair(store, ["soil"])
    store.database["files"].delete_one({})
    assert site.metrics()["jgi_stager_files", "soil", "done"] == 2, "nobody looks at the files"
    later = store.clock.now() + timedelta(hours=25)
    store.database["tallies"].update_one({"_id": "soil"}, {"$set": {"counted_at": later}})
    tallies.repair(store, ["soil"])
    assert site.metrics()["jgi_stager_files", "soil", "done"] == 1


def test_quota_ages_and_notices(site: Site, clock: ManualClock) -> None:
    store = site.ctx.store
    requests.insert_request(store, file_ids=["a" * 24], projects=["soil"], files=1, size=4_000_000_000_000)
    tasks.insert_task(store, kind=TaskKind.FILES, submission_id="s", label="x", body={})
    put_notice(store, "n", kind="alarm", data={}, to=["a@b.org"])
    clock.advance(3600)
    found = site.metrics()
    assert found["jgi_stager_quota_used_bytes",] == 4e12
    assert found["jgi_stager_quota_left_bytes",] == 6e12
    assert found["jgi_stager_oldest_request_age_seconds",] == 3600
    assert found["jgi_stager_oldest_task_age_seconds",] == 3600
    assert found["jgi_stager_oldest_notice_age_seconds",] == 3600
    assert found["jgi_stager_notices_waiting",] == 1
    assert found["jgi_stager_requests", "submitting"] == 1


def test_the_status_line_says_how_far_and_what_is_waited_for(site: Site) -> None:
    store = site.ctx.store
    assert status_line_now(site.monitor) == "no project under way"
    insert_project(store, "soil", pending=6, done=4)
    insert_project(store, "water", **{State.TRANSFERRING.value: 10})
    site.monitor._taken_at = float("-inf")
    assert status_line_now(site.monitor) == "2 projects, 20 % of 2.00 kB, 10 in transfer"
    key = requests.insert_request(store, file_ids=["b" * 24], projects=["soil"], files=1, size=9_990_000_000_000)
    store.restore_requests.update_one(
        {"_id": key},
        {"$set": {"state": "waiting", "submitted_at": store.clock.now() - timedelta(hours=21, minutes=53)}},
    )
    site.monitor._taken_at = float("-inf")
    assert "waiting for quota until 14:07 UTC" in status_line_now(site.monitor)
    problem = NeedsPerson(Service.GLOBUS, "consent", "run: jgi-stager login")
    site.ctx.circuit_breaker.failed(problem, store.clock.now(), ())
    assert status_line_now(site.monitor).endswith("waiting for a person: globus: run: jgi-stager login")


def test_the_interpreter_is_shared_more_finely_while_pages_are_served(site: Site) -> None:
    assert sys.getswitchinterval() == pytest.approx(server.SWITCH_SECONDS, abs=1e-6)
    with serving(WebSettings(port=0), site.monitor):
        assert sys.getswitchinterval() == pytest.approx(server.SWITCH_SECONDS, abs=1e-6)


def test_a_port_that_is_taken_is_no_reason_to_stop(site: Site) -> None:
    with serving(WebSettings(port=site.port), site.monitor) as port:
        assert port is None
    with serving(WebSettings(port=0), site.monitor) as port:
        assert port is None


def connected(site: Site, count: int, said: bytes = b"") -> list[socket.socket]:
    """So many connections that never ask anything, or only begin to."""
    found = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", site.port), timeout=30)
        one.sendall(said)
        found.append(one)
    return found


def closed(connection: socket.socket) -> bool:
    """Wait until the server has ended a connection; False if it has not within 30 seconds."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
@pytest.mark.parametrize("count", [40, server.MOST_CONNECTIONS + 44])
def test_connections_that_ask_nothing_keep_nobody_out_and_take_few_descriptors(
    site: Site, said: bytes, count: int
) -> None:
    """Measured: 40 of them had everybody answered 503, 300 left the daemon no descriptor."""
    with ExitStack() as stack:
        idle = [stack.enter_context(one) for one in connected(site, count, said)]
        assert site.get("/healthz")[0] == 200
        gone = idle[: max(0, count - server.MOST_CONNECTIONS)]
        assert all(closed(one) for one in gone), "the oldest give place"
        assert site.get("/metrics")[0] == 200


def test_many_at_once_do_not_take_all_descriptors_before_anybody_looks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: 300 that came while the server was busy were all accepted first, and the daemon had none left."""
    busy, go_on, held = threading.Event(), threading.Event(), list[int]()
    made = server.Connection.connection_made

    def connection_made(self: server.Connection, transport: Any) -> None:
        busy.set()
        assert go_on.wait(30)
        made(self, transport)
        held.append(len(self.connections))

    monkeypatch.setattr(server.Connection, "connection_made", connection_made)
    with ExitStack() as stack:
        stack.enter_context(*connected(site, 1))
        assert busy.wait(30)
        for _ in range(server.MOST_CONNECTIONS + 168):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", site.port))
        go_on.set()

        def answers() -> bool:
            with suppress(OSError):  # it may be one of those that give place; whoever asks again gets in
                return site.get("/healthz")[0] == 200
            return False

        wait_for(answers, "an answer while many others wait")
    assert max(held) <= server.MOST_CONNECTIONS + 2 * server.MOST_AT_ONCE


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_connection_that_does_not_ask_in_time_is_closed(
    site: Site, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ASK_SECONDS", 0.2)
    (one,) = connected(site, 1, said)
    with one:
        assert closed(one)


def test_whoever_does_not_read_the_answer_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ASK_SECONDS", 1.0)
    monkeypatch.setattr(server, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(server, "generate_latest", lambda _: b"x" * 20_000_000)
    (one,) = connected(site, 1, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with one:
        received = _received(one)
        while chunk := _received(one):
            received += chunk
            threading.Event().wait(0.05)  # a reader that is much slower than the time it has
    assert len(received) < 40_000_000


def _received(one: socket.socket) -> bytes:
    try:
        return one.recv(65536)
    except ConnectionError:
        return b""


def test_an_answer_that_takes_long_is_not_cut_off_by_those_who_ask_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ASK_SECONDS", 0.2)
    asked, answer = threading.Event(), threading.Event()
    healthy = site.monitor.health

    def slow() -> Any:
        asked.set()
        assert answer.wait(30)
        return healthy()

    monkeypatch.setattr(site.monitor, "health", slow)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        page = pool.submit(site.get, "/healthz")
        assert asked.wait(30)
        idle = [stack.enter_context(one) for one in connected(site, 2 * server.MOST_CONNECTIONS)]
        assert all(closed(one) for one in idle)
        answer.set()
        assert page.result(30)[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9741", 200),
        ("127.0.0.1", 200),
        ("[::1]:9741", 200),
        (socket.gethostname(), 200),
        ("evil.example", 421),
        ("evil.example:9741", 421),
        ("[::1", 421),
    ],
)
def test_a_page_that_gave_its_own_name_to_this_address_reads_nothing(site: Site, host: str, status: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{site.port}/healthz", headers={"Host": host})
    code, body = answered(request)
    assert code == status
    assert ("live" in body) == (status == 200)


def test_who_listens_for_other_machines_may_have_any_name(site: Site) -> None:
    with serving(WebSettings(host="0.0.0.0", port=free_port()), site.monitor) as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics", headers={"Host": "stager.example.org"}
        )
        assert answered(request)[0] == 200


def test_nothing_else_is_served_and_nothing_can_be_written(site: Site) -> None:
    assert site.get("/nothing")[0] == 404
    for path in ("/healthz", "/", "/p/soil"):
        request = urllib.request.Request(f"http://127.0.0.1:{site.port}{path}", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as answer:
            assert answer.code == 405


@pytest.mark.parametrize("name", ["prometheus-rules.yml", "grafana-dashboard.json"])
def test_every_metric_that_is_graphed_or_alerted_on_exists(site: Site, name: str) -> None:
    insert_project(site.ctx.store, "soil", done=1)
    known = {sample[0] for sample in site.metrics()}
    text = (ROOT / "config" / name).read_text(encoding="utf-8")
    used = set(re.findall(r"jgi_stager_\w+", text))
    assert len(used) > 10
    # Shown only once there is a credential.
    assert used - known <= {"jgi_stager_credential_age_seconds"}


def test_every_alert_is_explained_in_the_operations_guide() -> None:
    rules = (ROOT / "config" / "prometheus-rules.yml").read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    alerts = re.findall(r"alert: (\w+)", rules)
    assert len(alerts) == len(set(alerts)) > 10
    assert [alert for alert in alerts if f"`{alert}`" not in guide] == []


def test_every_metric_is_explained_in_the_operations_guide(site: Site) -> None:
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    suffix = re.compile(r"_(total|created|bucket|sum|count)$")
    names = {suffix.sub("", sample[0]) for sample in site.metrics() if sample[0].startswith("jgi_stager")}
    assert sorted(name for name in names if name not in guide) == []
