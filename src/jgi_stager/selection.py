"""Which of the listed files are wanted, and where each one goes. Pure.

The first two rules that drop a file are the operators' (docs/decisions/0302-which-files-are-wanted.md):
names of files too large to be of use, and reads of another, superseded analysis. What they leave is held against
what the person chose, if anything (docs/decisions/0304-choosing-files.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath

from jgi_stager.choosing import NOT_CHOSEN, Chooser
from jgi_stager.lifecycle import State
from jgi_stager.records import (
    LONGEST_PATH_BYTES,
    FileRecord,
    unsafe_name,
    usable_md5,
    usable_size,
    without_invisible,
)

SAME_NAME = "same_name"
"""The directory, in that of an analysis project, of files whose name another one has. The importer downstream
takes what lies directly in the latter, and of two names with one ending the last."""
CORRECTED_READS = "input.corr.fastq.gz"
"""The one fastq file that does not carry a sequencing unit in its name and is wanted all the same."""

LONGEST_TEXT = 1000
"""Characters of a hostile file name or status that are kept, so that a person sees what it was."""


@dataclass(frozen=True)
class Listed:
    """One file as JDP lists it. ``size`` in bytes, None where JDP's value cannot be used."""

    jdp_file_id: str
    file_name: str
    size: int | None
    status: str | None = None
    md5: str | None = None
    file_type: tuple[str, ...] = ()
    seq_unit_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Owner:
    """The analysis project the files belong to, and where its files go."""

    project_name: str
    ap_gold_id: str
    its_ap_id: int
    directory: PurePosixPath
    gold_study_id: str | None = None
    gold_biosample_id: str | None = None
    gold_seq_id: str | None = None
    jgi_ap_id: str | None = None


@dataclass(frozen=True)
class Placed:
    """A file that has its place: ``name`` in the directory of the analysis project. Nobody else gets it."""

    file: Listed
    source_file_id: str
    name: str


@dataclass(frozen=True)
class Selection:
    """What becomes of the files of one analysis project."""

    records: tuple[FileRecord, ...]
    dropped: dict[str, int] = field(default_factory=dict)
    """How many files each rule of the site dropped."""
    dropped_bytes: int = 0
    not_chosen: dict[str, int] = field(default_factory=dict)
    """How many of the others the person's choice leaves out, by its rule."""
    not_chosen_bytes: int = 0
    named: frozenset[str] = frozenset()
    """What of the person's list of files JDP lists here, wanted or not."""
    warnings: tuple[str, ...] = ()


def sequencing_units(files: Iterable[Listed]) -> frozenset[str]:
    """The units of the analysis: the first four dot-separated parts of the contigs' ``seq_unit_name``."""
    return frozenset(
        ".".join(name.split(".")[:4])
        for file in files
        if "contigs" in file.file_type
        for name in file.seq_unit_names
        if name
    )


def why_dropped(
    file: Listed, units: frozenset[str], remove_files: Sequence[str], chosen: Chooser | None = None
) -> str | None:
    """The rule that drops ``file``, or None if it is wanted. Those of the site come first."""
    for part in remove_files:
        if part and part in file.file_name:
            return f"name contains {part}"
    if _is_read(file) and units and not any(unit in file.file_name for unit in units):
        return "reads of another analysis"
    return None if chosen is None or chosen.takes(file.jdp_file_id, file.file_name) else chosen.rule


def select(
    owner: Owner,
    files: Sequence[Listed],
    remove_files: Sequence[str],
    now: datetime,
    chosen: Chooser | None = None,
    placed: Sequence[Placed] = (),
) -> Selection:
    """Decide about every file of one analysis project. The order of ``files`` does not matter.

    ``chosen``: what the person chose; None for all. ``placed``: what has its place already, listed or not.
    """
    files, warnings = _distinct(owner, files)
    units = sequencing_units(files)
    if not units and any(_is_read(file) for file in files):
        warnings.append(
            f"{owner.ap_gold_id}: no contigs file names its sequencing unit, "
            "so reads of a superseded analysis cannot be told apart; all reads are kept"
        )
    if chosen is not None and chosen.all:
        warnings.append(
            f"{owner.ap_gold_id}: this site has no patterns of the importer for such an analysis project, so "
            "nobody can tell what it takes; all of its files are staged"
        )
    ruled = [(file, why_dropped(file, units, remove_files, chosen)) for file in files]
    wanted = [file for file, rule in ruled if rule is None]
    records, name_warnings = _with_destinations(owner, wanted, placed, now)
    dropped, dropped_bytes = _left_out(ruled, by_choice=False)
    not_chosen, not_chosen_bytes = _left_out(ruled, by_choice=True)
    return Selection(
        records=records,
        dropped=dropped,
        dropped_bytes=dropped_bytes,
        not_chosen=not_chosen,
        not_chosen_bytes=not_chosen_bytes,
        named=frozenset().union(*(chosen.named(file.jdp_file_id, file.file_name) for file in files if chosen)),
        warnings=(*warnings, *name_warnings),
    )


def _left_out(ruled: Iterable[tuple[Listed, str | None]], *, by_choice: bool) -> tuple[dict[str, int], int]:
    """How many files each rule leaves out, and their bytes: those of the site, or the person's."""
    rules: dict[str, int] = {}
    size = 0
    for file, rule in ruled:
        if rule is not None and rule.startswith(NOT_CHOSEN) is by_choice:
            rules[rule] = rules.get(rule, 0) + 1
            size += usable_size(file.size) or 0
    return rules, size


def _distinct(owner: Owner, files: Iterable[Listed]) -> tuple[list[Listed], list[str]]:
    """Every id once, oldest first (ids sort by age). JDP's pages repeat descriptors; the fullest one counts."""
    listed: dict[str, list[Listed]] = {}
    for file in files:
        listed.setdefault(file.jdp_file_id, []).append(file)
    found = {file_id: min(same, key=_fullness) if same[1:] else same[0] for file_id, same in listed.items()}
    differing = [file_id for file_id, same in listed.items() if any(file != found[file_id] for file in same)]
    warnings = [
        f"{owner.ap_gold_id}: JDP lists {file_id} more than once, and differently; "
        f"it is taken as {found[file_id].file_name!r:.300} of {found[file_id].size} bytes"
        for file_id in sorted(differing)
    ]
    return sorted(found.values(), key=lambda one: one.jdp_file_id), warnings


def _fullness(file: Listed) -> tuple[bool, bool, str]:
    return (usable_size(file.size) is None, usable_md5(file.md5) is None, repr(file))


def _is_read(file: Listed) -> bool:
    return "fastq" in file.file_name and file.file_name != CORRECTED_READS


def _with_destinations(
    owner: Owner, wanted: Sequence[Listed], placed: Sequence[Placed], now: datetime
) -> tuple[tuple[FileRecord, ...], list[str]]:
    """Give every file its place. Same name and content: one copy serves all. Other content: another directory.

    The oldest id keeps the plain name; every other content goes to ``same_name/<id>/<name>``. What is ``placed``
    keeps its place.
    """
    records: list[FileRecord] = []
    warnings: list[str] = []
    taken: dict[str, list[tuple[Listed, str]]] = {}
    wanted, renamed = _visible(wanted)
    warnings += [
        f"{owner.ap_gold_id}: the name {renamed[file.jdp_file_id]!r} has characters that cannot be seen; "
        f"{file.jdp_file_id} is staged as {file.file_name!r}"
        for file in wanted
        if file.jdp_file_id in renamed
    ]
    kept = {one.file.jdp_file_id: one for one in placed}
    for one in placed:
        taken.setdefault(one.file.file_name, []).append((one.file, one.name))
    used = {SAME_NAME, *(one.name for one in placed)}
    for file in wanted:
        known_as = renamed.get(file.jdp_file_id)
        if (own := kept.get(file.jdp_file_id)) is not None:
            records.append(_record(owner, file, own.source_file_id, own.name, now, None, known_as))
            continue
        if reason := _unusable(file):
            records.append(_record(owner, file, file.jdp_file_id, None, now, reason))
            continue
        earlier = taken.setdefault(file.file_name, [])
        same = next(((first, name) for first, name in earlier if same_content(first, file)), None)
        plain = file.file_name not in used
        place = file.file_name if plain else other_place(file.jdp_file_id, file.file_name)
        first, name = same or (file, place)
        if earlier and not same and not plain:
            warnings.append(
                f"{owner.ap_gold_id}: two files are called {file.file_name!r}; "
                f"{file.jdp_file_id} differs from {earlier[0][0].jdp_file_id} and is staged as {name!r}"
            )
        if not same:
            earlier.append((file, name))
            used.add(name)
        reason = _too_long(owner.directory / name)
        source = kept[first.jdp_file_id].source_file_id if first.jdp_file_id in kept else first.jdp_file_id
        records.append(_record(owner, file, source, None if reason else name, now, reason, known_as))
    return tuple(records), warnings


def _visible(wanted: Sequence[Listed]) -> tuple[list[Listed], dict[str, str]]:
    """The files under names that people can see, and by id what JDP calls those that it calls otherwise."""
    renamed: dict[str, str] = {}
    found = []
    for file in wanted:
        name = without_invisible(file.file_name)
        if name != file.file_name and not _unusable(file):
            renamed[file.jdp_file_id] = file.file_name
            file = replace(file, file_name=name)  # noqa: PLW2901 - the same file under another name
        found.append(file)
    return found, renamed


def same_content(one: Listed, other: Listed) -> bool:
    """Whether size and md5 prove that two files are the same. A missing md5 proves nothing."""
    md5 = usable_md5(one.md5)
    return md5 is not None and md5 == usable_md5(other.md5) and one.size == other.size


def other_place(jdp_file_id: str, file_name: str) -> str:
    """Where a file goes whose name another one has, below the directory of their analysis project. Pure, and of
    nothing but its id and name."""
    return f"{SAME_NAME}/{jdp_file_id}/{file_name}"


def _too_long(path: PurePosixPath) -> str | None:
    if len(str(path).encode()) <= LONGEST_PATH_BYTES:
        return None
    return f"its destination path is longer than {LONGEST_PATH_BYTES} bytes; stage to a shorter directory"


def _unusable(file: Listed) -> str | None:
    if why := unsafe_name(file.file_name):
        return f"its file name {why}, so it cannot be stored; ask JGI to rename it"
    if usable_size(file.size) is None:
        return "JDP gives no usable size, so it can be neither counted nor verified; ask JGI to correct it"
    return None


def _storable(text: str) -> str:
    """Text as MongoDB can hold it: JSON may carry half characters, which UTF-8 cannot; and not without end."""
    return text[:LONGEST_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")


def _record(
    owner: Owner,
    file: Listed,
    source: str,
    name: str | None,
    now: datetime,
    reason: str | None,
    known_as: str | None = None,
) -> FileRecord:
    why = f"listed by JDP as {known_as!r}" if known_as is not None else "listed by JDP"
    history = [{"at": now, "from": None, "to": State.PENDING.value, "why": why}]
    if reason:
        history.append({"at": now, "from": State.PENDING.value, "to": State.FAILED.value, "why": reason})
    return FileRecord(
        project_name=owner.project_name,
        jdp_file_id=file.jdp_file_id,
        source_file_id=source,
        file_name=_storable(file.file_name),
        ap_gold_id=owner.ap_gold_id,
        gold_study_id=owner.gold_study_id,
        its_ap_id=owner.its_ap_id,
        gold_biosample_id=owner.gold_biosample_id,
        gold_seq_id=owner.gold_seq_id,
        jgi_ap_id=owner.jgi_ap_id,
        jdp_file_status=None if file.status is None else _storable(file.status),
        jdp_file_size=usable_size(file.size),
        md5sum=usable_md5(file.md5),
        destination_path=str(owner.directory / name) if name else None,
        state=State.FAILED if reason else State.PENDING,
        failed_from=State.PENDING if reason else None,
        reason=reason,
        since=now,
        history=history,
        create_date=now,
        update_date=now,
    )
