"""What one worker of a campaign has: a mongod, a mail server, a warm process for the lives. It plays scripts."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from pymongo import MongoClient

from campaign import judge, neighbours
from campaign.life import FAILED, IDLE, NOT_IDLE, STILL
from campaign.script import Hit, Outcome, Script
from campaign.staging import FILE_BYTES, SCALE, archive, healthy, records, sections
from campaign.timeline import START, Timeline, TimelineClock
from jgi_stager.clock import ScaledClock
from jgi_stager.simulator import Simulator, SimulatorSettings, World, running_simulator, write_secrets
from jgi_stager.simulator.faults import FaultRule
from jgi_stager.store.embedded import EmbeddedMongod
from left_behind import scratch
from proven import note_proven
from smtp_server import Mailbox, mail_server

LIVES = 60
BAD_WORDS = ("bug", "crash")
LIFE_SECONDS = 240.0
"""Real seconds after which a life counts as hung."""


@dataclass
class Post(Mailbox):
    """A mail server that may postpone everything for a while."""

    timeline: Timeline | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take the mail, or not now."""
        if self.timeline is not None and self.timeline.mail_is_out():
            return "451 not now"
        return await super().handle_DATA(server, session, envelope)


@dataclass
class Site:
    """Ready to `play`. Made by `site`."""

    home: Path
    uri: str
    timeline: Timeline
    post: Post
    smtp_port: int
    warm: subprocess.Popen[bytes]
    last: int = 0
    """The process of the last life."""
    _buffer: bytes = field(default=b"", repr=False)

    def play(self, script: Script) -> Outcome:
        """One run from the insert to the end, and what the judge says of it."""
        begun = time.monotonic()
        name = f"run_{uuid.uuid4().hex[:12]}"
        place = self.home / name
        outcome = Outcome(script=script)
        self.timeline.reset()
        with self.post.lock:
            self.post.mails.clear()
            self.post.taken_for.clear()
        try:
            with self._world(script, place) as simulator:
                run = Run(self, script, place, name, simulator, outcome)
                run.play()
                outcome.hours = round((simulator.world.now - simulator.world.start.timestamp()) / 3600, 1)
        finally:
            with MongoClient[dict[str, Any]](self.uri) as client:
                client.drop_database(name)
            shutil.rmtree(place, ignore_errors=True)
        outcome.seconds = round(time.monotonic() - begun, 3)
        return outcome

    @contextmanager
    def _world(self, script: Script, place: Path) -> Iterator[Simulator]:
        place.mkdir()
        scenario = script.scenario
        settings = SimulatorSettings(
            root_dir=place / "c",
            nersc_prefix=place / "nersc",
            seed=script.seed,
            max_window_bytes=scenario.window_files * FILE_BYTES,
            retention_days=scenario.retention_days,
        )
        catalogue = archive(scenario)
        fast = script.live is not None
        start = datetime.now(UTC) if fast else START
        clock = ScaledClock(start, SCALE) if fast else TimelineClock(self.timeline)
        world = World(settings, catalogue, start)
        world.switch(script.switches)
        with running_simulator(world, clock, ticking=fast) as simulator:
            simulator.faults.set([FaultRule.model_validate(rule) for rule in script.faults])
            yield simulator

    # --- the warm process

    def live(self, spec: Mapping[str, Any], kill_after: float | None = None) -> int:
        """Let a life be lived; its exit code, negative for the signal that ended it. Real seconds."""
        assert self.warm.stdin is not None
        self.warm.stdin.write(json.dumps(spec).encode() + b"\n")
        self.warm.stdin.flush()
        child = self.last = self._answer(LIFE_SECONDS)["pid"]
        try:
            return int(self._answer(kill_after or LIFE_SECONDS)["status"])
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            code = int(self._answer(LIFE_SECONDS)["status"])
            if kill_after is None:
                raise
            return code

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self.warm.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.warm.stdout], [], [], left)[0]:
                raise TimeoutError(f"a life took more than {seconds:.0f} s")
            got = os.read(self.warm.stdout.fileno(), 65536)
            if not got:
                raise RuntimeError("the warm process ended")
            self._buffer += got
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


@dataclass
class Run:
    """One run on a site."""

    site: Site
    script: Script
    place: Path
    database: str
    simulator: Simulator
    outcome: Outcome
    happened: set[int] = field(default_factory=set)
    """The events that took place."""
    still: int = 0
    """The process that stands still, while another daemon works."""

    def play(self) -> None:
        """Insert the records, live until everything is done, and be judged."""
        self._insert()
        write_secrets(self.place / "secrets", self.simulator.world.settings.credentials)
        neighbours.be_in_the_way(self.script.scenario, self.place / "nersc")
        first_tick, code = 0, NOT_IDLE
        for life in range(LIVES):
            try:
                code = self.site.live(self._spec(life, first_tick), self._kill_after(life))
            except TimeoutError as error:
                self._read_log(life)
                self.outcome.violations.append(f"life {life} hangs: {error}")
                break
            first_tick = self._read_log(life)
            self.still = self.site.last if code == STILL else self.still
            if self.script.live is not None and code == -9:
                self._note_cut_off(life)
            self.outcome.lives = life + 1
            if self.script.live is not None and code == IDLE and self._notices("waiting"):
                continue  # a digest was stored while the daemon ended: the next life mails it
            if code in (IDLE, NOT_IDLE) or self.outcome.violations:
                break
            if code not in (FAILED, STILL, -9):
                self.outcome.violations.append(f"life {life} ended with {code}")
                break
            self.site.timeline.advance(60 * self.script.down_minutes)
        if self.still:
            self._wake()
        self.outcome.faults = self._faults()
        self.outcome.calls = sorted(self.simulator.world.calls)
        if code != IDLE:
            self.outcome.violations.append(f"not done after {first_tick} ticks and {self.outcome.lives} lives")
        with MongoClient[dict[str, Any]](self.site.uri, tz_aware=True) as client:
            found = judge.Evidence(
                script=self.script,
                database=client[self.database],
                world=self.simulator.world,
                mails=list(zip(self.site.post.mails, self.site.post.taken_for, strict=True)),
                staged=self.place / "nersc",
                hits=self.outcome.hits,
                edited=frozenset(self.outcome.edited),
            )
            self.outcome.violations += judge.verdict(found)

    def _wake(self) -> None:
        """The daemon that stood still goes on, though another has done its work."""
        try:
            self.site.live({"wake": self.still})
        except TimeoutError as error:
            self.outcome.violations.append(f"the daemon that stood still hangs: {error}")
        words = [line.split("\t") for line in (self.place / "life-0.log").read_text().splitlines()]
        said = [f"{word} after it stood still: {' '.join(rest)}" for word, *rest in words if word in BAD_WORDS]
        self.outcome.violations += said

    def _note_cut_off(self, life: int) -> None:
        """Killed at any instant, a life does not tell where: its mail stands as being handed over."""
        self.outcome.hits += [Hit(site="smtp cut off", moment="during", life=life)] * self._notices("sending")

    def _notices(self, state: str) -> int:
        with MongoClient[dict[str, Any]](self.site.uri) as client:
            return client[self.database]["notices"].count_documents({"state": state})

    def _kill_after(self, life: int) -> float | None:
        kills = self.script.live or ()
        return kills[life] if life < len(kills) else None

    def _insert(self) -> None:
        scenario = self.script.scenario
        with MongoClient[dict[str, Any]](self.site.uri) as client:
            for number, record in enumerate(records(scenario)):
                client[self.database]["projects"].insert_one({"_id": f"record-{number}", **record})
            if scenario.proven:
                note_proven(client[self.database])

    def _spec(self, life: int, first_tick: int) -> dict[str, Any]:
        kill = next((one for one in self.script.kills if one.life == life), None)
        mongodb = {"uri": self.site.uri, "database": self.database}
        return {
            "seed": self.script.seed,
            "fast": self.script.live is not None,
            "life": life,
            "first_tick": first_tick,
            "ticks": self.script.ticks,
            "timeline": str(self.site.home / "timeline"),
            "uri": self.site.uri,
            "database": self.database,
            "environment": self.simulator.urls.environment(),
            "sections": sections(
                self.simulator, self.script, self.place, self.site.smtp_port, mongodb, elsewhere=self.still > 0
            ),
            "sim": self.simulator.urls.sim,
            "log": str(self.place / f"life-{life}.log"),
            "mongod_pid": str(self.site.home / "mongo" / "mongodb" / "mongod.pid"),
            "kill": None if kill is None else kill.model_dump(),
            "beside": [beside.model_dump() for beside in self.script.beside if life == 0],
            "happened": sorted(self.happened),
            "enough": healthy(self.script) if neighbours.may_never_end(self.script) else [],
            "events": [event.model_dump() for event in self.script.events],
            "retries": self.script.retries,
            "mutation": self.script.mutation,
        }

    def _read_log(self, life: int) -> int:
        """Take down what a life left; the tick that the next one begins with."""
        path = self.place / f"life-{life}.log"
        self.outcome.sites.append([])
        tick = 0
        for line in path.read_text().splitlines():
            word, *rest = line.split("\t")
            if word == "effect":
                self.outcome.sites[-1].append(rest[0])
            elif word == "killed":
                moment, site = rest
                self.outcome.hits.append(Hit.model_validate({"site": site, "moment": moment, "life": life}))
            elif word == "tick":
                tick = int(rest[0])
            elif word == "happened":
                self.happened.add(int(rest[0]))
                self.outcome.edited += [(collection, key) for collection, key in json.loads(rest[1])]
            elif word in BAD_WORDS:
                self.outcome.violations.append(f"{word} in life {life}: {' '.join(rest)}")
        return tick + 1

    def _faults(self) -> int:
        events = sum(event.control is None for event in self.script.events)
        wire = sum(self.simulator.faults.hits.values())
        return wire + events + len(self.simulator.world.switches.world_faults)


@contextmanager
def site() -> Iterator[Site]:
    """A site for as long as the block runs. Everything lies in memory where the machine can do that."""
    with ExitStack() as stack:
        home = stack.enter_context(scratch("jgi-campaign-"))
        mongod = EmbeddedMongod(home / "mongo")
        uri = stack.enter_context(mongod)
        stack.enter_context(_reviving(mongod))
        timeline = Timeline(home / "timeline", fresh=True)
        post = Post(timeline=timeline)
        port = stack.enter_context(mail_server(post))
        command = [sys.executable, "-m", "campaign.life"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        pipe = subprocess.PIPE
        warm = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment))
        stack.callback(warm.kill)
        yield Site(home, uri, timeline, post, port, warm)


@contextmanager
def _reviving(mongod: EmbeddedMongod) -> Iterator[None]:
    """Start mongod again when it was killed, as its own service would."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            mongod.revive()

    thread = threading.Thread(target=watch, name="revive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
