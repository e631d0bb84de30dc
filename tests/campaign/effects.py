"""Every effect of the daemon's process, counted: calls to services, writes to the database, mails. And its death.

An effect has three moments: before anything of it was sent, after it was sent and before the answer was read, and
after the answer. The process kills itself with SIGKILL, so nothing of it runs on: no handler, no ``finally``.
"""

from __future__ import annotations

import os
import re
import signal
import smtplib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.connection
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from pymongo.synchronous.pool import Connection
from requests.adapters import HTTPAdapter

from campaign.script import Kill

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "collMod", "createIndexes", "create"})
STORE, STEPS = "jgi_stager/store", "jgi_stager/steps"
PLUMBING = ("documents.py", "fencing.py", "connection.py")
"""Files of the store through which every write goes: the function behind them names it."""
TRANSITIONS = "transitions.py"
"""The file of the steps through which many of them write: its function names the write."""
QUIET = ("mongo control", "mongo leases")
"""Writes by which the daemon only says that it lives."""


class UnderWay(threading.local):
    """The effect that this thread has sent or is about to send."""

    site: str | None = None
    is_last: bool = False
    """Whether it is the one to die at."""


@dataclass
class Effects:
    """What this process did, and where it dies."""

    log: int
    """A file descriptor: a line per effect, and one for the death."""
    kill: Kill | None = None
    meet: Callable[[str], None] = lambda _: None
    """Called before each effect: what happens beside it."""
    count: int = 0
    moved: bool = False
    """Whether a write but the `QUIET` ones changed anything since it was last set to False."""
    now: UnderWay = field(default_factory=UnderWay)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._left = 0 if self.kill is None else self.kill.effect

    def begin(self, site: str) -> None:
        """An effect is about to be sent."""
        with self._lock:
            self.count += 1
            self.now.site, self.now.is_last = site, False
            self.say("effect", site)
            if self.kill is not None and (self.kill.site or "") in site:
                self._left -= 1
                self.now.is_last = self._left == 0
        self.meet(site)
        self.die_at("before")

    def die_at(self, moment: str) -> None:
        """Die, or stand still, if this is the effect and the moment."""
        if self.kill is None or self.now.site is None or not self.now.is_last or moment != self.kill.moment:
            return
        self.now.is_last = False
        still = self.kill.stand_still
        self.say("stood still" if still else "killed", moment, self.now.site)
        os.kill(os.getpid(), signal.SIGSTOP if still else signal.SIGKILL)

    def end(self, changed: int = 0) -> None:
        """The answer was read; how many documents the write changed."""
        self.die_at("after")
        self.moved = self.moved or (changed > 0 and not (self.now.site or "").startswith(QUIET))
        self.now.site = None

    def say(self, *words: str) -> None:
        """A line that survives this process."""
        os.write(self.log, ("\t".join(word.replace("\n", " ") for word in words) + "\n").encode())


class Watching(CommandListener):
    """Sees every command of the driver, in the thread that sends it."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects

    def started(self, event: CommandStartedEvent) -> None:
        """About to be sent."""
        if event.command_name in WRITES:
            what = event.command.get(event.command_name)
            self._effects.begin(f"mongo {what}.{event.command_name} {_writer()}".strip())

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Answered."""
        if event.command_name in WRITES:
            self._effects.end(int(event.reply.get("nModified", event.reply.get("n", 0))))

    def failed(self, event: CommandFailedEvent) -> None:
        """Refused, or the connection broke."""
        if event.command_name in WRITES:
            self._effects.end()


def install(effects: Effects) -> None:
    """Watch everything this process sends, for the rest of its life."""
    receive = Connection.receive_message

    def receive_message(self: Connection, request_id: int | None) -> Any:
        effects.die_at("during")
        return receive(self, request_id)

    Connection.receive_message = receive_message  # type: ignore[method-assign]
    _watch_http(effects)
    _watch_mail(effects)


def _watch_http(effects: Effects) -> None:
    send, answer = HTTPAdapter.send, urllib3.connection.HTTPConnection.getresponse

    def watched_send(self: HTTPAdapter, request: requests.PreparedRequest, *rest: Any, **options: Any) -> Any:
        effects.begin(_call(request))
        try:
            return send(self, request, *rest, **options)
        finally:
            effects.end()

    def watched_answer(self: urllib3.connection.HTTPConnection) -> Any:
        effects.die_at("during")
        return answer(self)

    HTTPAdapter.send = watched_send  # type: ignore[method-assign]
    urllib3.connection.HTTPConnection.getresponse = watched_answer  # type: ignore[method-assign]


def _watch_mail(effects: Effects) -> None:
    data, reply = smtplib.SMTP.data, smtplib.SMTP.getreply
    replies = 0

    def watched_data(self: smtplib.SMTP, message: Any) -> Any:
        nonlocal replies
        replies = 0
        effects.begin("smtp DATA")
        try:
            return data(self, message)
        finally:
            effects.end()

    def watched_reply(self: smtplib.SMTP) -> Any:
        nonlocal replies
        replies += 1
        if effects.now.site == "smtp DATA" and replies == 2:
            effects.die_at("during")  # the first reply is to the word DATA, the second to the mail
        return reply(self)

    smtplib.SMTP.data = watched_data  # type: ignore[method-assign,assignment]
    smtplib.SMTP.getreply = watched_reply  # type: ignore[method-assign]


def _call(request: requests.PreparedRequest) -> str:
    """The call without what differs from one to the next: ``GET jdp/search/``."""
    path = urlsplit(request.url or "").path
    parts = [part if re.fullmatch(r"[A-Za-z_-]+|v\d+(\.\d+)?", part) else "*" for part in path.split("/")[1:]]
    return f"http {request.method} {'/'.join(parts)}"


def _writer() -> str:
    """Who writes: the public function of the store that was called, and the step behind it."""
    frame: FrameType | None = sys._getframe(2)
    store = plumbing = step = ""
    while frame is not None and not step:
        folder, _, name = frame.f_code.co_filename.rpartition("/")
        function = f"{name.removesuffix('.py')}.{frame.f_code.co_name}"
        if folder.endswith(STEPS):
            if name != TRANSITIONS:
                step = f" < {name.removesuffix('.py')}"
            elif not frame.f_code.co_name.startswith("_"):
                step = f" < {function}"
        elif folder.endswith(STORE) and not frame.f_code.co_name.startswith("_") and name != "errors.py":
            if name in PLUMBING:
                plumbing = plumbing or function
            else:
                store = store or function
        frame = frame.f_back
    return f"{store or plumbing}{step}"
