"""How a step asks an outside service: whether it may, and what answers and failures mean for the next call.

One document that fails leaves the others alone. What a service says of itself goes to the circuit breaker; what it
says of its credential goes to people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import structlog

from jgi_stager.alarm_models import Cause
from jgi_stager.failures import (
    CallKind,
    NeedsPerson,
    OutcomeUnknown,
    Rejected,
    Service,
    ServiceError,
    Transient,
)
from jgi_stager.lifecycle import IllegalMoveError
from jgi_stager.retry import retry_delay
from jgi_stager.secrets import CREDENTIALS, credential_fingerprint
from jgi_stager.staged_tree import list_here
from jgi_stager.steps import consents, credential_notices
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert
from jgi_stager.store import RecordTooLarge, StoreError, inspection, tasks
from jgi_stager.stored import StoredDocument

log = structlog.get_logger()

T = TypeVar("T")
R = TypeVar("R")
D = TypeVar("D", bound=StoredDocument)


@dataclass(frozen=True)
class Called:
    """What a call is about that belongs to no document."""

    key: str


LONGEST_ERROR = 500
"""Characters of a reason that are kept on a request or task."""
ASKED_AHEAD = 4
"""Times as many answers as calls at a time may wait to be kept."""
KEPT_TOGETHER = 2000
"""What answers that are kept together weigh at most, but for the last of them."""


def may_ask(ctx: StepContext, service: Service, *, anonymous: bool = False, kind: CallKind | None = None) -> bool:
    """Whether ``service`` may be asked now, and the daemon is not about to stop.

    ``anonymous``: for a call that needs no credential, so that a dead one does not hold it up. ``kind``: for one
    that may be refused to a login that is good otherwise.
    """
    if ctx.stop.is_set() or (service is Service.GLOBUS and not uses_globus(ctx)):
        return False
    return ctx.circuit_breaker.allows(
        service, ctx.clock.now(), credential_fingerprint(ctx.secrets, service), anonymous=anonymous, kind=kind
    )


def uses_globus(ctx: StepContext) -> bool:
    """Whether Globus is asked for anything: where files are downloaded only for what it was given before."""
    return ctx.settings.staging.method == "globus" or tasks.any_open(ctx.store)


def record_answer(ctx: StepContext, service: Service, *, anonymous: bool = False) -> None:
    """Note that ``service`` answered; if a person had been needed until now, say that it is solved.

    An ``anonymous`` call says nothing about the credential.
    """
    out = ctx.circuit_breaker.is_out(service)
    lacks = consents.still_lacking(ctx, ctx.circuit_breaker.lacks(service))
    proof = ctx.circuit_breaker.succeeded(service, anonymous=anonymous, lacks=lacks)
    if service in CREDENTIALS and not anonymous:
        credential_notices.record_success(ctx, service, proof=proof)
    elif out or ctx.circuit_breaker.is_first_answer(service):
        credential_notices.record_reachable(ctx, service)


def record_failure(ctx: StepContext, error: ServiceError, item: object = None) -> None:
    """Note a failure of a service; if a person is needed, say so by mail, once.

    ``item`` names what was asked about, where the same is asked about again and again.
    """
    if isinstance(error, Transient) and error.answered:
        record_answer(ctx, error.service, anonymous=True)
        return
    ctx.circuit_breaker.failed(error, ctx.clock.now(), credential_fingerprint(ctx.secrets, error.service), item)
    if isinstance(error, NeedsPerson):
        log.warning("needs_person", service=error.service.value, problem=str(error), cure=error.cure)
        if (lack := error.of_one_kind) is not None:
            consents.notify_lack(ctx, lack, str(error))
        else:
            credential_notices.record_rejected(ctx, error)
    elif isinstance(error, Transient) and ctx.circuit_breaker.is_out(error.service):
        credential_notices.record_outage(ctx, error)


def call(
    ctx: StepContext, service: Service, ask: Callable[[], T], item: str, event: str, **about: object
) -> T | None:
    """What ``service`` answers to one call that belongs to no document; None if it may not be asked now or fails.

    ``item`` names what is asked about. A failure is noted as for any other call, and logged as ``event`` with what
    it is ``about``.
    """
    if not may_ask(ctx, service):
        return None
    try:
        answer = ask()
    except RecordTooLarge as error:
        too_large(ctx, Called(item), error)
        return None
    except StoreError:
        raise
    except ServiceError as error:
        record_failure(ctx, error, item if isinstance(error, Transient) else None)
        log.warning(event, **about, error=str(error)[:LONGEST_ERROR])
        return None
    except Exception as error:
        log.exception("step_bug", document=item, illegal=isinstance(error, IllegalMoveError))
        alert_bug(ctx, Called(item), error)
        return None
    record_answer(ctx, service)
    return answer


def files_at_destination(ctx: StepContext, directory: str) -> dict[str, int | None]:
    """The regular files in a directory where files arrive, and their sizes (bytes): as Globus lists it, or, where
    files are downloaded, as this machine sees it. Raises what the Globus client raises: `Rejected` if it cannot be
    seen."""
    if ctx.settings.staging.method == "https":
        try:
            here = list_here(directory) or {}
        except OSError as error:
            raise Rejected(Service.DOWNLOADS, f"{directory}: {error.strerror or error}") from None
        return {name: entry.size for name, entry in here.items() if entry.kind == "file"}
    entries = ctx.globus.ls(ctx.settings.globus.nersc_collection_id, directory)
    return {entry.name: entry.size for entry in entries or () if entry.type == "file"}


def reschedule_fields(ctx: StepContext, document: StoredDocument, error: str, seconds: float) -> dict[str, Any]:
    """The fields that let a request or task be tried again in ``seconds``, with the reason."""
    at = ctx.clock.now() + timedelta(seconds=seconds)
    return {"next_poll_at": at, "attempts": _attempts(document) + 1, "error": error[:LONGEST_ERROR]}


def first_request_poll(ctx: StepContext) -> datetime:
    """When JDP is asked for the first time about a request that it took just now."""
    return ctx.clock.now() + timedelta(seconds=ctx.settings.schedule.request_poll_seconds)


def too_large(ctx: StepContext, document: StoredDocument | Called, error: RecordTooLarge) -> None:
    """A document that has no room for what is to be written on it: its own matter, and a person's."""
    key = _key(document)
    log.error("document_too_large", document=key, error=str(error)[:LONGEST_ERROR])
    alert(
        ctx,
        f"too-large:{key}",
        f"the document {key} is as large as MongoDB allows",
        f"Nothing more can be written on it ({error!s:.{LONGEST_ERROR}}), so what it stands for does not go on. "
        "Everything else does.",
        you="look at it in the database, and take out what somebody put into it; if nobody did, report it. Its "
        f"fields: {', '.join(_fields(ctx, document))[:LONGEST_ERROR]}",
        lasts=Lasts(Cause.DAEMON, quiet_hours=QUIET_HOURS),
    )


def isolate_each(
    ctx: StepContext,
    documents: Iterable[D],
    handle: Callable[[StepContext, D], int],
) -> int:
    """Handle every document by itself, where no service is asked: a bug that one causes never stops the others.

    Returns how much changed. Stops early when the daemon stops.
    """
    changed = 0
    for document in documents:
        if ctx.stop.is_set():
            break
        try:
            changed += handle(ctx, document)
        except RecordTooLarge as error:
            too_large(ctx, document, error)
        except StoreError:
            raise
        except Exception as error:
            log.exception("step_bug", document=_key(document), illegal=isinstance(error, IllegalMoveError))
            alert_bug(ctx, document, error)
    return changed


def _key(document: StoredDocument | Called) -> str:
    return str(document.key)[:200]


def _attempts(document: StoredDocument) -> int:
    """How often it failed in a row; 0 where documents of its collection do not count that."""
    return getattr(document, "attempts", None) or 0


def _fields(ctx: StepContext, document: StoredDocument | Called) -> list[str]:
    """The names of all its fields, also of those that no model knows."""
    return inspection.field_names(ctx.store, document) if isinstance(document, StoredDocument) else []


def alert_bug(ctx: StepContext, document: StoredDocument | Called, error: Exception) -> None:
    """Tell people of a fault of the daemon that one document brings about: at once, and once."""
    key, name = _key(document), getattr(document, "project_name", None)
    project = name if isinstance(name, str) and name.isprintable() else None
    said = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
    alert(
        ctx,
        f"bug:{key}:{type(error).__name__}",
        f"a fault of the daemon holds up {project or key}"[:200],
        f"{said}\n\nIt is met again and again at {key}; everything else goes on.",
        project,
        you="report it with the lines of the log that say step_bug",
        command="journalctl -u jgi-stager -n 200",
        lasts=Lasts(Cause.DAEMON, quiet_hours=QUIET_HOURS),
    )


def process_each(
    ctx: StepContext,
    service: Service,
    documents: Iterable[D],
    handle: Callable[[StepContext, D], int],
    reschedule: Callable[[StepContext, D, str, float], None],
    *,
    anonymous: bool = False,
    kind: CallKind | None = None,
    attempts_of: Callable[[D], int | None] = _attempts,
) -> int:
    """Handle every document by itself: one that fails is postponed and never stops the others.

    Returns how much moved. Stops early when ``service`` is out, needs a person, or the daemon stops.
    ``anonymous``: ``handle`` needs no credential. ``kind``: what it asks of a collection. ``attempts_of`` tells
    how often it failed in a row before.
    """
    moved = 0
    for document in documents:
        if not may_ask(ctx, service, anonymous=anonymous, kind=kind):
            break
        attempts = (attempts_of(document) or 0) + 1
        try:
            moved += handle(ctx, document)
        except RecordTooLarge as error:
            too_large(ctx, document, error)
            with suppress(RecordTooLarge):
                reschedule(ctx, document, str(error), retry_delay(attempts))
        except StoreError:
            raise
        except Transient as error:
            record_failure(ctx, error, _key(document))
            reschedule(ctx, document, str(error), retry_delay(attempts, error.retry_after))
        except (NeedsPerson, OutcomeUnknown, Rejected) as error:
            record_failure(ctx, error)
            reschedule(ctx, document, str(error), retry_delay(attempts))
            if isinstance(error, NeedsPerson) and error.of_one_kind is not None:
                break  # the next one would be refused for the same reason
        except Exception as error:
            log.exception("step_bug", document=_key(document), illegal=isinstance(error, IllegalMoveError))
            alert_bug(ctx, document, error)
            reschedule(ctx, document, f"bug: {type(error).__name__}: {error}", retry_delay(attempts))
        else:
            record_answer(ctx, service, anonymous=anonymous)
    return moved


def ask_all(
    ctx: StepContext,
    service: Service,
    items: Iterable[T],
    ask: Callable[[T], R],
    keep: Callable[[Sequence[tuple[T, R]]], None],
    size: int,
    *,
    weigh: Callable[[R], int] = lambda _: 1,
    anonymous: bool = False,
) -> int:
    """Ask for every item with at most ``size`` calls at a time; keep the answers as they come, together those that
    have come together, but no more than `KEPT_TOGETHER` by what they ``weigh``. Where one is answered, the next
    begins; few answers wait to be kept, however many items there are. To keep an answer twice must do no harm.

    An item that fails does not stop the others; the first error is raised at the end, with all answers kept.
    A service that is out, a daemon that stops, or a bug ends it early, with what has begun.
    """
    errors, bugs = list[ServiceError](), list[Exception]()

    def failed(error: Exception) -> None:
        if not isinstance(error, ServiceError):
            bugs.append(error)
            return
        if errors:
            record_failure(ctx, error)  # the first one is noted by whoever it is raised to
        errors.append(error)

    def go_on() -> bool:
        return not bugs and not ctx.stop.is_set() and may_ask(ctx, service, anonymous=anonymous)

    kept = 0
    for calls in _answers(ask, items, size, go_on):
        for group in _groups(calls, weigh, failed):
            if together := _keep(group, keep, failed):
                record_answer(ctx, service, anonymous=anonymous)
                kept += together
    if bugs and errors:
        record_failure(ctx, errors[0])
    for error in (*bugs, *errors):
        raise error
    return kept


def _answers(
    ask: Callable[[T], R], items: Iterable[T], size: int, go_on: Callable[[], bool]
) -> Iterator[list[tuple[T, Future[R]]]]:
    """Every item with its answer, those together that have come, in the order in which they were asked. When it is
    not to ``go_on``, what has begun is the last."""
    left, running = iter(items), dict[Future[R], T]()
    with ThreadPoolExecutor(max_workers=size) as pool:
        while True:
            if not go_on():
                left = iter(())
                for call in running:
                    call.cancel()
            for item in islice(left, size * ASKED_AHEAD - len(running)):
                running[pool.submit(ask, item)] = item
            if not running:
                return
            done = wait(running, return_when=FIRST_COMPLETED).done
            came = [(running.pop(call), call) for call in list(running) if call in done]
            yield [(item, call) for item, call in came if not call.cancelled()]


def _groups(
    calls: Iterable[tuple[T, Future[R]]], weigh: Callable[[R], int], failed: Callable[[Exception], None]
) -> Iterator[list[tuple[T, R]]]:
    """The answers in groups that are not too heavy; those that are none have ``failed``."""
    group, weight = list[tuple[T, R]](), 0
    for item, call in calls:
        if isinstance(error := call.exception(), Exception):
            failed(error)
            continue
        answer = call.result()
        group.append((item, answer))
        weight += weigh(answer)
        if weight >= KEPT_TOGETHER:
            yield group
            group, weight = [], 0
    if group:
        yield group


def _keep(
    group: Sequence[tuple[T, R]],
    keep: Callable[[Sequence[tuple[T, R]]], None],
    failed: Callable[[Exception], None],
) -> int:
    """Keep answers together; where that fails, each by itself, so that one hurts no other. How many were kept."""
    try:
        keep(group)
    except Exception as error:
        if isinstance(error, StoreError) and not isinstance(error, RecordTooLarge):
            raise
        if len(group) == 1:
            failed(error)
            return 0
        return sum(_keep([one], keep, failed) for one in group)
    return len(group)
