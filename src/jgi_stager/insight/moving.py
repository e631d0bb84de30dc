"""Why files that were asked for are not done: tape, manifest, a Globus slot, the transfer, the verification."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from jgi_stager.formatting import ago, count, human_duration, part_of, when
from jgi_stager.insight.facts import Facts, Project, Request, Task
from jgi_stager.insight.measure import percentile
from jgi_stager.insight.waits import NEXT_RUN, Wait, Why, service_wait
from jgi_stager.notices import activity

MOST_SHOWN = 3


def on_tape(facts: Facts, requests: Sequence[Request], source: str | None = None) -> Wait:
    """Why files that were asked for are not delivered. ``requests`` are those they hang on; ``source`` is the JDP
    id where it is about one file."""
    delivered = [one for one in requests if one.state == "ready"]
    requests = [one for one in requests if one.state in ("accepted", "waiting")]
    if delivered and not requests:
        return Wait(Why.TURN, f"request {delivered[0].request_id} is delivered; it goes on {NEXT_RUN}")
    if not requests:
        return Wait(Why.TURN, f"its request is over; the audit lets it start again {NEXT_RUN}")
    oldest = min(requests, key=lambda one: one.asked_at)
    age = facts.now - oldest.asked_at
    if len(requests) == 1:
        named = f"request {oldest.request_id} was made {human_duration(age)} ago"
    else:
        named = f"{count(len(requests), 'request')}, the oldest ({oldest.request_id}) {human_duration(age)} old"
    word = f"; JDP calls it {oldest.word!r}" if oldest.word else ""
    sentence = f"waiting for tape: {named}{word}{_without(requests, source)}; {_usual(facts, age)}"
    if oldest.error:
        sentence += f". The last look failed: {oldest.error}"
    if trouble := service_wait(facts, "jdp"):
        sentence += f". {trouble.sentence[0].upper()}{trouble.sentence[1:]}"
        return Wait(trouble.why, sentence, since=oldest.asked_at, do=trouble.do)
    return Wait(Why.TAPE, sentence, since=oldest.asked_at)


def _without(requests: Sequence[Request], source: str | None) -> str:
    """What a request goes on without, for JDP does not know it."""
    dropped = sum(len(one.not_brought) for one in requests)
    if source is not None:
        said = "; but JDP did not take this file into it: it is asked for again when the rest is delivered"
        return said if any(source in one.not_brought for one in requests) else ""
    return f"; JDP did not take {count(dropped, 'file')} of them: asked for again later" if dropped else ""


def _usual(facts: Facts, age: timedelta) -> str:
    took = [
        (one.ready_at - one.asked_at).total_seconds() for one in facts.past_requests if one.ready_at is not None
    ]
    if not took:
        return "nothing to compare with yet (JGI says: hours, up to a day)"
    if len(took) == 1:
        return f"the one before took {human_duration(timedelta(seconds=took[0]))}"
    low, middle, high, rare = (timedelta(seconds=percentile(took, share)) for share in (0.1, 0.5, 0.9, 0.95))
    compared = f"the last {len(took)} took {human_duration(low)} to {human_duration(high)}"
    long = " - longer than usual; nothing to do but wait" if age > rare and len(took) >= 20 else ""
    return f"{compared}, half of them under {human_duration(middle)}{long}"


def manifest(facts: Facts, requests: Sequence[Request]) -> Wait:
    """Why files that were delivered have no source path yet."""
    if trouble := service_wait(facts, "globus"):
        return trouble
    troubled = [one for one in requests if one.error]
    numbers = ", ".join(str(one.request_id) for one in requests[:MOST_SHOWN])
    fetched = [task for task in facts.tasks if task.kind == "manifests"]
    on_its_way = {number for task in fetched for number in task.request_ids}
    if troubled:
        one = troubled[0]
        next_look = f"; looked at again at {when(one.next_look_at, facts.now)}" if one.next_look_at else ""
        sentence = f"delivered as R{one.request_id}, but {one.error}{next_look}{_expires(facts, [one])}"
        return Wait(Why.MANIFEST, sentence, since=one.ready_at, until=one.next_look_at)
    if any(one.request_id in on_its_way for one in requests):
        return Wait(Why.MANIFEST, f"delivered; the manifest of request {numbers} is on its way through Globus")
    return Wait(Why.MANIFEST, f"delivered; the manifest of request {numbers or '?'} is fetched {NEXT_RUN}")


def slot(facts: Facts, requests: Sequence[Request], project: Project) -> Wait:
    """Why files whose source is known are not in a task."""
    if project.state == "paused":
        sentence = f"delivered, but the project is paused{_expires(facts, requests)}"
        return Wait(Why.PAUSED, sentence, do=f"jgi-stager project resume {project.name}")
    if trouble := service_wait(facts, "globus"):
        return trouble
    flying = [task for task in facts.tasks if task.kind == "files" and task.state != "ended"]
    unsent = [task for task in flying if task.state == "submitting"]
    if unsent and unsent[0].error:
        one = unsent[0]
        sentence = f"a transfer is being submitted since {ago(one.stored_at, facts.now)}: {one.error}"
        return Wait(Why.SERVICE, sentence, since=one.stored_at, until=one.next_look_at)
    if len(flying) >= facts.slots:
        oldest = min(task.begun_at for task in flying)
        sentence = (
            f"waiting for a Globus slot: {len(flying)} of {facts.slots} in use, the oldest for "
            f"{human_duration(facts.now - oldest)}{_expires(facts, requests)}"
        )
        return Wait(Why.SLOT, sentence)
    return Wait(Why.TURN, f"the next transfer takes them, {NEXT_RUN}{_expires(facts, requests)}")


def _expires(facts: Facts, requests: Sequence[Request]) -> str:
    dates = [one.expires_at for one in requests if one.expires_at is not None]
    return f"; the delivery expires {when(min(dates), facts.now)}" if dates else ""


def transfer(facts: Facts, tasks: Sequence[Task], theirs: int | None = None) -> Wait:
    """Why files in a task are not done; ``theirs`` is how many of one project there are, where it is about one."""
    if not tasks:
        return Wait(Why.TURN, f"its task is over; the audit lets it start again {NEXT_RUN}")
    if all(task.state == "ended" for task in tasks):
        return _verification(facts, tasks)
    flying = [task for task in tasks if task.state != "ended"]
    oldest = min(flying, key=lambda task: task.begun_at)
    if still := next((task for task in flying if task.status not in (None, "ACTIVE")), None):
        said = f": {still.nice_status}" if still.nice_status else ""
        sentence = f"Globus task {still.task_id} stands still ({still.status}{said}); it goes on by itself"
        do = f"look at {activity(still.task_id)}: a credential or a paused collection"
        return Wait(Why.STANDSTILL, sentence, since=still.begun_at, do=do)
    moved = sum(task.bytes_moved for task in flying)
    name = f"Globus task {oldest.task_id}" if len(flying) == 1 else count(len(flying), "Globus task")
    sentence = (
        f"in {name}, {'' if len(flying) == 1 else 'the oldest '}begun {ago(oldest.begun_at, facts.now)}: "
        f"{part_of(moved, sum(task.bytes for task in flying))} moved"
    )
    if theirs is not None and sum(task.files for task in tasks) > theirs:
        sentence += ", files of other projects included"
    faults = sum(task.faults for task in flying)
    slow = next((task for task in flying if task.nice_status not in (None, "OK", "Queued")), None)
    if faults:
        sentence += f", {count(faults, 'fault')} so far"
    if slow is not None:
        sentence += f". Globus says {slow.nice_status}{f' ({slow.error})' if slow.error else ''}; it tries again"
    if trouble := service_wait(facts, "globus"):
        sentence += f". {trouble.sentence[0].upper()}{trouble.sentence[1:]}"
        return Wait(trouble.why, sentence, since=oldest.begun_at, do=trouble.do)
    return Wait(Why.TRANSFER, sentence, since=oldest.begun_at)


def _verification(facts: Facts, tasks: Sequence[Task]) -> Wait:
    task = tasks[0]
    if trouble := service_wait(facts, "globus"):
        return trouble
    sentence = f"Globus is done with task {task.task_id}; what arrived is being compared with JDP's size and md5"
    if task.error and task.attempts:
        sentence += f". The last look failed: {task.error}"
    return Wait(Why.VERIFICATION, sentence, since=task.ended_at)
