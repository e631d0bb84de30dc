"""The protocol of sd_notify(3), by which systemd hears how the daemon is: one datagram per message.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

LONGEST_STATUS = 300


@dataclass(frozen=True)
class Supervisor:
    """Whoever started us and wants to hear from us. ``address`` None: nobody does, and everything is silent."""

    address: str | None = None
    watchdog: timedelta | None = None
    """How long systemd waits for a sign of life before it kills us; None if it does not watch."""

    @property
    def listens(self) -> bool:
        """Whether anybody wants to hear."""
        return self.address is not None

    def ready(self) -> None:
        """The daemon is up."""
        self.send("READY=1")

    def status(self, line: str) -> None:
        """One line for people: it is what ``systemctl status`` shows."""
        self.send(f"STATUS={' '.join(line.split())[:LONGEST_STATUS]}")

    def alive(self) -> None:
        """A sign of life."""
        self.send("WATCHDOG=1")

    def stopping(self) -> None:
        """The daemon ends."""
        self.send("STOPPING=1")

    def send(self, message: str) -> None:
        """Send one message. A supervisor that does not take it is no reason to stop working."""
        if self.address is None:
            return
        target = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.settimeout(1)
            channel.sendto(message.encode(), target)


def find_supervisor() -> Supervisor:
    """Who started this process, from the environment that systemd gives; the variables are taken out of it.

    A watchdog that is meant for another process is not ours to feed.
    """
    address = os.environ.pop("NOTIFY_SOCKET", None)
    microseconds = os.environ.pop("WATCHDOG_USEC", "")
    meant_for = os.environ.pop("WATCHDOG_PID", None)
    ours = meant_for is None or meant_for == str(os.getpid())
    if address is not None and not address.startswith(("/", "@")):
        address = None
    watchdog = timedelta(microseconds=int(microseconds)) if microseconds.isdigit() and ours else None
    return Supervisor(address, watchdog if address else None)
