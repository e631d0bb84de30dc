"""A month in the life of a site: tokens that end, services that fail, and a person who only reads mails.

The person acts on one kind of mail alone, the one that needs them, some hours after it came; everything else
must go by itself.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from jgi_stager.simulator import Catalogue
from smtp_server import Mailbox, free_port, mail_server
from stage import Stage, stage
from watched import tick

SITE, PEOPLE = "stager-admins@example.org", "soil-people@example.org"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True)
class Script:
    """What happens, in time from the start."""

    token_life: timedelta = 3 * DAY
    person_after: timedelta = 5 * HOUR
    """How long the person takes to act on a mail."""
    second_project_at: timedelta = 2 * DAY
    jdp_out: tuple[timedelta, timedelta] = (8 * DAY, 10 * DAY)
    smtp_out: tuple[timedelta, timedelta] = (14 * DAY, 15 * DAY + 8 * HOUR)
    globus_paused: tuple[timedelta, timedelta] = (19 * DAY, 19 * DAY + 14 * HOUR)


@dataclass
class Outcome:
    """What came of it."""

    mails: list[tuple[datetime, str, str]] = field(default_factory=list)
    """When it was taken, for whom, and its subject."""
    files: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    token_ends: int = 0
    human_actions: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    setbacks: int = 0
    took: timedelta = timedelta(0)
    breaches: int = 0


@dataclass
class Month:
    """The site while the month goes by."""

    daemon: Stage
    mailbox: Mailbox
    script: Script
    server: Callable[[], object]
    outcome: Outcome = field(default_factory=Outcome)
    _seen: int = 0
    _act_at: datetime | None = None
    _ends_at: datetime | None = None
    _tokens: int = 0
    _began: datetime = field(init=False)
    _happened: set[str] = field(default_factory=set)
    _mail: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._began = self.daemon.out.clock.now()

    def run(self, most: timedelta, minutes: float) -> Outcome:
        """Let the time pass until everything is done, at most ``most``."""
        self._mail.enter_context(self.server())  # type: ignore[arg-type]
        self._new_token()
        self.daemon.insert("soil", biosample_ids=self._biosamples(0), notify=[PEOPLE])
        with self._mail:
            while self.daemon.out.clock.now() - self._began < most:
                self._events()
                tick(self.daemon, minutes)
                self._read_mails()
                self._person()
                if "second" in self._happened and self.daemon.idle():
                    break
        return self._close()

    def _biosamples(self, part: int) -> list[str]:
        projects = self.daemon.out.sim.world.catalogue.analysis_projects
        names = sorted({project.biosample_id for project in projects})
        return names[part::2]

    # --- what happens

    def _events(self) -> None:
        script, now = self.script, self.daemon.out.clock.now() - self._began
        self._once("second", now >= script.second_project_at, self._second_project)
        self._once("jdp out", now >= script.jdp_out[0], lambda: self._jdp(out=True))
        self._once("jdp back", now >= script.jdp_out[1], lambda: self._jdp(out=False))
        self._once("smtp out", now >= script.smtp_out[0], self._mail.close)
        self._once(
            "smtp back",
            now >= script.smtp_out[1],
            lambda: self._mail.enter_context(self.server()),  # type: ignore[arg-type]
        )
        length = (script.globus_paused[1] - script.globus_paused[0]).total_seconds()
        self._once(
            "globus",
            now >= script.globus_paused[0],
            lambda: self.daemon.out.mishap("tasks_inactive", seconds=length, count=1),
        )
        if self._ends_at is not None and self.daemon.out.clock.now() >= self._ends_at:
            self.outcome.token_ends += 1
            self._ends_at = None

    def _once(self, name: str, due: bool, act: Callable[[], object]) -> None:
        if due and name not in self._happened:
            self._happened.add(name)
            act()

    def _second_project(self) -> None:
        self.daemon.insert("wetland", biosample_ids=self._biosamples(1))

    def _jdp(self, *, out: bool) -> None:
        self.daemon.faults(*([{"match": "jdp.*", "kind": "status:503"}] if out else []))

    def _new_token(self) -> None:
        self._tokens += 1
        self._ends_at = self.daemon.out.clock.now() + self.script.token_life
        name = f"session-{self._tokens}"
        self.daemon.switch(jdp_token=name, jdp_token_ends_at=self._ends_at.isoformat())
        self.daemon.write_secret("jdp_token", f"Bearer {name}")

    # --- the person

    def _read_mails(self) -> None:
        now = self.daemon.out.clock.now()
        subjects = self.mailbox.subjects()
        for number in range(self._seen, len(subjects)):
            to = "+".join(address.partition("@")[0] for address in self.mailbox.taken_for[number])
            self.outcome.mails.append((now, to, subjects[number]))
            if subjects[number].startswith("needs you: the JDP session token") and self._act_at is None:
                self._act_at = now + self.script.person_after
        self._seen = len(subjects)

    def _person(self) -> None:
        if self._act_at is not None and self.daemon.out.clock.now() >= self._act_at:
            self.outcome.human_actions += 1
            self._act_at = None
            self._new_token()

    def _close(self) -> Outcome:
        daemon, found = self.daemon, self.outcome
        documents = daemon.documents("files")
        found.files = dict(Counter(one["state"] for one in documents))
        found.setbacks = sum(one["setbacks"] for one in documents)
        found.projects = {one["project_name"]: one["state"] for one in daemon.documents("projects")}
        found.kinds = dict(Counter(one["kind"] for one in daemon.documents("notices", state="sent")))
        found.took = daemon.out.clock.now() - self._began
        found.breaches = len(daemon.out.sim.world.archive.breaches)
        return found


@contextmanager
def month(uri: str, catalogue: Catalogue, quota: int, script: Script) -> Iterator[Month]:
    """A site with a mail server on a port of its own, ready to `Month.run`."""
    mailbox, port = Mailbox(), free_port()
    sections = {
        "notifications": {
            "mailto": [SITE],
            "mail_from": "jgi-stager@example.org",
            "smtp_host": "127.0.0.1",
            "smtp_port": port,
            "smtp_timeout_seconds": 5.0,
        }
    }
    with tempfile.TemporaryDirectory() as name:
        made = stage(Path(name), uri, catalogue, sections=sections, max_window_bytes=quota)
        with made as daemon:
            yield Month(daemon, mailbox, script, lambda: mail_server(mailbox, port=port))
