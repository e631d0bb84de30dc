"""Workers read files where the data is; the daemon alone decides what follows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS

from commands import Run, commands, parsed, toml
from invariants import check_run, states_of
from jgi_stager import read_back, verify_worker, worker_readings
from jgi_stager.failures import Service, Transient
from jgi_stager.reading_models import MOST_TAKES, FileRead, FileToRead, Reading
from jgi_stager.settings import Settings
from jgi_stager.steps.services import record_failure
from jgi_stager.store import Store, connect, readings
from jgi_stager.store.backup import read_backup, write_backup
from jgi_stager.worker_readings import WorkerReadings
from killer import Killed, Killer
from processes_of_a_test import spawn, wait_for
from stage import Stage, StepBugError, small_catalogue, stage

WORKERS: dict[str, Any] = {"staging": {"verify_by": "workers"}}
BY_A_WORKER, BY_THE_DAEMON = "size and md5; read by a worker", "size and md5"
LARGE = 40 * 10**9
"""Bytes of a file that takes a minute to read, and is a hole."""


@contextmanager
def a_connection(st: Stage) -> Iterator[Store]:
    """What a worker has: no fence, and nothing that it could bring up to date."""
    store = connect(st.uri, st.database, st.clock, read_only=True)
    try:
        yield store
    finally:
        store.close()


def work(st: Stage, at_once: int = 1) -> verify_worker.Done:
    """A worker reads what there is, and ends."""
    with a_connection(st) as store:
        stop = threading.Event()
        return verify_worker.run(store, st.staged, at_once=at_once, lease_seconds=60, stop=stop, idle_seconds=0)


def drive_with_worker(st: Stage) -> None:
    """Until nothing is left to do, with a worker that looks in between."""
    for _ in range(200):
        st.tick(5)
        work(st)
        if st.idle():
            return
    raise AssertionError(str(st.states()))


def lease_ends(st: Stage) -> None:
    """The time of every lease is over."""
    st.store.database["readings"].update_many({"offered": True}, [{"$set": {"until": "$$NOW"}}])


def how(st: Stage) -> Counter[str]:
    """How many files were found right in which way."""
    return Counter(file["verified"]["how"] for file in st.documents("files", state="done"))


@contextmanager
def blind() -> Iterator[None]:
    """A daemon whose machine does not see where files go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_back, "read", lambda *_: None)
        patch.setattr(read_back, "is_changed", lambda *_: False)
        yield


# --- with and without workers -------------------------------------------------------------------------------


def test_with_workers_the_same_files_are_done_as_without(tmp_path: Path, mongod_uri: str) -> None:
    def story(st: Stage) -> list[tuple[Any, ...]]:
        check_run(st)
        return [
            (
                Path(one["destination_path"]).relative_to(st.staged),
                one["jdp_file_id"],
                states_of(one),
                one["setbacks"],
                one["verified"]["size"],
                one["verified"]["md5"],
            )
            for one in sorted(st.documents("files"), key=lambda one: str(one["destination_path"]))
        ]

    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    with stage(tmp_path / "without", mongod_uri, small_catalogue(2, 6)) as st:
        st.insert()
        st.drive()
        expected = story(st)
        assert how(st) == {BY_THE_DAEMON: 12}
        assert st.documents("readings") == [], "nothing is written where no worker is expected"
    with stage(tmp_path / "with", mongod_uri, small_catalogue(2, 6), sections=WORKERS) as st:
        st.insert()
        drive_with_worker(st)
        assert story(st) == expected
        assert how(st) == {BY_A_WORKER: 12}
        assert {one["task"] for one in st.documents("readings")} == {None}


def test_where_no_worker_comes_the_daemon_reads_after_the_set_time(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        begun = st.clock.now()
        assert st.counts() == {"transferring": 3}
        st.wait(hours=0.75, minutes=5)
        assert st.counts() == {"transferring": 3}
        st.drive()
        check_run(st)
        assert how(st) == {BY_THE_DAEMON: 3}
        took = max(file["verified"]["at"] for file in st.documents("files")) - begun
        assert 60 <= took.total_seconds() / 60 <= 80
        assert [event for event in st.events if event["event"] == "workers_given_up"]
        assert work(st).files == 0


def test_waiting_for_workers_is_no_answer_of_globus(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        for number in range(3):
            record_failure(st.ctx, Transient(Service.GLOBUS, "out"), number)
        assert st.ctx.circuit_breaker.is_out(Service.GLOBUS)
        for _ in range(3):
            st.out.clock.advance(600)
            st.run("verify")
        assert st.ctx.circuit_breaker.is_out(Service.GLOBUS), "nobody asked it anything"
        assert st.counts() == {"transferring": 3}


def test_a_worker_that_is_busy_with_others_files_is_waited_for(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        readings.ask(st.store, "another", [[FileToRead(path=str(st.staged / "x"), size=1)]])
        for _ in range(3):
            st.out.clock.advance(59 * 60)
            st.store.database["readings"].update_many({"task": "another"}, {"$set": {"seen_at": st.clock.now()}})
            st.run("verify")
            assert st.counts() == {"transferring": 3}
        st.out.clock.advance(61 * 60)
        st.run("verify")
        assert how(st) == {BY_THE_DAEMON: 3}


def test_a_sign_of_life_that_is_no_time_hurts_no_task(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        beyond = {"$set": {"seen_at": DatetimeMS(9_000_000_000_000_000)}}
        st.store.database["readings"].update_one({}, beyond)
        for _ in range(2):  # what does not fit is asked for anew
            st.out.clock.advance(61 * 60)
            st.run("verify")
        assert how(st) == {BY_THE_DAEMON: 3}
        assert st.alarms() == []


def test_a_bug_in_what_one_task_waits_for_stops_no_other(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {**WORKERS, "globus": {"max_files_per_task": 1, "max_active_tasks": 6}}
    with stage(tmp_path, mongod_uri, sections=sections) as st:
        st.insert()
        st.until_ended()
        first, real = st.documents("globus_tasks", state="ended", kind="files")[0]["_id"], worker_readings.of_task

        def of_task(store: Store, settings: Settings, task: str) -> WorkerReadings:
            if task == str(first):
                raise RuntimeError("a bug")
            return real(store, settings, task)

        monkeypatch.setattr(worker_readings, "of_task", of_task)
        for _ in range(3):
            with pytest.raises(StepBugError):
                st.run("verify")
            st.out.clock.advance(61 * 60)
        assert st.counts() == {"transferring": 1, "done": 2}
        assert len(st.alarms("a fault of the daemon holds up")) == 1


def test_what_kills_each_worker_is_read_by_the_daemon(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        with a_connection(st) as store:
            for _ in range(MOST_TAKES):
                assert readings.take(store, "host:1", 60) is not None
                assert readings.take(store, "host:2", 60) is None, "it is held"
                lease_ends(st)
            assert readings.take(store, "host:1", 60) is None
        st.drive(hours=0.5, minutes=5)
        check_run(st)
        assert how(st) == {BY_THE_DAEMON: 3}


# --- what the answers are worth -----------------------------------------------------------------------------


@pytest.mark.parametrize("sees", [True, False], ids=["the daemon sees it", "the daemon does not"])
def test_a_file_that_arrived_spoilt_is_found_by_what_a_worker_read(
    tmp_path: Path, mongod_uri: str, sees: bool
) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.path(1, 2).write_bytes(b"x" * 1000)
        st.run("verify")
        work(st)
        with blind() if not sees else pytest.MonkeyPatch.context():
            st.out.clock.advance(60)
            st.run("verify")
        assert st.counts() == {"done": 2, "manifest_ready": 1}
        assert how(st) == {BY_A_WORKER: 2}
        drive_with_worker(st)
        check_run(st, again=True)


def test_an_answer_that_is_wrong_costs_a_read_and_never_a_file(tmp_path: Path, mongod_uri: str) -> None:
    """One answer has another md5, one another time of change, and one is of a form that no worker writes."""
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        work(st)
        wrong = {"files.0.found.md5": "0" * 32, "files.1.found.mtime_ns": 1}
        st.store.database["readings"].update_one({}, {"$set": wrong})
        st.out.clock.advance(60)
        st.run("verify")
        assert st.counts() == {"done": 3}
        assert how(st) == {BY_A_WORKER: 1, BY_THE_DAEMON: 2}
        drive_with_worker(st)
        check_run(st)


def test_a_reading_that_somebody_edited_is_asked_for_anew(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        st.store.database["readings"].update_one({}, {"$set": {"files.0.path": "/etc/passwd", "asked_at": "soon"}})
        assert work(st).files == 0
        drive_with_worker(st)
        check_run(st)
        assert how(st) == {BY_A_WORKER: 3}


def test_a_path_outside_of_the_staging_directory_is_not_read_and_its_answer_is_nobodys(
    tmp_path: Path, mongod_uri: str, opened: list[str]
) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        secret = tmp_path / "secret"
        secret.write_bytes(b"x" * 1000)
        st.store.database["readings"].update_one({}, {"$set": {"files.0.path": str(secret)}})
        assert work(st).files == 3
        assert len(opened) == 2
        assert str(secret) not in opened
        drive_with_worker(st)
        check_run(st)
        assert how(st) == {BY_A_WORKER: 3}, "the file whose path was changed was asked for again"


def test_where_neither_can_read_now_nothing_is_believed_and_it_is_asked_again(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verify_worker, "read_file", lambda *_: FileRead(failed="Stale file handle"))
            work(st)
        with blind():
            st.out.clock.advance(60)
            st.run("verify")
        assert st.counts() == {"transferring": 3}
        assert "Stale file handle" in st.documents("globus_tasks", kind="files")[0]["error"]
        drive_with_worker(st)
        check_run(st)
        assert how(st) == {BY_A_WORKER: 3}


# --- leases -------------------------------------------------------------------------------------------------


def ask(st: Stage, files: int, size: int = 1000) -> list[Path]:
    """Files in the staging directory, and a reading for each."""
    paths = [st.staged / f"{number:03}.bin" for number in range(files)]
    for path in paths:
        path.write_bytes(b"x" * size)
    readings.ask(st.store, "t", [[FileToRead(path=str(path), size=size)] for path in paths])
    return paths


def test_no_two_workers_read_the_same(tmp_path: Path, mongod_uri: str, opened: list[str]) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        paths = ask(st, 40)
        done: list[verify_worker.Done] = []
        workers = [threading.Thread(target=lambda: done.append(work(st, 2))) for _ in range(3)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        assert sorted(opened) == [str(path) for path in paths]
        assert sum(one.files for one in done) == 40
        assert sum(one.lost for one in done) == 0
        assert not any(one.offered for one in readings.of_task(st.store, "t"))


def test_a_worker_that_answers_after_it_lost_its_lease_changes_nothing(tmp_path: Path, mongod_uri: str) -> None:
    answer = {0: FileRead(md5="0" * 32, size=1000, mtime_ns=1)}
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st, a_connection(st) as store:
        ask(st, 1)
        first = taken(store)
        lease_ends(st)
        second = taken(store)
        before = st.documents("readings")
        for late in (readings.finish, readings.give_back):
            assert not late(store, first, answer)
        assert not readings.keep(store, first, answer, 60)
        assert not readings.keep(store, replace_owner(first, None), answer, 60)
        assert st.documents("readings") == before
        assert readings.finish(store, second, answer)
        assert not readings.keep(store, second, answer, 60), "it is over"


def test_one_that_nobody_else_took_is_still_its_own(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st, a_connection(st) as store:
        ask(st, 1)
        mine = taken(store)
        assert not readings.give_up(st.store, mine.key), "a worker is at it"
        lease_ends(st)
        assert readings.keep(store, mine, {}, 60)
        assert readings.give_back(store, mine, {})
        assert readings.give_up(st.store, mine.key)
        assert not readings.finish(store, mine, {}), "the daemon reads it"


def taken(store: Store) -> Reading:
    """A reading, for a worker."""
    found = readings.take(store, "host:1", 60)
    assert found is not None
    return found


def replace_owner(reading: Reading, owner: str | None) -> Reading:
    """The same as another's."""
    return reading.model_copy(update={"owner": owner})


# --- processes ----------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Stage], subprocess.Popen[bytes]]]:
    """Start a worker as Slurm does."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(st: Stage) -> subprocess.Popen[bytes]:
        config = tmp_path / "worker.toml"
        config.write_text(toml(st).replace("[mongodb]", f'[mongodb]\nuri = "{st.uri}"'))
        command = [sys.executable, "-m", "jgi_stager", "verify-worker", "--workers", "1", "--config", str(config)]
        started.append(spawn(command, tmp_path / "worker.log", {}))
        return started[-1]

    yield begin
    for one in started:
        one.kill()
        one.wait()


SHORT: dict[str, Any] = {**WORKERS, "schedule": {"lease_seconds": 1.0}}


def in_mid_reading(st: Stage) -> Path:
    """A reading of a small file, and then of one that takes long."""
    small, large = st.staged / "small", st.staged / "large"
    small.write_bytes(b"x" * 1000)
    large.touch()
    os.truncate(large, LARGE)
    files = [FileToRead(path=str(small), size=1000), FileToRead(path=str(large), size=LARGE)]
    readings.ask(st.store, "t", [files])
    return large


def first_answer(st: Stage) -> Any:
    """What the worker wrote so far."""
    (one,) = st.documents("readings")
    return one["files"][0]["found"] and one


def test_what_a_killed_worker_began_another_ends(
    tmp_path: Path, mongod_uri: str, start: Callable[[Stage], subprocess.Popen[bytes]]
) -> None:
    with stage(tmp_path, mongod_uri, sections=SHORT) as st:
        large = in_mid_reading(st)
        worker = start(st)
        known = wait_for(lambda: first_answer(st), "the first answer")
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        os.truncate(large, 10)
        lease_ends(st)
        assert work(st).files == 1, "what is known is not read again"
        (one,) = readings.of_task(st.store, "t")
        assert not one.offered
        assert [file.found and file.found.size for file in one.files] == [1000, 10]
        assert one.files[0].found == FileRead(**known["files"][0]["found"])


def test_a_worker_that_is_asked_to_end_gives_back_what_it_has(
    tmp_path: Path, mongod_uri: str, start: Callable[[Stage], subprocess.Popen[bytes]]
) -> None:
    with stage(tmp_path, mongod_uri, sections=SHORT) as st, a_connection(st) as store:
        in_mid_reading(st)
        worker = start(st)
        wait_for(lambda: first_answer(st), "the first answer")
        assert readings.take(store, "host:1", 60) is None
        worker.terminate()
        assert worker.wait(20) == 0
        again = taken(store)
        assert [file.found is not None for file in again.files] == [True, False]
        assert "1 file read, 1.00 kB." in (tmp_path / "worker.log").read_text()


# --- a daemon that dies -------------------------------------------------------------------------------------


def test_a_daemon_that_dies_between_any_two_writes_goes_on(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each life ends after one write, or after as many as it takes to get on; a worker works in between."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), sections=WORKERS) as st:
        st.insert()
        st.until_ended()
        killer, lives, writes = Killer(monkeypatch), 0, 1
        while st.counts() != {"done": 8} or st.documents("globus_tasks", kind="files", state="ended"):
            before, killer.left = books(st), writes
            try:
                st.run("verify")
            except Killed:
                st.restart()
                lives += 1
            killer.left = 10**6
            writes = writes + 1 if books(st) == before else 1
            work(st)
            st.out.clock.advance(90)
        assert lives > 4
        drive_with_worker(st)
        check_run(st)
        assert how(st) == {BY_A_WORKER: 8}
        assert {one["task"] for one in st.documents("readings")} == {None}


def books(st: Stage) -> Any:
    """What shows that a life was not in vain."""
    states = [one["state"] for name in ("files", "globus_tasks") for one in st.documents(name)]
    return states, [(one["_id"], one["task"], one["offered"]) for one in st.documents("readings")]


# --- what people see ----------------------------------------------------------------------------------------


def test_status_and_explain_say_that_files_wait_for_workers_and_how_many_are_at_work(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st, a_connection(st) as store:
        run: Run = commands(st, tmp_path, monkeypatch)
        monkeypatch.setenv("JGI_STAGER_MONGODB__URI", mongod_uri)
        st.insert()
        st.until_ended()
        st.run("verify")
        name = st.path(1, 1).name
        for subject in ("soil", name):
            said = run("explain", subject).stdout
            assert "3 files (3.00 kB) wait for workers, none at work; the daemon reads them itself when" in said
        assert "1 being verified (3 files for workers, none at work)" in run("status").stdout
        mine = taken(store)
        said = run("explain", name).stdout
        assert "3 files (3.00 kB) wait for workers, 1 at work" in said
        found = parsed(run("status", "--json"))["workers"]
        assert (found["files"], found["bytes"], found["at_work"]) == (3, 3000, 1)
        assert readings.give_back(store, mine, {})
        drive_with_worker(st)
        assert "workers" not in run("explain", "soil").stdout


def test_a_worker_that_nobody_asks_or_that_does_not_see_the_files_says_so(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        run = commands(st, tmp_path, monkeypatch)
        monkeypatch.setenv("JGI_STAGER_MONGODB__URI", mongod_uri)
        found = run("verify-worker", "--until-idle", "0")
        assert found.exit_code == 2
        assert 'staging.verify_by is "daemon"' in found.stderr
        monkeypatch.setenv("JGI_STAGER_STAGING__VERIFY_BY", "workers")
        assert run("verify-worker", "--until-idle", "0").stdout == "0 files read, 0 B.\n"
        monkeypatch.setenv("JGI_STAGER_STAGING__STAGE_DIR", str(tmp_path / "elsewhere"))
        found = run("verify-worker", "--until-idle", "0")
        assert found.exit_code == 2
        assert "does not see the staging directory" in found.stderr


def test_a_worker_reads_no_books_of_another_release_and_changes_nothing_in_them(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        run = commands(st, tmp_path, monkeypatch)
        monkeypatch.setenv("JGI_STAGER_MONGODB__URI", mongod_uri)
        st.store.database["control"].update_one({"_id": "schema"}, {"$set": {"version": 1}})
        found = run("verify-worker", "--until-idle", "0")
        assert found.exit_code == 1
        assert "the version of the database is 1" in found.stderr
        st.store.database["control"].delete_many({})
        found = run("verify-worker", "--until-idle", "0")
        assert (found.exit_code, st.documents("control")) == (1, [])
        assert "start the daemon first (jgi-stager run)" in found.stderr


def test_a_worker_waits_for_a_staging_directory_that_went_away(tmp_path: Path, mongod_uri: str) -> None:
    """Nothing is called unreadable because one machine lost its mount."""
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st:
        ask(st, 1)
        st.staged.rename(tmp_path / "away")
        assert work(st).files == 0
        (tmp_path / "away").rename(st.staged)
        assert work(st).files == 1


def test_a_backup_has_no_readings(tmp_path: Path, mongod_uri: str) -> None:
    """A release that does not know them can restore it."""
    with stage(tmp_path, mongod_uri, sections=WORKERS) as st, (tmp_path / "backup").open("w+b") as file:
        st.insert()
        st.until_ended()
        st.run("verify")
        assert st.documents("readings")
        assert "readings" not in write_backup(st.store, file, "test").documents
        assert "files" in read_backup(file).documents
