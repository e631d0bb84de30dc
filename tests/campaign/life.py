"""The daemon's process in a campaign: the real steps, clients and store, one tick after the other.

A warm process that has imported everything forks one child per life; so a start costs milliseconds. The child is
a process of its own: it is killed with SIGKILL, and what comes next knows only the database.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from concurrent.futures import ALL_COMPLETED
from pathlib import Path
from typing import Any, NoReturn

import structlog

from campaign import questions
from campaign.effects import Effects, Watching, install
from campaign.mutations import mutate
from campaign.people import Changed, act, cancel, retry
from campaign.script import Beside, Event, Kill
from campaign.timeline import Timeline, TimelineClock
from jgi_stager import daemon, mail
from jgi_stager.clock import Clock
from jgi_stager.daemon import is_idle, open_context, run_step
from jgi_stager.lifecycle import ProjectState
from jgi_stager.service.lease import Lease, held
from jgi_stager.service.supervisor import Supervisor
from jgi_stager.settings import Settings
from jgi_stager.simulator.secret_files import write_secret
from jgi_stager.steps import STEPS, daemon_alerts, services
from jgi_stager.steps.context import StepContext
from jgi_stager.store import StoreError, connect, notices, projects
from jgi_stager.stored import Stored
from mail_samples import SAMPLES, notice

IDLE, NOT_IDLE, FAILED = 0, 3, 1
STILL = -int(signal.SIGSTOP)
WAIT_TICKS = 60
"""So long an event waits for its document."""
BUSY_MINUTES, QUIET_MINUTES = 10.0, 180.0
PORT_SECONDS = 20.0
"""Real: so long the simulator may be out of reach for the script itself."""
BUGS = ("step_bug", "step_failed", "quota_overspent", "estimate_failed")


def live_fast(spec: Mapping[str, Any], log: int) -> int:
    """One life of the whole daemon, scheduler and threads included, until nothing is left to do."""
    os.environ.update(spec["environment"])
    _tell_bugs(Effects(log))
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # it complains that the time flies
    return daemon.run(Settings(**spec["sections"]), until_idle=True)


def live(spec: Mapping[str, Any], log: int) -> int:
    """One life, until nothing is left to do or the ticks are used up. The exit code."""
    timeline = Timeline(Path(spec["timeline"]))
    clock = TimelineClock(timeline, daemon=True)
    random.seed(f"{spec['seed']} {spec['life']}")
    os.environ.update(spec["environment"])
    settings = Settings(**spec["sections"])
    effects = Effects(log, None if spec["kill"] is None else Kill(**spec["kill"]))
    _tell_bugs(effects)
    install(effects)
    mutate(spec["mutation"])
    # What comes together is kept together: for the same effects in every life, always all that was asked.
    vars(services)["FIRST_COMPLETED"] = ALL_COMPLETED
    stop = threading.Event()
    home = settings.state.directory
    store = connect(spec["uri"], spec["database"], clock, listeners=[Watching(effects)])
    with (
        held(store, home, settings.schedule.lease_seconds, Supervisor(), stop) as lease,
        open_context(settings, clock, lease.store, stop, lease) as ctx,
    ):
        started = daemon_alerts.note_start(ctx)
        meetings = Meetings(ctx, spec, clock)
        effects.meet = meetings.meet
        done = Ticks(ctx, effects, timeline, meetings, spec).run(lease)
        daemon_alerts.note_end(ctx, started)
    store.close()
    return IDLE if done else NOT_IDLE


class Ticks:
    """The ticks of one life."""

    def __init__(
        self,
        ctx: StepContext,
        effects: Effects,
        timeline: Timeline,
        meetings: Meetings,
        spec: Mapping[str, Any],
    ) -> None:
        self._tools, self._effects, self._timeline, self._spec = ctx, effects, timeline, spec
        self._meetings = meetings
        self._events = [Event(**one) for one in spec["events"]]
        self._happened = set(spec["happened"])
        self._last_run: dict[str, float] = {}
        self._said: set[str] = set()

    def run(self, lease: Lease) -> bool:
        """Tick until nothing is left to do; whether that came about. Raises `LeaseLost`."""
        for tick in range(self._spec["first_tick"], self._spec["ticks"]):
            self._effects.say("tick", str(tick))
            self._let_happen(tick)
            self._retry()
            self._effects.moved = False
            self._every_step()
            lease.renew_when_due()
            try:
                if tick % questions.EVERY == 0:
                    self._look()
                if len(self._happened) == len(self._events) and self._is_over() and not self._retry():
                    run_step(CLOSE_ALARMS, self._tools)  # it may not be due since the last project ended
                    self._look()
                    return True
            except StoreError as error:
                self._effects.say("note", str(error))
            self._timeline.advance(60 * (BUSY_MINUTES if self._effects.moved else QUIET_MINUTES))
        return False

    def _retry(self) -> int:
        return retry(self._spec, TimelineClock(self._timeline)) if self._spec["retries"] else 0

    def _look(self) -> None:
        """Hear what people would be told now; each thing that is wrong once."""
        # Whoever edits a file past the daemon makes its tally wrong, until the day on which it is counted again.
        told = () if any(event.changes("files") for event in self._events) else questions.tallies_told(self._tools)
        for wrong in (*questions.wrong(self._tools), *told):
            if wrong not in self._said:
                self._said.add(wrong)
                self._effects.say("bug", wrong)

    def _let_happen(self, tick: int) -> None:
        for number, event in enumerate(self._events):
            if number in self._happened or event.tick > tick:
                continue
            changed = happen(event, self._timeline, self._spec, late=tick > event.tick + WAIT_TICKS)
            if changed is not None:
                self._happened.add(number)
                self._effects.say("happened", str(number), json.dumps(changed))

    def _every_step(self) -> None:
        now = self._timeline.read()[0]
        for step in STEPS:
            period = getattr(self._tools.settings.schedule, f"{step.name}_seconds")
            if now - self._last_run.get(step.name, -period) >= period:
                self._last_run[step.name] = now
                self._meetings.during = step.name
                run_step(step, self._tools)

    def _is_over(self) -> bool:
        """Whether nothing is left to do, or beside a project that can never end the others have ended."""
        if is_idle(self._tools):
            return True
        names = set(self._spec["enough"])
        if not names:
            return False
        done = {one.project_name for one in projects.by_state(self._tools.store, ProjectState.DONE)}
        waiting = {one.project for one in notices.open_notices(self._tools.store)}
        return names <= done and not names & waiting


CLOSE_ALARMS = next(step for step in STEPS if step.name == "close_alarms")


class Meetings:
    """What happens beside the effects of the first life."""

    def __init__(self, ctx: StepContext, spec: Mapping[str, Any], clock: Clock) -> None:
        self._tools, self._spec, self._clock = ctx, spec, clock
        self._beside = [Beside(**one) for one in spec["beside"]]
        self.during = ""
        """The step that runs: none runs beside itself."""
        self._seen: Counter[int] = Counter()
        self._busy = False

    def meet(self, site: str) -> None:
        """An effect is about to be sent: let happen what the script has beside it."""
        if self._busy:
            return
        for number, beside in enumerate(self._beside):
            self._seen[number] += beside.site in site
            if beside.site in site and self._seen[number] == beside.nth:
                self._busy = True
                thread = threading.Thread(target=self._happen, args=(beside,), name="beside")
                thread.start()
                thread.join()
                self._busy = False

    def _happen(self, beside: Beside) -> None:
        if beside.cancel is not None:
            cancel(beside.cancel, self._spec, self._clock)
        for step in STEPS:
            if step.name == beside.step != self.during:
                run_step(step, self._tools)


def _control(url: str, body: bytes) -> None:
    """Tell the simulator something; an event before this one may have shut its port for a moment."""
    deadline = time.monotonic() + PORT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, body, timeout=PORT_SECONDS) as answer:
                answer.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def happen(
    event: Event, timeline: Timeline, spec: Mapping[str, Any], *, late: bool = False
) -> list[Changed] | None:
    """Let an event of the script happen. The documents that it changed; None if it must wait."""
    changed = act(event, spec, TimelineClock(timeline), late=late)
    if changed is None:
        return None
    if event.control is not None:
        _control(f"{spec['sim']}/control", json.dumps(event.control).encode())
    if event.clock_hours is not None:
        timeline.set_ahead(event.clock_hours * 3600)
    if event.mail_out_hours is not None:
        timeline.postpone_mail(event.mail_out_hours * 3600)
    if event.token is not None:
        write_secret(Path(spec["sections"]["secrets"]["directory"]) / "jdp_token", f"Bearer {event.token}")
    if event.mongod == "kill":
        os.kill(int(Path(spec["mongod_pid"]).read_text()), signal.SIGKILL)
    return changed


def _tell_bugs(effects: Effects) -> None:
    """Keep of the log what a judge must hear of, each thing once."""
    told: set[str] = set()

    def keep(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] in BUGS and (known := f"{event['event']} {event.get('step')}") not in told:
            told.add(known)
            story = str(event.get("exception") or "")[-600:]
            effects.say("bug", level, json.dumps({**event, "exception": story}, default=str))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, keep], cache_logger_on_first_use=False)


def main() -> None:
    """The warm process: a line in is a life to live, or one that stands still to be woken; two lines out are its
    process and its end."""
    _warm_up()
    for line in sys.stdin:
        spec = json.loads(line)
        child = int(spec["wake"]) if "wake" in spec else os.fork()
        if child == 0:
            _be(spec)
        if "wake" in spec:
            os.kill(child, signal.SIGCONT)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, os.WUNTRACED)
        code = STILL if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        print(json.dumps({"status": code}), flush=True)


def _warm_up() -> None:
    """Make once, for all lives, what each would make at its first use: the checks of the models, the templates."""
    for model in _models(Stored):
        model.model_rebuild()
    for kind, data in SAMPLES.items():
        mail.render(notice(kind, data))


def _models(model: type[Stored]) -> Iterator[type[Stored]]:
    for one in model.__subclasses__():
        yield one
        yield from _models(one)


def _be(spec: Mapping[str, Any]) -> NoReturn:
    log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    code = FAILED
    try:
        code = live_fast(spec, log) if spec["fast"] else live(spec, log)
    except StoreError as error:
        os.write(log, f"note\t{type(error).__name__}: {' '.join(str(error).split())}\n".encode())
    except BaseException:  # noqa: BLE001 - the judge reads it
        os.write(log, f"crash\t{' | '.join(traceback.format_exc().splitlines())}\n".encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
