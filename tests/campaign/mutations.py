"""Broken builds: what a careless change could do. The judge must catch each of them, or it is no judge."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from jgi_stager import manifests, stored
from jgi_stager.clients.jdp import Jdp
from jgi_stager.clients.remote_clock import ClockEstimate, RemoteClock
from jgi_stager.lifecycle import RequestState
from jgi_stager.reporting import summary
from jgi_stager.steps import cancel, jdp_answers, jdp_clock, outbox, services, verify
from jgi_stager.steps.services import may_ask
from jgi_stager.store import alarms, fencing, files, notices, requests, tallies, tasks


def mutate(name: str | None) -> None:
    """Break this process in the named way; None leaves it whole."""
    if name is not None:
        MUTATIONS[name]()


def _intent_after_the_post() -> None:
    """The intent is written when the answer is there: who dies in between asks again."""
    insert, ask = requests.insert_request, Jdp.request_files
    kept: dict[str, Any] = {}
    real: dict[str, str] = {}

    def insert_later(store: Any, **fields: Any) -> str:
        kept.update(store=store, fields=fields, key=uuid.uuid4().hex)
        return str(kept["key"])

    def ask_first(self: Jdp, *arguments: Any, **named: Any) -> Any:
        answer = ask(self, *arguments, **named)
        real[kept["key"]] = insert(kept["store"], **kept["fields"])
        return answer

    def update_the_late(store: Any, key: str, *arguments: Any, **fields: Any) -> bool:
        return update(store, real.get(key, key), *arguments, **fields)

    update = requests.update_request
    requests.insert_request, requests.update_request = insert_later, update_the_late
    Jdp.request_files = ask_first  # type: ignore[method-assign]


def _quota_per_run() -> None:
    """The quota is summed by a counter in memory: who starts anew has all of it again."""
    ledger = requests.ledger
    seen_at_start: set[Any] | None = None

    def of_this_run(store: Any, window_start: Any) -> list[Any]:
        nonlocal seen_at_start
        entries = ledger(store, window_start)
        if seen_at_start is None:
            seen_at_start = {entry.at for entry in entries}
        return [entry for entry in entries if entry.at not in seen_at_start]

    requests.ledger = of_this_run


def _done_unchecked() -> None:
    """A file counts as arrived because Globus says that the task succeeded."""
    verify.check_file = lambda *_: verify.Finding(None, "Globus says so")


def _size_unchecked_without_md5() -> None:
    """Where JDP gives no md5 there is nothing to compare, it seems: the size is forgotten."""
    check = verify.check_file

    def careless(file: Any, *arguments: Any) -> verify.Finding:
        return check(file, *arguments) if file.md5sum else verify.Finding(None, "JDP gives no md5")

    vars(verify)["check_file"] = careless


def _lost_answer_is_no() -> None:
    """A POST whose answer was lost counts as one that was refused: its files are asked for again."""
    note = jdp_answers.note

    def careless(ctx: Any, intent: str, state: RequestState, *rest: Any, **answer: Any) -> None:
        note(ctx, intent, RequestState.NOT_SENT if state == RequestState.UNKNOWN else state, *rest, **answer)

    vars(jdp_answers)["note"] = careless


def _jdp_clock_trusted() -> None:
    """JDP's Date is taken as it is, from one answer, however far it is from our clock."""

    def hear(clock: RemoteClock, fresh: ClockEstimate) -> None:
        clock.agreed = fresh

    def believe(ctx: Any) -> ClockEstimate:
        reading, monotonic, ours = jdp_clock.measure(ctx), ctx.clock.monotonic(), ctx.clock.now()
        if reading is None:
            return ClockEstimate(monotonic, ours, ours)
        return ClockEstimate(monotonic, reading.earliest(monotonic), reading.latest(monotonic))

    setattr(RemoteClock, "hear", hear)  # noqa: B010 - mypy knows no other way to change a method
    vars(jdp_clock)["planning"] = believe


def _one_failure_stops_the_step() -> None:
    """What goes wrong with one request or task is not caught where it is handled: the step ends there."""

    def plain(ctx: Any, documents: Iterable[Any], handle: Callable[[Any, Any], int], *_: Any, **__: Any) -> int:
        return sum(handle(ctx, document) for document in documents)

    def asking(
        ctx: Any, service: Any, documents: Iterable[Any], handle: Callable[[Any, Any], int], *_: Any, **__: Any
    ) -> int:
        return sum(handle(ctx, document) for document in documents if may_ask(ctx, service))

    _replace_everywhere(services.isolate_each, plain)
    _replace_everywhere(services.process_each, asking)


def _edited_document_believed() -> None:
    """What is read from the database is taken as the daemon wrote it, whoever changed it since."""
    read = stored.parse

    def believe(model: Any, document: Any, fields: Any = None) -> Any:
        try:
            return read(model, document, fields)
        except stored.UnfitError:
            return model.model_construct(**document)

    _replace_everywhere(read, believe)


def _cancel_ignores_reserved() -> None:
    """Cancelling sets free also the files of a task that is being submitted at this moment."""
    free = cancel._free

    def careless(ctx: Any, project: Any) -> int:
        with mock.patch.object(tasks, "open_task_file_oids", return_value=set()):
            return free(ctx, project)

    cancel._free = careless


def _nobody_looks_for_stranded_files() -> None:
    """A file that joined a request at the moment at which that was closed is looked at by nobody, for ever."""
    vars(files)["requests_behind"] = lambda *_: set()


def _expired_delivery_joined() -> None:
    """A delivery is joined whatever its date says: it is removed before anything can be transferred."""
    known = requests.open_request_of_sources
    always = datetime(1970, 1, 1, tzinfo=UTC)
    vars(requests)["open_request_of_sources"] = lambda store, ids, _: known(store, ids, always)


def _lease_without_fence() -> None:
    """The database does not refuse what a daemon writes that was replaced while it stood still."""
    vars(fencing)["Fenced"]._stamped = lambda _, update: update
    vars(fencing)["Fenced"]._whole = lambda _, document: document


def _bad_row_holds_up_the_others() -> None:
    """A manifest with a line that cannot be used is waited for as if it were still being written."""
    compare = manifests.compare

    def careless(manifest: Any, *arguments: Any) -> manifests.Delivery:
        found = compare(manifest, *arguments)
        return dataclasses.replace(found, doubt="; ".join(manifest.problems) or found.doubt)

    _replace_everywhere(compare, careless)


def _sent_before_the_mail() -> None:
    """A notice counts as sent before the mail server has it: who dies in between loses it."""
    hand_over = outbox._hand_over

    def careless(ctx: Any, notice: Any, rendered: Any, to: Any) -> Any:
        notices.mark_sent(ctx.store, notice.key, rendered.subject)
        return hand_over(ctx, notice, rendered, to)

    outbox._hand_over = careless


def _notice_stored_twice() -> None:
    """A notice has no name of its own: when its event is repeated after a crash people hear of it again."""
    put = notices.put_notice

    def careless(store: Any, key: str, **fields: Any) -> Any:
        return put(store, f"{key}:{uuid.uuid4().hex[:8]}", **fields)

    _replace_everywhere(put, careless)


def _silent_beside_alarms() -> None:
    """What people were told of once is not on the page any more: nothing to do, it says."""
    vars(summary)["_of_alarms"] = lambda *_: ()


def _alarms_never_end() -> None:
    """What people were told of stands for ever."""
    vars(alarms)["end_alarm"] = lambda *_: False


def _tally_forgets() -> None:
    """What moved is not added to the tally, and nothing says so."""
    add = tallies._add
    vars(tallies)["_add"] = lambda store, key, changes: add(store, key, {name: {} for name in changes})


def _replace_everywhere(old: object, new: object) -> None:
    """In every module that has imported it by name."""
    for module in [one for name, one in sys.modules.items() if name.startswith("jgi_stager")]:
        for name in [name for name, value in vars(module).items() if value is old]:
            setattr(module, name, new)


MUTATIONS: dict[str, Callable[[], None]] = {
    "intent_after_the_post": _intent_after_the_post,
    "lost_answer_is_no": _lost_answer_is_no,
    "quota_per_run": _quota_per_run,
    "jdp_clock_trusted": _jdp_clock_trusted,
    "done_unchecked": _done_unchecked,
    "size_unchecked_without_md5": _size_unchecked_without_md5,
    "one_failure_stops_the_step": _one_failure_stops_the_step,
    "edited_document_believed": _edited_document_believed,
    "cancel_ignores_reserved": _cancel_ignores_reserved,
    "nobody_looks_for_stranded_files": _nobody_looks_for_stranded_files,
    "expired_delivery_joined": _expired_delivery_joined,
    "lease_without_fence": _lease_without_fence,
    "bad_row_holds_up_the_others": _bad_row_holds_up_the_others,
    "sent_before_the_mail": _sent_before_the_mail,
    "notice_stored_twice": _notice_stored_twice,
    "silent_beside_alarms": _silent_beside_alarms,
    "alarms_never_end": _alarms_never_end,
    "tally_forgets": _tally_forgets,
}
"""By name, each a function that breaks this process."""
