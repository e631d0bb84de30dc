"""Files that are downloaded from JDP itself: the same way to their destination, without Globus."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from catalogues import without_md5
from invariants import check_run, states_of
from jgi_stager import admin, downloading
from jgi_stager.cli.setup import all_checks
from jgi_stager.client_factory import Clients
from jgi_stager.reporting import explain, snapshot
from jgi_stager.simulator import Catalogue
from jgi_stager.simulator.content import zero_content
from jgi_stager.simulator.restores import FileState
from jgi_stager.steps import transitions
from jgi_stager.store import evidence
from killer import Killed, after, kill
from stage import PROPOSAL, Stage, analysis_project, file_id, small_catalogue, small_file, stage, with_shared_file

HTTPS: Any = {
    "staging": {"method": "https", "download_workers": 2},
    "globus": {"client_id": None, "globus_root_dir": ""},
    "jdp": {"globus_user_name": ""},
}
SIZE, FILES = 40_000, 3


@contextmanager
def downloading_stage(tmp_path: Path, uri: str, catalogue: Any = None) -> Iterator[Stage]:
    """A site without Globus: no login, no collection, no folder."""
    with stage(tmp_path, uri, catalogue or small_catalogue(1, FILES, SIZE), sections=HTTPS) as found:
        (found.secrets / "globus_client_secret").unlink()
        yield found


@pytest.fixture
def st(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    with downloading_stage(tmp_path, mongod_uri) as found:
        yield found


def ready(st: Stage) -> None:
    """A project whose files JDP has restored, and of which nothing is fetched yet."""
    st.insert()
    with mock.patch("jgi_stager.steps.downloads.run", return_value=0):
        st.until("restored")


def sent(st: Stage, number: int = 1) -> int:
    """The bytes of a file that JDP has sent."""
    return st.out.sim.world.sent[file_id(1, number)]


def requested(st: Stage) -> int:
    return len(st.out.books()["requests"])


def purge(st: Stage, status: str = "PURGED") -> None:
    """Let the copies on disk end, or come back."""
    now = st.out.clock.now().timestamp()
    with st.out.sim.world.lock:
        for number in range(1, FILES + 1):
            st.out.sim.world.archive.states[file_id(1, number)] = FileState(status, now, now + 20 * 86_400)


def workshop(st: Stage) -> list[str]:
    return downloading.drafts(st.staged / "soil")


# --- the whole way -------------------------------------------------------------------------------------------


def test_the_whole_way_without_globus(st: Stage) -> None:
    st.insert()
    st.drive(24)
    st.tick()
    st.run("watch_credentials", "watch_stalls", "digest")
    books = check_run(st)
    assert books["downloaded_bytes"] == FILES * SIZE, "each byte once"
    assert st.calls()["jdp.restore"] == 1
    assert st.calls()["jdp.download_files"] == 0, "nothing is to be delivered to Globus"
    assert not [name for name in st.calls() if name.startswith(("transfer.", "auth."))]
    assert not st.notices("needs_person")
    way = ["pending", "restore_requested", "restored", "manifest_ready", "transferring", "done"]
    for file in st.documents("files"):
        assert states_of(file) == way
        assert file["history"][-1]["why"] == "verified at the destination: size and md5; downloaded from JDP"
        assert file["verified"]["md5"] == file["md5sum"]
        assert file["download"] is None
    assert st.documents("globus_tasks") == []
    assert [one["state"] for one in st.documents("restore_requests")] == ["closed"]
    (done,) = st.notices("done")
    assert done["data"]["checked"] == [{"how": "size and md5; downloaded from JDP", "files": FILES}]
    assert not (st.staged / "soil" / downloading.WORKSHOP).exists()
    assert {one.stat().st_nlink for one in st.staged.glob("soil/analysis_files/*/*")} == {1}


@pytest.mark.parametrize("with_md5", [True, False])
def test_what_came_is_done_and_not_looked_at_again(tmp_path: Path, mongod_uri: str, with_md5: bool) -> None:
    catalogue = small_catalogue(1, FILES, SIZE)
    catalogue = catalogue if with_md5 else without_md5(catalogue)
    with downloading_stage(tmp_path, mongod_uri, catalogue) as st:
        ready(st)
        with mock.patch.object(downloading, "fetch", wraps=downloading.fetch) as fetched:
            st.run("download")
        assert fetched.call_count == FILES
        assert st.counts() == {"done": FILES}
        assert st.out.books()["downloaded_bytes"] == FILES * SIZE
        assert not list(st.staged.rglob("put_aside")), "nothing lay in its way"
        assert {bool(one["md5sum"]) for one in st.documents("files")} == {with_md5}


def test_the_first_file_proves_the_way_as_a_delivery_does(tmp_path: Path, mongod_uri: str) -> None:
    catalogue = small_catalogue(2, 3)
    with stage(tmp_path, mongod_uri, catalogue, sections=HTTPS, proven=False) as st:
        st.insert()
        st.drive(24)
        check_run(st)
        sizes = [one["ids"] for one in st.out.books()["requests"]]
        assert len(sizes) == 2, "a small one first, the rest when it was used"
        assert sizes[0] <= 3
        assert sum(sizes) == 6


def test_a_check_asks_for_nothing_of_globus(st: Stage) -> None:
    ctx = st.ctx
    clients = Clients(ctx.gold, ctx.jdp, ctx.nmdc, ctx.nersc, ctx.globus, ctx.downloads)
    checks = {one.name: one.run for one in all_checks(st.settings, clients, "settings.toml")}
    assert not [name for name in checks if "globus" in name.lower() or "collection" in name]
    assert checks["JDP downloads"]() == "answers, and takes the session token"
    assert checks["settings"]() == "settings.toml"


# --- parts ---------------------------------------------------------------------------------------------------


def test_what_was_cut_off_is_continued_after_a_restart(st: Stage) -> None:
    st.switch(world_faults=[{"kind": "download_cut", "count": 1, "ids": [file_id(1, 1)]}])
    ready(st)
    st.run("download")
    (file,) = st.documents("files", state="transferring")
    assert file["download"]["attempts"] == 1
    assert "broke off" in file["download"]["error"]
    assert workshop(st) == [str(file["_id"])]
    st.restart()
    st.drive(6)
    check_run(st)
    assert sent(st) == SIZE, "no byte came twice"
    assert workshop(st) == []


def test_a_large_file_comes_in_many_pieces_and_its_md5_is_read_on_the_way(tmp_path: Path, mongod_uri: str) -> None:
    """Larger than ``md5_max_bytes``, above which nothing is read back."""
    large = replace(small_file(1, 1), content=zero_content(5_711_868))
    catalogue = Catalogue((analysis_project(1, [large]),), PROPOSAL)
    with downloading_stage(tmp_path, mongod_uri, catalogue) as st:
        st.switch(world_faults=[{"kind": "download_cut", "count": 2}])
        st.insert()
        st.drive(24)
        check_run(st)
        assert sent(st) == large.size, "continued twice, and no byte came twice"
        assert st.documents("files")[0]["verified"]["md5"] == large.content.md5


@pytest.mark.parametrize(
    "switches",
    [{"download_parts": False}, {"download_etag": "none"}, {"download_etag": "weak"}, {"download_length": False}],
)
def test_what_jdp_may_be_like_makes_no_wrong_file(st: Stage, switches: dict[str, Any]) -> None:
    st.switch(world_faults=[{"kind": "download_cut", "count": 2}], **switches)
    st.insert()
    st.drive(24)
    check_run(st)


def test_a_copy_that_was_restored_anew_is_begun_anew(st: Stage) -> None:
    """Another ETag: what is here may be of another content."""
    st.switch(world_faults=[{"kind": "download_cut", "count": 1, "ids": [file_id(1, 1)]}])
    ready(st)
    st.run("download")
    st.out.clock.advance(60)
    purge(st, "RESTORED")
    st.drive(6)
    check_run(st)
    assert sent(st) == SIZE // 2 + SIZE


# --- wrong bytes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["download_wrong_content", "download_wrong_size"])
def test_a_wrong_answer_is_asked_for_once_more(st: Stage, kind: str) -> None:
    st.switch(world_faults=[{"kind": kind, "count": 1}])
    st.insert()
    st.drive(24)
    check_run(st)
    assert requested(st) == 1
    assert evidence.contract(st.store).row("jdp.download").bent


def test_a_file_that_is_always_wrong_is_asked_from_tape_once_more_and_then_fails(st: Stage) -> None:
    st.switch(world_faults=[{"kind": "download_wrong_content", "ids": [file_id(1, 1)]}])
    st.insert()
    st.drive(72)
    st.run("download")
    (file,) = st.documents("files", jdp_file_id=file_id(1, 1))
    assert file["state"] == "failed"
    assert "two deliveries were of no use to it" in file["reason"]
    assert "its md5 is" in file["reason"]
    assert requested(st) == 2
    assert not st.path(1, 1).exists(), "what is wrong never has the name"
    assert st.counts() == {"done": FILES - 1, "failed": 1}
    assert workshop(st) == []


# --- waiting -------------------------------------------------------------------------------------------------


def test_409_is_waited_out_and_the_request_is_looked_at_again(st: Stage) -> None:
    ready(st)
    purge(st)
    asked = st.calls()["jdp.request_status"]
    st.wait(hours=6)
    assert st.counts() == {"manifest_ready": FILES}
    assert st.calls()["jdp.request_status"] > asked, "JDP is asked about the request"
    assert st.calls()["files.download"] < 6 * 6 * FILES, "ever less often"
    assert len(st.alarms("does not give out its files")) == 1
    assert requested(st) == 1
    facts = snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.clock))
    file = snapshot.find_files(st.store, file_id(1, 1), ["soil"])[0]
    said = [one.sentence for one in explain.file(facts, file, facts.requests[0]).waits]
    (failed,) = [one for one in said if one.startswith("its download failed: downloads: GET /download_files/")]
    assert "409" in failed
    purge(st, "RESTORED")
    st.drive(6)
    check_run(st)
    st.run("close_alarms")
    assert st.documents("alarms", ended_at=None) == []


def test_a_copy_that_ended_for_good_is_asked_for_again(st: Stage) -> None:
    st.switch(world_faults=[{"kind": "download_cut", "count": 1, "ids": [file_id(1, 1)]}])
    ready(st)
    st.run("download")
    st.out.clock.advance(20 * 86_400)
    st.drive(48)
    check_run(st, again=True)
    (file,) = st.documents("files", jdp_file_id=file_id(1, 1))
    assert "the delivery has ended" in str(file["history"])
    assert requested(st) == 2


def test_a_refusal_is_waited_out_for_a_day_and_then_fails_the_file_without_tape(st: Stage) -> None:
    ready(st)
    st.faults({"match": "files.download", "kind": "status", "status": 404, "body": '{"detail": "Not found."}'})
    st.wait(hours=20, minutes=60)
    assert st.counts() == {"manifest_ready": FILES}
    st.wait(hours=8, minutes=60)
    assert st.counts() == {"failed": FILES}
    assert "JDP did not give it out" in st.documents("files")[0]["reason"]
    assert requested(st) == 1


def test_who_says_when_to_come_back_is_obeyed_for_every_file(st: Stage) -> None:
    ready(st)
    rule = {"match": "files.download", "kind": "status", "status": 503, "retry_after": 7200, "count": 1}
    st.faults(rule)
    before = st.calls()["files.download"]
    st.run("download")
    st.wait(hours=1.5)
    assert st.calls()["files.download"] - before <= st.settings.staging.download_workers
    st.drive(12)
    check_run(st)


def test_a_dead_token_is_told_once_and_a_new_one_goes_on(st: Stage) -> None:
    ready(st)
    st.switch(jdp_token_revoked=True)
    st.wait(hours=3)
    assert len(st.notices("needs_person")) == 1
    assert st.calls()["files.download"] <= 3 * FILES
    st.switch(jdp_token_revoked=False, jdp_token="renewed")
    st.write_secret("jdp_token", "renewed")
    st.drive(6)
    check_run(st)
    assert len(st.notices("needs_person")) == 1


def test_a_full_disk_is_waited_for_and_costs_no_tape(st: Stage) -> None:
    ready(st)
    with mock.patch.object(os, "pwrite", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        st.wait(hours=3)
        assert st.counts()["failed"] == 0
    assert requested(st) == 1
    assert len(st.alarms("files cannot be written for soil: No space left on device")) == 1
    st.drive(6)
    check_run(st)
    st.run("close_alarms")
    assert [one for one in st.documents("alarms", ended_at=None) if "written" in one["subject"]] == []


def test_a_file_system_that_is_away_is_waited_for(st: Stage) -> None:
    ready(st)
    with mock.patch.object(Path, "is_dir", return_value=False):
        st.run("download")
    assert st.calls()["files.download"] == 0
    assert len(st.alarms("the staging directory is not there")) == 1
    st.drive(6)
    check_run(st)


# --- several, and nobody's -----------------------------------------------------------------------------------


def test_as_many_come_at_a_time_as_there_are_workers(st: Stage) -> None:
    ready(st)
    both, real, lock = threading.Barrier(2, timeout=60), st.ctx.downloads.opened, threading.Lock()
    calls, under_way, most = 0, 0, 0

    @contextmanager
    def opened(*args: Any, **named: Any) -> Iterator[Any]:
        nonlocal calls, under_way, most
        with lock:
            calls, under_way = calls + 1, under_way + 1
            most, first = max(most, under_way), calls <= 2
        if first:
            both.wait()
        with real(*args, **named) as stream:
            yield stream
        with lock:
            under_way -= 1

    with mock.patch.object(st.ctx.downloads, "opened", opened):
        st.run("download")
    assert most == 2
    assert st.counts() == {"done": FILES}


def test_a_file_in_two_projects_is_downloaded_once(tmp_path: Path, mongod_uri: str) -> None:
    shared = with_shared_file(small_catalogue(2, 2, SIZE), file_id(1, 1))
    with downloading_stage(tmp_path, mongod_uri, shared) as st:
        st.insert("one")
        st.insert("two")
        st.drive(24)
        check_run(st, projects=("one", "two"))
        assert st.out.books()["downloaded_bytes"] == 4 * SIZE


def test_what_a_cancelled_project_has_begun_is_let_go(st: Stage) -> None:
    st.switch(world_faults=[{"kind": "download_cut"}])
    ready(st)
    st.run("download")
    assert st.counts() == {"transferring": FILES}
    admin.cancel_project(st.store, "soil", "alice")
    st.wait(hours=1)
    assert st.counts() == {"pending": FILES}
    assert workshop(st) == []
    assert st.project()["stopped_at"] is not None


def test_a_paused_project_ends_what_was_begun_and_begins_nothing(st: Stage) -> None:
    st.switch(world_faults=[{"kind": "download_cut", "count": 1, "ids": [file_id(1, 1)]}])
    ready(st)
    later = {"next_try_at": st.out.clock.now() + timedelta(hours=1)}
    others = {"jdp_file_id": {"$ne": file_id(1, 1)}}
    st.store.database["files"].update_many(others, {"$set": {"download": later}})
    st.run("download")
    assert st.counts() == {"transferring": 1, "manifest_ready": FILES - 1}
    admin.pause_project(st.store, "soil", "alice")
    st.wait(hours=2)
    assert st.counts() == {"done": 1, "manifest_ready": FILES - 1}
    admin.resume_project(st.store, "soil", "alice")
    st.drive(6)
    check_run(st)


def test_a_destination_that_somebody_edited_is_not_written(st: Stage, tmp_path: Path) -> None:
    ready(st)
    outside = tmp_path / "outside" / "a.gff"
    traversal = f"{st.staged}/soil/../../../../{tmp_path}/outside/b.gff"
    known = st.store.database["files"]
    known.update_one({"jdp_file_id": file_id(1, 1)}, {"$set": {"destination_path": str(outside)}})
    known.update_one({"jdp_file_id": file_id(1, 2)}, {"$set": {"destination_path": traversal}})
    st.wait(hours=1)
    assert not outside.parent.exists()
    assert st.counts()["done"] == 1
    assert len(st.alarms("files cannot be written for soil")) == 1


def test_the_method_may_change_while_files_are_under_way(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, FILES, SIZE)) as st:
        st.insert()
        st.until("restored")
        st.restart(staging={"method": "https"})
        st.drive(12)
        check_run(st)
        assert st.out.books()["downloaded_bytes"] == FILES * SIZE
        assert requested(st) == 1


def test_what_was_asked_for_without_a_delivery_is_downloaded_whatever_the_method_is_now(
    tmp_path: Path, mongod_uri: str
) -> None:
    sections = {"staging": {"method": "https"}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, FILES, SIZE), sections=sections) as st:
        st.insert()
        st.until("restore_requested")
        st.restart(staging={"method": "globus"})
        st.drive(24)
        check_run(st)
        assert st.out.books()["downloaded_bytes"] == FILES * SIZE


# --- kills ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "name", "made"),
    [
        (transitions, "use_manifest", kill),
        (transitions, "use_manifest", None),
        (transitions, "begin_download", kill),
        (transitions, "begin_download", None),
        (os, "link", None),
        (transitions, "finish_files", kill),
        (transitions, "finish_files", None),
        (downloading, "forget", kill),
    ],
    ids=["not offered", "offered", "not begun", "begun", "named", "not done", "done", "not forgotten"],
)
def test_a_kill_between_any_two_writes_loses_nothing(st: Stage, target: Any, name: str, made: Any) -> None:
    ready(st)
    replaced = made or after(getattr(target, name))
    # A killed process cleans nothing up.
    with mock.patch.object(target, name, replaced), pytest.raises(Killed):
        st.run("download")
    st.restart()
    st.drive(6)
    check_run(st)
    assert requested(st) == 1
    assert workshop(st) == []
    assert {one.stat().st_nlink for one in st.staged.glob("soil/analysis_files/*/*")} == {1}
    assert not (st.staged / "soil" / "put_aside").exists()
