"""A database of any size in seconds: documents as the daemon writes them, entered in bulk past it.

What is open is the same at every size: four requests, three tasks, a full quota. What is more files is in the
projects: some are done, and most wait.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import WriteConcern

from factories import jdp_id
from jgi_stager.lifecycle import RequestState, State, TaskState
from jgi_stager.records import FileRecord, TaskKind
from jgi_stager.store import Store, acceptance, requests, tasks
from jgi_stager.store.embedded import EmbeddedMongod
from jgi_stager.store.schema import ensure_indexes
from left_behind import scratch
from stage import Stage, stage

BATCH = 5000
PROJECTS = 10
PER_ANALYSIS_PROJECT = 40
REQUESTED = 750
OPEN = (State.RESTORE_REQUESTED, State.RESTORED, State.MANIFEST_READY, State.TRANSFERRING)
SIZE = 100_000_000
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@contextmanager
def mongod() -> Iterator[str]:
    """A private mongod as the daemon has one, whose data are in memory where there is room, and are removed
    afterwards."""
    with scratch("jgi-bench-") as home, EmbeddedMongod(home) as uri:
        yield uri


@contextmanager
def filled(files: int, projects: int = PROJECTS) -> Iterator[Stage]:
    """A daemon on a database with so many files, that looks at the room at their destination as a real one."""
    with tempfile.TemporaryDirectory(prefix="jgi-bench-") as home, mongod() as uri:
        sections: dict[str, dict[str, Any]] = {
            "mongodb": {"uri": uri},
            "web": {"port": 0},
            "staging": {"watch_space": True},
        }
        with stage(Path(home), uri, sections=sections) as made:
            fill(made.store, files, projects)
            yield made


def begin(made: Stage) -> None:
    """Let be done what the steps do at the start alone, or once a day or hour."""
    made.run("audit", "watch_credentials", "digest", "finish", "send_notices")


def project_names(projects: int = PROJECTS) -> list[str]:
    """The names of the projects."""
    return [f"bench{number:03}" for number in range(projects)]


def fill(store: Store, files: int, projects: int = PROJECTS) -> None:
    """Enter active projects with so many files in all."""
    at = store.clock.now()
    names = project_names(projects)
    raw = store.database["files"].with_options(write_concern=WriteConcern(w=1, j=False))
    raw.drop_indexes()  # made again at the end: at once they cost a fraction
    for name in names:
        store.database["projects"].insert_one(_project(store, name, at))
    _Entering(raw, names, files, at).run()
    ensure_indexes(store.database)
    _open_requests(store, names, at)
    _open_tasks(store, at)


def _project(store: Store, name: str, at: datetime) -> dict[str, Any]:
    key = ObjectId()
    acceptance.vouch(store, key, name, at)
    return {
        "_id": key,
        "project_name": name,
        "accepted_name": name,
        "accepted_at": at,
        "proposal_id": "503125",
        "nmdc_study_id": None,
        "study_looked_up": True,
        "study_compared": True,
        "analysis_projects_dir": "/nowhere",
        "priority": 0,
        "state": "active",
        "since": at,
        "update_date": at,
        "history": [{"at": at, "from": None, "to": "discovering", "why": "entered"}],
        "discovery": {"analysis_projects": 0, "biosamples": [], "biosamples_asked": []},
    }


class _Entering:
    """Writes the files of all projects."""

    def __init__(self, raw: Any, names: list[str], files: int, at: datetime) -> None:
        self._raw, self._names, self._files = raw, names, files
        self._alike = {state: _alike(state, at) for state in State}

    def run(self) -> None:
        batch: list[dict[str, Any]] = []
        for number in range(self._files):
            batch.append(self._document(number))
            if len(batch) == BATCH:
                self._raw.insert_many(batch, ordered=False)
                batch = []
        if batch:
            self._raw.insert_many(batch, ordered=False)

    def _document(self, number: int) -> dict[str, Any]:
        name = self._names[number % len(self._names)]
        ap = f"Ga{number // len(self._names) // PER_ANALYSIS_PROJECT:07d}"
        state = state_of(number)
        file_name = f"{ap}_{number}_contigs.fna"
        return {
            "_id": ObjectId(f"{number:024x}"),
            **self._alike[state],
            "project_name": name,
            "jdp_file_id": jdp_id(number),
            "source_file_id": jdp_id(number),
            "file_name": file_name,
            "ap_gold_id": ap,
            "its_ap_id": number,
            "jdp_file_size": SIZE + number % 1000,
            "destination_path": f"/nowhere/{name}/analysis_files/{ap}/{file_name}",
            **_fields(number, state),
        }


def _alike(state: State, at: datetime) -> dict[str, Any]:
    """What all files in a state have alike, as the model writes it."""
    record = FileRecord.model_construct(
        project_name="",
        jdp_file_id="",
        source_file_id="",
        file_name="",
        ap_gold_id="",
        its_ap_id=0,
        jdp_file_status="PURGED",
        jdp_file_size=SIZE,
        md5sum=MD5,
        destination_path="",
        state=state,
        since=at,
        create_date=at,
        update_date=at,
        history=[{"at": at, "from": None, "to": "pending", "why": "discovered"}],
        delivery_faults=[],
    )
    return {**record.model_dump(), "state": state.value}


def state_of(number: int) -> State:
    """The state of a file: the first belong to what is open, a third of the others are done."""
    if number < len(OPEN) * REQUESTED:
        return OPEN[number // REQUESTED]
    if number % 10_007 == 0:
        return State.FAILED
    return State.DONE if number % 3 == 0 else State.PENDING


def _fields(number: int, state: State) -> dict[str, Any]:
    if state in OPEN:
        request = 7000 + number // REQUESTED
        task = f"00000000-0000-4000-8000-{number // REQUESTED:012d}" if state == State.TRANSFERRING else None
        there = f"/R{request}/{number}" if state in (State.MANIFEST_READY, State.TRANSFERRING) else None
        return {"request_id": request, "globus_task_id": task, "source_path": there}
    if state == State.FAILED:
        return {"failed_from": State.PENDING.value, "reason": "JDP gives no size"}
    return {}


def _open_requests(store: Store, names: list[str], at: datetime) -> None:
    later = at + timedelta(days=1)
    limit = 10_000_000_000_000 // len(OPEN)
    for number, state in enumerate(OPEN):
        ids = [jdp_id(one) for one in range(number * REQUESTED, (number + 1) * REQUESTED)]
        key = requests.insert_request(store, file_ids=ids, projects=names, files=len(ids), size=limit)
        requests.update_request(
            store,
            key,
            RequestState.SUBMITTING,
            RequestState.ACCEPTED,
            why="benchmark",
            request_id=7000 + number,
            submitted_at=at,
            next_poll_at=later,
        )
        requests.update_request(
            store, key, RequestState.ACCEPTED, RequestState.WAITING, why="benchmark", next_poll_at=later
        )
        if state != State.RESTORE_REQUESTED:
            fields = {"ready_at": at, "next_poll_at": later, "expiration_date": at + timedelta(days=90)}
            fields |= {"manifest_read_at": at, "transfer_after": later, "unread_since": at}
            requests.update_request(
                store, key, RequestState.WAITING, RequestState.READY, why="benchmark", **fields
            )


def _open_tasks(store: Store, at: datetime) -> None:
    later = at + timedelta(days=1)
    first = OPEN.index(State.TRANSFERRING) * REQUESTED
    oids = [ObjectId(f"{number:024x}") for number in range(first, first + REQUESTED)]
    key = tasks.insert_task(
        store,
        kind=TaskKind.FILES,
        submission_id="benchmark",
        label="benchmark",
        body={"submission_id": "benchmark", "DATA": []},
        file_oids=oids,
        request_ids=[7000 + OPEN.index(State.TRANSFERRING)],
        size=REQUESTED * SIZE,
    )
    task_id = f"00000000-0000-4000-8000-{OPEN.index(State.TRANSFERRING):012d}"
    for old, new in ((TaskState.SUBMITTING, TaskState.SUBMITTED), (TaskState.SUBMITTED, TaskState.ACTIVE)):
        tasks.update_task(
            store, key, old, new, why="benchmark", task_id=task_id, submitted_at=at, next_poll_at=later
        )
