"""Why pending files are not asked for."""

from __future__ import annotations

from datetime import datetime

from jgi_stager.formatting import count, human_bytes, when
from jgi_stager.insight.facts import Count, Facts, File, Project, Request
from jgi_stager.insight.quota import Turns, used, window
from jgi_stager.insight.waits import NEXT_RUN, Wait, Why, service_wait


def pending(facts: Facts, project: Project, coming: Turns) -> Wait:
    """Why the pending files of a project are not asked for."""
    joining = facts.waiting.joining.get(project.name, 0)
    if joining and joining >= project.of("pending").files:
        return Wait(Why.TURN, f"requests that were made already bring all of them; they join those {NEXT_RUN}")
    if trouble := service_wait(facts, "jdp"):
        return trouble
    now = coming.now.get(project.name, Count())
    if now.files and now.files >= project.of("pending").files:
        return Wait(Why.TURN, f"{_ids(now)} are asked for with the next request, {NEXT_RUN}")
    if now.files:
        rest = f", the rest when the quota allows: {_quota(facts)}"
        return Wait(Why.QUOTA, f"{_ids(now)} are asked for {NEXT_RUN}{rest}", until=coming.next_at)
    put_off = _put_off(facts, project)
    if coming.next_at is None:
        return put_off or Wait(Why.TURN, f"the next planning of requests looks at them, {NEXT_RUN}")
    then = coming.then.get(project.name, Count())
    turn = f"; {_ids(then)} go then" if then.files else "; other projects go first then" if coming.then else ""
    sentence = f"waiting for quota: {_quota(facts, coming.next_at)}{turn}"
    return Wait(Why.QUOTA, sentence, until=coming.next_at)


def _put_off(facts: Facts, project: Project) -> Wait | None:
    """Nothing of the project is a candidate: every pending file is refused, in doubt, or too large for now."""
    doubtful = [one for one in facts.requests if one.state == "unknown" and project.name in one.projects]
    if doubtful:
        return unknown_outcome(facts, doubtful[0])
    if facts.waiting.refused_until:
        first = min(facts.waiting.refused_until.values())
        sentence = f"JDP refused requests with them; they are asked for again from {when(first, facts.now)} on"
        return Wait(Why.REFUSED, f"{sentence}, in smaller groups", until=first)
    if facts.limits.quota_bytes < facts.ceiling:
        return _lowered(facts)
    return None


def pending_file(facts: Facts, file: File, coming: Turns) -> Wait:
    """Why one pending file is not asked for."""
    source = file.source_file_id
    if put_off := _put_off_file(facts, source):
        return put_off
    if trouble := service_wait(facts, "jdp"):
        return trouble
    if (file.size or 0) > facts.limits.quota_bytes:
        return _lowered(facts)
    if source in coming.first_now:
        return Wait(Why.TURN, f"it is asked for with the next request, {NEXT_RUN}")
    return _quota_of_file(facts, file, coming)


def _put_off_file(facts: Facts, source: str) -> Wait | None:
    """It is not a candidate: on its way already, in doubt, or refused lately."""
    now = facts.now
    if number := facts.waiting.joinable.get(source):
        what = "brings it already" if any(one.request_id == number for one in facts.requests) else "was delivered"
        return Wait(Why.TURN, f"request {number} {what}; it joins that {NEXT_RUN} and costs no quota")
    request = next((one for one in facts.requests if one.key == facts.waiting.in_doubt.get(source)), None)
    if request is not None:
        return unknown_outcome(facts, request)
    if until := facts.waiting.refused_until.get(source):
        times = facts.waiting.refused_times.get(source, 1)
        sentence = f"JDP refused {count(times, 'request')} with it; it is asked for again at {when(until, now)}"
        return Wait(Why.REFUSED, f"{sentence}, in a smaller group", until=until)
    return None


def _quota_of_file(facts: Facts, file: File, coming: Turns) -> Wait:
    if file.source_file_id in coming.first_then:
        sentence = f"waiting for quota: {_quota(facts, coming.next_at)}; it goes then"
        return Wait(Why.QUOTA, sentence, until=coming.next_at)
    if coming.next_at:
        then = coming.then.get(file.project, Count())
        sentence = (
            f"waiting for quota and its turn: {_quota(facts, coming.next_at)}; {_ids(then)} of {file.project}"
        )
        return Wait(Why.QUOTA, f"{sentence} go before it", until=coming.next_at)
    return Wait(Why.TURN, f"the next planning of requests looks at it, {NEXT_RUN}")


def _lowered(facts: Facts) -> Wait:
    sentence = (
        f"larger than the quota of {human_bytes(facts.limits.quota_bytes)}, which was lowered at run time from "
        f"{human_bytes(facts.ceiling)}"
    )
    return Wait(Why.LIMIT, sentence, do="jgi-stager limits reset max_restore_bytes")


def unknown_outcome(facts: Facts, request: Request) -> Wait:
    """The answer to a POST was lost."""
    until = request.asked_at + facts.unknown_patience
    sentence = (
        f"the answer to a request of {when(request.asked_at, facts.now)} was lost, and nobody knows whether JDP "
        f"received it: deliveries are searched for it, its {human_bytes(request.bytes)} count as spent, and "
        f"without a trace it is asked for again after {when(until, facts.now)}"
    )
    return Wait(Why.UNKNOWN, sentence, since=request.asked_at, until=until)


def _quota(facts: Facts, at: datetime | None = None) -> str:
    found = window(facts)
    said = used(found)
    if found.next_free_at is None:
        return said
    if at is not None and at > found.next_free_at:
        freed = sum(
            spent.bytes
            for spent in facts.waiting.spent
            if facts.now - facts.limits.window < spent.at <= at - facts.limits.window
        )
        return f"{said}; {human_bytes(max(freed, found.next_free_bytes))} have come free by {when(at, facts.now)}"
    return f"{said}; {human_bytes(found.next_free_bytes)} come free at {when(found.next_free_at, facts.now)}"


def _ids(some: Count) -> str:
    return f"{count(some.files, 'file')} ({human_bytes(some.bytes)})"
