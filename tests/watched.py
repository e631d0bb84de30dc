"""A stage on which the steps that look, tell and probe run, too."""

from __future__ import annotations

from jgi_stager.steps import STEPS
from smtp_server import Mailbox
from stage import MINUTES, Stage


def tick(daemon: Stage, minutes: float = 15) -> None:
    """Run every step once, in order; then the time passes."""
    for step in STEPS:
        step.run(daemon.tools)
    daemon.check_bugs()
    assert not [one for one in daemon.events if one["event"] == "estimate_failed"]
    daemon.out.clock.advance(minutes * MINUTES)


def wait(daemon: Stage, hours: float, minutes: float = 15) -> None:
    """Tick for ``hours``, whatever happens."""
    for _ in range(round(hours * 60 / minutes)):
        tick(daemon, minutes)


def drive(daemon: Stage, hours: float, minutes: float = 120) -> None:
    """Tick until nothing is left to do. Fails if that takes longer than ``hours``."""
    for _ in range(int(hours * 60 / minutes)):
        tick(daemon, minutes)
        if daemon.idle():
            return
    raise AssertionError(f"not idle after {hours} h: {daemon.counts()} {daemon.states()}")


def told(mailbox: Mailbox) -> list[str]:
    """The subjects of the mails up to their first comma: what each is about."""
    return [subject.partition(",")[0] for subject in mailbox.subjects()]
