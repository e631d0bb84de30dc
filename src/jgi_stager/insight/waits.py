"""What a wait is; and the waits that hold whatever the state: the daemon is down, a service cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jgi_stager.formatting import ago, when
from jgi_stager.insight.facts import DaemonView, Facts, ServiceView


class Why(StrEnum):
    """What a file or project waits for. Stable: programs may read it."""

    NOTHING = "nothing"
    DAEMON = "daemon"
    PERSON = "person"
    SERVICE = "service"
    NEW = "new"
    DISCOVERY = "discovery"
    TURN = "turn"
    QUOTA = "quota"
    LIMIT = "limit"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    TAPE = "tape"
    MANIFEST = "manifest"
    SLOT = "slot"
    TRANSFER = "transfer"
    STANDSTILL = "standstill"
    VERIFICATION = "verification"
    FAILED = "failed"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    INVALID = "invalid"


@dataclass(frozen=True)
class Wait:
    """One reason. ``until`` is when it ends by itself, where that is known; ``do`` the command that helps."""

    why: Why
    sentence: str
    state: str | None = None
    files: int = 0
    bytes: int = 0
    since: datetime | None = None
    until: datetime | None = None
    do: str | None = None
    evidence: str | None = None
    """What was heard from outside, as it came: not for a sentence."""


NEXT_RUN = "within minutes"


def daemon_wait(daemon: DaemonView, now: datetime) -> Wait | None:
    """The daemon does not run: nothing else matters then."""
    if daemon.alive:
        return None
    seen = f"; it was last seen {ago(daemon.seen_at, now)}" if daemon.seen_at else ""
    sentence = f"nothing moves: the daemon does not run{seen}"
    return Wait(Why.DAEMON, sentence, since=daemon.seen_at, do="systemctl start jgi-stager  (or: jgi-stager run)")


def service_wait(facts: Facts, *names: str) -> Wait | None:
    """The first of the named services that cannot be used now."""
    for name in names:
        view = facts.daemon.trouble(name)
        if view is None:
            continue
        begun = since(facts, view)
        said = f" since {when(begun, facts.now)}" if begun else ""
        if view.state == "needs_person":
            finding, evidence = found_out(view)
            sentence = f"waiting for a person{said}: {finding}"
            return Wait(Why.PERSON, sentence, since=begun, do=view.cure, evidence=evidence)
        sentence = f"{name.upper()} cannot be used{said}; it is tried again by itself"
        return Wait(Why.SERVICE, sentence, since=begun)
    return None


def found_out(view: ServiceView) -> tuple[str, str | None]:
    """What is wrong with a service in plain words, and the answer from outside that shows it, if any."""
    evidence, _, finding = (view.problem or "a person is needed").rpartition("; ")
    return finding, evidence or None


def since(facts: Facts, view: ServiceView) -> datetime | None:
    """Since when a service cannot be used: a credential since it died, which a restart of the daemon does not
    change."""
    login = facts.logins.get(view.name)
    dead = login.dead_since if login is not None and view.state == "needs_person" else None
    return dead or view.since
