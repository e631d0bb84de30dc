"""The invariants (design, section 3), read from what the simulator saw, the database, the mailbox and the disk.

The daemon's own word counts for nothing here, but where the invariant is about its database.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path
from typing import Any

from pymongo.database import Database

from campaign import neighbours
from campaign.people import Changed
from campaign.script import Hit, Script
from campaign.staging import cancelled, healthy, is_odd
from jgi_stager.lifecycle import LIFECYCLES, OPEN_TASKS, RequestState, State
from jgi_stager.simulator import World
from jgi_stager.simulator.observations import observations

UNSETTLED = (RequestState.SUBMITTING, RequestState.ACCEPTED, RequestState.UNKNOWN)
EXPIRY_MARGIN = timedelta(hours=2)
"""So long before its end a delivery is of no use to anybody who begins then."""
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
    edited: frozenset[Changed] = frozenset()

    def documents(self, collection: str) -> list[dict[str, Any]]:
        """All documents of a collection, but those that a person changed by hand: they may hold anything."""
        found = self.database[collection].find()
        return [one for one in found if (collection, str(one["_id"])) not in self.edited]

    @property
    def well(self) -> list[str]:
        """The projects that must be complete."""
        return healthy(self.script)


def verdict(found: Evidence) -> list[str]:
    """What was violated, in words; empty if nothing was."""
    with found.world.lock:
        outside = observations(found.world, full=True)
    files = found.documents("files")
    # Of two steps side by side one may have looked at the clock first and written last: on a fast one, minutes.
    jumps = found.script.live is not None or any(event.clock_hours is not None for event in found.script.events)
    return [
        *(wrong for name in LIFECYCLES for wrong in histories(name, found.documents(name), jumps=jumps)),
        *_arrivals(found, files),
        *_odd_ones(found, outside, files),
        *_restores(found, outside, files),
        *_transfers(found, outside, files),
        *_loose_ends(found, outside),
        *_mails(found),
        *_alarms(found),
    ]


def histories(collection: str, documents: Iterable[Mapping[str, Any]], *, jumps: bool = False) -> Iterator[str]:
    """Invariant 1: every document in one state, and there by moves of the table of its lifecycle."""
    lifecycle = LIFECYCLES[collection]
    for document in documents:
        if collection == "projects" and "history" not in document:
            continue  # a record that the daemon has not looked at
        name = f"{lifecycle.document} {document.get('jdp_file_id', document['_id'])}"
        entries = document["history"]
        steps = [(entry["from"], entry["to"]) for entry in entries]
        began, ended = steps[0], steps[-1][1]
        if began[0] is not None or began[1] not in lifecycle.first or ended != document["state"]:
            yield f"{name} begins or ends wrong: {steps}, {document['state']}"
        for (_, arrived), (left, to) in pairwise(steps):
            is_note = collection == "projects" and left == to
            if arrived != left or not (is_note or to in lifecycle.onward(left)):
                yield f"{name} moved {left} to {to} after {arrived}"
        if collection == "files" and any(map(_restaged_by_itself, entries)):
            yield f"{name} left done by itself"
        if not jumps and any(one["at"] > other["at"] for one, other in pairwise(entries)):
            yield f"{name} has a history that goes back in time"


def _restaged_by_itself(entry: Mapping[str, Any]) -> bool:
    by_a_person = str(entry["why"]).startswith("asked for again by ")
    return (entry["from"], entry["to"]) == (State.DONE, State.PENDING) and not by_a_person


def _arrivals(found: Evidence, files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Invariants 4 and 6: every file of every project that is well is there, in time, as the catalogue has it."""
    catalogue, scenario = found.world.catalogue, found.script.scenario
    own = [project for project in catalogue.analysis_projects if not is_odd(scenario, project)]
    wanted = {(project.ap_gold_id, file.id) for project in own for file in project.files}
    mine = [file for file in files if file["project_name"] in found.well]
    known = Counter((file["project_name"], file["ap_gold_id"], file["source_file_id"]) for file in mine)
    if known != Counter((name, *one) for name in found.well for one in wanted):
        yield f"files in the database: {sum(known.values())} instead of {len(wanted) * len(found.well)}"
    for file in mine:
        if file["state"] != State.DONE:
            yield f"file {file['jdp_file_id']} is {file['state']}: {_story(file)}"
    for file in files:
        if file["state"] == State.DONE:
            yield from _arrived(found, file)
    if found.script.hours is not None:
        for name in found.well:
            instants = [entry["at"] for file in mine if file["project_name"] == name for entry in file["history"]]
            took = (max(instants) - min(instants)).total_seconds() / 3600 if instants else 0.0
            if took > found.script.hours:
                yield f"{name} took {took:.1f} hours, and {found.script.hours:.1f} are enough"


def _arrived(found: Evidence, file: Mapping[str, Any]) -> Iterator[str]:
    """A file that counts as done: the true bytes, or where JDP gives no md5 as many of them."""
    path, content = Path(file["destination_path"]), found.world.catalogue.files[file["source_file_id"]].content
    if not path.is_relative_to(found.staged / file["project_name"]):
        yield f"file {file['jdp_file_id']} lies outside of the directory of its project: {path}"
    elif (
        not path.is_file()
        or path.stat().st_size != content.size
        or (content.md5 and hashlib.md5(path.read_bytes()).hexdigest() != content.md5)
    ):
        yield f"file {file['jdp_file_id']} is done, and is not right at {path}"


def _odd_ones(found: Evidence, outside: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Invariant 6 from the other side: what may come of a project that is not well."""
    mine = {file["destination_path"]: file for file in files}
    for path in outside["written"]:
        if not Path(path).is_relative_to(found.staged) or ".." in Path(path).parts:
            yield f"{path} was written, outside of the staging directory"
        elif path in mine and not _may_be_open(found) and mine[path]["state"] != State.DONE:
            file = mine[path]
            if not list(_arrived(found, file)):
                yield f"{path} has arrived as it should, and is {file['state']} in the database: {_story(file)}"
    yield from _of_the_neighbour(found, outside, [one for one in files if one["project_name"] == neighbours.ODD])


def _of_the_neighbour(
    found: Evidence, outside: Mapping[str, Any], odd: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What is hopeless fails, and costs no tape again and again; everything else arrives."""
    neighbour = neighbours.of(found.script.scenario)
    if neighbour is None or found.edited or cancelled(found.script):
        return
    if not neighbour.accepted:
        if odd:
            yield f"{len(odd)} files of a record that cannot be accepted"
        return
    if _may_be_open(found):
        return
    last = found.world.catalogue.analysis_projects[-1]
    hopeless = {file.id for at, file in enumerate(last.files) if at in neighbour.hopeless}
    for file in odd:
        wanted = State.FAILED if file["jdp_file_id"] in hopeless else State.DONE
        if file["state"] != wanted:
            yield f"file {file['jdp_file_id']} of the neighbour is {file['state']}: {_story(file)}"
    # Where more goes wrong at once a delivery may well be lost in another way.
    for one in hopeless if found.script.hours is not None else ():
        if outside["requested"].get(one, 0) > 2:
            yield f"{one} is hopeless, and was asked from tape {outside['requested'][one]} times"


def _may_be_open(found: Evidence) -> bool:
    """Whether the run was over before the daemon had come to an end with the neighbour."""
    return neighbours.may_never_end(found.script)


def _story(file: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(entry["to"], entry["why"]) for entry in file["history"]]


def _restores(found: Evidence, outside: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Invariants 2 and 3: the quota in every window, the size of requests, and nothing restored twice."""
    settings = found.world.settings
    if outside["breaches"]:
        yield f"limits broken: {outside['breaches']}"
    if outside["max_window_bytes"] > settings.max_window_bytes:
        yield f"{outside['max_window_bytes']} bytes in a window of {settings.max_window_bytes}"
    if outside["max_request_ids"] > found.script.scenario.batch:
        yield f"a request of {outside['max_request_ids']} ids"
    if found.script.clean:
        for file in files:
            if back := _ways_back([file], file["source_file_id"], BACK):
                yield f"file {file['jdp_file_id']} went back {back} times without a reason: {_story(file)}"
    gone = Counter(one for request in _given_up(found, outside) for one in request["file_ids"])
    served = {file["source_file_id"] for file in files if file["project_name"] in found.well}
    for one, times in outside["requested_more_than_once"].items():
        if one not in served:
            continue  # the neighbour's: `_odd_ones`
        reasons = gone[one] + _too_late(outside, one)
        reasons += 0 if found.script.clean else _ways_back(files, one, {State.PENDING})
        if times - 1 > reasons:
            yield f"{one} was restored {times} times, with reason for {reasons} of them"


def _too_late(outside: Mapping[str, Any], one: str) -> int:
    """How often an id was asked for when what an earlier request had brought was there no more, or too short."""
    asked = [request for request in outside["requests"] if one in request["file_ids"]]
    ends = [datetime.fromisoformat(request["expires_at"]) - EXPIRY_MARGIN for request in asked]
    return sum(end <= datetime.fromisoformat(later["at"]) for end, later in zip(ends, asked[1:], strict=False))


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
    """Invariant 2: every task at Globus is in the database once, and nothing was transferred twice."""
    known = Counter(task["task_id"] for task in found.documents("globus_tasks") if task["task_id"])
    there = Counter(task["task_id"] for task in outside["tasks"])
    if known != there and not any(collection == "globus_tasks" for collection, _ in found.edited):
        yield f"tasks in the database {sorted(known)}, at Globus {sorted(there)}"
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
    """Nothing is left open, and every request at JDP is in the database."""
    if not _may_be_open(found):
        if left := [one["state"] for one in found.documents("globus_tasks") if one["state"] in OPEN_TASKS]:
            yield f"tasks left open: {left}"
        if left := [one["state"] for one in found.documents("restore_requests") if one["state"] in UNSETTLED]:
            yield f"requests left in doubt: {left}"
    if any(collection == "restore_requests" for collection, _ in found.edited):
        return
    known = {one["request_id"] for one in found.documents("restore_requests")}
    known |= {one["id"] for one in _given_up(found, outside)}
    if strangers := [one["id"] for one in outside["requests"] if one["id"] not in known]:
        yield f"requests at JDP that the database does not know: {strangers}"


def _mails(found: Evidence) -> Iterator[str]:
    """Invariant 5: each notice was mailed, and once; twice only where the process died in the handing over."""
    notices = {one["message_id"]: one for one in found.documents("notices") if one["message_id"]}
    arrived = Counter(str(mail["Message-ID"]) for mail, _ in found.mails)
    # Before the mail itself was sent nobody has it.
    cut_off = [hit.site for hit in found.hits if (hit.site, hit.moment) != ("smtp DATA", "before")]
    doubt = sum(site.startswith(("smtp", "mongo notices")) for site in cut_off)
    doubt += any(event.mongod for event in found.script.events) + any(
        kill.stand_still for kill in found.script.kills
    )
    extra = sum(times - 1 for times in arrived.values())
    if extra > doubt:
        yield f"{extra} mails were sent again, with reason for {doubt}: {arrived}"
    by_hand = any(collection == "notices" for collection, _ in found.edited)
    if not by_hand and (unknown := set(arrived) - set(notices)):
        yield f"mails without a notice: {sorted(unknown)}"
    for notice in notices.values():
        if notice["state"] == "sent" and not arrived[notice["message_id"]]:
            yield f"notice {notice['_id']} counts as sent and never arrived"
    everything = found.documents("notices")
    for name in found.well:
        kinds = Counter(one["kind"] for one in everything if one["project"] == name)
        for kind in ("accepted", "done"):
            if kinds[kind] != 1:
                yield f"{name} has {kinds[kind]} notices of the kind {kind}"
    if _may_be_open(found):
        everything = [one for one in everything if one["project"] in found.well]
    if waiting := [one["_id"] for one in everything if one["state"] in ("waiting", "sending")]:
        yield f"notices not mailed: {waiting}"


def _alarms(found: Evidence) -> Iterator[str]:
    """What people were told of is over when everything that it was about is; what nobody can see to be over stands
    for some days, and what is about no project or request (the database, a clock) as long as it lasts."""
    if _may_be_open(found) or found.edited or cancelled(found.script):
        return
    for one in found.documents("alarms"):
        concerned = set(one["projects"]) & set(found.well)
        if one["ended_at"] is None and one["quiet_hours"] is None and concerned:
            yield f"alarm left open: {one['_id']} about {sorted(concerned)}"
