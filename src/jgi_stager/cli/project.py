"""``project``: insert records, look at them, and change a project while the daemon runs.

The changes are ``pause``, ``resume``, ``cancel``, ``priority``, ``notify`` and ``rescan``: `jgi_stager.admin`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from jgi_stager.admin import (
    Change,
    NotAllowed,
    cancel_project,
    check_cancel,
    pause_project,
    rescan_project,
    resume_project,
    set_notify,
    set_priority,
)
from jgi_stager.cli import preview
from jgi_stager.cli import rescan as rescans
from jgi_stager.cli.choosing import (
    FilesCsvOption,
    FilesPatternOption,
    FilesTypeOption,
    ImporterOnlyOption,
    chosen_fields,
)
from jgi_stager.cli.commands import Commands
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    daemon_runs_here,
    emit,
    handled,
    open_store,
    require_stage_dir,
    settings_or_exit,
    somebody,
)
from jgi_stager.formatting import human_bytes, percent, some_of
from jgi_stager.lifecycle import ProjectState
from jgi_stager.records import ProjectRecord
from jgi_stager.reporting import json_output
from jgi_stager.reporting.snapshot import daemon_view, take_snapshot
from jgi_stager.reporting.snapshot_types import Project
from jgi_stager.settings import Settings
from jgi_stager.store import Store, projects

app = Commands(no_args_is_help=True, help="Insert projects, look at them, and steer them.")
NameArgument = Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")]


NewNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Its name; a directory is called so.", show_default=False)
]
ProposalOption = Annotated[
    str | None, typer.Option("--proposal", metavar="NUMBER", help="The JGI proposal number.")
]
StudyOption = Annotated[
    str | None, typer.Option("--study", metavar="ID", help="The NMDC study; looked up if it is left out.")
]
BiosampleOption = Annotated[
    list[str] | None, typer.Option("--biosample", metavar="ID", help="Only this one (Gb...); may be repeated.")
]
BiosamplesOption = Annotated[
    Path | None, typer.Option("--biosamples-csv", metavar="FILE", help="Only the biosamples in this file.")
]
RescanDaysOption = Annotated[
    int | None,
    typer.Option("--rescan-days", metavar="DAYS", help="Look for new files every so many days (1 to 365)."),
]
PriorityOption = Annotated[
    int, typer.Option("--priority", metavar="NUMBER", help="-1000 to 1000; larger goes first.")
]
NotifyOption = Annotated[
    list[str] | None, typer.Option("--notify", metavar="ADDRESS", help="Also mail this address; may be repeated.")
]
DirectoryOption = Annotated[
    str | None, typer.Option("--dir", metavar="DIRECTORY", help="Stage below this one, not stage_dir.")
]
FromOption = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="Insert the record, or the list of records, in this JSON file."),
]


@app.command()
def add(  # noqa: PLR0913, PLR0917 - one argument is one option
    name: NewNameArgument = None,
    proposal: ProposalOption = None,
    study: StudyOption = None,
    biosample: BiosampleOption = None,
    biosamples_csv: BiosamplesOption = None,
    files_csv: FilesCsvOption = None,
    files_pattern: FilesPatternOption = None,
    files_type: FilesTypeOption = None,
    importer_only: ImporterOnlyOption = False,
    rescan_days: RescanDaysOption = None,
    priority: PriorityOption = 0,
    notify: NotifyOption = None,
    directory: DirectoryOption = None,
    source: FromOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Insert a project. The daemon takes it from there; mails and `status` tell how it goes."""
    settings = settings_or_exit(config)
    with handled():
        if source is not None:
            if name is not None or proposal is not None:
                raise Mistake("give a name and --proposal, or --from FILE; not both", code=2)
            records = _from_file(source)
        elif name is None or proposal is None:
            raise Mistake("a project needs a name and --proposal NUMBER, or --from FILE", code=2)
        else:
            fields = preview.wanted_fields(name, proposal, biosample, biosamples_csv)
            fields |= chosen_fields(files_csv, files_pattern, files_type, importer_only=importer_only)
            given = {
                "rescan_days": rescan_days,
                "nmdc_study_id": study,
                "priority": priority or None,
                "notify": notify or None,
                "analysis_projects_dir": directory,
            }
            records = [fields | {key: value for key, value in given.items() if value is not None}]
        _insert(settings, records, as_json=as_json)


def _from_file(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise Mistake(f"{path}: not a JSON file that can be read: {error}", code=2) from None
    records = found if isinstance(found, list) else [found]
    if not records or not all(isinstance(record, dict) for record in records):
        raise Mistake(f"{path}: must hold one JSON object, or a list of them", code=2)
    return records


def _insert(settings: Settings, records: list[dict[str, Any]], *, as_json: bool) -> None:
    """Validate all, then insert all, as a person would: only the fields that were given."""
    require_stage_dir(settings)
    checked = []
    for number, fields in enumerate(records):
        try:
            record = preview.validated(fields, settings)
        except Mistake as error:
            where = f"record {number + 1}: " if len(records) > 1 else ""
            raise Mistake(f"{where}{error}", code=2) from None
        _check_directory(settings, record)
        checked.append(record.model_dump(include=set(fields), exclude_none=True))
    names = [record["project_name"] for record in checked]
    if len(set(names)) < len(names):
        raise Mistake("two of the records have the same project_name; names must differ", code=2)
    with open_store(settings, create=True) as source:
        for name in names:
            _check_name(source.store, name)
        for fields in checked:
            projects.insert_project(source.store, fields)
    if as_json:
        emit({"inserted": names})
        return
    page = Page()
    for name in names:
        page.say(f"{name} is inserted. Follow it with: jgi-stager status {name}")
    if settings.mongodb.uri is None and not daemon_runs_here(settings):
        page.say("No daemon runs here now: it begins when one is started (jgi-stager run).", style="yellow")


def _check_directory(settings: Settings, record: ProjectRecord) -> None:
    """The daemon would call the record invalid; better to hear of it now."""
    stage_dir, wanted = settings.staging.stage_dir, record.analysis_projects_dir
    if wanted and stage_dir and not PurePosixPath(wanted).is_relative_to(PurePosixPath(stage_dir)):
        raise Mistake(f"--dir must be {stage_dir} or a directory below it; or leave it out", code=2)


def _check_name(store: Store, name: str) -> None:
    known = projects.get(store, name)
    if known is not None and known.state != ProjectState.INVALID:
        raise Mistake(
            f"a project called {name} exists already; choose another name, or look at the first: "
            f"jgi-stager status {name}"
        )


# --- looking -------------------------------------------------------------------------------------------------


@app.command("list")
def list_projects(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List all projects, the invalid and the finished ones included."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        found = take_snapshot(source).projects
        if as_json:
            emit([json_output.project(one) for one in found])
            return
        page = Page()
        if not found:
            page.say("no projects yet; insert one: jgi-stager project add NAME --proposal NUMBER")
            return
        page.table(
            ("name", "state", "done", "files", "bytes", "prio", "since"),
            [_row(one) for one in found],
            right=(2, 3, 4, 5),
        )


def _row(one: Project) -> list[str]:
    total = one.total
    share = percent(one.share) if total.files else ""
    since = f"{one.since:%Y-%m-%d %H:%M}" if one.since else ""
    size = human_bytes(total.bytes) if total.files else ""
    return [one.name or "(no name)", one.state, share, f"{total.files:,}", size, str(one.priority), since]


@app.command()
def show(project: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one project: its record, its files by state, and what happened to it."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        found = take_snapshot(source).project(project)
        inserted = projects.get(source.store, project)
        if found is None or inserted is None:
            raise Mistake(f"there is no project called {project}; see: jgi-stager project list")
        record = projects.asked_for(inserted)
        if as_json:
            emit({**json_output.project(found), "record": record, "history": json_output.history(found.history)})
        else:
            _show(found, record)


def _show(found: Project, record: Mapping[str, Any]) -> None:
    page = Page()
    page.say(f"{found.name}: {found.state}", style="bold")
    for name, value in record.items():
        page.say(f"{name:<22}{_shown(value)}", indent=2, hang=22)
    if found.destination:
        page.pair("destination", found.destination, 22)
    if found.reason:
        page.say(f"{'reason':<22}{found.reason}", indent=2, hang=22)
    if found.total.files:
        page.say()
        rows = [
            [state, f"{one.files:,}", human_bytes(one.bytes)] for state, one in found.counts.items() if one.files
        ]
        page.table(("  state", "files", "bytes"), [[f"  {row[0]}", *row[1:]] for row in rows], right=(1, 2))
    page.say()
    for move in found.history:
        page.say(f"{move.at:%Y-%m-%d %H:%M}  {move.new:<12} {move.why}", indent=2, hang=31)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_shown(said)}" for name, said in value.items() if said)
    if isinstance(value, str) and "\n" in value:
        value = value.splitlines()[1:]  # a list of files, below its header
    return some_of([str(item) for item in value]) if isinstance(value, list) else str(value)


# --- changing -----------------------------------------------------------------------------------------------


ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes on the history.")]


def pause(
    project: NameArgument, reason: ReasonOption = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Begin nothing new for a project. What is at JDP or in a Globus task goes on to its end."""
    _steer(config, lambda store: pause_project(store, project, somebody(), reason), as_json=as_json)


def resume(
    project: NameArgument, reason: ReasonOption = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a paused or cancelled project go on."""
    _steer(config, lambda store: resume_project(store, project, somebody(), reason), as_json=as_json)


def cancel(
    project: NameArgument,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Stop a project for good. What has arrived stays.

    Its Globus tasks are ended where nobody else needs them. JDP requests cannot be taken back, and their bytes
    stay spent.
    """

    def act(store: Store) -> Change:
        check_cancel(store, project)  # who cannot cancel it is not asked first
        if not yes:
            typer.confirm(f"Cancel {project}? What was asked from tape stays spent", abort=True, err=True)
        return cancel_project(store, project, somebody(), reason)

    _steer(config, act, as_json=as_json)


def priority(
    project: NameArgument,
    value: Annotated[
        int, typer.Argument(metavar="NUMBER", min=-1000, max=1000, help="-1000 to 1000; larger goes first.")
    ],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Change the priority of a project; the next planning of requests follows it."""
    _steer(config, lambda store: set_priority(store, project, value, somebody(), reason), as_json=as_json)


def notify(
    project: NameArgument,
    addresses: Annotated[
        list[str] | None, typer.Argument(metavar="ADDRESS", help="All of them; none for nobody.")
    ] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Change who gets the mails of a project beside the site's people. Replaces the addresses it had."""
    _steer(config, lambda store: set_notify(store, project, addresses or [], somebody(), reason), as_json=as_json)


def rescan(
    project: NameArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is new: ask GOLD and JDP now, and change nothing.")
    ] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Ask GOLD and JDP again what belongs to a project, also to one that is done.

    New files are staged; what changed or went at JGI is told; what is staged stays as it is.
    """
    if not dry_run:
        _steer(config, lambda store: rescan_project(store, project, somebody(), reason), as_json=as_json)
        return
    settings = settings_or_exit(config)
    with handled():
        found = rescans.dry_run(settings, project)
        if as_json:
            emit(rescans.document(project, found))
        else:
            rescans.show(project, found, Page())


def _steer(config: Path | None, act: Callable[[Store], Change], *, as_json: bool) -> None:
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        try:
            change = act(source.store)
        except NotAllowed as error:
            raise Mistake(str(error)) from None
        alive = daemon_view(source).alive
        if as_json:
            emit(
                {
                    "project": change.project,
                    "changed": change.what,
                    "before": change.before,
                    "after": change.after,
                    "daemon_alive": alive,
                }
            )
            return
        page = Page()
        page.say(change.said)
        if not alive:
            page.say("The daemon does not run now; it counts when it is started.", style="yellow")


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    for command in (pause, resume, cancel, priority, notify, rescan):
        app.command()(command)
    parent.add_typer(app, name="project")
