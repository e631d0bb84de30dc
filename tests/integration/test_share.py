"""A file that another project has is copied from there: it needs no tape, and does not travel twice."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from invariants import check_run
from jgi_stager import admin, copying
from jgi_stager.lifecycle import State
from jgi_stager.store import sharing
from killer import Killed, after, kill
from stage import Stage, file_id, small_catalogue, stage, with_shared_file

FILES = 4


@pytest.fixture
def st(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """Two analysis projects with two files each."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as found:
        yield found


@pytest.fixture
def later(st: Stage) -> Stage:
    """``one`` is done, and its deliveries have ended."""
    st.insert("one")
    st.drive(24)
    st.out.clock.advance(20 * 86_400)
    return st


def requested(st: Stage) -> int:
    return len(st.out.books()["requests"])


def travelled(st: Stage, name: str) -> int:
    """How many files Globus brought to a project."""
    items = [item for task in st.documents("globus_tasks", kind="files") for item in task["body"]["DATA"]]
    return sum(f"/{name}/analysis_files/" in item["destination_path"] for item in items)


def entered(st: Stage, name: str = "two") -> None:
    """A project whose files are entered, and nothing is asked or copied for yet."""
    st.insert(name)
    st.run("accept", "discover", "discover")


def state_of(st: Stage, name: str = "two") -> set[str]:
    return {file["state"] for file in st.documents("files", project_name=name)}


# --- weeks apart ---------------------------------------------------------------------------------------------


def test_what_another_project_has_costs_no_tape_and_no_transfer(later: Stage) -> None:
    st = later
    asked = requested(st)
    st.insert("two")
    st.drive(6)
    assert requested(st) == asked
    assert travelled(st, "two") == 0
    check_run(st, projects=("one", "two"))
    (file,) = st.documents("files", project_name="two", jdp_file_id=file_id(1, 1))
    assert file["history"][-1]["why"] == "verified at the destination: size and md5; copied from one"
    assert file["request_id"] is None
    one, two = st.path(1, 1, "one"), st.path(1, 1, "two")
    assert one.stat().st_ino != two.stat().st_ino, "a copy: who writes on one does not change the other"
    assert (one.stat().st_nlink, two.stat().st_nlink) == (1, 1)
    assert not (st.staged / "two" / copying.WORKSHOP).exists()
    (done,) = [one for one in st.notices("done") if one["project"] == "two"]
    assert done["data"]["checked"] == [{"how": "size and md5; copied from one", "files": FILES}]


def test_what_was_purged_or_changed_there_is_asked_from_tape(later: Stage) -> None:
    st = later
    st.path(1, 1, "one").unlink()
    st.path(1, 2, "one").write_bytes(b"x" * 1000)
    st.path(2, 1, "one").unlink()
    st.path(2, 1, "one").symlink_to(st.path(2, 2, "one"))
    st.insert("two")
    st.drive(24)
    (request,) = [one for one in st.documents("restore_requests") if one["projects"] == ["two"]]
    assert sorted(request["file_ids"]) == [file_id(1, 1), file_id(1, 2), file_id(2, 1)]
    assert st.project("two")["state"] == "done"
    assert travelled(st, "two") == 3
    assert st.path(1, 2, "two").read_bytes() != b"x" * 1000


def test_what_lies_at_the_destination_is_never_written_over(later: Stage) -> None:
    """Ours from before a kill is taken; what is anybody else's comes as any other file, through Globus."""
    st = later
    entered(st)
    right, wrong = st.path(1, 1, "two"), st.path(1, 2, "two")
    right.parent.mkdir(parents=True)
    right.write_bytes(st.path(1, 1, "one").read_bytes())
    wrong.write_bytes(b"y" * 1000)
    inode = right.stat().st_ino
    st.run("share")
    assert right.stat().st_ino == inode
    assert wrong.read_bytes() == b"y" * 1000
    (file,) = st.documents("files", project_name="two", jdp_file_id=file_id(1, 1))
    assert file["history"][-1]["why"].endswith("size and md5; it lay there already")
    assert st.documents("files", project_name="two", jdp_file_id=file_id(1, 2))[0]["state"] == "pending"
    st.drive(24)
    assert st.project("two")["state"] == "done"


def test_what_is_too_large_to_be_read_is_not_copied(later: Stage) -> None:
    st = later
    st.restart(staging={"md5_max_bytes": 999})
    st.insert("two")
    st.drive(24)
    assert st.project("two")["state"] == "done"
    assert travelled(st, "two") == FILES
    assert not [one for one in st.documents("files") if one.get("copy_from")]


def test_nothing_is_shared_where_that_is_switched_off_or_cannot_be_seen(later: Stage) -> None:
    st = later
    entered(st)
    waiting = st.documents("files", project_name="two", copy_from={"$ne": None})
    assert len(waiting) == FILES
    with mock.patch.object(Path, "is_dir", return_value=False):
        st.run("share", "request_restores")
        assert state_of(st) == {"pending"}, "they wait: a file system that is away must not cost tape"
        assert len(st.alarms("the staging directory is not there")) == 1
        entered(st, "three")
    assert st.documents("files", project_name="three", copy_from={"$ne": None}) == []
    st.restart(staging={"share": False})
    st.run("share")
    assert st.documents("files", copy_from={"$ne": None}) == []
    asked = requested(st)
    st.drive(24)
    assert requested(st) == asked + 1
    assert travelled(st, "two") == travelled(st, "three") == FILES


def test_a_file_without_md5_or_of_another_size_is_not_shared(later: Stage) -> None:
    st = later
    entered(st)
    known = st.store.database["files"]
    known.update_one({"project_name": "two", "jdp_file_id": file_id(1, 1)}, {"$set": {"md5sum": None}})
    known.update_one({"project_name": "one", "jdp_file_id": file_id(1, 2)}, {"$set": {"jdp_file_size": 7}})
    st.run("share")
    left = st.documents("files", project_name="two", state="pending")
    assert [one["jdp_file_id"] for one in left] == [file_id(1, 1), file_id(1, 2)]
    assert all(one["copy_from"] is None and one["not_from"] for one in left)


def test_a_full_disk_is_waited_for_and_told_of_and_costs_no_tape(later: Stage) -> None:
    st = later
    entered(st)
    asked = requested(st)
    with mock.patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        st.wait(hours=3)
    assert state_of(st) == {"pending"}
    assert requested(st) == asked
    assert len(st.alarms("files cannot be copied for two: No space left on device")) == 1
    assert not list(st.staged.glob("two/analysis_files/*/*"))
    st.drive(6)
    assert state_of(st) == {"done"}
    st.run("close_alarms")
    assert [one for one in st.documents("alarms", ended_at=None) if "copied" in one["subject"]] == []


def test_a_paused_project_waits_and_a_cancelled_one_is_let_go(later: Stage) -> None:
    st = later
    entered(st)
    admin.pause_project(st.store, "two", "alice")
    st.wait(1)
    assert state_of(st) == {"pending"}
    admin.resume_project(st.store, "two", "alice")
    st.drive(6)
    assert state_of(st) == {"done"}
    assert travelled(st, "two") == 0


def test_what_arrives_for_another_project_later_is_not_asked_for(later: Stage) -> None:
    """Looked at again just before the POST: a file may have arrived elsewhere since it was entered."""
    st = later
    with mock.patch.object(sharing, "reserve", return_value=0):
        entered(st)
    assert st.documents("files", copy_from={"$ne": None}) == []
    asked = requested(st)
    st.drive(6)
    assert (requested(st), travelled(st, "two")) == (asked, 0)
    assert state_of(st) == {"done"}


# --- at the same time ----------------------------------------------------------------------------------------


def test_two_projects_at_once_restore_and_transfer_each_file_once(st: Stage) -> None:
    st.insert("one")
    st.insert("two")
    st.drive(24)
    books = check_run(st, projects=("one", "two"))
    assert len(books["requests"]) == 1
    assert travelled(st, "one") + travelled(st, "two") == FILES
    assert [one["state"] for one in st.documents("restore_requests")] == ["closed"]


def test_a_file_in_two_analysis_projects_of_one_project_travels_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, with_shared_file(small_catalogue(2, 2), file_id(1, 1))) as st:
        st.insert()
        st.drive(24)
        check_run(st)
        assert st.counts() == {"done": 5}
        assert travelled(st, "soil") == 4


@pytest.mark.parametrize("end", ["cancelled", "failed", "paused"])
def test_who_waits_for_a_file_of_another_project_does_not_wait_in_vain(st: Stage, end: str) -> None:
    st.insert("one")
    st.insert("two")
    st.until("transferring")
    first, second = ("one", "two") if travelled(st, "one") else ("two", "one")
    assert (travelled(st, first), travelled(st, second)) == (FILES, 0)
    assert {one["state"] for one in st.documents("files", project_name=second)} == {"manifest_ready"}
    if end == "cancelled":
        admin.cancel_project(st.store, first, "alice")
    elif end == "paused":
        st.store.database["files"].update_many(
            {"project_name": first}, {"$set": {"state": "manifest_ready", "globus_task_id": None}}
        )
        admin.pause_project(st.store, first, "alice")
    else:
        st.store.database["files"].update_many(
            {"project_name": first}, {"$set": {"state": "failed", "failed_from": "transferring", "reason": "x"}}
        )
    st.wait(8)
    assert state_of(st, second) == {"done"}
    assert st.project(second)["state"] == "done"


def test_a_delivery_that_ends_while_a_copy_is_waited_for_loses_nothing(st: Stage) -> None:
    st.insert("one")
    st.insert("two")
    st.until("transferring")
    st.store.database["restore_requests"].update_many(
        {}, {"$set": {"expiration_date": st.out.clock.now(), "vouched.expiration_date": st.out.clock.now()}}
    )
    st.run("poll_requests")
    st.drive(48)
    assert st.counts() == {"done": 2 * FILES}
    assert len(st.out.books()["requests"]) == 1, "what is on its way here is not asked for again"


# --- kills ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "name", "made"),
    [
        (copying, "_write", kill),
        (copying, "_all_of", kill),
        (copying, "_write", None),
        (os, "link", kill),
        (os, "link", None),
        (copying, "keep_names", kill),
    ],
    ids=["before", "within", "written", "unnamed", "named", "unflushed"],
)
def test_a_kill_at_any_instant_leaves_no_half_file_and_loses_none(
    later: Stage, target: Any, name: str, made: Any
) -> None:
    st = later
    entered(st)
    replaced = made or after(getattr(target, name))
    # A killed process cleans nothing up.
    with mock.patch.object(target, name, replaced), mock.patch.object(Path, "unlink"), pytest.raises(Killed):
        st.run("share")
    for path in st.staged.glob("two/analysis_files/*/*"):
        assert path.read_bytes() == (st.staged / "one" / path.relative_to(st.staged / "two")).read_bytes()
    st.restart()
    st.drive(6)
    assert travelled(st, "two") == 0
    check_run(st, projects=("one", "two"))
    assert {path.stat().st_nlink for path in st.staged.glob("two/analysis_files/*/*")} == {1}
    assert not (st.staged / "two" / copying.WORKSHOP).exists()


def test_a_kill_between_the_copy_and_the_move_finds_the_file_there(later: Stage) -> None:
    st = later
    entered(st)
    with mock.patch("jgi_stager.steps.transitions.finish_copy", kill), pytest.raises(Killed):
        st.run("share")
    assert len(list(st.staged.glob("two/analysis_files/*/*"))) == 1
    st.restart()
    st.drive(6)
    assert state_of(st) == {"done"}


def test_a_daemon_that_was_replaced_gives_no_file_its_name(later: Stage) -> None:
    st = later
    entered(st)

    def lost() -> None:
        raise Killed

    source, destination = st.path(1, 1, "one"), st.path(1, 1, "two")
    (file,) = st.documents("files", project_name="two", jdp_file_id=file_id(1, 1))
    with pytest.raises(Killed):
        copying.copy(
            source,
            destination,
            st.staged / "two",
            size=1000,
            md5=file["md5sum"],
            stop=threading.Event(),
            before=lost,
        )
    assert not destination.exists()


def test_a_daemon_that_is_told_to_end_stops_in_the_middle(later: Stage) -> None:
    st = later
    entered(st)
    real = copying._read

    def stopping(path: Path, size: int, stop: threading.Event, take: Any) -> str:
        stop.set()
        return real(path, size, stop, take)

    with mock.patch.object(copying, "_read", stopping):
        assert st.run("share") == 0
    assert state_of(st) == {State.PENDING}
    assert not list(st.staged.glob("two/analysis_files/*/*"))
