"""A run from beginning to end: start the processes, insert a project, watch, stop, check, tell."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError
from rich.console import Console

from jgi_stager.demo import sink
from jgi_stager.demo.check import Findings, check_files
from jgi_stager.demo.children import Child, RunFailed, start, tail, wait_until
from jgi_stager.demo.configuration import HOST, Ports, settings_text
from jgi_stager.demo.place import Place
from jgi_stager.demo.screen import Screen, open_screen
from jgi_stager.demo.summary import QUOTA_BYTES, Evidence, Summary, summarize
from jgi_stager.demo.watch import Observer, fetch, timeout_seconds
from jgi_stager.settings import MongoSettings
from jgi_stager.simulator.catalogue import DEFAULT_PROPOSAL
from jgi_stager.store import StoreError
from jgi_stager.store.embedded import EmbeddedMongod, in_use, left_behind, running

PROJECT = "demo"
MD5_MAX_BYTES = 1_000_000
"""The daemon reads back generated files up to this size; larger ones are zeros, and it checks their size."""
START_SECONDS = 60.0
DAEMON_STOP_SECONDS = 90.0
"""It stops its mongod, which writes a checkpoint."""
LAST_MAIL_SECONDS = 15.0
POLL_SECONDS = 0.5
RARE_POLL_SECONDS = 2.0
POLL_SHARE = 0.1
"""A look reads every file record: the time it takes must not be missing for the work that is watched."""
_SHOWN: Mapping[str, Any] = {
    **dict.fromkeys(("ap_gold_id", "jdp_file_id", "file_name", "state", "destination_path"), 1),
    **dict.fromkeys(("jdp_file_size", "md5sum"), 1),
    "history": {"$slice": -1},
}
Document = dict[str, Any]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Wish:
    """What to stage: so many generated analysis projects, or recorded answers. ``scale``: simulated seconds in
    a real one."""

    analysis_projects: int
    seed: int
    catalogue: tuple[Path, ...]
    scale: float

    @property
    def title(self) -> str:
        """What the simulator serves, in a few words."""
        if self.catalogue:
            return f"recorded answers ({len(self.catalogue)} files)"
        return f"{self.analysis_projects} generated analysis projects, seed {self.seed}"


@dataclass(frozen=True)
class Remains:
    """What a run left: the daemon's record of the project and of its files, each with the last entry of its
    history; and what the simulator saw and catalogue."""

    record: Mapping[str, Any]
    documents: Sequence[Mapping[str, Any]]
    observed: Mapping[str, Any]
    catalogue: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Crew:
    """The processes of a run, in the order they were started."""

    children: list[Child]
    urls: Mapping[str, Any]

    @property
    def daemon(self) -> Child:
        """The one that all of this is about."""
        return self.children[-1]


Disturb = Callable[["Crew", Database[Document]], None]
"""Called between two looks at a run, with the daemon's database: it may break the daemon as it likes, and must
leave another one in its place."""


Linger = Callable[[Summary, str], None]
"""Called at the end of a run whose daemon still serves its page, with how it went and the address; when it
returns, everything is stopped."""


def run(
    wish: Wish,
    place: Place,
    console: Console,
    disturb: Disturb | None = None,
    linger: Linger | None = None,
) -> Summary:
    """One whole run. Raises `RunFailed`, or KeyboardInterrupt (also for SIGTERM and SIGHUP); no process of the run
    is left in any case."""
    began = time.monotonic()

    def judged(remains: Remains, findings: Findings, problems: list[str], seconds: float) -> Summary:
        return summarize(_evidence(wish, place, remains, findings, problems, seconds))

    def hold(remains: Remains, url: str) -> Findings:
        findings = _check(wish, place, remains)
        if linger is not None:
            linger(judged(remains, findings, [], time.monotonic() - began), url)
        return findings

    remains, findings, problems, seconds = _with_processes(
        wish, place, console, began, disturb, None if linger is None else hold
    )
    return judged(remains, findings or _check(wish, place, remains), problems, seconds)


def _check(wish: Wish, place: Place, remains: Remains) -> Findings:
    return check_files(
        remains.documents,
        remains.catalogue,
        place.staged / PROJECT / "analysis_files",
        contents_known=not wish.catalogue,
        seed=wish.seed,
    )


def _evidence(
    wish: Wish, place: Place, remains: Remains, findings: Findings, problems: list[str], seconds: float
) -> Evidence:
    return Evidence(
        record=remains.record,
        documents=remains.documents,
        observed=remains.observed,
        findings=findings,
        mails=sink.subjects(place.mail),
        title=wish.title,
        contents_known=not wish.catalogue,
        scale=wish.scale,
        real_seconds=seconds,
        root=place.root,
        problems=problems,
    )


def _with_processes(
    wish: Wish,
    place: Place,
    console: Console,
    began: float,
    disturb: Disturb | None,
    hold_on: Callable[[Remains, str], Findings] | None,
) -> tuple[Remains, Findings | None, list[str], float]:
    """The part of a run that has processes: what it left, what was found if it was looked at while they ran, what
    went wrong when they were stopped, and the real seconds that it took."""
    children: list[Child] = []
    findings = None
    problems: list[str] = []
    with _reserved_port() as web_port, interruptible() as hold:
        try:
            crew = _start(wish, place, children, web_port)
            url = f"http://{HOST}:{web_port}/"
            _say(console, f"While it runs: {url} (the page), {url}metrics and {url}healthz")
            _say(console, f"               jgi-stager status -c {place.settings}")
            record, documents = _stage(wish, place, crew, console, began, disturb)
            if hold_on is None:
                _say(console, "The project has ended; stopping the daemon, then checking every file ...")
                crew.daemon.stop()
            else:
                _say(console, "The project has ended; checking every file ...")
            observed = fetch(f"{crew.urls['sim']}/books")
            catalogue = fetch(f"{crew.urls['sim']}/catalogue")["files"]
            remains, seconds = Remains(record, documents, observed, catalogue), time.monotonic() - began
            if hold_on is not None:
                findings = hold_on(remains, url)
        except (PyMongoError, requests.RequestException) as error:
            for child in children:
                child.check()
            raise RunFailed(f"{type(error).__name__}: {error}") from error
        finally:
            hold()
            problems += [trouble for child in reversed(children) if (trouble := child.stop())]
            problems += _end_mongod(place)
            if in_use(place.state):
                _say(console, "Another command still has the database open; it is stopped when that one ends.")
    return remains, findings, problems, seconds


@contextmanager
def interruptible() -> Iterator[Any]:
    """Let SIGTERM and SIGHUP interrupt as Ctrl-C does. Gives a function after which nothing interrupts."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def hold() -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield hold
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A free port that nobody else is given while the block lasts; who names it may listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, 0))
        yield int(held.getsockname()[1])


def _start(wish: Wish, place: Place, children: list[Child], web_port: int) -> Crew:
    """Start everything; each process is in ``children`` as soon as it runs."""
    clock_start = datetime.now(UTC)
    port_files = place.logs / "sink.port", place.logs / "simulator.json"
    mailbox = ["jgi_stager.demo.sink", str(place.mail), str(port_files[0])]
    children.append(start("mail server", mailbox, place.logs / "mail-server.log"))
    children.append(
        start("simulator", _simulator(wish, place, clock_start, port_files[1]), place.logs / "simulator.log")
    )
    for child, port_file in zip(children, port_files, strict=True):
        wait_until(child, port_file.exists, START_SECONDS)
    urls = json.loads(port_files[1].read_text(encoding="utf-8"))
    md5_max_bytes = 0 if wish.catalogue else MD5_MAX_BYTES
    ports = Ports(int(port_files[0].read_text(encoding="utf-8")), web_port)
    text = settings_text(place, urls, clock_start, wish.scale, ports, md5_max_bytes)
    place.settings.write_text(text, encoding="utf-8")
    daemon = start_daemon(place, place.logs / "daemon.log")
    children.append(daemon)
    wait_until(daemon, lambda: _uri(place) is not None, START_SECONDS)
    return Crew(children, urls)


def start_daemon(place: Place, log: Path) -> Child:
    """Start the daemon of a run."""
    command = ["jgi_stager", "run", "--config", str(place.settings)]
    return start("daemon", command, log, timeout_seconds=DAEMON_STOP_SECONDS)


def _simulator(wish: Wish, place: Place, clock_start: datetime, port_file: Path) -> list[str]:
    if wish.catalogue:
        served = [part for path in wish.catalogue for part in ("--catalogue", str(path.absolute()))]
    else:
        served = ["--analysis-projects", str(wish.analysis_projects)]
    return [
        "jgi_stager.simulator",
        *("--root-dir", str(place.external_services), "--nersc-prefix", str(place.staged)),
        *("--clock-start", clock_start.isoformat(), "--clock-scale", str(wish.scale)),
        *("--port-file", str(port_file), "--secrets-dir", str(place.secrets)),
        *("--seed", str(wish.seed), *served),
    ]


def _uri(place: Place) -> str | None:
    """The address of the daemon's database, None while it is coming up."""
    try:
        return running(place.state)
    except StoreError:
        return None


def _stage(
    wish: Wish, place: Place, crew: Crew, console: Console, began: float, disturb: Disturb | None
) -> tuple[Document, list[Document]]:
    """Insert the project, watch it to its end, and read the daemon's database. Raises `RunFailed`."""
    client: MongoClient[Document] = MongoClient(_uri(place), tz_aware=True)
    with client:
        database = client[MongoSettings().database]
        database.projects.insert_one({"project_name": PROJECT, "proposal_id": str(DEFAULT_PROPOSAL)})
        observer = Observer(database, f"{crew.urls['sim']}/books", place.mail, PROJECT, began)
        with open_screen(console, f"jgi-stager demo: {wish.title}", QUOTA_BYTES) as screen:
            _watch(observer, crew, screen, timeout_seconds(wish.scale), disturb)
        deadline = time.monotonic() + LAST_MAIL_SECONDS
        while (
            database.notices.find_one({"state": {"$in": ["waiting", "sending"]}}) and time.monotonic() < deadline
        ):
            crew.daemon.check()
            time.sleep(0.1)
        record = database.projects.find_one({"project_name": PROJECT}) or {}
        documents = list(database.files.find({"project_name": PROJECT}, _SHOWN))
    return record, documents


def _watch(observer: Observer, crew: Crew, screen: Screen, timeout: float, disturb: Disturb | None) -> None:
    """Show one look after the other until the project has ended."""
    movement: object = None
    moved_at = time.monotonic()
    while True:
        for child in crew.children:
            child.check()
        if disturb is not None:
            disturb(crew, observer.database)
        began = time.monotonic()
        try:
            snapshot = observer.poll()
        except (PyMongoError, requests.RequestException) as error:
            trouble = f"; at last: {error}"
        else:
            trouble = ""
            screen.show(snapshot)
            if snapshot.ended:
                return
            if snapshot.movement() != movement:
                movement, moved_at = snapshot.movement(), time.monotonic()
        if time.monotonic() - moved_at > timeout:
            log = crew.daemon.log
            raise RunFailed(f"nothing moved for {timeout:.0f} s{trouble}; the end of {log}:\n{tail(log)}")
        rest = (time.monotonic() - began) / POLL_SHARE
        time.sleep(min(max(POLL_SECONDS, rest), RARE_POLL_SECONDS))


def _end_mongod(place: Place) -> list[str]:
    """A daemon that ended badly leaves its mongod: take it over, and stop it. What went wrong. One that another
    command uses is not left: who uses it last stops it."""
    if not left_behind(place.state):
        return []
    try:
        with EmbeddedMongod(place.state):
            return ["the daemon left its mongod running; it was stopped"]
    except StoreError as error:
        return [f"the daemon left its mongod running: {error}"]


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
