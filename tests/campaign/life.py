"""The daemon's process in a campaign: the real steps, clients and store, one tick after the other.

A warm process that has imported everything forks one child per life; so a start costs milliseconds. The child is
a process of its own: it is killed with SIGKILL, and what comes next knows only the books.
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
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, NoReturn

import structlog

from campaign.effects import Effects, Watching, install
from campaign.mutations import mutate
from campaign.script import Event
from campaign.timeline import Timeline, TimelineClock
from jgi_stager import daemon
from jgi_stager.daemon import is_idle, open_tools, run_step
from jgi_stager.service.lease import held
from jgi_stager.service.notify import Supervisor
from jgi_stager.settings import Settings
from jgi_stager.simulator.secret_files import write_secret
from jgi_stager.steps import STEPS, trouble
from jgi_stager.steps.tools import Tools
from jgi_stager.store import StoreError, connect

IDLE, NOT_IDLE, FAILED = 0, 3, 1
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
    effects = Effects(log, spec["at"], spec["moment"])
    _tell_bugs(effects)
    install(effects)
    mutate(spec["mutation"])
    stop = threading.Event()
    home = settings.state.directory
    store = connect(spec["uri"], spec["database"], clock, listeners=[Watching(effects)])
    with (
        held(store, home, settings.schedule.lease_seconds, Supervisor(), stop) as lease,
        open_tools(settings, clock, lease.store, stop, lease) as tools,
    ):
        started = trouble.note_start(tools)
        events = [Event(**one) for one in spec["events"]]
        done = _ticks(tools, effects, timeline, events, spec)
        trouble.note_end(tools, started)
    store.close()
    return IDLE if done else NOT_IDLE


def _ticks(
    tools: Tools, effects: Effects, timeline: Timeline, events: list[Event], spec: Mapping[str, Any]
) -> bool:
    last_run: dict[str, float] = {}
    for tick in range(spec["first_tick"], spec["ticks"]):
        effects.say("tick", str(tick))
        for event in events:
            if event.tick == tick:
                happen(event, timeline, spec)
        effects.moved = False
        now = timeline.read()[0]
        for step in STEPS:
            period = getattr(tools.settings.schedule, f"{step.name}_seconds")
            if now - last_run.get(step.name, -period) >= period:
                last_run[step.name] = now
                run_step(step, tools)
        try:
            if is_idle(tools) and not any(event.tick > tick for event in events):
                return True
        except StoreError as error:
            effects.say("note", str(error))
        timeline.advance(60 * (BUSY_MINUTES if effects.moved else QUIET_MINUTES))
    return False


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


def happen(event: Event, timeline: Timeline, spec: Mapping[str, Any]) -> None:
    """Let an event of the script happen."""
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
    """The warm process: a line in is a life to live, two lines out are its process and its end."""
    for line in sys.stdin:
        spec = json.loads(line)
        child = os.fork()
        if child == 0:
            _be(spec)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


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
