"""A stage on which the steps that look, tell and probe run, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jgi_stager.steps import STEPS
from outbox import SITE
from smtp_server import Mailbox, mail_server
from stage import MINUTES, MOVERS, Stage, small_catalogue, stage


def tick(daemon: Stage, minutes: float = 15) -> None:
    """Run every step once, in order; then the time passes."""
    moving = {step.name for step in daemon.movers()}
    for step in STEPS:
        if step.name in moving or step not in MOVERS:
            step.run(daemon.ctx)
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


@contextmanager
def small_site(directory: Path, uri: str, mailbox: Mailbox, **notifications: object) -> Iterator[Stage]:
    """A daemon with a small quota, so that a project takes days, and a mail server."""
    with mail_server(mailbox) as port:
        mails = {"mailto": [SITE], "smtp_host": "127.0.0.1", "smtp_port": port, **notifications}
        sections = {"notifications": mails}
        with stage(directory, uri, small_catalogue(2, 8), sections=sections, max_window_bytes=4000) as made:
            yield made
