"""New project records: validated, completed, or marked invalid with a reason a person can act on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import structlog
from pydantic import ValidationError

from jgi_stager.formatting import human_bytes, some_of
from jgi_stager.lifecycle import COMPLETE_PROJECTS, ProjectState
from jgi_stager.models import Project
from jgi_stager.notices import Kind
from jgi_stager.pattern_files import why_unusable
from jgi_stager.records import ProjectRecord, explain_invalid, is_mail_address
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import notify
from jgi_stager.store import RecordTooLarge, StoreError, acceptance, fencing, files, projects
from jgi_stager.store.projects import RawRecord

log = structlog.get_logger()

LONGEST_KEY = 200
"""Characters of a record's id that are shown."""

LARGEST_RECORD = 4 * 1024 * 1024
"""Bytes. Discovery notes up to three times as much on it as its biosamples take, and 16 MiB must hold it all."""


def run(ctx: StepContext) -> int:
    """Look at every record the daemon has not seen yet. Returns how many there were."""
    seen = 0
    for inserted in projects.new_records(ctx.store):
        if ctx.stop.is_set():
            break
        try:
            _check(ctx, inserted)
        except RecordTooLarge:
            # Not even what it may lose makes room on it: people were told, and those behind it go on.
            log.exception("step_bug", document=shown_key(inserted.key))
        seen += 1
    return seen


def _check(ctx: StepContext, inserted: RawRecord) -> None:
    try:
        if (size := projects.size(inserted.document)) > LARGEST_RECORD:
            _refuse_large(ctx, inserted, size)
        else:
            accept(ctx, inserted)
    except StoreError:
        raise
    except Exception as error:
        log.exception("step_bug", document=shown_key(inserted.key))
        _set_aside(ctx, inserted, error)


def accept(ctx: StepContext, inserted: RawRecord) -> None:
    """Validate one record and let its discovery begin, or mark it invalid."""
    fields = {name: value for name, value in inserted.document.items() if name not in ("_id", fencing.FIELD)}
    if fields.get("accepted_name") == fields.get("project_name"):
        # The daemon died between claiming the name and accepting the record.
        fields.pop("accepted_name", None)
    try:
        record = ProjectRecord.model_validate(fields)
    except ValidationError as error:
        _refuse(ctx, inserted, explain_invalid(error))
        return
    base, reason = _base_directory(ctx, record)
    reason = reason or why_unusable(record.files, ctx.settings.importer.patterns)
    if reason:
        _refuse(ctx, inserted, reason)
    elif not projects.claim_name(ctx.store, inserted.key, record.project_name):
        _refuse(ctx, inserted, _name_is_taken(ctx, record.project_name))
    else:
        now = ctx.clock.now()
        # Its record was removed by hand. What the new one wants is decided anew; what is under way is joined.
        if left := files.set_aside(ctx.store, record.project_name):
            log.warning("files_set_aside", project=record.project_name, files=left)
        acceptance.vouch(ctx.store, inserted.key, record.project_name, now)
        projects.accept(ctx.store, inserted.key, record, base, now)
        log.info("project_accepted", project=record.project_name, proposal=record.proposal_id)


def _name_is_taken(ctx: StepContext, name: str) -> str:
    first = projects.get(ctx.store, name)
    if first is not None and first.state in COMPLETE_PROJECTS:
        return (
            f"project_name: the project {name} is done; to stage what is new of it: jgi-stager project rescan "
            f"{name}; to stage another one, choose another name. If its files are "
            "wanted again, for they were removed: remove its record "
            f'(db.projects.deleteOne({{accepted_name: "{name}"}})) and insert this one again; what is still at '
            "its place is not asked for again"
        )
    return (
        f"project_name: a project called {name} exists already; choose another name, or look at the first: "
        f"jgi-stager status {name}"
    )


def _refuse_large(ctx: StepContext, inserted: RawRecord, size: int) -> None:
    """Mark a record invalid that is too large to be worked on; it may have no room even for that mark."""
    lost = projects.in_the_way(inserted.document)
    names = some_of([repr(name[:60]) for name in lost])
    taken = f" To mark it at all, this had to be taken out of it: {names}." if lost else ""
    reason = (
        f"the record has {human_bytes(size)}; at most {human_bytes(LARGEST_RECORD)} are of use.{taken} "
        "Insert it again without what does not belong in it"
    )
    _refuse(ctx, inserted, reason, without=lost)


def mark_invalid(ctx: StepContext, project: Project, reason: str) -> None:
    """Mark a project that is being discovered invalid and tell people why. The daemon and the others go on."""
    _notify_invalid(ctx, project.key, reason, project.project_name, project.notify or ())
    old, new = ProjectState.DISCOVERING, ProjectState.INVALID
    projects.set_project(ctx.store, project.key, old, new, why=reason, reason=reason)
    log.warning("project_invalid", project=project.project_name, record=shown_key(project.key), reason=reason)


def _refuse(ctx: StepContext, inserted: RawRecord, reason: str, *, without: Sequence[str] = ()) -> None:
    """Mark a new record invalid and tell people why. ``without``: fields that are taken off it, besides the name
    that it may have claimed."""
    name = inserted.document.get("project_name")
    shown = name[:100] if isinstance(name, str) and name.isprintable() else None
    _notify_invalid(ctx, inserted.key, reason, shown, _addresses(inserted))
    _set_invalid(ctx, inserted, reason, without)
    log.warning("project_invalid", project=shown, record=shown_key(inserted.key), reason=reason)


def _set_invalid(ctx: StepContext, inserted: RawRecord, reason: str, without: Sequence[str] = ()) -> None:
    projects.set_project(
        ctx.store,
        inserted.key,
        None,
        ProjectState.INVALID,
        why=reason,
        reason=reason,
        without=list(dict.fromkeys([*without, "accepted_name"])),
        claims="accepted_at" in inserted.document,
    )


def _notify_invalid(ctx: StepContext, key: object, reason: str, name: str | None, also: Iterable[str]) -> None:
    """Tell people that a record cannot be used. ``name``: the one that it asks for, if that can be shown."""
    record = shown_key(key)
    # A person may put another record under the same id: what is wrong with that one is told, too.
    event = f"{type(key).__name__}:{record}:{_digest(reason)[:8]}"
    notify(ctx, Kind.INVALID, event, {"record_id": record, "reason": reason}, name, also=also)


def shown_key(key: object) -> str:
    """The id of a record as short text. It is from outside: it may be a document of any size."""
    text = str(key)
    if len(text) <= LONGEST_KEY:
        return text
    return f"{text[:LONGEST_KEY]}... ({_digest(text)[:16]})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _addresses(inserted: RawRecord) -> list[str]:
    """Whom a record that is not valid asks to notify, as far as that can be understood."""
    wanted = inserted.document.get("notify")
    listed = wanted[:20] if isinstance(wanted, list) else []
    return [address for address in listed if isinstance(address, str) and is_mail_address(address)]


def _set_aside(ctx: StepContext, inserted: RawRecord, error: Exception) -> None:
    """A record that the daemon stumbles over must not be met again and again, in front of all others."""
    why = f"the daemon could not read this record ({type(error).__name__}); insert it again, with plain values"
    _set_invalid(ctx, inserted, why)


def _base_directory(ctx: StepContext, record: ProjectRecord) -> tuple[str, str | None]:
    """The directory the project's own directory goes into, or why the wanted one is refused."""
    stage_dir = ctx.settings.staging.stage_dir
    if stage_dir is None:
        return (
            "",
            "no staging directory is configured on this site; set staging.stage_dir and insert it again",
        )
    wanted = record.analysis_projects_dir
    if wanted is None:
        return str(stage_dir), None
    if not PurePosixPath(wanted).is_relative_to(PurePosixPath(stage_dir)):
        return (
            "",
            f"analysis_projects_dir: must be {stage_dir} or a directory below it; or leave the field out",
        )
    return wanted, None
