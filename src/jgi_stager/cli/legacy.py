"""``import-legacy``: takes over what the scripts began, from their database, their settings or a staged tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from jgi_stager.cli import preview
from jgi_stager.cli.common import (
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    require_stage_dir,
    settings_or_exit,
)
from jgi_stager.client_factory import Clients, clients_for_command
from jgi_stager.clients.http import HttpEdge
from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.clients.turns import Turns
from jgi_stager.config_sources import verified_uri
from jgi_stager.failures import Service
from jgi_stager.formatting import count, human_bytes, some_of
from jgi_stager.import_models import MOST_TASKS, ImportedAnalysisProject
from jgi_stager.legacy import config as legacy_config
from jgi_stager.legacy import disk, enter, mapping, sources
from jgi_stager.legacy.config import LegacyConfig
from jgi_stager.legacy.enter import Becomes, Entered, RequestFound, TasksFound
from jgi_stager.legacy.generations import Problem
from jgi_stager.legacy.mapping import LegacyData, Mapped, PlannedProject, Wanted
from jgi_stager.lifecycle import ProjectState
from jgi_stager.models import Project
from jgi_stager.opening import open_secrets
from jgi_stager.records import ProjectRecord, destination_directory
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.secrets import Secrets
from jgi_stager.settings import HttpSettings, Settings
from jgi_stager.store import Store, files, imports, projects, requests

PASSWORD, TOKEN = "legacy_mongodb_password", "nmdc_token"
"""The secrets: the password of the user in --mongodb, and an access token of the NMDC runtime API."""
SHOWN = 10
"""Of a list on the screen; --json has all."""

ConfigsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Our settings, or those of the scripts (config.ini, *.toml): told apart by what is in them; may be "
        "repeated. With a file of the scripts alone our settings are printed, made from it.",
    ),
]


def import_legacy(  # noqa: PLR0913, PLR0917 - one argument is one option
    mongodb: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help=f"The MongoDB of the scripts, without the password (secret {PASSWORD}, or MONGO_PASSWORD).",
        ),
    ] = None,
    runtime_api: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"The NMDC runtime API; its access token is the secret {TOKEN}."),
    ] = None,
    from_disk: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A staged tree, without any database.")
    ] = None,
    database: Annotated[str, typer.Option(metavar="NAME", help="With --mongodb.")] = "workflow",
    project: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this project; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="With --from-disk: the project.")] = None,
    proposal: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="The JGI proposal of projects that say none.")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="ID", help="Their NMDC study.")] = None,
    only_biosamples: Annotated[
        bool, typer.Option("--only-biosamples", help="Stage only the biosamples that the database names.")
    ] = False,
    tasks_ended: Annotated[
        bool,
        typer.Option(
            "--tasks-ended", help="You have looked: no Globus task of the scripts runs any more, under any login."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and write nothing.")
    ] = False,
    as_json: JsonOption = False,
    configs: ConfigsOption = None,
) -> None:
    """Take over what the scripts began. Nothing of theirs is changed; twice changes nothing."""
    with handled():
        ours, theirs = _told_apart(configs or [])
        given = [one for one in (mongodb, runtime_api, from_disk) if one is not None]
        if len(given) > 1:
            raise Mistake("give one of --mongodb, --runtime-api and --from-disk", code=2)
        if not given and not tasks_ended:
            if theirs:
                typer.echo(legacy_config.as_toml(theirs), nl=False)
                return
            raise Mistake(
                "give --mongodb URI, --runtime-api URL or --from-disk DIR; or --config FILE alone", code=2
            )
    settings = settings_or_exit(ours)
    with handled():
        require_stage_dir(settings)
        if not given:
            _end_tasks(settings, project or [])
            return
        if from_disk is not None:
            _from_disk(settings, from_disk, name, proposal, study, dry_run=dry_run, as_json=as_json)
            return
        secrets = open_secrets(settings)
        data = _read(settings, secrets, mongodb, runtime_api, database, project or [])
        mapped = mapping.plan(
            data, _wanted(settings, theirs, project or [], proposal, study, only=only_biosamples)
        )
        source = "MongoDB" if mongodb is not None else "the NMDC runtime API"
        report = _import(settings, secrets, mapped, source, tasks_ended=tasks_ended, dry_run=dry_run)
        report.settings = [*_differences(settings, theirs)]
        emit(_json(report)) if as_json else _show(report)


# --- what is asked for ---------------------------------------------------------------------------------------


def _told_apart(configs: Sequence[Path]) -> tuple[Path | None, list[LegacyConfig]]:
    ours: list[Path] = []
    theirs = []
    for path in configs:
        if legacy_config.is_legacy(path):
            theirs.append(legacy_config.read(path))
        else:
            ours.append(path)
    if len(ours) > 1:
        raise Mistake(f"{ours[0]} and {ours[1]} are both settings of the daemon; name one", code=2)
    return (ours[0] if ours else None), theirs


def _read(
    settings: Settings,
    secrets: Secrets,
    mongodb: str | None,
    runtime_api: str | None,
    database: str,
    names: Sequence[str],
) -> LegacyData:
    try:
        if mongodb is not None:
            return sources.from_mongodb(verified_uri(mongodb), database, _password(secrets), names)
        section = HttpSettings(
            base_url=runtime_api or "", timeout_seconds=settings.nmdc.timeout_seconds, pool_size=1
        )
        with ExitStack() as stack:
            nmdc = Nmdc(HttpEdge(Service.NMDC, section.base_url, section.timeout_seconds, Turns(1)))
            stack.callback(nmdc.close)
            return sources.from_runtime(nmdc, secrets.read(TOKEN) if secrets.exists(TOKEN) else None, names)
    except sources.NoDataError as error:
        raise Mistake(str(error)) from None
    except ValueError as error:
        what = "--mongodb" if mongodb is not None else "--runtime-api"
        said = (
            str(error).splitlines()[0] if mongodb is not None else "must be an address that begins with https://"
        )
        raise Mistake(f"{what}: {said}", code=2) from None


def _password(secrets: Secrets) -> SecretStr | None:
    """The secret, or what the scripts' own environment has."""
    if secrets.exists(PASSWORD):
        return secrets.read(PASSWORD)
    found = os.environ.get("MONGO_PASSWORD")
    return SecretStr(found) if found else None


def _wanted(
    settings: Settings,
    theirs: Sequence[LegacyConfig],
    names: Sequence[str],
    proposal: str | None,
    study: str | None,
    *,
    only: bool,
) -> Wanted:
    said = None if proposal is not None else next((one for one in theirs if one.proposal_id is not None), None)
    return Wanted(
        stage_dir=str(settings.staging.stage_dir),
        names=tuple(names),
        proposal_id=proposal if said is None else said.proposal_id,
        nmdc_study_id=study or (None if said is None else said.nmdc_study_id),
        for_project=None if said is None else said.project,
        legacy_directories=tuple(dict.fromkeys(place for one in theirs for place in one.directories)),
        only_biosamples=only,
    )


def _differences(settings: Settings, theirs: Sequence[LegacyConfig]) -> list[str]:
    """What the scripts' settings say otherwise, where that matters for what is under way."""
    found = []
    for config in theirs:
        for section, key in (
            ("globus", "globus_root_dir"),
            ("globus", "jgi_collection_id"),
            ("globus", "nersc_collection_id"),
            ("jdp", "globus_user_name"),
        ):
            said = config.settings.get(section, {}).get(key)
            here = str(getattr(getattr(settings, section), key))
            if said is not None and str(said).strip("/") != here:
                found.append(
                    f"{section}.{key} is {here!r} here and {said!r} in {config.path.name}: deliveries of the "
                    "scripts are not found with another one"
                )
    return found


# --- what is done --------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What was found, what becomes of it, and what does not."""

    mapped: Mapped
    requests: list[RequestFound]
    tasks: TasksFound
    entered: dict[str, Entered]
    not_mapped: list[Problem]
    dry_run: bool
    settings: list[str]


def _import(
    settings: Settings, secrets: Secrets, mapped: Mapped, source: str, *, tasks_ended: bool, dry_run: bool
) -> Report:
    with open_store(settings, create=True) as opened, clients_for_command(settings, secrets) as clients:
        found, tasks = _check(opened.store, clients, mapped, tasks_ended=tasks_ended)
        report = Report(mapped, found, tasks, {}, list(mapped.not_mapped), dry_run, [])
        if tasks.unseen and not dry_run:
            raise Mistake(_unseen(tasks.unseen))
        _enter(opened.store, settings, report, source)
    return report


def _check(
    store: Store, clients: Clients, mapped: Mapped, *, tasks_ended: bool
) -> tuple[list[RequestFound], TasksFound]:
    new = [one for one in mapped.projects if projects.get(store, one.name) is None]
    known, now = requests.known_request_ids(store), store.clock.now()
    found = enter.check_requests(clients.jdp, mapping.joined(new), known, now)
    tasks = TasksFound() if tasks_ended or not new else enter.check_tasks(clients.globus, mapped.tasks)
    if len(tasks.running) > MOST_TASKS:
        raise Mistake(f"{len(tasks.running)} Globus tasks of the scripts run; import when most of them have ended")
    return found, tasks


def _unseen(task_ids: Sequence[str]) -> str:
    some = ", ".join(task_ids[:SHOWN])
    return (
        f"{count(len(task_ids), 'Globus task')} of the scripts ({some}) did not end, as far as their database "
        "says, and Globus does not show them to the login of the daemon: they may write where files go. Look at "
        "them with the login that the scripts used. When none runs any more, give --tasks-ended"
    )


def _enter(store: Store, settings: Settings, report: Report, source: str) -> None:
    free = []
    for one in report.mapped.projects:
        known = projects.get(store, one.name)
        if why := enter.why_taken(known, one.name):
            report.entered[one.name] = Entered.TAKEN
            report.not_mapped.append(Problem(f"project {one.name}", why))
        else:
            free.append(one)
            report.entered[one.name] = Entered.NEW if known is None else Entered.AGAIN
    if report.dry_run:
        return
    wanted = {request.request_id for one in free for request in one.requests}
    ours = [one for one in report.requests if one.asked.request_id in wanted]
    enter.enter_requests(store, ours, settings.jdp.max_restore_bytes)
    for one in free:
        done = enter.enter_project(store, one.record, one.analysis_projects, source, report.tasks.running)
        if isinstance(done, Problem):
            report.entered[one.name] = Entered.TAKEN
            report.not_mapped.append(done)
        else:
            report.entered[one.name] = done


def _end_tasks(settings: Settings, names: Sequence[str]) -> None:
    """A person says that the tasks of imported projects have ended."""
    if not names:
        raise Mistake("name the imported projects with --project", code=2)
    with open_store(settings) as opened:
        for name in names:
            found = projects.get(opened.store, name)
            known = imports.of_project(opened.store, found) if isinstance(found, Project) else None
            if known is None:
                raise Mistake(f"{name} is no imported project; see: jgi-stager project list")
            imports.note_ended(opened.store, name, known.running)
            Page().say(f"{name} waits for no Globus task of the scripts any more.")


# --- a tree without a database -------------------------------------------------------------------------------


def _from_disk(
    settings: Settings,
    directory: Path,
    name: str | None,
    proposal: str | None,
    study: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    if name is None:
        raise Mistake(
            "--from-disk needs --name NAME, and --proposal NUMBER if there is no such project yet", code=2
        )
    stage_dir = PurePosixPath(str(settings.staging.stage_dir))
    if not PurePosixPath(directory).is_relative_to(stage_dir):
        raise Mistake(f"--from-disk must be {stage_dir} (staging.stage_dir) or a directory below it", code=2)
    try:
        found = disk.find(directory, name)
    except disk.TooManyError as error:
        raise Mistake(str(error)) from None
    if not found:
        raise Mistake(f"{directory} has no directory of an analysis project (Ga...) in any layout of {name}")
    with open_store(settings, create=True) as opened:
        known = projects.get(opened.store, name)
        if isinstance(known, Project) and known.key != imports.record_key(name):
            became = _check_first(opened.store, known, found, dry_run=dry_run)
        else:
            became = _insert(opened, name, proposal, study, found, dry_run=dry_run)
    if as_json:
        emit({"dry_run": dry_run, "project": name, "analysis_projects": _places(found), "becomes": became})
        return
    page = Page()
    page.say(f"{count(len(found), 'analysis project')} of {name} lie below {directory}.")
    page.say(f"{name}: {became}")
    page.say("Each file is compared with JDP's size and md5 before it counts; what is missing is asked for.")


def _insert(
    opened: SnapshotSource,
    name: str,
    proposal: str | None,
    study: str | None,
    found: Sequence[ImportedAnalysisProject],
    *,
    dry_run: bool,
) -> str:
    if proposal is None:
        raise Mistake(f"there is no project called {name} yet: give its --proposal NUMBER", code=2)
    fields = {"project_name": name, "proposal_id": proposal} | ({} if study is None else {"nmdc_study_id": study})
    record: ProjectRecord = preview.validated(fields, opened.settings)
    known = projects.get(opened.store, name)
    if why := enter.why_taken(known, name):
        raise Mistake(why)
    if dry_run:
        return str(Entered.NEW if known is None else Entered.AGAIN)
    done = enter.enter_project(opened.store, record, found, "a staged tree", ())
    if isinstance(done, Problem):
        raise Mistake(done.reason)
    return str(done)


def _check_first(store: Store, known: Project, found: Sequence[ImportedAnalysisProject], *, dry_run: bool) -> str:
    if known.state not in (ProjectState.ACTIVE, ProjectState.PAUSED, ProjectState.HELD):
        raise Mistake(f"{known.project_name} is {known.state}; this is for one whose files are listed and wanted")
    here, base = [], known.analysis_projects_dir
    for one in found:
        usual = str(destination_directory(base, known.project_name, one.ap_gold_id))
        if one.directories != [usual]:
            raise Mistake(
                f"{one.ap_gold_id} lies in {', '.join(one.directories)}, and the files of {known.project_name} go "
                f"to {usual}: move it there, or import the tree as a project of its own"
            )
        here.append(one.ap_gold_id)
    if dry_run:
        return "its pending files are looked for there before they are asked for"
    marked = files.check_first(store, known.project_name, here)
    return f"{count(marked, 'pending file')} more are looked for there before they are asked for"


def _places(found: Sequence[ImportedAnalysisProject]) -> list[dict[str, Any]]:
    return [{"ap_gold_id": one.ap_gold_id, "directories": one.directories} for one in found]


# --- the report ----------------------------------------------------------------------------------------------


def _json(report: Report) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "projects": [_project_json(one, report.entered.get(one.name)) for one in report.mapped.projects],
        "requests": [
            {
                "request_id": one.asked.request_id,
                "files": len(one.asked.file_ids),
                "bytes": one.asked.bytes,
                "asked_by": one.asked.asked_by,
                "jdp": one.said,
                "becomes": one.becomes.name.lower(),
            }
            for one in report.requests
        ],
        "tasks": {"running": list(report.tasks.running), "unseen": list(report.tasks.unseen)},
        "not_mapped": [{"what": one.what, "reason": one.reason} for one in report.not_mapped],
        "settings": report.settings,
    }


def _project_json(one: PlannedProject, entered: Entered | None) -> dict[str, Any]:
    return {
        **one.record.model_dump(exclude_none=True),
        "generation": int(one.generation),
        "analysis_projects": len(one.analysis_projects),
        "files": {stage: {"files": number, "bytes": size} for stage, (number, size) in one.stages.items()},
        "words": dict(one.words),
        "becomes": None if entered is None else entered.name.lower(),
    }


def _show(report: Report) -> None:
    page = Page()
    for one in report.mapped.projects:
        _show_project(page, one, report)
    for becomes in Becomes:
        mine = [str(one.asked.request_id) for one in report.requests if one.becomes is becomes]
        if mine:
            page.say(f"{count(len(mine), 'request')} ({some_of(mine)}): {becomes}", hang=2)
    if report.tasks.running:
        running = count(len(report.tasks.running), "Globus task")
        page.say(f"{running} of the scripts run: nothing is looked at or sent until they have ended.")
    for text in [*([_unseen(report.tasks.unseen)] if report.tasks.unseen else []), *report.settings]:
        page.say(text, style="yellow")
    _show_problems(page, report.not_mapped)
    if not report.mapped.projects:
        page.say("No project can be taken over.")
    elif not report.dry_run:
        page.say("Every file is looked for at its destination first. Follow it with: jgi-stager status")


def _show_project(page: Page, one: PlannedProject, report: Report) -> None:
    aps = count(len(one.analysis_projects), "analysis project")
    head = f"{one.name} (proposal {one.record.proposal_id}, generation {int(one.generation)}, {aps})"
    page.say(head, style="bold")
    if one.record.biosample_ids:
        page.say(f"only the {len(one.record.biosample_ids)} biosamples that the database names", indent=2)
    rows = [[stage, f"{number:,}", human_bytes(size)] for stage, (number, size) in one.stages.items()]
    page.table(("by the scripts", "files", "bytes"), rows, right=(1, 2))
    became = report.entered.get(one.name, Entered.NEW)
    page.say(f"-> {'would be ' if report.dry_run and became is Entered.NEW else ''}{became}", indent=2)


def _show_problems(page: Page, problems: Sequence[Problem]) -> None:
    if problems:
        page.say(f"Not taken over: {len(problems):,}", style="bold")
    for problem in problems[:SHOWN]:
        page.say(f"{problem.what}: {problem.reason}", indent=2, hang=2)
    if len(problems) > SHOWN:
        page.say(f"... and {len(problems) - SHOWN:,} more; --json has all", indent=2)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import-legacy")(import_legacy)
