"""The sentences of the digest: where files are, what needs a person, what is worth knowing, why it took longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jgi_stager.failures import Service
from jgi_stager.formatting import human_duration
from jgi_stager.insight.facts import Facts, Project
from jgi_stager.insight.needs import deadline, needed_at
from jgi_stager.insight.quota import turns
from jgi_stager.lifecycle import State
from jgi_stager.notices import COMMANDS, CREDENTIAL_NAMES
from jgi_stager.records import ProjectState
from jgi_stager.steps.tools import Tools
from jgi_stager.steps.watch_credentials import ends_soon
from jgi_stager.store import credentials, notices

STATES: Mapping[str, str] = {
    State.PENDING: "not asked for yet",
    State.RESTORE_REQUESTED: "on tape",
    State.RESTORED: "delivered at JGI",
    State.MANIFEST_READY: "ready to transfer",
    State.TRANSFERRING: "in transfer",
    State.FAILED: "failed",
}
WORTH_A_WORD = timedelta(hours=1)
MOST_NAMED = 5
"""Projects that are named in one sentence."""


def where(project: Project) -> list[str]:
    """How many files are where, those that are done left out."""
    found = ((words, project.of(state).files) for state, words in STATES.items())
    return [f"{files:,} {words}" for words, files in found if files]


def needs(tools: Tools, facts: Facts) -> list[str]:
    """What a person should do now, one line each."""
    lines = []
    for known in credentials.everything(tools.store):
        if known.dead_since is not None and known.service != Service.SMTP:
            service = Service(known.service)
            command = COMMANDS.get(service)
            what = f"run: {command}" if command and command in (known.cure or "") else known.cure
            needed = deadline(facts, needed_at(facts, turns(facts), service.value))
            since = f"{known.dead_since:%Y-%m-%d %H:%M} UTC"
            lines.append(
                f"{CREDENTIAL_NAMES.get(service, service)} has been refused since {since} ({needed}); {what}"
            )
    lines += [
        f"{project.name}: {project.of(State.FAILED).files:,} files failed; see: jgi-stager explain {project.name}"
        for project in facts.projects
        if project.state == ProjectState.HELD
    ]
    return lines


def notes(tools: Tools, facts: Facts, since: datetime | None) -> list[str]:
    """What is good to know and asks for nothing now."""
    lines = []
    for service in CREDENTIAL_NAMES:
        known = credentials.get(tools.store, service.value)
        if found := ends_soon(tools, service, known):
            age = human_duration(facts.now - known.since) if known.since else ""
            command = COMMANDS.get(service)
            cure = f"; to renew it now: {command}" if command else ""
            lines.append(
                f"{CREDENTIAL_NAMES[service]} is {age} old and will probably end about "
                f"{found[0]:%a %d %b %H:%M} UTC ({found[1]}){cure}"
            )
        if known.out_since is not None:
            lines.append(f"{service.value.upper()} has not answered since {known.out_since:%Y-%m-%d %H:%M} UTC")
    lines += [
        f"mails to {one['address']} are refused by the mail server: {one['reason']}"
        for one in notices.refusals(tools.store)
        if since is None or one["at"] > since
    ]
    return lines


def causes(tools: Tools, facts: Facts, last: Mapping[str, Any]) -> list[str]:
    """What held things up since the digest before, the evidence with it."""
    since = last.get("at")
    if since is None:
        return []
    found = []
    for known in credentials.everything(tools.store):
        name = known.service.upper()
        person = _within(known.gaps, known.dead_since, since, facts.now)
        out = _within(known.outages, known.out_since, since, facts.now)
        if known.service != Service.SMTP and person >= WORTH_A_WORD:
            found.append(f"{name} waited for a person for {human_duration(person)}")
        if known.service != Service.SMTP and out >= WORTH_A_WORD:
            found.append(f"{name} did not answer for {human_duration(out)}")
    before = set(last.get("active") or ())
    new = [one.name for one in facts.projects if one.state == ProjectState.ACTIVE and one.name not in before]
    if new:
        found.append(sharing(new))
    return found


def sharing(new: Sequence[str]) -> str:
    """That projects came which share the quota, the first of them named."""
    more = len(new) - MOST_NAMED
    named = ", ".join(new[:MOST_NAMED]) + (f" and {more:,} more (jgi-stager project list)" if more > 0 else "")
    return f"{named} now {'shares' if len(new) == 1 else 'share'} the quota"


def _within(stretches: Any, open_since: datetime | None, since: datetime, now: datetime) -> timedelta:
    ends = [(one.begun, one.ended) for one in stretches]
    if open_since is not None:
        ends.append((open_since, now))
    return sum((max(timedelta(0), min(ended, now) - max(begun, since)) for begun, ended in ends), timedelta(0))
