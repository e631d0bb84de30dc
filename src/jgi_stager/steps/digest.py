"""The daily digest: what moved, what is left, when it will be done and why that changed. None if nothing moved.

The site's people get one about every project; the people of a project one about theirs. What the digest before
said is kept in the database, so the difference is right also across restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from jgi_stager.failures import Service
from jgi_stager.formatting import human_duration
from jgi_stager.lifecycle import FILE_PHASES, OVER_PROJECTS, ProjectState, State
from jgi_stager.notices import COMMANDS, CREDENTIAL_NAMES, Kind
from jgi_stager.reporting import eta, explain, lately, quota, standstill
from jgi_stager.reporting.blocked_reasons import what_to_do
from jgi_stager.reporting.progress import mailed
from jgi_stager.reporting.quota import Turns, turns
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.reporting.snapshot_types import Project, Snapshot
from jgi_stager.reporting.summary import deadline, needed_at
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.credentials import ends_soon
from jgi_stager.store import alarms, control, credentials, notices, projects

log = structlog.get_logger()


# --- its sentences ------------------------------------------------------------------------------------------


WORDS: Mapping[State, str] = {
    State.PENDING: "not asked for yet",
    State.RESTORED: "delivered at JGI",
    State.MANIFEST_READY: "ready to transfer",
}
"""Of the states for which the phase says too little."""
NOTEWORTHY = timedelta(hours=1)
MOST_ALARMS = 10
"""Open ones, and as many that are over."""
MOST_NAMED = 5
"""Projects that are named in one sentence."""


def where(project: Project) -> list[str]:
    """How many files are where, those that are done left out."""
    found = ((state, project.of(state).files) for state in State if state is not State.DONE)
    return [f"{files:,} {WORDS.get(state, FILE_PHASES[state])}" for state, files in found if files]


def needs_you(ctx: StepContext, snapshot: Snapshot) -> list[str]:
    """What a person should do now, one line each."""
    lines = []
    for known in credentials.everything(ctx.store):
        if known.dead_since is not None and known.service != Service.SMTP:
            service = Service(known.service)
            command = COMMANDS.get(service)
            what = f"run: {command}" if command and command in (known.cure or "") else known.cure
            needed = deadline(snapshot, needed_at(snapshot, turns(snapshot), service.value))
            since = f"{known.dead_since:%Y-%m-%d %H:%M} UTC"
            lines.append(
                f"{CREDENTIAL_NAMES.get(service, service)} has been refused since {since} ({needed}); {what}"
            )
    lines += [
        f"{one.subject}: still open, since {one.opened_at:%Y-%m-%d %H:%M} UTC; {what_to_do(one)}"
        for one in snapshot.alarms[:MOST_ALARMS]
    ]
    if len(snapshot.alarms) > MOST_ALARMS:
        lines.append(f"{len(snapshot.alarms) - MOST_ALARMS} more alarms are open; see: jgi-stager status")
    lines += [f"{what}; see: {do}" for what, do in standstill.sentences(snapshot, turns(snapshot))]
    lines += [
        f"{project.name}: {project.of(State.FAILED).files:,} files failed; see: jgi-stager explain {project.name}"
        for project in snapshot.projects
        if project.state == ProjectState.HELD
    ]
    return lines


def notes(ctx: StepContext, snapshot: Snapshot, since: datetime | None) -> list[str]:
    """What is good to know and asks for nothing now."""
    lines = []
    for service in CREDENTIAL_NAMES:
        known = credentials.get(ctx.store, service.value)
        if found := ends_soon(ctx, service, known):
            age = human_duration(snapshot.now - known.since) if known.since else ""
            command = COMMANDS.get(service)
            cure = f"; to renew it now: {command}" if command else ""
            lines.append(
                f"{CREDENTIAL_NAMES[service]} is {age} old and will probably end about "
                f"{found[0]:%a %d %b %H:%M} UTC ({found[1]}){cure}"
            )
        if known.out_since is not None:
            lines.append(f"{service.value.upper()} has not answered since {known.out_since:%Y-%m-%d %H:%M} UTC")
    over = alarms.ended_since(ctx.store, since) if since is not None else []
    lines += [f"solved: {one.subject} ({one.ended_why})" for one in over[:MOST_ALARMS]]
    lines += [
        f"mails to {one.address} are refused by the mail server: {one.reason}"
        for one in notices.refusals(ctx.store)
        if since is None or one.at > since
    ]
    return lines


def delay_causes(ctx: StepContext, snapshot: Snapshot, last: Mapping[str, Any]) -> list[str]:
    """What held things up since the digest before, the evidence with it."""
    since = last.get("at")
    if since is None:
        return []
    found = []
    for known in credentials.everything(ctx.store):
        name = known.service.upper()
        person = _within(known.gaps, known.dead_since, since, snapshot.now)
        out = _within(known.outages, known.out_since, since, snapshot.now)
        if known.service != Service.SMTP and person >= NOTEWORTHY:
            found.append(f"{name} waited for a person for {human_duration(person)}")
        if known.service != Service.SMTP and out >= NOTEWORTHY:
            found.append(f"{name} did not answer for {human_duration(out)}")
    before = set(last.get("active") or ())
    new = [one.name for one in snapshot.projects if one.state == ProjectState.ACTIVE and one.name not in before]
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


# --- the digest ---------------------------------------------------------------------------------------------


LISTED = frozenset(ProjectState) - {*OVER_PROJECTS}
"""Projects that a digest speaks of; it goes out because of those that move."""


def run(ctx: StepContext) -> int:
    """Store the digest of the day when its hour has come. Returns how many notices were stored."""
    settings, now = ctx.settings.notifications, ctx.clock.now()
    last = control.last_digest(ctx.store)
    due = now.replace(hour=settings.digest_hour, minute=0, second=0, microsecond=0)
    if last is None:
        # The first day has no day before it to compare with; the mails of acceptance say what there is.
        control.keep_digest(ctx.store, {"at": now})
        return 0
    if not settings.digest or now < due or last["at"] >= due:
        return 0
    snapshot = take_snapshot(_source(ctx))
    estimates = eta.estimate(snapshot)
    page = _page(ctx, snapshot, estimates, last)
    stored = 0
    if page["projects"] and _is_news(page, last):
        stored = _notify(ctx, page, now)
    # What was said last is kept also on a day without a digest: nothing changed, so nothing is lost.
    control.keep_digest(ctx.store, {"at": now, **_memory(snapshot, estimates, page)})
    return stored


def _source(ctx: StepContext) -> SnapshotSource:
    return SnapshotSource(ctx.store, ctx.settings, ctx.clock)


def _is_news(page: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether anything happened since the digest before, or a person is still to do something: what was told once
    must not be silent for days."""
    return bool(page["open"]) or bool(page["fingerprint"] != last.get("fingerprint"))


def _page(
    ctx: StepContext, snapshot: Snapshot, estimates: Mapping[str, eta.Eta], last: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the digest says."""
    before = last.get("projects") or {}
    listed = [one for one in snapshot.projects if one.state in LISTED or _just_done(one, last)]
    causes = delay_causes(ctx, snapshot, last)
    coming = turns(snapshot)
    went = lately.went(_source(ctx), snapshot)
    shown = [
        _project(one, estimates.get(one.name), before.get(one.name) or {}, causes)
        | _alarm(snapshot, one)
        | {"went": mailed(went[one.name]) if one.name in went else None}
        | ({"waits": _waits(snapshot, one, coming)} if one.state == ProjectState.ACTIVE else {})
        for one in sorted(listed, key=lambda one: (one.state != ProjectState.ACTIVE, one.name))
    ]
    return {
        "today": snapshot.now,
        "moved": _together(shown),
        "projects": shown,
        "quota": _quota(snapshot),
        "needs": needs_you(ctx, snapshot),
        "open": [one.key for one in snapshot.alarms],
        "notes": notes(ctx, snapshot, last.get("at")),
        # The quota window moves by itself, and so does an estimate: neither is news.
        "fingerprint": [[one["name"], one["state"], *one["where"], one["done_files"]] for one in shown],
    }


def _waits(snapshot: Snapshot, one: Project, coming: Turns) -> str:
    """Why it waits, in the words of ``status`` and ``explain``. Whoever says so runs."""
    running = replace(snapshot, daemon=replace(snapshot.daemon, alive=True))
    return explain.project(running, one, coming).why.sentence


def _just_done(project: Project, last: Mapping[str, Any]) -> bool:
    at = last.get("at")
    return project.state == ProjectState.DONE and at is not None and (project.done_at or at) > at


def _project(
    one: Project, estimate: eta.Eta | None, before: Mapping[str, Any], causes: Sequence[str]
) -> dict[str, Any]:
    total, done = one.total, one.of(State.DONE)
    shown = {
        "name": one.name,
        "state": one.state,
        "share": one.share,
        "files": total.files,
        "bytes": total.bytes,
        "done_files": done.files,
        "done_bytes": done.bytes,
        "new_files": max(0, done.files - int(before.get("files") or 0)),
        "new_bytes": max(0, done.bytes - int(before.get("bytes") or 0)),
        "where": where(one),
        "eta": {"early": estimate.early, "late": estimate.late} if estimate else None,
    }
    return shown | _moved(estimate, before, causes)


def _alarm(snapshot: Snapshot, one: Project) -> dict[str, Any]:
    """Why no finish time is told."""
    found = snapshot.alarms_of(one.name) if one.state == ProjectState.ACTIVE else ()
    return {"no_eta": found[0].subject} if found else {}


def _moved(estimate: eta.Eta | None, before: Mapping[str, Any], causes: Sequence[str]) -> dict[str, Any]:
    """By how much the estimate moved and why, if it left the range that was told."""
    told, late = before.get("eta_at"), before.get("eta_late")
    if estimate is None or told is None or late is None:
        return {}
    moved: timedelta = estimate.at - told
    range_told = max(timedelta(hours=12), (late - told) * 0.5)
    if abs(moved) < range_told:
        return {}
    if moved > timedelta(0):
        why = "; ".join(causes) or "tape or the transfers were slower than expected"
    else:
        why = "tape or the transfers were faster than expected"
    return {"moved_seconds": moved.total_seconds(), "moved_why": why}


def _together(shown: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    lines = list(shown)
    return {"files": sum(one["new_files"] for one in lines), "bytes": sum(one["new_bytes"] for one in lines)}


def _quota(snapshot: Snapshot) -> dict[str, Any] | None:
    found = quota.window(snapshot)
    if found.limit < 1:
        return None
    return {
        "used": found.used,
        "total": found.limit,
        "left": found.left,
        "share": min(1.0, found.used / found.limit),
        "window_hours": found.hours,
        "next_at": found.next_free_at,
        "next_bytes": found.next_free_bytes,
    }


def _memory(snapshot: Snapshot, estimates: Mapping[str, eta.Eta], page: Mapping[str, Any]) -> dict[str, Any]:
    """What the next digest compares with. An estimate stays as it was told until a digest tells another."""
    kept = {}
    for one in page["projects"]:
        estimate = estimates.get(one["name"])
        told = {"eta_at": estimate.at, "eta_late": estimate.late} if estimate else {}
        kept[one["name"]] = {"files": one["done_files"], "bytes": one["done_bytes"], **told}
    active = [one.name for one in snapshot.projects if one.state == ProjectState.ACTIVE]
    return {"projects": kept, "active": active, "fingerprint": page["fingerprint"]}


def _notify(ctx: StepContext, page: Mapping[str, Any], now: datetime) -> int:
    """One digest for the site's people, and one per group of people who only look after some projects."""
    site = list(ctx.settings.notifications.mailto)
    today = f"{Kind.DIGEST.value}:{now:%Y-%m-%d}"
    for old in notices.waiting_of(ctx.store, Kind.DIGEST.value):
        # Those of today are there if the daemon died before it kept what they say.
        if old != today and not old.startswith(f"{today}:"):
            notices.withdraw(ctx.store, old, "a newer digest says it")
    data = {name: value for name, value in page.items() if name not in ("fingerprint", "open")}
    notices.put_notice(ctx.store, today, kind=Kind.DIGEST.value, data=data, to=site)
    stored, groups = 1, dict[tuple[str, ...], list[str]]()
    for one in page["projects"]:
        notify = projects.known(ctx.store, one["name"], "notify") or ()
        others = tuple(sorted({address for address in notify if address not in site}))
        if others:
            groups.setdefault(others, []).append(one["name"])
    for number, (to, names) in enumerate(sorted(groups.items()), 1):
        theirs = [one for one in page["projects"] if one["name"] in names and one["state"] != ProjectState.DONE]
        if not theirs:
            continue  # they have the mail that says that it is done
        part = {**data, "projects": theirs, "moved": _together(theirs), "needs": [], "notes": []}
        notices.put_notice(ctx.store, f"{today}:{number}", kind=Kind.DIGEST.value, data=part, to=to)
        stored += 1
    return stored
