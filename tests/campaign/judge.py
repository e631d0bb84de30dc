"""The invariants (design, section 3), read from the simulator's books, the database, the mailbox and the disk.

The daemon's own word counts for nothing here, but where the invariant is about its books.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path
from typing import Any

from pymongo.database import Database

from campaign.script import Hit, Script
from jgi_stager.lifecycle import MOVES, State
from jgi_stager.records import OPEN_TASKS, RequestState
from jgi_stager.simulator import World
from jgi_stager.simulator.books import books

BACK = frozenset({State.PENDING, State.RESTORED, State.MANIFEST_READY})


@dataclass(frozen=True)
class Evidence:
    """Everything a run left."""

    script: Script
    database: Database[dict[str, Any]]
    world: World
    mails: Sequence[tuple[EmailMessage, list[str]]]
    staged: Path
    hits: Sequence[Hit]

    def documents(self, collection: str) -> list[dict[str, Any]]:
        """All documents of a collection."""
        return list(self.database[collection].find())


def verdict(found: Evidence) -> list[str]:
    """What was violated, in words; empty if nothing was."""
    with found.world.lock:
        outside = books(found.world, full=True)
    files = found.documents("files")
    # Of two steps side by side one may have looked at the clock first and written last: on a fast one, minutes.
    jumps = found.script.live is not None or any(event.clock_hours is not None for event in found.script.events)
    return [
        *histories(files, jumps=jumps),
        *_arrivals(found, files),
        *_restores(found, outside, files),
        *_transfers(found, outside, files),
        *_loose_ends(found, outside),
        *_mails(found),
    ]


def histories(files: Sequence[Mapping[str, Any]], *, jumps: bool = False) -> Iterator[str]:
    """Invariant 1: every file in one state, by moves of the table."""
    for file in files:
        entries = file["history"]
        steps = [(entry["from"], entry["to"]) for entry in entries]
        if steps[0] != (None, State.PENDING) or steps[-1][1] != file["state"]:
            yield f"file {file['jdp_file_id']} begins or ends wrong: {steps}, {file['state']}"
        for (_, arrived), (left, to) in pairwise(steps):
            if arrived != left or to not in MOVES[State(left)]:
                yield f"file {file['jdp_file_id']} moved {left} to {to} after {arrived}"
        if not jumps and any(one["at"] > other["at"] for one, other in pairwise(entries)):
            yield f"file {file['jdp_file_id']} has a history that goes back in time"


def _arrivals(found: Evidence, files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Invariants 4 and 6: every file of every project is there, with the content of the catalogue."""
    catalogue = found.world.catalogue
    wanted = {(project.ap_gold_id, file.id) for project in catalogue.analysis_projects for file in project.files}
    names = sorted(one["project_name"] for one in found.documents("projects"))
    known = Counter((file["project_name"], file["ap_gold_id"], file["source_file_id"]) for file in files)
    if known != Counter((name, *one) for name in names for one in wanted):
        yield f"files in the books: {sum(known.values())} instead of {len(wanted) * len(names)}"
    for file in files:
        if file["state"] != State.DONE:
            story = [(entry["to"], entry["why"]) for entry in file["history"]]
            yield f"file {file['jdp_file_id']} is {file['state']}: {story}"
            continue
        path, content = Path(file["destination_path"]), catalogue.files[file["source_file_id"]].content
        if not path.is_relative_to(found.staged):
            yield f"file {file['jdp_file_id']} lies outside of the staging directory: {path}"
        elif not path.is_file() or hashlib.md5(path.read_bytes()).hexdigest() != content.md5:
            yield f"file {file['jdp_file_id']} is done, and is not right at {path}"


def _restores(found: Evidence, outside: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Invariants 2 and 3: the quota in every window, the size of requests, and nothing restored twice."""
    settings = found.world.settings
    if outside["breaches"]:
        yield f"limits broken: {outside['breaches']}"
    if outside["max_window_bytes"] > settings.max_window_bytes:
        yield f"{outside['max_window_bytes']} bytes in a window of {settings.max_window_bytes}"
    if outside["max_request_ids"] > found.script.scenario.batch:
        yield f"a request of {outside['max_request_ids']} ids"
    gone = Counter(one for request in _given_up(found, outside) for one in request["file_ids"])
    for one, times in outside["requested_more_than_once"].items():
        reasons = gone[one] + (0 if found.script.clean else _ways_back(files, one, {State.PENDING}))
        if times - 1 > reasons:
            yield f"{one} was restored {times} times, with reason for {reasons} of them"


def _given_up(found: Evidence, outside: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Requests at JDP that the daemon could not know of: nobody lived to see the delivery before it expired, and
    so the intent was released, as it must be in the end."""
    documents = found.documents("restore_requests")
    known = {one["request_id"] for one in documents}
    released = [set(one["file_ids"]) for one in documents if one["state"] == RequestState.RELEASED]
    return [
        one
        for one in outside["requests"]
        if one["id"] not in known and one["expires_at"] <= outside["now"] and set(one["file_ids"]) in released
    ]


def _transfers(found: Evidence, outside: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Invariant 2: every task at Globus is in the books once, and nothing was transferred twice."""
    known = Counter(task["task_id"] for task in found.documents("globus_tasks") if task["task_id"])
    there = Counter(task["task_id"] for task in outside["tasks"])
    if known != there:
        yield f"tasks in the books {sorted(known)}, at Globus {sorted(there)}"
    places = {file["destination_path"]: file for file in files}
    for path, times in outside["written_more_than_once"].items():
        file = places.get(path)
        reasons = 0 if file is None else _ways_back([file], file["source_file_id"], BACK)
        if file is not None and (found.script.clean or times - 1 > reasons):
            yield f"{path} was transferred {times} times, with reason for {reasons} of them"


def _ways_back(files: Sequence[Mapping[str, Any]], source_id: str, to: frozenset[State] | set[State]) -> int:
    """How often a file of this id was sent back, for a reason that its history gives."""
    order = list(State)
    return max(
        sum(
            entry["from"] is not None
            and entry["to"] in to
            and order.index(State(entry["to"])) < order.index(State(entry["from"]))
            for entry in file["history"]
        )
        for file in files
        if file["source_file_id"] == source_id
    )


def _loose_ends(found: Evidence, outside: Mapping[str, Any]) -> Iterator[str]:
    """Nothing is left open, and every request at JDP is in the books."""
    if left := [one["state"] for one in found.documents("globus_tasks") if one["state"] in OPEN_TASKS]:
        yield f"tasks left open: {left}"
    known = {one["request_id"] for one in found.documents("restore_requests")}
    known |= {one["id"] for one in _given_up(found, outside)}
    if strangers := [one["id"] for one in outside["requests"] if one["id"] not in known]:
        yield f"requests at JDP that the books do not know: {strangers}"


def _mails(found: Evidence) -> Iterator[str]:
    """Invariant 5: each notice was mailed, and once; twice only where the process died in the handing over."""
    notices = {one["message_id"]: one for one in found.documents("notices") if one["message_id"]}
    arrived = Counter(str(mail["Message-ID"]) for mail, _ in found.mails)
    doubt = sum(hit.site.startswith(("smtp", "mongo notices")) for hit in found.hits)
    doubt += any(event.mongod for event in found.script.events)
    extra = sum(times - 1 for times in arrived.values())
    if extra > doubt:
        yield f"{extra} mails were sent again, with reason for {doubt}: {arrived}"
    if unknown := set(arrived) - set(notices):
        yield f"mails without a notice: {sorted(unknown)}"
    for notice in notices.values():
        if notice["state"] == "sent" and not arrived[notice["message_id"]]:
            yield f"notice {notice['_id']} counts as sent and never arrived"
    everything = found.documents("notices")
    for project in found.documents("projects"):
        kinds = Counter(one["kind"] for one in everything if one["project"] == project["project_name"])
        for kind in ("accepted", "done"):
            if kinds[kind] != 1:
                yield f"{project['project_name']} has {kinds[kind]} notices of the kind {kind}"
    if waiting := [one["_id"] for one in everything if one["state"] in ("waiting", "sending")]:
        yield f"notices not mailed: {waiting}"
