"""The reports of a project as files: the maps for the importer, what has no row, what is staged, the md5 of each.

They lie in ``<base>/<project>/reports``, never in the directory of an analysis project, where the importer would
take them. Each is written beside its place and put there whole; what was there before is replaced and never
changed (it may be a hard link), and no link is followed. The files are read from the database one analysis project
at a time.
"""

from __future__ import annotations

import csv
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.failures import Rejected
from jgi_stager.formatting import no_formula
from jgi_stager.importer import Importer, Omics
from jgi_stager.lifecycle import State
from jgi_stager.models import Project
from jgi_stager.readiness import Readiness, Summary, Tally, name_in_directory
from jgi_stager.records import destination_directory
from jgi_stager.reporting.import_map import (
    HEADER,
    MAPS,
    NOT_READY_HEADER,
    Entry,
    Generations,
    ImportMap,
    import_map,
)
from jgi_stager.reporting.project_report import VERIFIED
from jgi_stager.reporting.ready_to_import import Judged, judged, readiness_document
from jgi_stager.store import Store
from jgi_stager.store.file_queries import StagedFile

DIRECTORY = "reports"
STAGED_COLUMNS = (
    *("ap_gold_id", "file_name", "jdp_file_id", "bytes", "md5", "importer_types", "verified", "destination"),
)
MISSING_COLUMNS = ("ap_gold_id", "file_name", "jdp_file_id", "bytes", "importer_types", "state", "reason")
LEFTOVER_SECONDS = 86_400
"""So old is a temporary file of a report that nobody writes any more."""
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.ASCII)


def generations_of(nmdc: Nmdc, project: Project) -> Generations:
    """What NMDC calls the sequencing of a project. Raises `Transient` where it cannot be asked now."""
    try:
        study = project.nmdc_study_id or nmdc.study_of_proposal(project.proposal_id)
        if study is None:
            return Generations(unknown=f"NMDC knows no study of proposal {project.proposal_id}")
        return Generations(nmdc.data_generations(study))
    except Rejected as error:
        return Generations(unknown=f"NMDC does not say what it is called there: {error}")


# --- the directory -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """An open directory in which reports are put."""

    path: str
    descriptor: int
    mode: int
    """Of the directory; the files in it can be read by the same people."""

    @contextmanager
    def new(self, name: str) -> Iterator[IO[str]]:
        """A text file that takes its place when the block ends, whole or not at all. Raises OSError."""
        fresh = f".{name}.{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(fresh, flags, 0o600, dir_fd=self.descriptor)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), self.mode & 0o666 | 0o600)
                os.fsync(file.fileno())
            os.replace(fresh, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
            os.fsync(self.descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(fresh, dir_fd=self.descriptor)
            raise

    def tidy(self) -> None:
        """Remove what a program that was killed left of a report. Raises OSError."""
        for name in os.listdir(self.descriptor):
            if _TEMPORARY.fullmatch(name):
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
                    if time.time() - found.st_mtime > LEFTOVER_SECONDS:
                        os.unlink(name, dir_fd=self.descriptor)


_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def reports_of(project: Project) -> Iterator[Folder]:
    """The directory for the reports of a project, made with the rights of the project's own, which must be there.

    Raises OSError: this machine may not have the file system.
    """
    with ExitStack() as stack:

        def opened(name: str, above: int | None) -> int:
            descriptor = os.open(name, _OPEN | (0 if above is None else os.O_NOFOLLOW), dir_fd=above)
            stack.callback(os.close, descriptor)
            return descriptor

        own = opened(project.project_name, opened(project.analysis_projects_dir, None))
        mode = stat.S_IMODE(os.fstat(own).st_mode)
        made = False
        with suppress(FileExistsError):
            os.mkdir(DIRECTORY, 0o700, dir_fd=own)
            made = True
        found = opened(DIRECTORY, own)
        if made:
            os.fchmod(found, mode)
        yield Folder(f"{project.analysis_projects_dir}/{project.project_name}/{DIRECTORY}", found, mode)


@contextmanager
def reports_in(directory: Path) -> Iterator[Folder]:
    """A directory that a person names, made if it is not there. Raises OSError."""
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory, _OPEN)
    try:
        yield Folder(str(directory), descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode))
    finally:
        os.close(descriptor)


# --- the files -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """What was written."""

    directory: str
    names: tuple[str, ...]
    summary: Summary
    rows: Mapping[Omics, int] | None
    """Of each map; None where NMDC could not be asked, and the maps were left as they are."""
    not_ready: int
    staged: int
    missing: int


@dataclass
class _Counts:
    staged: int = 0
    missing: int = 0
    bytes: int = 0
    without_md5: int = 0
    tally: Tally = field(default_factory=Tally)


def write_reports(
    store: Store,
    project: Project,
    importer: Importer | None,
    generations: Generations | None,
    folder: Folder,
    now: datetime,
) -> Written:
    """Write every report of a project. Raises OSError or `StoreError`; what is not whole takes no place then.

    ``generations`` None: NMDC could not be asked. Then no map is written, nor what has no row: an empty map would
    look like one of a project of which nothing is ready.
    """
    name, counts, entries = project.project_name, _Counts(), list[Entry]()
    folder.tidy()
    with ExitStack() as stack:
        names: list[str] = []

        def new(ending: str) -> IO[str]:
            names.append(ending)
            return stack.enter_context(folder.new(ending))

        whole = new(f"{name}.report.json")
        tables = _Tables(
            project, new(f"{name}.staged.csv"), new(f"{name}.missing.csv"), new("md5sums.txt"), counts
        )
        whole.write(
            f'{{"project": {json.dumps(name)}, "at": {json.dumps(now.isoformat())}, "analysis_projects": ['
        )
        for number, one in enumerate(judged(store, project, importer)):
            counts.tally.add(one.readiness)
            entry = _entry(project, one)
            entries.append(entry)
            rows = [_row(one.readiness, file, importer) for file in one.files]
            tables.add(one, rows)
            whole.write(f"{',' if number else ''}\n{_json(_of_analysis_project(entry, rows))}")
        found = None if generations is None else import_map(entries, generations)
        whole.write(f"\n], {_json(_of_project(counts, found))[1:]}\n")
        if found is not None:
            _write_map(found, name, new)
    summary = counts.tally.summary()
    rows_of = None if found is None else {omics: len(found.rows[omics]) for omics in MAPS}
    not_ready = 0 if found is None else len(found.not_ready)
    return Written(folder.path, tuple(sorted(names)), summary, rows_of, not_ready, counts.staged, counts.missing)


class _Tables:
    """The two tables of files, and the list of md5."""

    def __init__(
        self, project: Project, staged: IO[str], missing: IO[str], md5sums: IO[str], counts: _Counts
    ) -> None:
        self._root = PurePosixPath(project.analysis_projects_dir) / project.project_name
        self._staged = csv.writer(staged, lineterminator="\n")
        self._missing = csv.writer(missing, lineterminator="\n")
        self._md5sums = md5sums
        self._counts = counts
        self._staged.writerow(STAGED_COLUMNS)
        self._missing.writerow(MISSING_COLUMNS)

    def add(self, one: Judged, rows: Iterable[Mapping[str, Any]]) -> None:
        """The files of one analysis project."""
        for row in rows:
            done = row["state"] == State.DONE
            self._counts.staged += done
            self._counts.missing += not done
            table, columns = (self._staged, STAGED_COLUMNS) if done else (self._missing, MISSING_COLUMNS)
            table.writerow([_cell(row[column]) for column in columns])
        # Two ids of the same content have one place.
        places = {file.destination_path: file for file in one.files if file.state == State.DONE}
        for path, file in sorted(places.items(), key=lambda item: str(item[0])):
            self._counts.bytes += file.size or 0
            if path is None or file.md5sum is None:
                self._counts.without_md5 += 1
            else:
                self._md5sums.write(md5_line(file.md5sum, _below(self._root, path)))


def _entry(project: Project, one: Judged) -> Entry:
    name, files, known = one.readiness.ap_gold_id, one.files, one.discovered
    usual = destination_directory(project.analysis_projects_dir, project.project_name, name)
    paths = (PurePosixPath(file.destination_path).parent for file in files if file.destination_path)
    own = next((path for path in paths if path.name == name), usual)
    sequencing = known.gold_seq_id if known is not None else None
    sequencing = sequencing or next((file.gold_seq_id for file in files if file.gold_seq_id), None)
    return Entry(one.readiness, sequencing, str(own), () if known is None else tuple(known.self_mappings))


def _row(readiness: Readiness, file: StagedFile, importer: Importer | None) -> dict[str, Any]:
    """A file as every table and the whole report have it."""
    types: list[str] = []
    if importer is not None and readiness.judged and readiness.omics is not None:
        direct = name_in_directory(file.ap_gold_id, file.file_name, file.destination_path)
        matching = importer.patterns[readiness.omics].types_of(direct) if direct is not None else []
        types = list(dict.fromkeys(kind.name for kind in matching))
    done = file.state == State.DONE
    return {
        "ap_gold_id": file.ap_gold_id,
        "file_name": file.file_name,
        "jdp_file_id": file.jdp_file_id,
        "bytes": file.size,
        "md5": file.md5sum,
        "importer_types": types,
        "state": file.state.value,
        "reason": file.reason,
        "verified": file.last.removeprefix(VERIFIED) if done else None,
        "destination": file.destination_path,
    }


def _cell(value: Any) -> str:
    return no_formula("; ".join(value) if isinstance(value, list) else "" if value is None else str(value))


def md5_line(md5: str, path: str) -> str:
    """A line as ``md5sum`` writes it, and ``md5sum -c`` reads it: a name with a backslash or a line break is
    escaped, and the line says so by beginning with a backslash."""
    shown = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if shown == path else chr(92)}{md5}  {shown}\n"


def _below(root: PurePosixPath, path: str) -> str:
    """A path as it is seen from the directory of the project; one that lies elsewhere stays whole."""
    found = PurePosixPath(path)
    return str(found.relative_to(root)) if found.is_relative_to(root) else path


def _of_analysis_project(entry: Entry, rows: list[dict[str, Any]]) -> dict[str, Any]:
    one = entry.readiness
    return {
        "ap_gold_id": one.ap_gold_id,
        "omics": one.omics,
        "sequencing_project": entry.sequencing_project,
        "directory": entry.directory,
        "ready": one.ready,
        "standing": one.standing,
        "why": one.why or None,
        "judged": one.judged,
        "importer_files": one.taken,
        "types_found": one.found,
        "types_missing": one.missing,
        "ambiguous": [{"type": clash.type, "names": clash.names} for clash in one.ambiguous],
        "failed": [{"name": failed.name, "reason": failed.reason} for failed in one.failed],
        "under_way": one.under_way,
        "files": rows,
    }


def _of_project(counts: _Counts, found: ImportMap | None) -> dict[str, Any]:
    return {
        "readiness": readiness_document(counts.tally.summary()),
        "files": {"staged": counts.staged, "missing": counts.missing},
        "bytes_staged": counts.bytes,
        "without_md5": counts.without_md5,
        "map": None
        if found is None
        else {MAPS[omics]: [one._asdict() for one in found.rows[omics]] for omics in MAPS},
        "not_ready": None if found is None else [one._asdict() for one in found.not_ready],
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def _write_map(found: ImportMap, name: str, new: Any) -> None:
    for omics, short in MAPS.items():
        _write_tsv(new(f"{name}.{short}.map.tsv"), HEADER, found.rows[omics])
    _write_tsv(new(f"{name}.not_ready.tsv"), NOT_READY_HEADER, found.not_ready)


def _write_tsv(file: IO[str], header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    for row in (header, *rows):
        file.write("\t".join(no_formula(cell.translate(_BREAKS)) for cell in row) + "\n")


_BREAKS = str.maketrans("\t\n\r", "   ")
