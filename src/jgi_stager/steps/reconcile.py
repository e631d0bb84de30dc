"""Requests whose answer was lost: look for evidence, never ask again blindly.

The evidence is a delivery directory ``R<n>`` that no known request explains, and the ids that it holds: by JDP's
word (``file_ids`` of the status of request ``n``), or, where JDP does not say, by the manifest of the delivery. As
long as it could not be looked for, or JDP says that tape works on the files, nothing is released.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from jgi_stager.clients.globus import TransferItem
from jgi_stager.failures import CallKind, Rejected, Service, ServiceError
from jgi_stager.lifecycle import OPEN_TASKS, RequestState, TaskState
from jgi_stager.manifest_files import content
from jgi_stager.manifests import (
    ManifestNotComplete,
    delivery_name,
    local_name,
    manifest_name,
    merge,
    parse_manifest,
)
from jgi_stager.models import RestoreRequest
from jgi_stager.records import TaskKind, manifest_directory
from jgi_stager.steps import deliveries, jdp_clock, transfers, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.deliveries import source_directory
from jgi_stager.steps.first_contact import seen
from jgi_stager.steps.notify import alert, resolve
from jgi_stager.steps.services import (
    call,
    first_request_poll,
    may_ask,
    process_each,
    reschedule_fields,
    uses_globus,
)
from jgi_stager.store import projects, requests, tasks

log = structlog.get_logger()

T = TypeVar("T")


UNCLAIMED = "unclaimed"
"""Below the manifest directory of a project: manifests that were only fetched to see whose they are."""
FETCH_AGAIN = timedelta(hours=1)
MOST_AT_A_TIME = 50


class Verdict(StrEnum):
    """Whether a delivery is that of a request."""

    EXACT = "ours"
    SUBSET = "part"
    """It holds at least half of what was asked, and nothing else."""
    NOT_OURS = "not ours"


def match_delivery(asked: Collection[str], held: Collection[str]) -> Verdict:
    """Compare ids. JDP drops those that it does not know without a word, and never adds any."""
    wanted, there = set(asked), set(held)
    if there == wanted:
        return Verdict.EXACT
    return Verdict.SUBSET if there < wanted and 2 * len(there) >= len(wanted) else Verdict.NOT_OURS


def is_explained(ctx: StepContext, missing: Iterable[str]) -> bool | None:
    """Whether JDP never took the ids that a delivery lacks: it does not know them, or has them only on tape.

    If it did restore them, another request holds them. None if JDP does not say (the call is undocumented).
    """
    files = deliveries.file_status(ctx, sorted(missing))
    if files is None:
        return None
    if files:
        seen(ctx, "jdp.file_status", f"JDP gives the status of {len(files)} files by their ids")
    return all((file.status or "").upper() == "PURGED" for file in files.values())


def by_manifest(ctx: StepContext, request_id: int, names: Sequence[str]) -> frozenset[str] | None:
    """The ids in the manifest of a delivery, if `fetch` has brought it and it is whole."""
    place = _place(ctx, names)
    try:
        paths = _brought(place, request_id) if place else []
        manifest = merge({path.name: parse_manifest(content(path)) for path in paths}) if paths else None
    except (OSError, ManifestNotComplete):
        return None
    if manifest is None or manifest.torn is not None:
        return None
    # A line that cannot be used names its file all the same, and of a last row only the size can be cut.
    return frozenset({*manifest.rows, *manifest.unusable})


def _brought(place: Path, request_id: int) -> list[Path]:
    """The manifests of a delivery that were brought to ``place``, whatever they are called (`local_name`)."""
    named = [place / manifest_name(request_id), *place.glob(f"{delivery_name(request_id)}_*")]
    return sorted(path for path in named if os.path.lexists(path))[: deliveries.MOST_MANIFESTS]


def fetch(ctx: StepContext, request_ids: Sequence[int], names: Sequence[str]) -> int:
    """Bring the manifests of these deliveries, all in one Globus task. Returns how many are on their way now.

    One that was not whole, or not there, is brought again after a while. ``names`` are the projects of the
    requests in doubt; the manifests go below the first of them that is in the database.
    """
    since = ctx.clock.now() - FETCH_AGAIN
    late = tasks.tasks_in(ctx.store, OPEN_TASKS) + tasks.recent(ctx.store, TaskState.CLOSED, since)
    busy = {number for task in late if task.kind == TaskKind.MANIFESTS for number in task.request_ids}
    place = _place(ctx, names)
    wanted = [number for number in request_ids if number not in busy][:MOST_AT_A_TIME]
    if not wanted or not place or not transfers.free_task_slots(ctx, TaskKind.MANIFESTS):
        return 0
    found = {number: _items(ctx, number, place) for number in wanted}
    items = [item for some in found.values() for item in some]
    if not items or not may_ask(ctx, Service.GLOBUS, kind=CallKind.SUBMIT):
        return 0
    brought = [number for number, some in found.items() if some]
    task = transfers.start(ctx, TaskKind.MANIFESTS, items, request_ids=brought, file_oids=[], size=0)
    return len(brought) if task else 0


def _items(ctx: StepContext, request_id: int, place: Path) -> list[TransferItem]:
    """What brings the manifests of one delivery; nothing if there are none, or Globus does not say."""
    check, item = partial(deliveries.locate, ctx, request_id), f"delivery R{request_id}"
    found = call(ctx, Service.GLOBUS, check, item, deliveries.NOT_EXPLAINED, request_id=request_id)
    return [
        TransferItem(
            f"{source_directory(ctx, request_id, one.directory)}/{one.name}",
            str(place / local_name(request_id, one.directory, one.name)),
        )
        for listing in found or ()
        for one in listing.manifests
    ]


def _place(ctx: StepContext, names: Sequence[str]) -> Path | None:
    found = ((name, projects.known(ctx.store, name, "analysis_projects_dir")) for name in names)
    known = next(((name, directory) for name, directory in found if directory), None)
    return None if known is None else Path(manifest_directory(known[1], known[0])) / UNCLAIMED


TAPE_WORKS = frozenset({"RESTORE_REGISTERED", "RESTORE_IN_PROGRESS"})
"""Words of JDP for a file that somebody asked for and that is not on disk yet."""
SETTLING = timedelta(hours=6)
LONGEST_DOUBT = timedelta(days=14)
"""What tape works on for longer than a delivery lives is no evidence any more."""

Doubt = Sequence[RestoreRequest]
"""The requests in doubt."""


class Found(NamedTuple):
    """A delivery at JGI that no known request explains."""

    request_id: int
    changed_at: datetime | None
    """When its directory changed last."""


def run(ctx: StepContext) -> int:
    """Adopt what can be proven to have arrived; release what stayed without evidence for too long."""
    unknown = requests.requests_in(ctx.store, RequestState.UNKNOWN)
    if not unknown or jdp_clock.span(ctx) is None:
        return 0  # while the clocks disagree nothing could be dated
    fresh = _fresh_deliveries(ctx, unknown)
    if fresh is None:
        return 0
    held, silent = _ask_jdp(ctx, fresh)
    # First what is certain: a part of the ids may be somebody else's, while ours lies beside it.
    moved = sum(
        _adopt_if_exact(ctx, found, held[found.request_id], unknown) for found in fresh if found.request_id in held
    )
    compared = set[int]()
    if silent:
        moved += _compare_manifests(ctx, silent, unknown, compared)
    undecided = any(found.request_id not in compared for found in silent)
    for found in fresh:
        if found.request_id in held:
            moved += _adopt_part(ctx, found, held[found.request_id], compared, undecided=undecided)
    for document in unknown:
        seen = sorted({*(document.compared or ()), *compared})
        requests.update_request(ctx.store, document.key, RequestState.UNKNOWN, compared=seen)
    if compared.issuperset(found.request_id for found in fresh):
        moved += _release_overdue(ctx)
    return moved


def _fresh_deliveries(ctx: StepContext, unknown: Doubt) -> list[Found] | None:
    """Deliveries that no known request explains and that were not compared with every request in doubt, newest
    first; None if they cannot be listed now. Without Globus there are none to be seen."""
    if not uses_globus(ctx):
        return []
    found: dict[int, datetime | None] = {}

    def check(_: StepContext, __: RestoreRequest) -> int:
        found.update(deliveries.unmatched(ctx))
        return 1

    if not process_each(ctx, Service.GLOBUS, [unknown[0]], check, _reschedule):
        return None
    compared = set.intersection(*(set(document.compared or ()) for document in unknown))
    return [Found(request_id, at) for request_id, at in found.items() if request_id not in compared]


def _ask_jdp(ctx: StepContext, fresh: Sequence[Found]) -> tuple[dict[int, Collection[str]], list[Found]]:
    """The ids of each delivery by JDP's word, and the deliveries of which it has nothing to say, though it
    answers: such as of a request that it has forgotten. The manifests tell of those."""
    held: dict[int, Collection[str]] = {}
    silent: list[Found] = []
    for found in fresh:
        if not may_ask(ctx, Service.JDP):
            break
        ids = _call(ctx, partial(_ids_of, ctx, found.request_id), found)
        if ids:
            held[found.request_id] = ids
        elif ids is not None or _answers(ctx):
            silent.append(found)
    return held, silent


def _ids_of(ctx: StepContext, request_id: int) -> Collection[str]:
    try:
        return ctx.jdp.request_status(request_id).file_ids
    except Rejected:
        return ()


def _call(ctx: StepContext, ask: Callable[[], T], found: Found) -> T | None:
    """What JDP answers about one delivery; None if it may not be asked now or fails."""
    number = found.request_id
    return call(ctx, Service.JDP, ask, f"delivery R{number}", deliveries.NOT_EXPLAINED, request_id=number)


def _answers(ctx: StepContext) -> bool:
    """Whether JDP answers at all: if so, one question to which it has no answer holds up nothing for ever."""
    try:
        ctx.jdp.probe()
    except ServiceError:
        return False
    return True


def _reschedule(ctx: StepContext, document: RestoreRequest, error: str, seconds: float) -> None:
    fields = reschedule_fields(ctx, document, error, seconds)
    requests.update_request(ctx.store, document.key, RequestState.UNKNOWN, **fields)


def _adopt_if_exact(ctx: StepContext, found: Found, held: Collection[str], unknown: Doubt) -> int:
    document, verdict = _best(held, unknown)
    if document is None or verdict != Verdict.EXACT:
        return 0
    return _adopt(ctx, found, document, f"request {found.request_id} at JDP holds", held, delivered=False)


def _adopt_part(
    ctx: StepContext, found: Found, held: Collection[str], compared: set[int], *, undecided: bool
) -> int:
    """Adopt a delivery of a part of our ids, if the others were never restored. Where JDP does not say whether,
    only once no other delivery is ``undecided``. Noted in ``compared`` when it is settled."""

    def compare() -> int:
        document, _verdict = _best(held, requests.requests_in(ctx.store, RequestState.UNKNOWN))
        if document is not None:
            explained = is_explained(ctx, set(document.file_ids) - set(held))
            if explained is None and undecided:
                return 0
            if explained is not False:
                compared.add(found.request_id)
                why = f"request {found.request_id} at JDP holds"
                return _adopt(ctx, found, document, why, held, delivered=False)
        compared.add(found.request_id)
        return 0

    return _call(ctx, compare, found) or 0


def _compare_manifests(ctx: StepContext, silent: Sequence[Found], unknown: Doubt, compared: set[int]) -> int:
    """Compare deliveries of which JDP says nothing, and note in ``compared`` those that are settled."""
    names = [name for document in unknown for name in document.projects]
    open_ones: list[int] = []
    moved = 0

    def compare(found: Found) -> int:
        held = by_manifest(ctx, found.request_id, names)
        document, verdict = _best(held or (), unknown)
        if document is not None and held is not None:
            missing = set(document.file_ids) - held
            if verdict == Verdict.EXACT or is_explained(ctx, missing):
                compared.add(found.request_id)
                why = f"the manifest of delivery R{found.request_id} holds"
                return _adopt(ctx, found, document, why, held, delivered=True)
        if held is not None and document is None:
            compared.add(found.request_id)
        else:
            open_ones.append(found.request_id)
        return 0

    for found in silent:
        moved += _call(ctx, partial(compare, found), found) or 0
    given_up = _note_open(ctx, open_ones, unknown)
    compared.update(given_up)
    fetch(ctx, [number for number in open_ones if number not in given_up], names)
    return moved


def _note_open(ctx: StepContext, open_ones: Sequence[int], unknown: Doubt) -> set[int]:
    """Remember since when it cannot be told whose a delivery is. Those of which it took too long count as none."""
    now, grace = ctx.clock.now(), timedelta(hours=ctx.settings.jdp.manifest_patience_hours)
    since = {number: at for document in unknown for number, at in (document.undecided or {}).items()}
    since = {str(number): since.get(str(number), now) for number in open_ones}
    for document in unknown:
        requests.update_request(ctx.store, document.key, RequestState.UNKNOWN, undecided=since)
    return {number for number in open_ones if now - since[str(number)] >= grace}


def _best(held: Collection[str], unknown: Doubt) -> tuple[RestoreRequest | None, Verdict]:
    """The request in doubt that a delivery of these ids is of, if any."""
    for document in unknown:
        verdict = match_delivery(document.file_ids, held)
        if verdict != Verdict.NOT_OURS:
            return document, verdict
    return None, Verdict.NOT_OURS


def _adopt(
    ctx: StepContext,
    found: Found,
    document: RestoreRequest,
    why: str,
    held: Collection[str],
    *,
    delivered: bool,
) -> int:
    """A request in doubt has its number; with ``delivered`` JDP's word that it is ready is not waited for.

    Its POST may have been held up on the way, long after we gave up. It arrived before the delivery was written,
    so its bytes count from then on.
    """
    receipt = jdp_clock.receipt(ctx)
    resolve(ctx, f"unnumbered:{document.key}", f"its delivery R{found.request_id} is there")
    moved = transitions.adopt_request(
        ctx.store,
        document.key,
        first_request_poll(ctx),
        f"{why} {len(held)} of its {len(document.file_ids)} files",
        request_id=found.request_id,
        submitted_at=min(receipt, max(document.asked_at, found.changed_at or receipt)),
        dropped=sorted(set(document.file_ids) - set(held)),
    )
    fresh = requests.get_request(ctx.store, document.key) if delivered and moved is not None else None
    if fresh is not None:
        moved = (moved or 0) + transitions.deliver_request(ctx.store, fresh, {"expiration_date": None})
    return moved or 0


def _release_overdue(ctx: StepContext) -> int:
    jdp, now = ctx.settings.jdp, ctx.clock.now()
    grace = timedelta(hours=jdp.unknown_patience_hours or jdp.quota_window_hours)
    # What JDP answered, if with no number, was received: time alone does not release it.
    still = [one for one in requests.requests_in(ctx.store, RequestState.UNKNOWN) if one.answer is None]
    overdue = [document for document in still if jdp_clock.is_past(ctx, document.asked_at + grace)]

    def release(_: StepContext, document: RestoreRequest) -> int:
        return 0 if _tape_works(ctx, document, now) else _release(ctx, document)

    return process_each(ctx, Service.JDP, overdue, release, _reschedule, anonymous=True)


def _tape_works(ctx: StepContext, document: RestoreRequest, now: datetime) -> bool:
    """Whether JDP says that tape works on files of this request: then it may well have arrived."""
    if now - document.asked_at > LONGEST_DOUBT:
        return False
    files = deliveries.file_status(ctx, document.file_ids, request=document.key)
    if files is None:
        return False  # patience alone decides
    working = sum((file.status or "").upper() in TAPE_WORKS for file in files.values())
    if working:
        log.info("request_in_doubt", request=document.key, files_on_their_way=working)
        requests.update_request(ctx.store, document.key, RequestState.UNKNOWN, working_at=now)
    # Between the tape and the delivery directory JDP needs a while.
    last = document.working_at
    return working > 0 or (last is not None and now - last < SETTLING)


def _release(ctx: StepContext, document: RestoreRequest) -> int:
    hours = (ctx.clock.now() - document.asked_at).total_seconds() / 3600
    alert(
        ctx,
        f"released:{document.key}",
        f"no trace of a request for {len(document.file_ids)} files; they are asked for again",
        f"The answer to a request of {document.reserved_at:%Y-%m-%d %H:%M} UTC was lost, and for "
        f"{hours:.0f} hours nothing showed that JDP had received it. Its bytes counted against the quota all "
        "that time.",
        you="nothing to do, it goes on by itself; you hear of the project when it is done or needs you.",
        lasts=None,
    )
    transitions.release_request(ctx.store, document)
    return 1
