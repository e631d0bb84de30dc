"""Downloads: what a request restored is fetched from JDP itself, each file by its own address, without Globus.

A request is asked for and followed as ever. When it is ready its files are ``manifest_ready`` at once; one is
``transferring`` from JDP's first good answer until it is whole, checked and has its name. A few are fetched at a
time, the soonest-expiring delivery first, and what a kill or a cut left is continued (`jgi_stager.downloading`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from jgi_stager import copying, downloading, put_aside, read_back
from jgi_stager.alarm_models import About, Cause
from jgi_stager.downloading import Patched, Spoilt
from jgi_stager.failures import NotOnDisk, Rejected, Service, ServiceError, Transient
from jgi_stager.lifecycle import ProjectState, RequestState, State
from jgi_stager.models import Project, RestoreRequest
from jgi_stager.records import download_path
from jgi_stager.retry import FIRST_RETRY_SECONDS, retry_delay
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import bent, prove, seen
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.steps.services import LONGEST_ERROR, Called, alert_bug, may_ask, record_answer, record_failure
from jgi_stager.store import StoreError, downloads, files, moves, projects, requests, sharing, tasks
from jgi_stager.store.files import FileRow
from jgi_stager.stored import Download, Verified

log = structlog.get_logger()

MOST_AT_A_TIME = 100
"""Files that are chosen before it is looked again what there is."""
REFUSED_GRACE = timedelta(hours=24)
"""How long JDP may refuse to give out a file that it restored, before the file fails."""
ALERT_AFTER = timedelta(hours=3)
CHECK_SECONDS = 30.0
"""Real. So often it is looked whether a project that files come for was cancelled."""
PAGES = (".html", ".htm", ".xhtml", ".xml")
NEVER = datetime.max.replace(tzinfo=UTC)


def run(ctx: StepContext) -> int:
    """Fetch what is to be fetched, until there is no more. Returns how many files moved."""
    waiting = bool(_delivered(ctx) or _under_way(ctx))
    if not waiting and ctx.settings.staging.method != "https":
        return 0
    work = _Work(ctx)
    if not _is_seen(ctx, waiting=waiting):
        return work.let_go()
    work.tidy()
    most = ctx.settings.staging.download_workers
    for file, answer in read_back.map_unordered(work.fetch, work, most, ctx.stop):
        work.settle(file, answer)
    return work.moved


def _delivered(ctx: StepContext) -> list[RestoreRequest]:
    """The requests whose files are downloaded, the soonest-expiring first."""
    ready = requests.requests_in(ctx.store, RequestState.READY)
    mine = [one for one in ready if downloading.is_chosen(ctx.settings, one)]
    return sorted(mine, key=lambda one: (one.expiration_date or NEVER, one.number))


def _under_way(ctx: StepContext) -> list[FileRow]:
    """The files of which JDP gave out something; one in a Globus task is none of them."""
    return [one for one in downloads.noted(ctx.store, State.TRANSFERRING) if one.globus_task_id is None]


def _is_seen(ctx: StepContext, *, waiting: bool) -> bool:
    """Whether this machine sees where files go; people are told if it does not, and files are ``waiting``."""
    place, topic = ctx.settings.staging.stage_dir, "no-place-for-downloads"
    if place is not None and place.is_dir():
        resolve(ctx, topic, "the staging directory is there")
        return True
    if not waiting:
        return False
    alert(
        ctx,
        f"{topic}:{ctx.clock.now():%Y-%m-%d}",
        "files that are to be downloaded wait: the staging directory is not there",
        f"Files wait at JGI to be downloaded below {place}, which is no directory on this machine now.",
        you="let this machine see it again; it goes on by itself. The deliveries at JGI expire meanwhile, and are "
        "then asked for again",
        lasts=Lasts(Cause.REFUSAL, topic=topic, quiet_hours=QUIET_HOURS),
    )
    return False


@dataclass(frozen=True)
class _Halt:
    """Somebody asked for the end, or nobody wants the file any more."""

    outer: read_back.Stop
    work: _Work
    project: str

    def is_set(self) -> bool:
        return self.outer.is_set() or not self.work.is_wanted(self.project)


@dataclass
class _Work:
    """The files of one run: which are next, and what became of each. As an iterator it goes on whenever there is
    something new to do."""

    ctx: StepContext
    moved: int = 0
    busy: dict[files.FileId, FileRow] = field(default_factory=dict)
    """Taken, and not settled yet."""
    begun: dict[files.FileId, str | None] = field(default_factory=dict)
    """Those of them of which JDP gave out something, with the validator of the content."""
    over: bool = False
    """Whether nothing more is to be begun in this run: the disk is full."""
    _chosen: list[FileRow] = field(default_factory=list)
    _unread: dict[int, str] = field(default_factory=dict)
    """The requests that files were not given out of, by number, each with its key."""
    _proven: set[int | None] = field(default_factory=set)
    _places: dict[str, Path | None] = field(default_factory=dict)
    _wanted: dict[str, ProjectState] = field(default_factory=dict)
    _polled_at: float = float("-inf")

    # --- which are next

    def __iter__(self) -> Iterator[FileRow]:
        return self

    def __next__(self) -> FileRow:
        ctx = self.ctx
        # The credential is that of JDP, so a dead one holds these up, too.
        if self.over or not may_ask(ctx, Service.JDP) or not may_ask(ctx, Service.DOWNLOADS):
            raise StopIteration
        if not self._chosen:
            self._chosen = list(reversed(self._choose()))
        if not self._chosen:
            raise StopIteration
        file = self._chosen.pop()
        self.busy[file.oid] = file
        return file

    def _choose(self) -> list[FileRow]:
        """The next files: first what was begun, then what is delivered and of an active project."""
        ctx, now = self.ctx, self.ctx.clock.now()
        self.moved += self.let_go()
        found = [one for one in _under_way(ctx) if self._may_go(one, now)]
        reserved = tasks.open_task_file_oids(ctx.store)
        delivered = _delivered(ctx)
        self._unread = {one.number: one.key for one in delivered if one.unread_since is not None}
        for request in delivered:
            if files.any_of_requests(ctx.store, [request.number], [State.RESTORED]):
                self.moved += self._offer(request)
            if len(found) < MOST_AT_A_TIME:
                ready = downloads.due(ctx.store, request.number, self._active(), now, MOST_AT_A_TIME)
                found += [one for one in ready if one.oid not in reserved and self._may_go(one, now)]
        return self._once_each(found)

    def _offer(self, request: RestoreRequest) -> int:
        """What a request restored can be fetched, each file by its own address. Returns how many moved."""
        store, limit = self.ctx.store, self.ctx.settings.staging.max_setbacks
        restored = files.of_request(store, request.number, State.RESTORED)
        found = [(one, {"source_path": download_path(one.source_file_id)}) for one in restored]
        why = f"request {request.number} is ready: it can be downloaded"
        return transitions.use_manifest(store, request, found, {}, [], limit, why=why)

    def _may_go(self, file: FileRow, now: datetime) -> bool:
        """Whether it is its time. One whose content is coming for another destination waits for that."""
        if file.oid in self.busy or any(one.source_file_id == file.source_file_id for one in self.busy.values()):
            return False
        at = None if file.download is None else file.download.next_try_at
        return at is None or not now < at <= now + downloads.FARTHEST

    def _once_each(self, found: list[FileRow]) -> list[FileRow]:
        if not copying.is_possible(self.ctx.settings):
            return found
        begun = [one for one in found if one.state is State.TRANSFERRING]
        ready = [one for one in found if one.state is not State.TRANSFERRING]
        return begun + sharing.once_each(self.ctx.store, ready, self.ctx.settings.staging.md5_max_bytes)

    # --- whose they are

    def _poll(self) -> None:
        if time.monotonic() - self._polled_at >= CHECK_SECONDS:
            known = projects.by_state(self.ctx.store, set(ProjectState))
            self._places = {one.project_name: self._place(one) for one in known}
            self._wanted = {
                one.project_name: one.state for one in known if one.state is not ProjectState.CANCELLED
            }
            self._polled_at = time.monotonic()

    def _place(self, project: Project) -> Path | None:
        return copying.project_place(self.ctx.settings, project.analysis_projects_dir, project.project_name)

    def is_wanted(self, project: str) -> bool:
        """Whether what was begun for a project is brought to its end: not if it is cancelled, or gone."""
        self._poll()
        return project in self._wanted

    def _active(self) -> list[str]:
        self._poll()
        return [name for name, state in self._wanted.items() if state is ProjectState.ACTIVE]

    def let_go(self) -> int:
        """Let what nobody wants any more start anew, without what is here of it. Returns how many files."""
        moved = 0
        self._polled_at = float("-inf")
        for file in _under_way(self.ctx):
            if file.oid not in self.busy and not self.is_wanted(file.project_name):
                why = "its project is cancelled, or gone"
                moved += transitions.return_file(self.ctx.store, file, State.PENDING, why)
        return moved

    def tidy(self) -> None:
        """Remove what is here of files that are done, failed or let go."""
        self._poll()
        for place in self._places.values():
            keys = downloading.drafts(place) if place is not None else []
            if place is None or not keys:
                continue
            there = files.select(self.ctx.store, moves.by_oids(map(files.FileId, keys)))
            over = (State.DONE, State.FAILED)
            keep = {str(one.oid) for one in there if one.state not in over and self.is_wanted(one.project_name)}
            downloading.clear(place, keep)

    # --- one of them, in a thread of its own

    def fetch(self, file: FileRow, stop: read_back.Stop) -> read_back.Content:
        """Bring one file to its destination. Raises as `downloading.fetch`, and `read_back.Stopped` where somebody
        else decided about it meanwhile."""
        ctx, place = self.ctx, self._places.get(file.project_name)
        if place is None or not copying.is_below(place, file.destination_path):
            raise PermissionError("that is not below the directory of the project")
        known = file.download or Download()

        def begun(validator: str | None) -> None:
            fresh = Download(validator=validator)
            if file.state is State.MANIFEST_READY and file.oid not in self.begun:
                if not transitions.begin_download(ctx.store, file, fresh.model_dump()):
                    raise read_back.Stopped
            elif fresh != known:
                downloads.note(ctx.store, file.oid, fresh)
            self.begun[file.oid] = validator

        destination, halt = Path(file.destination_path or ""), _Halt(stop, self, file.project_name)
        page = destination.suffix.lower() in PAGES

        return downloading.fetch(
            downloading.Wanted(str(file.oid), destination, file.size, file.md5sum),
            place,
            downloading.FetchHooks(
                opened=lambda start: ctx.downloads.opened(
                    file.source_file_id, file.size, start, self.begun.get(file.oid, known.validator), page=page
                ),
                begun=begun,
                aside=lambda path: self._put_aside(file, path),
                before=ctx.assert_lease_held,
                stop=halt,
            ),
        )

    def _put_aside(self, file: FileRow, path: str) -> None:
        """Put aside what lies at a destination. People are told first, so that a kill leaves nothing put aside in
        silence."""
        ctx, there = self.ctx, put_aside.aside_directory(path)
        alert(
            ctx,
            f"aside:{file.project_name}:{file.ap_gold_id}:{ctx.clock.now():%Y-%m-%d}",
            f"something else lay where files of {file.project_name} go",
            f"At the destination of files of {file.ap_gold_id}, such as {path}, lay something that is not what "
            f"JDP says of the file. It was put aside into {there}, unchanged, and the file got its name.",
            file.project_name,
            you="nothing to do. Look there, and remove what nobody needs",
            lasts=None,
        )
        log.warning("file_put_aside", path=path, to=put_aside.put_aside(path, ctx.clock.now()))

    # --- what became of it

    def settle(self, file: FileRow, answer: Future[read_back.Content]) -> None:
        """Write down what became of a file. Raises `StoreError`, and what it brings of the lease."""
        ctx = self.ctx
        try:
            self.moved += self._settled(file, answer)
        except StoreError:
            raise
        except Exception as error:
            log.exception("step_bug", document=str(file.oid))
            alert_bug(ctx, Called(f"download {file.oid}"), error)
            self._reschedule(file, f"bug: {type(error).__name__}: {error}")
        finally:
            self.busy.pop(file.oid, None)
            self.begun.pop(file.oid, None)

    def _settled(self, file: FileRow, answer: Future[read_back.Content]) -> int:  # noqa: PLR0911 - one for each end
        try:
            return self._finish(file, answer.result())
        except read_back.Stopped:
            if not self.ctx.stop.is_set():  # somebody else decided about it meanwhile
                self._reschedule(file, "it does not wait for this any more")
            return 0
        except Spoilt as error:
            return self._spoilt(file, str(error))
        except Patched as error:
            limit = self.ctx.settings.staging.max_setbacks
            return transitions.requeue_file(self.ctx.store, file, State.MANIFEST_READY, str(error), limit, None)
        except NotOnDisk as error:
            record_failure(self.ctx, error)
            return self._not_on_disk(file, error)
        except Rejected as error:
            return self._refused(file, error)
        except ServiceError as error:
            record_failure(self.ctx, error, file.oid)
            self._reschedule(file, str(error), error.retry_after if isinstance(error, Transient) else None)
            return 0
        except OSError as error:
            return self._no_place(file, error)

    def _finish(self, file: FileRow, found: read_back.Content) -> int:
        ctx = self.ctx
        checked = "size and md5" if file.md5sum else "size; JDP gives no md5"
        how = f"{checked}; {'downloaded from JDP' if file.oid in self.begun else 'it lay there already'}"
        verified = Verified(
            size=found.size, mtime_ns=found.mtime_ns, md5=file.md5sum and found.md5, at=ctx.clock.now(), how=how
        )
        moved = transitions.finish_files(ctx.store, [(file, verified.model_dump())], how)
        if (place := self._places.get(file.project_name)) is not None:
            downloading.forget(place, str(file.oid))
        log.info("file_downloaded", file=file.jdp_file_id, project=file.project_name, bytes=found.size)
        record_answer(ctx, Service.DOWNLOADS)
        resolve(ctx, f"not-downloaded:{file.project_name}", "a file could be downloaded")
        if (key := self._unread.pop(file.request_id or 0, None)) is not None:
            ready = RequestState.READY
            requests.update_request(ctx.store, key, ready, unread_since=None, transfer_after=None)
            resolve(ctx, f"not-given-out:{file.request_id}", "JDP gives out files of the request")
        said = f"{file.jdp_file_id} of request {file.request_id} is at its destination and right"
        seen(ctx, "jdp.download", said)
        if file.request_id not in self._proven:
            self._proven.add(file.request_id)
            prove(ctx, file.request_id, said)
        return moved

    def _spoilt(self, file: FileRow, said: str) -> int:
        """JDP sent something else: once more, then asked from tape once more, then a person decides."""
        ctx, limit = self.ctx, self.ctx.settings.staging.max_setbacks
        log.warning("file_sent_back", file=file.jdp_file_id, project=file.project_name, why=said)
        bent(ctx, "jdp.download", "a file was downloaded with another size or md5 than JDP gives", file.request_id)
        fault = moves.DeliveryFault(file.request_id or 0, f"downloaded: {said}", spoilt=True)
        request = requests.request_by_id(ctx.store, file.request_id or 0)
        if request is not None and files.was_spoilt(ctx.store, file.oid):
            return transitions.requeue_unusable_file(ctx.store, request, file, fault, limit)
        target = (
            State.MANIFEST_READY if request is not None and request.state is RequestState.READY else State.PENDING
        )
        return transitions.requeue_file(ctx.store, file, target, f"downloaded: {said}", limit, fault)

    def _not_on_disk(self, file: FileRow, error: NotOnDisk) -> int:
        """JDP says that it is on tape. As long as its request counts as delivered that is waited out, and JDP is
        asked about the request; afterwards it is asked for again."""
        ctx, now = self.ctx, self.ctx.clock.now()
        request = requests.request_by_id(ctx.store, file.request_id or 0)
        if request is None or request.state is not RequestState.READY:
            seen(
                ctx, "jdp.download_waits", f"{file.jdp_file_id} is not given out any more: its delivery has ended"
            )
            if file.state is not State.TRANSFERRING:
                return 0  # it was asked for again already
            why, limit = f"the delivery has ended: {error}", ctx.settings.staging.max_setbacks
            return transitions.requeue_file(ctx.store, file, State.PENDING, why, limit, None)
        if request.unread_since is None:
            bent(ctx, "jdp.download_waits", "a file of a request that is ready is not given out", request.number)
        since = request.unread_since or now
        requests.update_request(ctx.store, request.key, RequestState.READY, unread_since=since)
        if now - since >= ALERT_AFTER:
            self._alert_not_given_out(request, since, str(error))
        moved = 0
        if file.state is State.TRANSFERRING:
            moved = transitions.return_file(ctx.store, file, State.MANIFEST_READY, str(error))
        self._reschedule(file, str(error))
        return moved

    def _alert_not_given_out(self, request: RestoreRequest, since: datetime, said: str) -> None:
        number = request.number
        alert(
            self.ctx,
            f"not-given-out:{number}:{self.ctx.clock.now():%Y-%m-%d}",
            f"JDP calls request {number} ready, and does not give out its files",
            f"Since {since:%Y-%m-%d %H:%M} UTC downloads of files of request {number} are answered with: {said}. "
            "They are tried again, and the request is asked about, until it expires; no file counts as failed.",
            you="if this lasts, ask JGI about the request. You hear of it once a day while it lasts",
            lasts=Lasts(
                Cause.DELAY,
                About(request_id=number, request_key=request.key),
                request.projects,
                f"not-given-out:{number}",
            ),
        )

    def _refused(self, file: FileRow, error: Rejected) -> int:
        """JDP does not give it out. That may be a mistake of theirs, which they mend, so it is waited a while."""
        record_answer(self.ctx, Service.DOWNLOADS)
        now, before = self.ctx.clock.now(), file.download or Download()
        since = before.refused_since if before.refused_since is not None and before.refused_since <= now else now
        if now - since >= REFUSED_GRACE:
            reason = f"for {REFUSED_GRACE.total_seconds() / 3600:.0f} hours JDP did not give it out: {error}"
            return transitions.fail_file(self.ctx.store, file.oid, file.state, reason)
        self._reschedule(file, str(error), refused_since=since)
        return 0

    def _no_place(self, file: FileRow, error: OSError) -> int:
        """It cannot be written now; that says nothing about the file, but where its name is what cannot be."""
        ctx, name, why = self.ctx, file.project_name, str(error.strerror or error)
        if error.errno in downloading.HOPELESS:
            reason = f"the file system does not take its name: {why}"
            state = State.TRANSFERRING if file.oid in self.begun else file.state
            return transitions.fail_file(ctx.store, file.oid, state, reason)
        log.warning("download_postponed", project=name, error=why)
        alert(
            ctx,
            f"not-downloaded:{name}:{ctx.clock.now():%Y-%m-%d}",
            f"files cannot be written for {name}: {why}",
            f"Downloading to {file.destination_path} failed: {why}. What came of it is kept, and it is continued. "
            "Nothing is asked from tape again for it, unless its delivery expires meanwhile.",
            name,
            you="make room, or repair the file system. It is tried again by itself; you hear of it once a day",
            lasts=Lasts(Cause.REFUSAL, topic=f"not-downloaded:{name}", quiet_hours=QUIET_HOURS),
        )
        self.over = self.over or error.errno in copying.NO_ROOM
        self._reschedule(file, why)
        return 0

    def _reschedule(
        self, file: FileRow, error: str, asked: float | None = None, refused_since: datetime | None = None
    ) -> None:
        """Try a file again later, the longer the more often nothing came of it."""
        before = file.download or Download()
        attempts = 1 if file.oid in self.begun else before.attempts + 1
        wait = max(FIRST_RETRY_SECONDS, retry_delay(attempts, asked))
        log.info("download_postponed", file=file.jdp_file_id, project=file.project_name, error=error)
        downloads.note(
            self.ctx.store,
            file.oid,
            Download(
                validator=self.begun.get(file.oid, before.validator),
                attempts=attempts,
                next_try_at=self.ctx.clock.now() + timedelta(seconds=wait),
                error=error[:LONGEST_ERROR],
                refused_since=refused_since or (None if file.oid in self.begun else before.refused_since),
            ),
        )
