"""Why a file or a project waits: each reason with its evidence, since when, and until when if that is known.

First what holds whatever the state (the daemon is down, a service cannot be used), then why pending files are not
asked for, then why files that were asked for are not done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from jgi_stager.alarm_models import Alarm
from jgi_stager.failures import Service
from jgi_stager.formatting import ago, count, human_bytes, human_duration, when
from jgi_stager.lifecycle import ON_TAPE_REQUESTS
from jgi_stager.notices import activity
from jgi_stager.outages import Outage, under_way
from jgi_stager.planning import bytes_in_window
from jgi_stager.reporting.eta import percentile
from jgi_stager.reporting.quota import Turns, used, window
from jgi_stager.reporting.snapshot_types import (
    Count,
    DaemonView,
    File,
    Project,
    Request,
    ServiceView,
    Snapshot,
)


class ReasonCode(StrEnum):
    """What a file or project waits for. Stable: programs may read it."""

    NOTHING = "nothing"
    DAEMON = "daemon"
    PERSON = "person"
    SERVICE = "service"
    OUTAGE = "outage"
    NEW = "new"
    DISCOVERY = "discovery"
    ADOPTION = "adoption"
    TURN = "turn"
    QUOTA = "quota"
    LIMIT = "limit"
    ROOM = "room"
    TRIAL = "trial"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    COPY = "copy"
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
    ALARM = "alarm"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class BlockedReason:
    """One reason. ``until`` is when it ends by itself, where that is known; ``do`` the command that helps."""

    why: ReasonCode
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


def daemon_wait(daemon: DaemonView, now: datetime) -> BlockedReason | None:
    """The daemon does not run: nothing else matters then."""
    if daemon.alive:
        return None
    seen = f"; it was last seen {ago(daemon.seen_at, now)}" if daemon.seen_at else ""
    sentence = f"nothing moves: the daemon does not run{seen}"
    return BlockedReason(
        ReasonCode.DAEMON, sentence, since=daemon.seen_at, do="systemctl start jgi-stager  (or: jgi-stager run)"
    )


def alarm_wait(alarm: Alarm, now: datetime) -> BlockedReason:
    """Something that people were told of, and that is not over."""
    sentence = f"{alarm.subject}, since {when(alarm.opened_at, now)}: {alarm.found}"
    return BlockedReason(ReasonCode.ALARM, sentence, since=alarm.opened_at, do=what_to_do(alarm))


def what_to_do(alarm: Alarm) -> str:
    """What a person does about it, with the command if there is one."""
    return f"{alarm.you.rstrip('.')}: {alarm.command}" if alarm.command else alarm.you


def service_wait(snapshot: Snapshot, *names: str) -> BlockedReason | None:
    """The first of the named services that cannot be used now, or is announced not to do its work."""
    for name in names:
        view = snapshot.daemon.service_down(name)
        planned = under_way(snapshot.outages, snapshot.now, (Service(name),))
        if planned is not None and (view is None or view.state != "needs_person"):
            return outage_wait(planned, snapshot.now)
        if view is None:
            continue
        begun = since(snapshot, view)
        said = f" since {when(begun, snapshot.now)}" if begun else ""
        if view.state == "needs_person":
            finding, evidence = found_out(view)
            sentence = f"waiting for a person{said}: {finding}"
            return BlockedReason(ReasonCode.PERSON, sentence, since=begun, do=view.cure, evidence=evidence)
        sentence = f"{name.upper()} cannot be used{said}; it is tried again by itself"
        return BlockedReason(ReasonCode.SERVICE, sentence, since=begun)
    return None


def outage_wait(planned: Outage, now: datetime) -> BlockedReason:
    """What was announced: it ends by itself."""
    sentence = f"{planned.title}, until {when(planned.end, now)}; it goes on by itself"
    return BlockedReason(ReasonCode.OUTAGE, sentence, since=planned.start, until=planned.end)


def found_out(view: ServiceView) -> tuple[str, str | None]:
    """What is wrong with a service in plain words, and the answer from outside that shows it, if any."""
    evidence, _, finding = (view.problem or "a person is needed").rpartition("; ")
    return finding, evidence or None


def since(snapshot: Snapshot, view: ServiceView) -> datetime | None:
    """Since when a service cannot be used: a credential since it died, which a restart of the daemon does not
    change."""
    login = snapshot.logins.get(view.name)
    dead = login.dead_since if login is not None and view.state == "needs_person" else None
    return dead or view.since


# --- pending: not asked for yet -----------------------------------------------------------------------------


def pending(snapshot: Snapshot, project: Project, coming: Turns) -> BlockedReason:
    """Why the pending files of a project are not asked for."""
    joining = snapshot.waiting.joining.get(project.name, 0)
    if joining and joining >= project.of("pending").files:
        return BlockedReason(
            ReasonCode.TURN, f"requests that were made already bring all of them; they join those {NEXT_RUN}"
        )
    first = adoption(snapshot, project) if 0 < project.of("pending").files <= project.looked_for else None
    first = first or service_wait(snapshot, "jdp") or held_back(snapshot) or _room(project, coming)
    if first := first or trial(snapshot, coming):
        return first
    now, about = coming.now.get(project.name, Count()), coming.about(project.name)
    going = f"{about}{_ids(now)} are asked for"
    if now.files and now.files >= project.of("pending").files:
        return BlockedReason(ReasonCode.TURN, f"{going} with the next request, {NEXT_RUN}")
    if now.files:
        rest = f", the rest when the quota allows: {_quota(snapshot)}"
        return BlockedReason(ReasonCode.QUOTA, f"{going} {NEXT_RUN}{rest}", until=coming.next_at)
    put_off = _put_off(snapshot, project)
    if coming.next_at is None:
        return put_off or BlockedReason(
            ReasonCode.TURN, f"the next planning of requests looks at them, {NEXT_RUN}"
        )
    then = coming.then.get(project.name, Count())
    turn = (
        f"; {about}{_ids(then)} go then" if then.files else "; other projects go first then" if coming.then else ""
    )
    sentence = f"waiting for quota: {_quota(snapshot, coming.next_at)}{turn}"
    return BlockedReason(ReasonCode.QUOTA, sentence, until=coming.next_at)


def _room(project: Project | None, coming: Turns) -> BlockedReason | None:
    """Its destination has not the room; what it may have of a trial goes all the same."""
    if project is None or project.no_room is None or coming.now.get(project.name):
        return None
    lack = project.no_room
    sentence = f"waiting for room at its destination, {human_bytes(lack.missing)} are missing: {lack.why}"
    return BlockedReason(
        ReasonCode.ROOM, sentence, since=lack.since, do=f"make room, or: jgi-stager project resume {project.name}"
    )


def adoption(snapshot: Snapshot, project: Project | None) -> BlockedReason:
    """What may lie at its destination already is looked for there first."""
    tasks = () if project is None else project.foreign_tasks
    if tasks:
        sentence = (
            f"waiting for {count(len(tasks), 'Globus task')} of the scripts ({tasks[0]}), which may write where "
            "the files go; then they are looked for there, and what is missing is asked for"
        )
        do = f"look at {activity(tasks[0])}: let it go on, or cancel it"
        return BlockedReason(ReasonCode.ADOPTION, sentence, do=do)
    if trouble := service_wait(snapshot, "globus"):
        return trouble
    sentence = f"looked for at the destination {NEXT_RUN}, or as long as reading takes"
    return BlockedReason(ReasonCode.ADOPTION, f"{sentence}; asked for from JDP if it is not there")


def trial(snapshot: Snapshot, coming: Turns) -> BlockedReason | None:
    """Little is asked now: a small request goes first, or an alarm is open beside which the rest waits."""
    caution = snapshot.waiting.caution
    if caution.is_none or (caution.alarm_since is None and not snapshot.waiting.demands):
        return None
    if caution.alarm_since is not None:
        sentence = f"waiting until this is explained: {caution.alarm}; one small request at most is asked before"
        return BlockedReason(ReasonCode.TRIAL, sentence, since=caution.alarm_since, do="jgi-stager status")
    rest = "the rest follows by itself when its files were verified"
    under_way = caution.under_way()
    if under_way is None:
        next_ones = Count(
            sum(one.files for one in coming.now.values()), sum(one.bytes for one in coming.now.values())
        )
        what = f"a trial of {_ids(next_ones)}" if next_ones.files else "a trial of a few small files"
        return BlockedReason(ReasonCode.TRIAL, f"{what} goes first, {NEXT_RUN}; {rest}")
    late_at = under_way.at + snapshot.waiting.grace
    number = f"request {under_way.request_id}" if under_way.request_id is not None else "a request"
    sentence = f"a trial of {_ids(Count(under_way.files, under_way.bytes))} goes first ({number}); {rest}"
    until = late_at if late_at > snapshot.now else None
    return BlockedReason(ReasonCode.TRIAL, sentence, since=under_way.at, until=until)


def _put_off(snapshot: Snapshot, project: Project) -> BlockedReason | None:
    """Nothing of the project is a candidate: every pending file is refused, in doubt, or too large for now."""
    doubtful = [one for one in snapshot.requests if one.state == "unknown" and project.name in one.projects]
    if doubtful:
        return unknown_outcome(snapshot, doubtful[0])
    if snapshot.waiting.refused_until:
        first = min(snapshot.waiting.refused_until.values())
        sentence = f"JDP refused requests with them; they are asked for again from {when(first, snapshot.now)} on"
        return BlockedReason(ReasonCode.REFUSED, f"{sentence}, in smaller groups", until=first)
    if snapshot.limits.quota_bytes < snapshot.ceiling:
        return _lowered(snapshot)
    return None


def pending_file(snapshot: Snapshot, file: File, coming: Turns) -> BlockedReason:
    """Why one pending file is not asked for."""
    source = file.source_file_id
    looked_for = adoption(snapshot, snapshot.project(file.project)) if file.look_first else None
    if put_off := looked_for or _put_off_file(snapshot, source):
        return put_off
    if trouble := service_wait(snapshot, "jdp") or held_back(snapshot):
        return trouble
    if (file.size or 0) > snapshot.limits.quota_bytes:
        return _lowered(snapshot)
    if source in coming.first_now:
        return BlockedReason(ReasonCode.TURN, f"it is asked for with the next request, {NEXT_RUN}")
    if careful := _room(snapshot.project(file.project), coming) or trial(snapshot, coming):
        return careful
    return _quota_of_file(snapshot, file, coming)


def _put_off_file(snapshot: Snapshot, source: str) -> BlockedReason | None:
    """It is not a candidate: on its way already, in doubt, or refused lately."""
    now = snapshot.now
    if number := snapshot.waiting.joinable.get(source):
        what = (
            "brings it already" if any(one.request_id == number for one in snapshot.requests) else "was delivered"
        )
        return BlockedReason(
            ReasonCode.TURN, f"request {number} {what}; it joins that {NEXT_RUN} and costs no quota"
        )
    request = next((one for one in snapshot.requests if one.key == snapshot.waiting.in_doubt.get(source)), None)
    if request is not None:
        return unknown_outcome(snapshot, request)
    if until := snapshot.waiting.refused_until.get(source):
        times = snapshot.waiting.refused_times.get(source, 1)
        sentence = f"JDP refused {count(times, 'request')} with it; it is asked for again at {when(until, now)}"
        return BlockedReason(ReasonCode.REFUSED, f"{sentence}, in a smaller group", until=until)
    return None


def _quota_of_file(snapshot: Snapshot, file: File, coming: Turns) -> BlockedReason:
    if file.source_file_id in coming.first_then:
        sentence = f"waiting for quota: {_quota(snapshot, coming.next_at)}; it goes then"
        return BlockedReason(ReasonCode.QUOTA, sentence, until=coming.next_at)
    if coming.next_at:
        then = coming.then.get(file.project, Count())
        sentence = (
            f"waiting for quota and its turn: {_quota(snapshot, coming.next_at)}; {coming.about(file.project)}"
            f"{_ids(then)} of {file.project}"
        )
        return BlockedReason(ReasonCode.QUOTA, f"{sentence} go before it", until=coming.next_at)
    return BlockedReason(ReasonCode.TURN, f"the next planning of requests looks at it, {NEXT_RUN}")


def held_back(snapshot: Snapshot) -> BlockedReason | None:
    """Nothing is asked for, of nobody: an answer of JDP is not explained, or it refused the amount."""
    if snapshot.waiting.unnumbered:
        key = snapshot.waiting.unnumbered[0][:12]
        sentence = (
            "JDP answered a request, but with no number of its own: nothing else is asked for until its delivery "
            "is found, or a person says what became of it"
        )
        return BlockedReason(
            ReasonCode.PERSON,
            sentence,
            do=f"jgi-stager requests explain {key} --arrived NUMBER (or --not-arrived)",
        )
    until = snapshot.waiting.held_until
    if until is None:
        return None
    sentence = (
        f"JDP counts more than we do, and refused the amount: asked for again at {when(until, snapshot.now)}"
    )
    return BlockedReason(ReasonCode.QUOTA, sentence, until=until, do="jgi-stager limits show")


def _lowered(snapshot: Snapshot) -> BlockedReason:
    sentence = (
        f"larger than the quota of {human_bytes(snapshot.limits.quota_bytes)}, which was lowered at run time from "
        f"{human_bytes(snapshot.ceiling)}"
    )
    return BlockedReason(ReasonCode.LIMIT, sentence, do="jgi-stager limits reset max_restore_bytes")


def unknown_outcome(snapshot: Snapshot, request: Request) -> BlockedReason:
    """The answer to a POST was lost, or had no number of its own."""
    if request.key in snapshot.waiting.unnumbered and (back := held_back(snapshot)):
        return back
    until = request.asked_at + snapshot.unknown_grace
    sentence = (
        f"the answer to a request of {when(request.asked_at, snapshot.now)} was lost, and nobody knows whether "
        f"JDP received it: deliveries are searched for it, its {human_bytes(request.bytes)} count as spent, and "
        f"without a trace it is asked for again after {when(until, snapshot.now)}"
    )
    return BlockedReason(ReasonCode.UNKNOWN, sentence, since=request.asked_at, until=until)


def _quota(snapshot: Snapshot, at: datetime | None = None) -> str:
    found = window(snapshot)
    said = used(found)
    if found.next_free_at is None:
        return said
    if at is not None and at > found.next_free_at:
        then = bytes_in_window(snapshot.waiting.spent, at, snapshot.limits.window)
        freed = found.used - then
        return (
            f"{said}; {human_bytes(max(freed, found.next_free_bytes))} have come free by {when(at, snapshot.now)}"
        )
    return f"{said}; {human_bytes(found.next_free_bytes)} come free at {when(found.next_free_at, snapshot.now)}"


def _ids(some: Count) -> str:
    return f"{count(some.files, 'file')} ({human_bytes(some.bytes)})"


# --- asked for: tape, manifest, Globus slot, transfer, verification -----------------------------------------


MOST_SHOWN = 3


def on_tape(snapshot: Snapshot, requests: Sequence[Request], source: str | None = None) -> BlockedReason:
    """Why files that were asked for are not delivered. ``requests`` are those they hang on; ``source`` is the JDP
    id where it is about one file."""
    delivered = [one for one in requests if one.state == "ready"]
    requests = [one for one in requests if one.state in ON_TAPE_REQUESTS]
    if delivered and not requests:
        return BlockedReason(
            ReasonCode.TURN, f"request {delivered[0].request_id} is delivered; it goes on {NEXT_RUN}"
        )
    if not requests:
        return BlockedReason(ReasonCode.TURN, f"its request is over; the audit lets it start again {NEXT_RUN}")
    oldest = min(requests, key=lambda one: one.asked_at)
    age = snapshot.now - oldest.asked_at
    if len(requests) == 1:
        named = f"request {oldest.request_id} was made {human_duration(age)} ago"
    else:
        named = f"{count(len(requests), 'request')}, the oldest ({oldest.request_id}) {human_duration(age)} old"
    word = f"; JDP calls it {oldest.word!r}" if oldest.word else ""
    sentence = f"waiting for tape: {named}{word}{_without(requests, source)}; {_usual(snapshot, age)}"
    if oldest.error:
        sentence += f". The last look failed: {oldest.error}"
    if trouble := service_wait(snapshot, "jdp"):
        sentence += f". {trouble.sentence[0].upper()}{trouble.sentence[1:]}"
        return BlockedReason(trouble.why, sentence, since=oldest.asked_at, do=trouble.do)
    return BlockedReason(ReasonCode.TAPE, sentence, since=oldest.asked_at)


def _without(requests: Sequence[Request], source: str | None) -> str:
    """What requests go on without, for JDP does not know it. Counted in ids: other projects may share them."""
    if source is not None:
        said = "; but JDP did not take this file into it: it is asked for again when the rest is delivered"
        return said if any(source in one.not_brought for one in requests) else ""
    dropped, asked = sum(len(one.not_brought) for one in requests), sum(one.ids for one in requests)
    return (
        f"; JDP did not take {dropped} of the {asked} ids asked for: they are asked for again" if dropped else ""
    )


def _usual(snapshot: Snapshot, age: timedelta) -> str:
    return compared(tape_seconds(snapshot), age, "nothing to compare with yet (JGI says: hours, up to a day)")


def tape_seconds(snapshot: Snapshot) -> list[float]:
    """How long each of the last requests took to be delivered."""
    return [(one.ready_at - one.asked_at).total_seconds() for one in snapshot.past_requests if one.ready_at]


def compared(took: Sequence[float], age: timedelta, unknown: str) -> str:
    """How an age compares with what those before took (seconds); ``unknown`` where there was none."""
    if not took:
        return unknown
    if len(took) == 1:
        return f"the one before took {human_duration(timedelta(seconds=took[0]))}"
    low, middle, high, rare = (timedelta(seconds=percentile(took, share)) for share in (0.1, 0.5, 0.9, 0.95))
    said = f"the last {len(took)} took {human_duration(low)} to {human_duration(high)}"
    long = " - longer than usual; nothing to do but wait" if age > rare and len(took) >= 20 else ""
    return f"{said}, half of them under {human_duration(middle)}{long}"


def manifest(snapshot: Snapshot, requests: Sequence[Request]) -> BlockedReason:
    """Why files that were delivered have no source path yet."""
    if trouble := service_wait(snapshot, "globus"):
        return trouble
    troubled = [one for one in requests if one.error]
    numbers = ", ".join(str(one.request_id) for one in requests[:MOST_SHOWN])
    fetched = [task for task in snapshot.tasks if task.kind == "manifests"]
    on_its_way = {number for task in fetched for number in task.request_ids}
    if troubled:
        one = troubled[0]
        next_look = f"; looked at again at {when(one.next_look_at, snapshot.now)}" if one.next_look_at else ""
        sentence = f"delivered as R{one.request_id}, but {one.error}{next_look}{expires(snapshot, [one])}"
        return BlockedReason(ReasonCode.MANIFEST, sentence, since=one.ready_at, until=one.next_look_at)
    if any(one.request_id in on_its_way for one in requests):
        return BlockedReason(
            ReasonCode.MANIFEST, f"delivered; the manifest of request {numbers} is on its way through Globus"
        )
    return BlockedReason(
        ReasonCode.MANIFEST, f"delivered; the manifest of request {numbers or '?'} is fetched {NEXT_RUN}"
    )


def expires(snapshot: Snapshot, requests: Sequence[Request]) -> str:
    """When the first of these deliveries expires, as the end of a sentence."""
    dates = [one.expires_at for one in requests if one.expires_at is not None]
    return f"; the delivery expires {when(min(dates), snapshot.now)}" if dates else ""
