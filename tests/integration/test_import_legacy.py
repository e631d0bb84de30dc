"""Databases of the scripts in mid-run, imported and finished: no file is asked for twice, and none is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import legacy_databases
from commands import Run, commands, parsed
from http_server import Request, local_server, reply
from invariants import check_histories, check_limits, check_notices
from jgi_stager.failures import Rejected, Service
from jgi_stager.reporting import snapshot
from jgi_stager.reporting.blocked_reasons import ReasonCode, pending
from jgi_stager.reporting.quota import turns
from jgi_stager.steps import adopt, verify
from jgi_stager.store import imports, projects, requests
from jgi_stager.store.files import FileRow
from legacy_databases import Said
from simulated import HOUR, START
from stage import PROPOSAL, Stage, file_id, small_catalogue, stage

CLOCK = {"start": START.isoformat(), "scale": 1e-9}
"""Commands are given at the instant at which the simulator begins."""
OLD_LAYOUT, LAYOUT = "soil_analysis_projects", "soil/analysis_files"
Sample = Callable[..., dict[str, Any]]


@pytest.fixture
def st(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """Two analysis projects with six files each, and nothing in the database."""
    sections: Mapping[str, Any] = {"mongodb": {"uri": mongod_uri}, "clock": CLOCK}
    with stage(tmp_path, mongod_uri, small_catalogue(2, 6), sections=sections) as made:
        yield made


@pytest.fixture
def give(st: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a command with the settings of the stage."""
    return commands(st, tmp_path, monkeypatch)


def lay(st: Stage, layout: str, project: int, number: int, content: bytes | None = None) -> Path:
    """A file at its destination, as the scripts left it there; other ``content`` than its own, if given."""
    file = st.out.sim.world.catalogue.files[file_id(project, number)]
    path = st.staged / layout / f"Ga{500_000 + project:07d}" / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content.read() if content is None else content)
    return path


def ids(*pairs: tuple[int, int]) -> list[str]:
    return [file_id(project, number) for project, number in pairs]


def samples(st: Stage, made: Sample, said: Mapping[str, Said]) -> list[dict[str, Any]]:
    """All files of the catalogue as the scripts have them; ``said`` by id, where that is not `Said`."""
    aps = st.out.sim.world.catalogue.analysis_projects
    return [made(ap, file, said.get(file.id, Said())) for ap in aps for file in ap.files]


def mid_run(st: Stage, layout: str, words: Sequence[str]) -> tuple[dict[str, Said], str]:
    """A run of the scripts that was left in the middle, outside: what it says of its files, and its Globus task.

    Of each analysis project: 1 arrived and is said to be ready still, 2 arrived spoilt, 3 is in a Globus task,
    4 is delivered, 5 is on tape, 6 was not asked for.
    """
    asked, delivered, in_transit, transferred = words
    done = st.out.delivered(ids((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (2, 3), (1, 4), (2, 4)))
    lay(st, layout, 1, 1), lay(st, layout, 2, 1)
    lay(st, layout, 1, 2, b"x" * 1000), lay(st, layout, 2, 2, b"x" * 900)
    on_tape = int(st.out.ask(ids((1, 5), (2, 5))).json()["request_id"])
    # The scripts' own transfer, which stands still for a while.
    st.out.mishap("tasks_inactive", seconds=6 * HOUR, count=1)
    task = submit(st, done, layout, ids((1, 3), (2, 3)))
    said = {one: Said(delivered, done) for one in ids((1, 4), (2, 4))}
    said |= {one: Said(in_transit, done) for one in ids((1, 3), (2, 3))}
    said |= {one: Said(transferred, done) for one in ids((1, 1), (2, 1), (1, 2), (2, 2))}
    said |= {one: Said(asked, on_tape) for one in ids((1, 5), (2, 5))}
    return said, task


def submit(st: Stage, request_id: int, layout: str, wanted: Sequence[str]) -> str:
    """A transfer as the scripts submit one: to the same places, with no label and without comparing."""
    data = st.out.transfer_data(request_id)
    rows = {row["file_id"]: item for row, item in zip(st.out.manifest(request_id), data["DATA"], strict=True)}
    data["DATA"] = [rows[one] for one in wanted]
    for one, item in zip(wanted, data["DATA"], strict=True):
        project = int(one[:8], 16) - 0x6190_0000
        name = st.out.sim.world.catalogue.files[one].name
        item["destination_path"] = str(st.staged / layout / f"Ga{500_000 + project:07d}" / name)
    return str(st.out.transfer_client().submit_transfer(data)["task_id"])


def asked_twice(st: Stage) -> dict[str, int]:
    found: dict[str, int] = st.out.books()["requested_more_than_once"]
    return found


def check_all_done(st: Stage, layout: str) -> None:
    """Every file of the catalogue is done, at its place and as it should be."""
    documents = st.documents("files")
    assert {one["state"] for one in documents} == {"done"}
    assert {one["jdp_file_id"] for one in documents} == set(st.out.sim.world.catalogue.files)
    for one in documents:
        path = Path(one["destination_path"])
        assert path.parent == st.staged / layout / one["ap_gold_id"]
        assert path.read_bytes() == st.out.sim.world.catalogue.files[one["jdp_file_id"]].content.read()
    assert st.project()["state"] == "done"


GENERATIONS = {
    1: (legacy_databases.first, OLD_LAYOUT, ("pending", "ready", "transferring", "ready")),
    2: (legacy_databases.second, LAYOUT, ("pending", "ready", "in transit", "transferred")),
    3: (legacy_databases.third, LAYOUT, ("pending", "ready", "ready", "READY")),
}


def collections(st: Stage, generation: int, said: Mapping[str, Said], task: str) -> dict[str, Any]:
    """The whole database of one generation."""
    made, _, _ = GENERATIONS[generation]
    # What "globus task show" answered was cut at a colon: a blank was left.
    tasks = [{"task_id": f" {task}", "task_status": "IN_PROGRESS" if generation == 3 else "submitted"}]
    if generation == 3:
        found = {
            "jgi_sequencing_projects": [legacy_databases.THIRD_PROJECT],
            "jgi_samples": samples(st, made, said),
        }
        return {f"wf_file_staging.{name}": rows for name, rows in {**found, "globus_tasks": tasks}.items()}
    rows = {"samples": samples(st, made, said), "globus": tasks}
    return rows if generation == 1 else {**rows, "sequencing_projects": [legacy_databases.SECOND_PROJECT]}


def words(mongod_uri: str, name: str, generation: int) -> list[str]:
    """The command."""
    said = ["--proposal", str(PROPOSAL)] if generation == 1 else []
    return ["import-legacy", "--mongodb", mongod_uri, "--database", name, *said]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_run_of_the_scripts_that_was_left_in_the_middle_is_finished(
    st: Stage, give: Run, mongod_uri: str, generation: int
) -> None:
    _, layout, said_words = GENERATIONS[generation]
    said, task = mid_run(st, layout, said_words)
    with legacy_databases.database(st, collections(st, generation, said, task)) as name:
        command = words(mongod_uri, name, generation)
        before = everything(st)
        planned = parsed(give(*command, "--dry-run", "--json"))
        assert everything(st) == before, "a dry run writes nothing"
        report = parsed(give(*command, "--json"))
        assert report == {**planned, "dry_run": False}
        assert report["not_mapped"] == []
        (project,) = report["projects"]
        assert (project["generation"], project["analysis_projects"], project["becomes"]) == (generation, 2, "new")
        assert sum(one["files"] for one in project["files"].values()) == 12
        assert [one["becomes"] for one in report["requests"]] == ["delivered", "under_way"]
        assert report["tasks"]["running"] == [task]
        entered = everything(st)
        again = parsed(give(*command, "--json"))
        assert [one["becomes"] for one in again["projects"]] == ["again"]
        assert everything(st) == entered, "twice changes nothing"
    st.wait(hours=3)
    # The scripts' task still runs: nothing of the project is asked for, or sent.
    assert st.counts() == {"pending": 12}
    assert st.documents("globus_tasks") == []
    st.drive(hours=96)
    check_all_done(st, layout)
    adopted = [one for one in st.documents("files") if "lay there already" in one["history"][-1]["why"]]
    assert {one["jdp_file_id"] for one in adopted} == set(ids((1, 1), (2, 1), (1, 3), (2, 3)))
    assert asked_twice(st) == {}
    check_limits(st, st.out.books(full=True))
    check_histories(st)
    check_notices(st, "soil")


def everything(st: Stage) -> dict[str, list[dict[str, Any]]]:
    """What the database holds, but for what the connection itself notes."""
    names = ("projects", "files", "restore_requests", "globus_tasks", "imports")
    return {name: st.documents(name) for name in names}


def test_an_import_that_is_killed_between_any_two_writes_ends_the_same_when_it_is_done_again(
    st: Stage, give: Run, mongod_uri: str
) -> None:
    said, task = mid_run(st, LAYOUT, GENERATIONS[2][2])
    with legacy_databases.database(st, collections(st, 2, said, task)) as name:
        command = words(mongod_uri, name, 2)
        for number in range(10):
            if not killed(command, give, number):
                break
            assert st.documents("projects") == [], "the record comes last"
            st.tick(minutes=0)
        else:
            raise AssertionError("it writes more often than expected")
        assert number == 3, "two requests, what is known, and the record"
        known = [one["_id"] for one in st.documents("restore_requests")]
        assert len(known) == 2
        assert len(st.documents("imports")) == 3
    st.drive(hours=96)
    check_all_done(st, LAYOUT)
    assert asked_twice(st) == {}


class KilledError(BaseException):
    """The process ends here."""


def killed(command: Sequence[str], give: Run, number: int) -> bool:
    """Give the command, and end it before it writes for the ``number``th time; whether it came to that."""
    left = [number]

    def dying(real: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return real(*args, **named)

        return call

    with ExitStack() as stack:
        for module, what in ((requests, "insert_delivery"), (imports, "enter"), (projects, "insert_once")):
            stack.enter_context(mock.patch.object(module, what, dying(getattr(module, what))))
        try:
            give(*command, "--json")
        except KilledError:
            return True
    return False


# --- what else may be ----------------------------------------------------------------------------------------


def test_the_runtime_api_is_read_with_a_login_page_by_page(st: Stage, give: Run) -> None:
    said, task = mid_run(st, LAYOUT, GENERATIONS[3][2])
    kept = collections(st, 3, said, task)
    pages: list[str] = []

    def answer(request: Request) -> bytes:
        if request.headers.get("authorization") != "Bearer t0ken":
            return reply(403, {"detail": "Only specific users are allowed to issue wf_file_staging commands."})
        name = request.path.removeprefix("/wf_file_staging/")
        pages.append(name)
        begin = int(request.query.get("page_token", "0"))
        rows = kept[f"wf_file_staging.{name}"]
        body: dict[str, Any] = {"resources": [{**one, "_id": "x"} for one in rows[begin : begin + 5]]}
        if begin + 5 < len(rows):
            body["next_page_token"] = str(begin + 5)
        return reply(200, body)

    with local_server(answer) as server:
        refused = give("import-legacy", "--runtime-api", server.url)
        assert refused.exit_code == 1
        assert "secret nmdc_token" in refused.output
        st.write_secret("nmdc_token", "t0ken")
        report = parsed(give("import-legacy", "--runtime-api", server.url, "--json"))
    assert [one["generation"] for one in report["projects"]] == [3]
    assert report["tasks"]["running"] == [task]
    assert pages.count("jgi_samples") == 3
    assert len(st.documents("imports")) == 3


def test_tasks_that_globus_does_not_show_hold_up_the_import_until_a_person_has_looked(
    st: Stage, give: Run, mongod_uri: str
) -> None:
    strange = "1f6e0c5a-1bad-11ee-9fcd-a14ac0d1a9a2"
    with legacy_databases.database(st, collections(st, 2, {}, strange)) as name:
        command = words(mongod_uri, name, 2)
        refused = give(*command)
        assert refused.exit_code == 1
        assert strange in refused.output
        assert "--tasks-ended" in refused.output
        assert st.documents("projects") == []
        shown = give(*command, "--dry-run")
        assert shown.exit_code == 0
        assert "--tasks-ended" in shown.output
        assert give(*command, "--tasks-ended").exit_code == 0
    st.drive(hours=96)
    check_all_done(st, LAYOUT)


def test_a_task_that_stands_still_is_told_of_and_a_person_may_end_the_waiting(
    st: Stage, give: Run, mongod_uri: str
) -> None:
    said, _ = mid_run(st, LAYOUT, GENERATIONS[2][2])
    st.out.mishap("tasks_inactive", seconds=400 * HOUR, count=2)
    other = submit(st, next(one.request_id for one in said.values() if one.request_id), LAYOUT, ids((1, 4)))
    with legacy_databases.database(st, collections(st, 2, said, other)) as name:
        assert give(*words(mongod_uri, name, 2)).exit_code == 0
    st.wait(hours=3)
    facts = snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.out.clock))
    project = facts.project("soil")
    assert project is not None
    waits = pending(facts, project, turns(facts))
    assert waits.why is ReasonCode.ADOPTION
    assert other in waits.sentence
    told: list[str] = []
    while not told and st.out.clock.now() < START + timedelta(hours=30):
        st.tick(minutes=60)
        told = st.alarms("waits for Globus tasks of the scripts")
    assert len(told) == 1
    assert st.counts() == {"pending": 12}
    assert give("import-legacy", "--tasks-ended", "--project", "soil").exit_code == 0
    st.drive(hours=96)
    check_all_done(st, LAYOUT)
    assert asked_twice(st) == {}


def test_what_jdp_and_gold_do_not_list_any_more_is_not_lost(st: Stage, give: Run, mongod_uri: str) -> None:
    rows = samples(st, legacy_databases.second, {})
    gone, lost_ap = rows[0], {**rows[1], "apGoldId": "Ga0999999", "itsApId": "1999999.0"}
    lost = {**gone, "jdp_file_id": "b" * 24, "file_name": "gone.gff"}
    lost_ap |= {"jdp_file_id": "c" * 24, "file_name": "other.gff"}
    for place, row in ((gone["apGoldId"], lost), ("Ga0999999", lost_ap)):
        content = row["file_name"].encode() * 20
        row["file_size"] = len(content)
        row["md5sum"] = hashlib.md5(content, usedforsecurity=False).hexdigest()
        path = st.staged / LAYOUT / place / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    made = {"samples": [*rows, lost, lost_ap], "sequencing_projects": [legacy_databases.SECOND_PROJECT]}
    with legacy_databases.database(st, made) as name:
        assert give(*words(mongod_uri, name, 2)).exit_code == 0
    st.drive(hours=96)
    found = {one["jdp_file_id"]: one["state"] for one in st.documents("files")}
    assert (len(found), found["b" * 24], found["c" * 24]) == (14, "done", "done")
    (accepted,) = st.notices("accepted")
    assert "Ga0999999: GOLD does not show it; it is staged as it was imported" in str(accepted["data"]["warnings"])


def test_a_staged_tree_without_any_database_is_adopted(st: Stage, give: Run) -> None:
    for number in range(1, 7):
        lay(st, OLD_LAYOUT, 1, number)
    lay(st, LAYOUT, 2, 1), lay(st, LAYOUT, 2, 2, b"y" * 1000), lay(st, OLD_LAYOUT, 2, 3)
    command = ["import-legacy", "--from-disk", str(st.staged), "--name", "soil"]
    assert give(*command).exit_code == 2, "nobody knows the proposal"
    planned = give(*command, "--proposal", str(PROPOSAL), "--dry-run")
    assert "2 analysis projects" in planned.output
    assert st.documents("projects") == st.documents("imports") == []
    assert give(*command, "--proposal", str(PROPOSAL)).exit_code == 0
    assert "is there already" in give(*command, "--proposal", str(PROPOSAL)).output
    st.drive(hours=96)
    assert st.counts() == {"done": 12}
    assert st.out.books()["requested_files"] == 4, "the spoilt one and what is nowhere"
    places = {Path(one["destination_path"]).parent.parent for one in st.documents("files")}
    assert places == {st.staged / OLD_LAYOUT, st.staged / LAYOUT}


def test_files_of_a_project_that_is_there_are_looked_for_where_they_go(st: Stage, give: Run) -> None:
    st.insert()
    st.run("accept", "discover")
    for number in (1, 2, 3):
        lay(st, LAYOUT, 1, number)
    found = give("import-legacy", "--from-disk", str(st.staged / "soil"), "--name", "soil")
    assert "6 pending files more are looked for" in found.output
    st.drive(hours=96)
    assert st.counts() == {"done": 12}
    assert st.out.books()["requested_files"] == 9


def test_a_file_that_jdp_lists_anew_while_it_is_read_is_read_once_more(st: Stage, give: Run) -> None:
    st.insert()
    st.run("accept", "discover")
    for number in (1, 2):
        lay(st, LAYOUT, 1, number)
    give("import-legacy", "--from-disk", str(st.staged / "soil"), "--name", "soil")
    real, other = verify.check_file, "0" * 32

    def check_file(file: FileRow, *arguments: Any) -> Any:
        found = real(file, *arguments)
        if file.jdp_file_id == file_id(1, 1):
            st.store.database["files"].update_one({"_id": file.oid}, {"$set": {"md5sum": other}})
        return found

    with mock.patch.object(adopt, "check_file", check_file):
        st.run("adopt")
        assert [one["jdp_file_id"] for one in st.documents("files", state="done")] == ids((1, 2))
        assert [one["jdp_file_id"] for one in st.documents("files", look_first=True)] == ids((1, 1))
    st.run("adopt")
    assert st.counts() == {"done": 1, "pending": 11}
    assert st.documents("files", look_first=True) == [], "it is asked for: what lies there is another one"


def test_a_directory_that_cannot_be_listed_is_told_of_and_nothing_is_asked_for_blindly(
    st: Stage, give: Run
) -> None:
    path = lay(st, LAYOUT, 1, 1)
    command = ["import-legacy", "--from-disk", str(st.staged), "--name", "soil", "--proposal", str(PROPOSAL)]
    assert give(*command).exit_code == 0
    st.run("accept", "discover", "discover")
    assert st.project()["state"] == "active"
    real = st.ctx.globus.ls

    def ls(collection_id: str, directory: str) -> Any:
        if directory == str(path.parent):
            raise Rejected(Service.GLOBUS, "globus: may not be listed")
        return real(collection_id, directory)

    with mock.patch.object(st.ctx.globus, "ls", ls):
        st.wait(hours=1)
    assert st.documents("files", look_first=True)
    assert len(st.alarms("what soil has at its destination cannot be looked at")) == 1
    st.drive(hours=96)
    assert st.counts() == {"done": 12}
    assert path.read_bytes() == st.out.sim.world.catalogue.files[file_id(1, 1)].content.read()
