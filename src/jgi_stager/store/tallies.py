"""How many files, and bytes, a project has in each state, kept by the moves: to look costs the same for any size.

A database of one node has no transaction over several documents. So a move first marks the tallies of its projects
as being in doubt, under a key of its own; then it moves exactly the files that it has read; then one update adds
what moved and takes the mark away. Killed in between, the mark stays, and a tally with an old mark is not
believed: whoever asks counts the files, and the audit, which runs at each start, puts the tally right. A tally
informs; whatever must be certain asks the files. docs/decisions/0505.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pydantic import Field
from pymongo.errors import BulkWriteError
from pymongo.results import BulkWriteResult, UpdateResult

from jgi_stager.lifecycle import ORDER, State
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change
from jgi_stager.stored import Count, Stored, UnfitError, parse

DOUBT_SECONDS = 180.0
"""Real, by the server's clock. No call to MongoDB lasts as long: whoever made a mark that is older is dead."""
CHECK_EVERY = timedelta(hours=24)
"""How old a count may be before the audit counts the files of a project again."""
_OF_DAEMON = "daemon-"
COUNTED: Document = {"project_name": 1, "jdp_file_size": 1}
"""What a move must have read of its files."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many files, and how many bytes (those without a size count 0)."""

    files: int
    bytes: int


class _Pair(Stored):
    files: Count
    bytes: Count


class _Kept(Stored):
    """A document of ``tallies``; its ``_id`` is the name of the project."""

    known: bool
    """Whether somebody has counted, and every move since then was added."""
    counts: dict[str, _Pair] = Field(default_factory=dict)
    moves: Count
    """Grows with every mark and every addition: a count during which it stood still is right."""
    doubt: dict[str, datetime] = Field(default_factory=dict)
    """The marks of moves that are not added yet, with the server's time."""
    candidates: Count = 0
    """Grows whenever files of it may have become such as can be asked for."""
    counted_at: datetime | None = None
    """When the files were last counted, by the clock of whoever did."""
    now: datetime
    """The server's, when it was read."""

    def left_behind(self, store: Store) -> list[str]:
        """The marks whose moves nobody will add any more: they are old, or of a daemon before this one."""
        oldest = self.now - timedelta(seconds=DOUBT_SECONDS)
        ours = _prefix(store)

        def is_dead(key: str) -> bool:
            return store.fence is not None and key.startswith(_OF_DAEMON) and not key.startswith(ours)

        return [key for key, at in self.doubt.items() if at < oldest or is_dead(key)]

    def is_right(self, store: Store) -> bool:
        """Whether it can be believed."""
        return self.known and not self.left_behind(store)


Counts = dict[str, Tally]


# --- for whoever moves files ---------------------------------------------------------------------------------


Changes = Mapping[str, Mapping[str, int]]
"""By project what to add to which counter of its tally."""


def kept(store: Store, project_names: Iterable[str], write: Callable[[], tuple[int, Changes | None]]) -> int:
    """Let ``write`` change files of these projects and nothing else; how many. It returns that number, and what
    is to be added to the tallies; None where nobody can tell: they are counted anew."""
    names = sorted(project_names)
    mark = _mark(store, names)
    number, changes = write()
    if changes is None:
        _spoil(store, mark, names)
    else:
        _add(store, mark, {name: changes.get(name, {}) for name in names})
    return number


def moved(
    store: Store,
    found: Sequence[Mapping[str, Any]],
    old: State,
    new: State,
    write: Callable[[], UpdateResult | BulkWriteResult],
) -> int:
    """Let ``write`` move the files that were ``found`` (`COUNTED`) from ``old`` to ``new``, and keep the tallies;
    how many moved. If some did not, nobody knows which."""

    def moving() -> tuple[int, Changes | None]:
        number = write().modified_count
        return number, _change(found, new, old) if number == len(found) else None

    return kept(store, _names(found), moving)


def entered(
    store: Store, files: Sequence[Mapping[str, Any]], write: Callable[[], tuple[int, Iterable[int]]]
) -> int:
    """Let ``write`` enter those of the ``files`` that are not there yet, and keep the tallies; how many. It
    returns that number, and the positions of those it entered."""

    def entering() -> tuple[int, Changes | None]:
        number, positions = write()
        changes: dict[str, Counter[str]] = {}
        by_state: dict[str, list[Mapping[str, Any]]] = {}
        for position in positions:
            by_state.setdefault(files[position]["state"], []).append(files[position])
        for state, some in by_state.items():
            for name, change in _change(some, state).items():
                changes.setdefault(name, Counter()).update(change)
        return number, changes

    return kept(store, _names(files), entering)


def _names(files: Iterable[Mapping[str, Any]]) -> set[str]:
    return {one["project_name"] for one in files if isinstance(one.get("project_name"), str)}


def _change(files: Iterable[Mapping[str, Any]], new: str, old: str | None = None) -> dict[str, Counter[str]]:
    """What a move of these files changes. A file without a project is in no tally."""
    sizes: dict[str, list[int]] = {}
    for one in files:
        if isinstance(name := one.get("project_name"), str):
            sizes.setdefault(name, []).append(size_of(one.get("jdp_file_size")))
    changes: dict[str, Counter[str]] = {}
    for name, found in sizes.items():
        change = changes[name] = Counter({f"counts.{new}.files": len(found), f"counts.{new}.bytes": sum(found)})
        if old is not None:
            change.subtract({f"counts.{old}.files": len(found), f"counts.{old}.bytes": sum(found)})
        if new == State.PENDING:
            change["candidates"] = 1
    return changes


def note_candidates(store: Store, project_names: Iterable[object]) -> None:
    """Note that pending files of these projects may be asked for now that could not before."""
    names = sorted({name for name in project_names if isinstance(name, str)})
    changes = [Change({"_id": name}, {"$inc": {"candidates": 1}}) for name in names]
    if changes:
        with suppress(BulkWriteError):  # somebody edited it: it is believed by nobody
            store.tallies.update_each(changes)


def size_of(value: object) -> int:
    """What a size counts in a tally, as the server sums it: what is no number counts 0."""
    if type(value) is int:  # of nearly every file
        return value
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _mark(store: Store, names: Sequence[str]) -> str:
    """Note in the tallies of these projects that something moves; the key of the mark."""
    key = f"{_prefix(store)}{uuid4().hex}"
    if not names:
        return key
    update = {"$currentDate": {f"doubt.{key}": True}, "$inc": {"moves": 1}, "$setOnInsert": {"known": False}}
    marks = [Change({"_id": name}, update, upsert=True) for name in names]
    try:
        made = store.tallies.update_each(marks)
    except BulkWriteError:
        _begin_anew(store, names)
        made = store.tallies.update_each(marks)
    for number in made.upserted_ids or {}:
        _count_anew(store, names[number], mine=key)
    return key


def _prefix(store: Store) -> str:
    """How the keys of marks begin: those of a daemon tell its process, for there is never another one beside."""
    return "" if store.fence is None else f"{_OF_DAEMON}{store.process}-"


def _add(store: Store, key: str, changes: Changes) -> None:
    """Add what moved, and take the mark away, in one update. Where somebody took it away for being too old, a
    count may have met the move half done: then it is counted anew."""
    if not changes:
        return
    added = [
        Change(
            {"_id": name, f"doubt.{key}": {"$exists": True}},
            {"$inc": {"moves": 1, **change}, "$unset": {f"doubt.{key}": ""}},
        )
        for name, change in changes.items()
    ]
    try:
        if store.tallies.update_each(added).matched_count == len(added):
            return
    except BulkWriteError:
        _begin_anew(store, list(changes))
    _spoil(store, key, list(changes))


def _begin_anew(store: Store, names: Sequence[str]) -> None:
    """Replace the tallies that somebody edited into something that no move can be added to."""
    for name in set(names) - _read(store, names).keys():
        store.tallies.replace_one({"_id": name}, {"known": False, "moves": 0}, upsert=True)


def _spoil(store: Store, key: str, names: Sequence[str]) -> None:
    if names:
        update = {"$set": {"known": False}, "$inc": {"moves": 1}, "$unset": {f"doubt.{key}": ""}}
        store.tallies.update_each([Change({"_id": name}, update) for name in names])


# --- for whoever wants to know -------------------------------------------------------------------------------


def of_project(store: Store, project_name: str) -> Counts:
    """Files and bytes of a project in every state, zeros included, in the order of the lifecycle.

    By its tally; by the files where that cannot be believed. A state that this version does not know keeps its own
    entry at the end.
    """
    return of_projects(store, [project_name])[project_name]


@translated
def of_projects(store: Store, project_names: Iterable[str]) -> dict[str, Counts]:
    """The same for several projects, whose tallies are read together."""
    names = list(project_names)
    right = {name: one for name, one in _read(store, names).items() if one.is_right(store)}
    return {name: _shown(right[name]) if name in right else counted(store, name) for name in names}


@translated
def counted(store: Store, project_name: str) -> Counts:
    """The same by the files alone. Reads an index entry for each: not for a tick."""
    found = store.files.aggregate(
        [
            {"$match": {"project_name": project_name}},
            {"$group": {"_id": "$state", "files": {"$sum": 1}, "bytes": {"$sum": "$jdp_file_size"}}},
        ]
    )
    return _whole({str(row["_id"]): Tally(int(row["files"]), int(row["bytes"])) for row in found})


@translated
def waiting(store: Store, project_names: Iterable[str]) -> dict[str, tuple[int, int]] | None:
    """By project two numbers that stay while the files that can be asked for stay; None where nobody can tell."""
    names = list(project_names)
    right = {name: one for name, one in _read(store, names).items() if one.is_right(store)}
    if len(right) < len(names):
        return None
    pending = ((name, _shown(one)[State.PENDING].files, one.candidates) for name, one in right.items())
    return {name: (files, grown) for name, files, grown in pending}


def _whole(counts: Counts) -> Counts:
    known: Counts = {state: counts.pop(state, Tally(0, 0)) for state in ORDER}
    return known | counts


def _shown(one: _Kept) -> Counts:
    return _whole({state: Tally(pair.files, pair.bytes) for state, pair in one.counts.items()})


def _read(store: Store, names: Sequence[str]) -> dict[str, _Kept]:
    """The tallies that fit, by project: one that somebody edited into something else is none."""
    found = {}
    for document in store.tallies.aggregate(
        [{"$match": {"_id": {"$in": list(names)}}}, {"$set": {"now": "$$NOW"}}]
    ):
        try:
            found[document["_id"]] = parse(_Kept, document)
        except UnfitError:
            continue
    return found


# --- for the audit -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repaired:
    """A tally that was counted anew. ``wrong``: it was believed, and said something else than the files."""

    project_name: str
    wrong: bool


@translated
def repair(store: Store, project_names: Iterable[str]) -> list[Repaired]:
    """Count the files of the projects whose tallies cannot be believed, and of the one whose files were counted
    the longest ago, if that is longer than `CHECK_EVERY`; what was counted.

    A project of which files move meanwhile is left for the next time.
    """
    names = sorted(project_names)
    known = _read(store, names)
    now = store.clock.now()
    doubtful = [name for name in names if name not in known or not known[name].is_right(store)]
    old = [
        (one.counted_at, name)
        for name, one in known.items()
        if one.is_right(store) and one.counted_at is not None and not now - CHECK_EVERY < one.counted_at <= now
    ]
    chosen = [*doubtful, *([min(old)[1]] if old else [])]
    return [one for name in chosen if (one := _count_anew(store, name)) is not None]


def _count_anew(store: Store, name: str, mine: str | None = None) -> Repaired | None:
    """Count the files of a project and keep that, if nothing of it moved meanwhile. ``mine``: a mark that stays,
    whose move has not begun."""
    before = _read(store, [name]).get(name)
    if before is None:
        _begin_anew(store, [name])
        before = _read(store, [name])[name]
    left_behind = before.left_behind(store)
    if set(before.doubt) - {mine, *left_behind}:
        return None
    counts = counted(store, name)
    if not counts.keys() <= set(State):
        return None  # a state that nobody knows has no name that is safe to count under
    now = {state: {"files": one.files, "bytes": one.bytes} for state, one in counts.items()}
    change: Document = {
        "$set": {"known": True, "counts": now, "counted_at": store.clock.now()},
        "$inc": {"moves": 1},
    }
    if left_behind:
        change["$unset"] = dict.fromkeys((f"doubt.{key}" for key in left_behind), "")
    done = store.tallies.update_one({"_id": name, "moves": before.moves}, change).matched_count == 1
    return Repaired(name, before.is_right(store) and _shown(before) != counts) if done else None
