"""``evidence``: a bundle about a project or request for JGI's help desk, or for an issue.

It is made of what the database has, whether the daemon runs or not, and of a fresh question each to JDP and
Globus, as far as these can be reached. Nothing in it is a secret, an address, or a path or name of this machine.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from jgi_stager.alarm_models import Alarm
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    settings_or_exit,
)
from jgi_stager.client_factory import Clients, clients_for_command
from jgi_stager.contract import CONTRACT
from jgi_stager.failures import ServiceError
from jgi_stager.lifecycle import State
from jgi_stager.manifest_files import fetched, head, local_copy
from jgi_stager.manifests import delivery_name
from jgi_stager.models import Project, RestoreRequest, TransferTask
from jgi_stager.records import manifest_directory
from jgi_stager.reporting.bundle import MOST_BYTES, Redaction, pack, shown_headers, without_secrets
from jgi_stager.reporting.json_output import plain
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.settings import ConfigError, Settings
from jgi_stager.store import Store, alarms, evidence, file_queries, files, projects, requests, tasks
from jgi_stager.version import RELEASE

MOST_REQUESTS, MOST_TASKS, MOST_FILES, MOST_MANIFESTS = 10, 10, 200, 5
HEAD_BYTES = LONGEST_ANSWER = 4 * MOST_BYTES
"""More than is shown: what is cut is cut after it was redacted, or half a secret would be left."""
FRESH_SECONDS = 20.0
LARGEST_SECRET = 64 * 1024
NUMBER = re.compile(r"R?([0-9]{1,18})", re.ASCII)
UNUSUAL = re.compile(r"[^\w.-]+", re.ASCII)
Member = tuple[str, str]


@dataclass(frozen=True)
class Subject:
    """What the bundle is about: one request, or a project with its latest ones."""

    name: str
    project: Project | None
    requests: list[RestoreRequest]
    tasks: list[TransferTask]
    alarms: list[Alarm]


def command(
    subject: Annotated[
        str, typer.Argument(metavar="PROJECT|REQUEST", help="A project, or the number of a request.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes; by default a new file here.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write what is known about a project or request into a file that can be sent to JGI or filed as an issue.

    It works while the daemon is down, and without JDP or Globus where these cannot be reached. No secret, mail
    address, user name or home directory is in it.
    """
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        snapshot = take_snapshot(source)
        found = _find(source, snapshot, subject)
        members = [*_known(source, snapshot, found), *_manifests(found), *_fresh(settings, found)]
        members.insert(0, ("README.md", _readme(snapshot, found, [name for name, _ in members])))
        shown = UNUSUAL.sub("_", found.name)[:100]
        top = f"jgi-stager-evidence-{shown}-{snapshot.now:%Y%m%dT%H%M%S}"
        place = out or Path(f"{top}.tar.gz")
        _write(place, pack(members, _redaction(settings), snapshot.now, top))
        if as_json:
            emit({"file": str(place), "members": [name for name, _ in members]})
            return
        page = Page()
        page.say(f"{place}: {len(members)} files about {found.name}")
        page.say("Look into it before you send it: tar -xzf it, and begin with README.md.")


# --- what is known ------------------------------------------------------------------------------------------


def _find(source: SnapshotSource, snapshot: Snapshot, subject: str) -> Subject:
    """The project of this name, or else the request of this number."""
    record = projects.get(source.store, subject) if snapshot.project(subject) is not None else None
    if record is not None:
        views = [one for one in (*snapshot.requests, *reversed(snapshot.past_requests)) if subject in one.projects]
        keys = list(dict.fromkeys(one.key for one in views))[:MOST_REQUESTS]
        known = [one for key in keys if (one := requests.get_request(source.store, key)) is not None]
        project = record if isinstance(record, Project) else None
        return Subject(subject, project, known, _tasks_of(source, snapshot, known), [*snapshot.alarms_of(subject)])
    number = NUMBER.fullmatch(subject)
    request = requests.request_by_id(source.store, int(number[1])) if number is not None else None
    if request is None:
        raise Mistake(
            f"there is no project and no request called {subject}; see: jgi-stager project list, and for the "
            "numbers of requests: jgi-stager status --json"
        )
    about = [one for one in snapshot.alarms if _is_about(one, request)]
    named = next(iter(request.projects), None)
    owner = projects.get(source.store, named) if named is not None else None
    project = owner if isinstance(owner, Project) else None
    return Subject(f"R{request.number}", project, [request], _tasks_of(source, snapshot, [request]), about)


def _is_about(alarm: Alarm, request: RestoreRequest) -> bool:
    about = alarm.about
    if about.request_id is not None:
        return about.request_id == request.request_id
    if about.request_key is not None:
        return about.request_key == request.key
    return not alarm.projects or bool(set(alarm.projects) & set(request.projects))


def _tasks_of(source: SnapshotSource, snapshot: Snapshot, known: list[RestoreRequest]) -> list[TransferTask]:
    numbers = {one.request_id for one in known}
    views = [one for one in (*snapshot.tasks, *reversed(snapshot.past_tasks)) if numbers & set(one.request_ids)]
    keys = list(dict.fromkeys(one.key for one in views))[:MOST_TASKS]
    return [one for key in keys if (one := tasks.get_task(source.store, key)) is not None]


def _known(source: SnapshotSource, snapshot: Snapshot, found: Subject) -> Iterator[Member]:
    """What the database has."""
    if found.project is not None:
        yield "project.json", _json(found.project.model_dump(by_alias=True))
        rows = file_queries.listing(
            source.store,
            found.project.project_name,
            states=[state for state in State if state != State.DONE],
            limit=MOST_FILES,
        )
        yield "files-not-done.json", _json(_as_documents(source.store, rows))
    for request in found.requests:
        yield f"requests/{request.request_id or request.key}.json", _json(request.model_dump(by_alias=True))
        if request.request_id is not None:
            theirs = files.of_request(source.store, request.request_id)[:MOST_FILES]
            yield f"requests/{request.request_id}-files.json", _json(_as_documents(source.store, theirs))
    for task in found.tasks:
        document = task.model_dump(by_alias=True, exclude={"body", "file_oids"})
        yield f"tasks/{task.task_id or task.key}.json", _json(document)
    began = min((one.reserved_at for one in found.requests), default=None)
    over = alarms.ended_since(source.store, began) if began is not None else []
    theirs_too = [one for one in over if any(_is_about(one, request) for request in found.requests)]
    yield "alarms.json", _json([one.model_dump(by_alias=True) for one in (*found.alarms, *theirs_too)])
    yield "assumptions.json", _json(_assumptions(source))
    yield "versions.json", _json(_versions(snapshot))


def _as_documents(store: Store, rows: Sequence[files.FileRow]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in (row._asdict() | details._asdict()).items() if name != "oid"}
        for row, details in file_queries.with_details(store, rows)
    ]


def _assumptions(source: SnapshotSource) -> list[dict[str, Any]]:
    """What is assumed of the services, and what was seen of it."""
    known = evidence.contract(source.store)
    return [
        {"id": row.id, "assumed": row.assumed, **known.row(row.id).model_dump(by_alias=True)} for row in CONTRACT
    ]


def _versions(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "jgi-stager": RELEASE,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "now": snapshot.now,
        "daemon_alive": snapshot.daemon.alive,
        "clock_scale": snapshot.clock_scale,
    }


def _manifests(found: Subject) -> Iterator[Member]:
    """The head of each manifest as it lies at the destination."""
    if found.project is None:
        return
    place = Path(manifest_directory(found.project.analysis_projects_dir, found.project.project_name))
    for request in found.requests:
        if request.request_id is None:
            continue
        for name in [local_copy(request.request_id, one) for one in fetched(request)][:MOST_MANIFESTS]:
            try:
                yield f"manifests/{name}", head(place / name, HEAD_BYTES).decode("utf-8", "replace")
            except OSError as error:
                why = error.strerror or error
                yield f"manifests/{name}.missing", f"it cannot be read at the destination: {why}\n"


# --- what JDP and Globus say now ----------------------------------------------------------------------------


def _fresh(settings: Settings, found: Subject) -> Iterator[Member]:
    """One question each about what is newest; why not, where that cannot be asked."""
    try:
        with clients_for_command(settings, seconds=FRESH_SECONDS) as services:
            yield from _asked(settings, services, found)
    except ConfigError as error:
        yield "fresh/not-asked.txt", f"{error}\n"


def _asked(settings: Settings, services: Clients, found: Subject) -> Iterator[Member]:
    for request in [one for one in found.requests if one.request_id is not None][:1]:
        yield f"fresh/jdp-request-{request.number}.json", _answer(partial(_of_jdp, services, request.number))
        name = request.delivery_directory or delivery_name(request.number)
        yield f"fresh/globus-{name}.json", _answer(partial(_delivery, settings, services, name))
    for task_id in [one.task_id for one in found.tasks if one.task_id is not None][:1]:
        yield f"fresh/globus-task-{task_id}.json", _answer(partial(_of_globus, services, task_id))


def _delivery(settings: Settings, services: Clients, name: str) -> dict[str, Any]:
    """What lies in the delivery directory of this name."""
    collection, path = settings.globus.jgi_collection_id, f"{settings.globus.delivery_root}/{name}"
    entries = services.globus.ls(collection, path)
    listed = None if entries is None else [one.model_dump() for one in entries]
    return {"collection": collection, "path": path, "entries": listed}


def _of_globus(services: Clients, task_id: str) -> dict[str, Any]:
    return services.globus.task(task_id).model_dump()


def _of_jdp(services: Clients, number: int) -> dict[str, Any]:
    answer = services.jdp.request_answer(number)
    return {
        "call": answer.call,
        "status": answer.status,
        "headers": shown_headers(answer.headers),
        "body": answer.body[:LONGEST_ANSWER].decode("utf-8", "replace"),
    }


def _answer(ask: Callable[[], Any]) -> str:
    try:
        return _json(ask())
    except ServiceError as error:
        return _json({"not_answered": str(error)})


# --- the bundle ---------------------------------------------------------------------------------------------


def _readme(snapshot: Snapshot, found: Subject, members: list[str]) -> str:
    """The question in words."""
    lines = [f"# Evidence about {found.name}", ""]
    lines.append(f"Written by jgi-stager {RELEASE} at {snapshot.now:%Y-%m-%d %H:%M} UTC.")
    lines += ["", "## The question", ""]
    if found.alarms:
        for one in found.alarms:
            lines += [f"- **{one.subject}** (since {one.opened_at:%Y-%m-%d %H:%M} UTC). {one.found}", ""]
            lines += [f"  What we would do: {one.you}", ""]
    else:
        lines += ["No alarm is open about it: please say what you see that we do not.", ""]
    lines += ["## The requests", ""]
    for request in found.requests:
        asked = f"{request.submitted_at:%Y-%m-%d %H:%M} UTC" if request.submitted_at else "never"
        lines.append(
            f"- request {request.request_id or 'without a number'}: {request.state} here, "
            f"{request.status_word or 'nothing'!s} at JDP; {len(request.file_ids)} files, {request.bytes} bytes, "
            f"asked {asked}"
        )
    lines += ["", "## The files", "", *(f"- `{name}`" for name in members)]
    lines += ["", "`fresh/` is what JDP and Globus answered when this was written; the rest is what was stored."]
    return "\n".join([*lines, ""])


def _json(value: Any) -> str:
    return json.dumps(plain(without_secrets(value)), indent=1, ensure_ascii=True, default=str) + "\n"


def _redaction(settings: Settings) -> Redaction:
    """What must not leave: the secrets, the addresses of the settings, the names and places of this machine."""
    told, home = settings.notifications, str(Path.home())
    places = [(home, "<home>")] if home not in COMMON else []
    if settings.staging.stage_dir is not None:
        places.append((str(settings.staging.stage_dir), "<stage>"))
    places.append((str(settings.state.directory), "<state>"))
    places += [(address, "<address>") for address in (*told.mailto, told.mail_from) if address]
    host = socket.gethostname()
    names = [(host, "<host>"), (host.partition(".")[0], "<host>")]
    with suppress(KeyError, OSError):  # without an entry of the user
        names.append((getpass.getuser(), "<user>"))
    named = tuple((name, word) for name, word in names if name and name not in COMMON)
    return Redaction(tuple(_secrets(settings)), tuple(places), named)


COMMON = frozenset({"root", "user", "jgi", "daemon", "localhost", "/"})
"""Names that tell nothing of anybody, and whose loss would take the text apart."""


def _secrets(settings: Settings) -> Iterator[str]:
    directory = settings.secrets.directory
    if directory is None:
        return
    with suppress(OSError):
        for path in sorted(directory.iterdir()):
            with suppress(OSError):
                if path.is_file() and path.stat().st_size <= LARGEST_SECRET:
                    raw = path.read_text("utf-8", "replace").strip()
                    yield raw
                    yield from (line.strip() for line in raw.splitlines())


def _write(place: Path, content: bytes) -> None:
    """Write a new file that only its owner may read, whole or not at all. Raises `Mistake`."""
    if place.exists():
        raise Mistake(f"{place} is there already; name another with --out")
    fresh: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}.", delete=False) as out:
            fresh = Path(out.name)  # mode 0600
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.link(fresh, place)  # does not replace what somebody made meanwhile
    except OSError as error:
        raise Mistake(f"{place} cannot be written: {error.strerror or error}") from None
    finally:
        if fresh is not None:
            fresh.unlink(missing_ok=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evidence")(command)
