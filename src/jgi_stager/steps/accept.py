"""New project records: validated, completed, or marked invalid with a reason a person can act on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import structlog
from pydantic import ValidationError

from jgi_stager.formatting import human_bytes
from jgi_stager.lifecycle import ProjectState
from jgi_stager.notices import Kind
from jgi_stager.records import ProjectRecord, explain_invalid, is_mail_address
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import notify
from jgi_stager.store import RecordTooLarge, StoreError, acceptance, fencing, files, projects

log = structlog.get_logger()

LONGEST_KEY = 200
"""Characters of a record's id that are shown."""

LARGEST_RECORD = 4 * 1024 * 1024
"""Bytes. Discovery notes up to three times as much on it as its biosamples take, and 16 MiB must hold it all."""


def run(ctx: StepContext) -> int:
    """Look at every record the daemon has not seen yet. Returns how many there were."""
    seen = 0
    for document in projects.new_records(ctx.store):
        if ctx.stop.is_set():
            break
        try:
            _look(ctx, document)
        except RecordTooLarge:
            # Not even what it may lose makes room on it: people were told, and those behind it go on.
            log.exception("step_bug", document=record_key(document))
        seen += 1
    return seen


def _look(ctx: StepContext, document: Mapping[str, Any]) -> None:
    try:
        if (size := projects.size(document)) > LARGEST_RECORD:
            _refuse_large(ctx, document, size)
        else:
            accept(ctx, document)
    except StoreError:
        raise
    except Exception as error:
        log.exception("step_bug", document=record_key(document))
        _set_aside(ctx, document, error)


def accept(ctx: StepContext, document: Mapping[str, Any]) -> None:
    """Validate one record and let its discovery begin, or mark it invalid."""
    fields = {key: value for key, value in document.items() if key not in ("_id", fencing.FIELD)}
    if fields.get("accepted_name") == fields.get("project_name"):
        # The daemon died between claiming the name and accepting the record.
        fields.pop("accepted_name", None)
    try:
        record = ProjectRecord.model_validate(fields)
    except ValidationError as error:
        _refuse(ctx, document, explain_invalid(error))
        return
    base, reason = _base_directory(ctx, record)
    if reason:
        _refuse(ctx, document, reason)
    elif not projects.claim_name(ctx.store, document["_id"], record.project_name):
        _refuse(ctx, document, _name_is_taken(ctx, record.project_name))
    else:
        now = ctx.clock.now()
        # Its record was removed by hand. What the new one wants is decided anew; what is under way is joined.
        if left := files.set_aside(ctx.store, record.project_name):
            log.warning("files_set_aside", project=record.project_name, files=left)
        acceptance.vouch(ctx.store, document["_id"], record.project_name, now)
        complete = record.model_dump() | {"analysis_projects_dir": base, "accepted_at": now, "discovery": {}}
        projects.set_project(
            ctx.store,
            document["_id"],
            None,
            ProjectState.DISCOVERING,
            why="the record is valid",
            **complete,
        )
        log.info("project_accepted", project=record.project_name, proposal=record.proposal_id)


def _name_is_taken(ctx: StepContext, name: str) -> str:
    first = projects.get(ctx.store, name) or {}
    if first.get("state") == ProjectState.DONE:
        return (
            f"project_name: the project {name} is done; to stage more, choose another name. If its files are "
            "wanted again, for they were removed: remove its record "
            f'(db.projects.deleteOne({{accepted_name: "{name}"}})) and insert this one again; what is still at '
            "its place is not asked for again"
        )
    return (
        f"project_name: a project called {name} exists already; choose another name, or look at the first: "
        f"jgi-stager status {name}"
    )


def _refuse_large(ctx: StepContext, document: Mapping[str, Any], size: int) -> None:
    """Mark a record invalid that is too large to be worked on; it may have no room even for that mark."""
    lost = projects.in_the_way(document)
    names = ", ".join(repr(name[:60]) for name in lost[:5]) + (
        f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    )
    taken = f" To mark it at all, this had to be taken out of it: {names}." if lost else ""
    reason = (
        f"the record has {human_bytes(size)}; at most {human_bytes(LARGEST_RECORD)} are of use.{taken} "
        "Insert it again without what does not belong in it"
    )
    _refuse(ctx, document, reason, without=lost)


def mark_invalid(ctx: StepContext, project: Mapping[str, Any], reason: str) -> None:
    """Mark a project that is being discovered invalid and tell people why. The daemon and the others go on."""
    shown = _tell_invalid(ctx, project, reason)
    old, new = ProjectState.DISCOVERING, ProjectState.INVALID
    projects.set_project(ctx.store, project["_id"], old, new, why=reason, reason=reason)
    log.warning("project_invalid", project=shown, record=record_key(project), reason=reason)


def _refuse(ctx: StepContext, document: Mapping[str, Any], reason: str, *, without: Sequence[str] = ()) -> None:
    """Mark a new record invalid and tell people why. ``without``: fields that are taken off it, besides the name
    that it may have claimed."""
    shown = _tell_invalid(ctx, document, reason)
    _set_invalid(ctx, document, reason, without)
    log.warning("project_invalid", project=shown, record=record_key(document), reason=reason)


def _set_invalid(ctx: StepContext, document: Mapping[str, Any], reason: str, without: Sequence[str] = ()) -> None:
    projects.set_project(
        ctx.store,
        document["_id"],
        None,
        ProjectState.INVALID,
        why=reason,
        reason=reason,
        without=list(dict.fromkeys([*without, "accepted_name"])),
        claims="accepted_at" in document,
    )


def _tell_invalid(ctx: StepContext, document: Mapping[str, Any], reason: str) -> str | None:
    """Tell people that a record cannot be used; the name it asks for, if that can be shown."""
    name = document.get("project_name")
    shown = name[:100] if isinstance(name, str) and name.isprintable() else None
    key = record_key(document)
    # A person may put another record under the same id: what is wrong with that one is told, too.
    event = f"{type(document['_id']).__name__}:{key}:{_digest(reason)[:8]}"
    notify(ctx, Kind.INVALID, event, {"record_id": key, "reason": reason}, shown, also=_addresses(document))
    return shown


def record_key(document: Mapping[str, Any]) -> str:
    """The id of a record as short text. It is from outside: it may be a document of any size."""
    key = str(document["_id"])
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[:LONGEST_KEY]}... ({_digest(key)[:16]})"


def acceptance_key(project: Mapping[str, Any]) -> str:
    """The name of an accepted project and when that was: in the keys of its notices.

    Not its id, which may read like another one (1 and "1"); and a name may be accepted again once a person has
    removed the first record.
    """
    return f"{project['accepted_name']}:{project['accepted_at']:%Y-%m-%dT%H:%M:%S}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _addresses(document: Mapping[str, Any]) -> list[str]:
    """Whom a record that is not valid asks to notify, as far as that can be understood."""
    wanted = document.get("notify")
    listed = wanted[:20] if isinstance(wanted, list) else []
    return [address for address in listed if isinstance(address, str) and is_mail_address(address)]


def _set_aside(ctx: StepContext, document: Mapping[str, Any], error: Exception) -> None:
    """A record that the daemon stumbles over must not be met again and again, in front of all others."""
    why = f"the daemon could not read this record ({type(error).__name__}); insert it again, with plain values"
    _set_invalid(ctx, document, why)


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
