"""Whether an analysis project can be imported: which types of the importer it has, and what it lacks. Pure.

Staged is not enough. The importer takes what lies directly in the directory of an analysis project, has no check
of its own for what is missing, and lets the last of two files win that match one type. So each analysis project
is judged by the importer's own patterns first; what will never be there is told on the first day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePosixPath

from jgi_stager.formatting import count, some_of
from jgi_stager.importer import DataType, Importer, Omics, Patterns
from jgi_stager.lifecycle import State

METAGENOME, METATRANSCRIPTOME = "Metagenome Analysis", "Metatranscriptome Analysis"
SELF_MAPPING = "Metatranscriptome mapping (self)"
"""GOLD's words for what an analysis project is (``apType``)."""
OMICS = {
    METAGENOME: Omics.METAGENOME,
    METATRANSCRIPTOME: Omics.METATRANSCRIPTOME,
    SELF_MAPPING: Omics.METATRANSCRIPTOME,
}
MOST_NAMED = 20
"""Analysis projects that are named for each reason; the others are counted."""
GROUPS_SAID = 3
"""Groups of missing types in a sentence."""


class Standing(StrEnum):
    """How an analysis project stands towards the importer: the first of these that is true of it."""

    EMPTY = "empty"
    """JDP lists no file of it that is wanted."""
    LACKS = "lacks"
    """JDP lists no file of a type that is demanded: it will never be complete."""
    AMBIGUOUS = "ambiguous"
    """Two files lie directly in its directory for a type of which the importer takes one."""
    FAILED = "failed"
    """A file that the importer would take has failed."""
    UNDER_WAY = "under_way"
    """Files that the importer would take are still to come."""
    READY = "ready"


_NONE = {False: "JDP lists no file", True: "JDP lists no file, or the record does not choose it,"}
_AT_JGI = {False: "at JGI", True: "at JGI or in the choice of the record"}

PERMANENT = frozenset({Standing.EMPTY, Standing.LACKS, Standing.AMBIGUOUS})
"""What no more staging changes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A wanted file of an analysis project, as far as its readiness is concerned."""

    jdp_file_id: str
    file_name: str
    destination_path: str | None
    state: State
    reason: str | None = None


def name_in_directory(ap_gold_id: str, file_name: str, destination_path: str | None) -> str | None:
    """What a file is called directly in the directory of its analysis project; None if it goes elsewhere.

    One that has no destination, because it cannot be stored as it is, would have gone there.
    """
    if destination_path is None:
        return file_name
    path = PurePosixPath(destination_path)
    return path.name if path.parent.name == ap_gold_id else None


@dataclass(frozen=True)
class Clash:
    """Files of which the importer would take only the last, whichever that is."""

    type: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class FailedFile:
    """A file that the importer would take, and that failed."""

    name: str
    reason: str


@dataclass(frozen=True)
class Readiness:
    """One analysis project."""

    ap_gold_id: str
    standing: Standing
    omics: Omics | None = None
    """None where nobody knows; then there is no pattern that it could be judged by."""
    judged: bool = False
    """Whether there were patterns for its kind. If not, it is ready when all of its files are done."""
    taken: int = 0
    """Its files that the importer would take; each JDP id counts, also where two have one destination."""
    found: tuple[str, ...] = ()
    """The types of which everything is at its place."""
    missing: tuple[str, ...] = ()
    """The demanded types of which JDP lists no file."""
    ambiguous: tuple[Clash, ...] = ()
    failed: tuple[FailedFile, ...] = ()
    under_way: int = 0
    """How many of the files that it would take are still to come."""
    by_choice: bool = False
    """Whether the record chooses files, so that what is missing may be at JGI all the same."""

    @property
    def ready(self) -> bool:
        """Whether everything lies at its place that the importer needs and would take."""
        return self.standing == Standing.READY

    @property
    def why(self) -> str:
        """Why it is not ready, all of it, in words; empty if it is."""
        said = []
        if self.standing == Standing.EMPTY:
            said.append(f"{_NONE[self.by_choice]} of it")
        elif self.missing:
            said.append(f"{_NONE[self.by_choice]} for {_types(self.missing, most=len(self.missing))}")
        for clash in self.ambiguous:
            names = some_of([repr(name) for name in clash.names])
            said.append(
                f"{len(clash.names)} files in its directory match {clash.type}, of which the importer takes one "
                f"({names}): a person decides"
            )
        if self.failed:
            names = some_of([f"{one.name!r}: {one.reason}" for one in self.failed], 2)
            said.append(f"{count(len(self.failed), 'file')} failed ({names})")
        if self.under_way:
            said.append(f"{count(self.under_way, 'file is', 'files are')} under way")
        if self.standing == Standing.UNDER_WAY and not self.under_way:
            said.append("its files are not listed yet")
        return "; ".join(said)


def judge(
    ap_gold_id: str,
    files: Sequence[Wanted],
    importer: Importer | None,
    ap_type: str | None,
    *,
    listed: bool = True,
    by_choice: bool = False,
) -> Readiness:
    """Judge one analysis project by its wanted files.

    ``ap_type`` is what GOLD calls it, None in a database of an older release: then it is told by the names.
    ``listed``: whether JDP has listed its files. ``by_choice``: whether the record chooses among them.
    """
    found = _found(ap_gold_id, files, importer, ap_type, listed=listed)
    return replace(found, by_choice=True) if by_choice else found


def _found(
    ap_gold_id: str, files: Sequence[Wanted], importer: Importer | None, ap_type: str | None, *, listed: bool
) -> Readiness:
    names = {file: name_in_directory(ap_gold_id, file.file_name, file.destination_path) for file in files}
    omics = OMICS.get(ap_type or "")
    if omics is None and importer is not None:
        omics = importer.likely_omics(sorted({name for name in names.values() if name is not None}))
    patterns = importer.patterns.get(omics) if importer is not None and omics is not None else None
    if not files:
        standing = Standing.EMPTY if listed else Standing.UNDER_WAY
        return Readiness(ap_gold_id, standing, omics, judged=importer is not None)
    if importer is None or patterns is None:
        return _unjudged(ap_gold_id, files, omics)
    return _judge(ap_gold_id, names, importer, patterns, demanding=ap_type != SELF_MAPPING)


def _unjudged(ap_gold_id: str, files: Sequence[Wanted], omics: Omics | None) -> Readiness:
    """Without patterns every file counts."""
    failed, under_way = _failed(files), sum(one.state not in (State.DONE, State.FAILED) for one in files)
    standing = _standing(failed=bool(failed), under_way=bool(under_way))
    return Readiness(ap_gold_id, standing, omics, taken=len(files), failed=failed, under_way=under_way)


def _judge(
    ap_gold_id: str,
    names: dict[Wanted, str | None],
    importer: Importer,
    patterns: Patterns,
    *,
    demanding: bool,
) -> Readiness:
    places: dict[str, list[Wanted]] = {}
    for file, name in names.items():
        if name is not None:
            places.setdefault(name, []).append(file)
    # Two ids of the same content have one place: it is filled when either has arrived.
    there = {name for name, of_it in places.items() if any(one.state == State.DONE for one in of_it)}
    taken: dict[Wanted, None] = {}
    found, missing, clashes = [], [], []
    for kind, matching in patterns.matches(sorted(places)):
        taken |= dict.fromkeys(file for name in matching for file in places[name])
        demanded = demanding and importer.demands(patterns.omics, kind.name)
        if not matching:
            missing += [kind.name] if demanded else []
        elif _clash(kind, matching):
            clashes += [Clash(kind.name, tuple(matching))] if demanded else []
        elif there.issuperset(matching):
            found.append(kind.name)
    to_come = [file for file in taken if names[file] not in there]
    failed = _failed(to_come)
    under_way = sum(file.state != State.FAILED for file in to_come)
    standing = _standing(
        lacks=bool(missing), ambiguous=bool(clashes), failed=bool(failed), under_way=bool(under_way)
    )
    return Readiness(
        ap_gold_id,
        standing,
        patterns.omics,
        judged=True,
        taken=len(taken),
        found=tuple(dict.fromkeys(found)),
        missing=tuple(dict.fromkeys(missing)),
        ambiguous=tuple(clashes),
        failed=failed,
        under_way=under_way,
    )


def _clash(kind: DataType, matching: Sequence[str]) -> bool:
    return not kind.many and len(matching) > 1


def _failed(files: Iterable[Wanted]) -> tuple[FailedFile, ...]:
    return tuple(
        FailedFile(one.file_name, one.reason or "no reason noted") for one in files if one.state == State.FAILED
    )


def _standing(*, failed: bool, under_way: bool, lacks: bool = False, ambiguous: bool = False) -> Standing:
    facts = {
        Standing.LACKS: lacks,
        Standing.AMBIGUOUS: ambiguous,
        Standing.FAILED: failed,
        Standing.UNDER_WAY: under_way,
    }
    return next((standing for standing, is_so in facts.items() if is_so), Standing.READY)


# --- all of a project ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Analysis projects that are not ready for the same reason, the first of them by name."""

    standing: Standing
    missing: tuple[str, ...]
    """The types that they lack; none where something else is the reason."""
    count: int
    named: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The readiness of a project: each of its analysis projects counts once, by its `Standing`."""

    total: int
    ready: int
    judged: int
    """For how many there were patterns."""
    groups: tuple[Group, ...] = ()
    """Those that are not ready; what nothing changes any more first, then the largest."""
    by_choice: bool = False
    """Whether the record chooses files."""

    def counted(self, standing: Standing) -> int:
        """How many stand so."""
        return self.ready if standing == Standing.READY else sum(self._sizes(standing))

    def _sizes(self, standing: Standing) -> list[int]:
        return [one.count for one in self.groups if one.standing == standing]

    @property
    def never(self) -> tuple[Group, ...]:
        """Those that no more staging makes ready."""
        return tuple(one for one in self.groups if one.standing in PERMANENT)


@dataclass
class Tally:
    """Counts analysis projects one by one, so that no project has to fit into memory."""

    total: int = 0
    ready: int = 0
    judged: int = 0
    by_choice: bool = False
    _groups: dict[tuple[Standing, tuple[str, ...]], tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def add(self, one: Readiness) -> None:
        """Count one."""
        self.total += 1
        self.judged += one.judged
        self.ready += one.ready
        self.by_choice |= one.by_choice
        if one.ready:
            return
        key = (one.standing, one.missing if one.standing == Standing.LACKS else ())
        number, named = self._groups.get(key, (0, ()))
        self._groups[key] = (number + 1, named if len(named) >= MOST_NAMED else (*named, one.ap_gold_id))

    def summary(self) -> Summary:
        """What was counted."""
        groups = [Group(standing, missing, *found) for (standing, missing), found in self._groups.items()]
        groups.sort(key=lambda one: (list(Standing).index(one.standing), -one.count, one.missing))
        return Summary(self.total, self.ready, self.judged, tuple(groups), self.by_choice)


def summed(judged: Iterable[Readiness]) -> Summary:
    """The summary of these analysis projects."""
    tally = Tally()
    for one in judged:
        tally.add(one)
    return tally.summary()


def sentence(found: Summary, *, expected: bool = False) -> str:
    """The readiness of a project in words, without a full stop: the one sentence that is shown everywhere.

    Its subject is the analysis projects. ``expected``: of a project whose files begin to move; what is under way
    counts as what it becomes.
    """
    ready = found.ready + (found.counted(Standing.UNDER_WAY) if expected else 0)
    will = "will be ready" if expected else "ready"
    parts = [f"{ready:,} of {found.total:,} {will} to import", *_reasons(found, expected)]
    head, rest = parts[0], ", ".join(parts[1:])
    return f"{head}; {rest}" if rest else head


def _reasons(found: Summary, expected: bool) -> list[str]:
    lacking = [one for one in found.groups if one.standing == Standing.LACKS]
    where = _AT_JGI[found.by_choice]
    said = [f"{_lack(one.count)} {_types(one.missing)} {where}" for one in lacking[:GROUPS_SAID]]
    if others := sum(one.count for one in lacking[GROUPS_SAID:]):
        said.append(f"{_lack(others)} other types {where}")
    for standing, one, many in _WORDS:
        number = found.counted(standing)
        if number and not (expected and standing == Standing.UNDER_WAY):
            said.append(count(number, one, many))
    if found.judged < found.total:
        said.append(f"{found.total - found.judged:,} not judged for want of patterns of their kind")
    return said


_WORDS = (
    (Standing.EMPTY, "has no file at JGI", "have no file at JGI"),
    (Standing.AMBIGUOUS, "has two files of one type", "have two files of one type"),
    (Standing.FAILED, "has a failed file", "have failed files"),
    (Standing.UNDER_WAY, "is under way", "are under way"),
)


def _lack(number: int) -> str:
    return count(number, "lacks", "lack")


def _types(names: Sequence[str], most: int = 3) -> str:
    """``A``, ``A and B``, ``A, B and 2 more types``."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more types"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


@dataclass(frozen=True)
class Outlook:
    """The readiness of a project as people and programs are told of it."""

    sentence: str
    never: tuple[str, ...] = ()
    """A line for each reason why some of its analysis projects will never be ready."""
    summary: Summary | None = None
    """None where the patterns cannot be used: the sentence says why."""


def outlook(found: Summary, *, expected: bool = False) -> Outlook:
    """A summary in words."""
    return Outlook(sentence(found, expected=expected), tuple(never_told(found)), found)


def never_told(found: Summary) -> list[str]:
    """A line for each reason why analysis projects will never be ready, with the first of them by name."""
    return [f"{_why(one, _AT_JGI[found.by_choice])}: {_named(one)}" for one in found.never]


def _why(one: Group, where: str) -> str:
    if one.standing == Standing.LACKS:
        return f"{_lack(one.count)} {_types(one.missing, most=len(one.missing))} {where}"
    single, many = next((single, many) for standing, single, many in _WORDS if standing == one.standing)
    return count(one.count, single, many)


def _named(one: Group) -> str:
    more = f" and {one.count - len(one.named):,} more" if one.count > len(one.named) else ""
    return f"{', '.join(one.named)}{more}"
