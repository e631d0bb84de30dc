"""A destination without the room: the project waits, nothing is asked for it, and everything else goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands import commands, parsed
from invariants import check_arrivals
from jgi_stager import admin
from jgi_stager.reporting import explain, snapshot
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.steps import room
from killer import Killed
from stage import Stage, small_catalogue, stage

WATCHED: dict[str, Any] = {"staging": {"watch_space": True}}
Free = Callable[[int], None]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    """Let the file system say that so many bytes are free."""

    def say(size: int) -> None:
        found = SimpleNamespace(f_bavail=size, f_bfree=size, f_blocks=size, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda _: found)

    return say


def why(st: Stage, name: str = "soil") -> list[ReasonCode]:
    """What a project waits for."""
    facts = snapshot.take_snapshot(SnapshotSource(st.store, st.settings, st.clock))
    subject = facts.project(name)
    assert subject is not None
    return [one.why for one in explain.project(facts, subject).waits]


def test_too_little_room_holds_the_project_until_there_is_enough(
    tmp_path: Path, mongod_uri: str, free: Free
) -> None:
    free(5_000)
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3), sections=WATCHED) as st:
        st.insert()
        st.wait(hours=30)
        assert st.counts() == {"pending": 6}
        assert st.documents("restore_requests") == []
        lack = st.project()["no_room"]
        assert (st.project()["state"], lack["missing"]) == ("active", 1_120)
        assert ReasonCode.ROOM in why(st)
        (told,) = [one for one in st.notices("alarm") if "no room for soil" in one["data"]["subject"]]
        assert "1.12 kB are missing at its destination" in told["data"]["text"]
        assert "5.00 kB are free there" in told["data"]["text"]
        assert told["data"]["command"] == "jgi-stager project resume soil"
        free(6_121)
        st.drive()
        check_arrivals(st)
        assert st.project()["no_room"] is None
        assert st.documents("alarms", ended_at=None) == []
        said = [entry["why"] for entry in st.project()["history"]]
        assert "there is room for it" in said
        assert "nothing is asked from tape for it: 1.12 kB of room are missing" in said
        assert len(st.alarms("no room for soil")) == 1


def test_a_project_that_does_not_fit_keeps_no_other_waiting(tmp_path: Path, mongod_uri: str, free: Free) -> None:
    free(3_500)
    with stage(tmp_path, mongod_uri, small_catalogue(3, 2), sections=WATCHED) as st:
        st.insert("large", priority=5, biosample_ids=["Gb0258001", "Gb0258002"])
        st.insert("small", biosample_ids=["Gb0258003"])
        st.wait(hours=20)
        assert st.project("small")["state"] == "done"
        assert {one["state"] for one in st.documents("files", project_name="large")} == {"pending"}
        assert {name for one in st.documents("restore_requests") for name in one["projects"]} == {"small"}


def test_the_room_is_looked_at_before_the_first_request(tmp_path: Path, mongod_uri: str, free: Free) -> None:
    free(10)
    with stage(tmp_path, mongod_uri, sections=WATCHED) as st:
        st.insert()
        for _ in range(3):
            st.run("accept", "discover", "request_restores")
        assert st.counts() == {"pending": 3}
        assert st.documents("restore_requests") == []


def test_a_trial_goes_first_whatever_the_room(tmp_path: Path, mongod_uri: str, free: Free) -> None:
    free(10)
    with stage(tmp_path, mongod_uri, small_catalogue(4, 3), sections=WATCHED, proven=False) as st:
        st.insert()
        st.wait(hours=24)
        assert st.counts() == {"done": 3, "pending": 9}
        assert len(st.documents("restore_requests")) == 1
        free(100_000)
        st.drive()
        check_arrivals(st)


def test_a_person_lets_it_go_on_until_there_was_room_again(tmp_path: Path, mongod_uri: str, free: Free) -> None:
    free(10)
    with stage(tmp_path, mongod_uri, sections=WATCHED) as st:
        st.insert()
        st.wait(hours=2)
        change = admin.resume_project(st.store, "soil", "alice", "the quota grows tonight")
        assert (change.what, change.after) == ("room", "waived")
        assert st.documents("alarms", ended_at=None) == []
        with pytest.raises(admin.NotAllowed, match="only a paused or cancelled"):
            admin.resume_project(st.store, "soil", "alice")
        st.drive()
        check_arrivals(st)
        assert len(st.alarms("no room")) == 1


def test_killed_between_the_note_and_the_mail_people_hear_of_it(
    tmp_path: Path, mongod_uri: str, free: Free, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    free(10)
    with stage(tmp_path, mongod_uri, sections=WATCHED) as st:
        st.insert()
        st.run("accept", "discover", "discover")
        monkeypatch.setattr(room, "_alert", killed)
        with pytest.raises(Killed):
            st.run("watch_room")
        monkeypatch.undo()
        free(10)
        st.restart()
        assert st.project()["no_room"] is not None
        st.run("watch_room")
        assert len(st.alarms("no room for soil")) == 1


def test_a_quota_of_the_site_counts_what_every_project_holds(tmp_path: Path, mongod_uri: str) -> None:
    sections: dict[str, Any] = {"staging": {"watch_space": True, "destination_quota_bytes": 5_000}}
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3), sections=sections) as st:
        st.insert("first", biosample_ids=["Gb0258001"])
        st.drive()
        st.insert("second", biosample_ids=["Gb0258002"])
        st.wait(hours=4)
        assert st.project("first")["state"] == "done"
        assert st.project("second")["no_room"]["missing"] == 1_060
        assert "all projects together may have 5.00 kB" in st.project("second")["no_room"]["why"]


@pytest.mark.parametrize("what", ["not there", "not seen"])
def test_a_destination_that_cannot_be_looked_at_holds_up_nothing(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fails(_: Any) -> None:
        raise FileNotFoundError if what == "not there" else PermissionError

    with stage(tmp_path, mongod_uri, sections=WATCHED) as st:
        monkeypatch.setattr(os, "statvfs", fails)
        st.insert(analysis_projects_dir=str(st.staged / "below"))
        st.drive()
        assert st.counts() == {"done": 3}


def test_a_directory_that_is_not_made_yet_has_the_room_of_the_one_above(
    tmp_path: Path, mongod_uri: str, free: Free
) -> None:
    free(10)
    with stage(tmp_path, mongod_uri, sections=WATCHED) as st:
        st.insert(analysis_projects_dir=str(st.staged / "not" / "made"))
        st.wait(hours=2)
        assert st.project()["no_room"]["missing"] > 2_900


def test_without_the_watch_a_project_that_waited_goes_on(tmp_path: Path, mongod_uri: str, free: Free) -> None:
    free(10)
    with stage(tmp_path, mongod_uri, sections=WATCHED) as st:
        st.insert()
        st.wait(hours=2)
        assert st.project()["no_room"] is not None
        st.restart(staging={"watch_space": False})
        st.drive()
        check_arrivals(st)


def test_the_commands_say_it(tmp_path: Path, mongod_uri: str, free: Free, monkeypatch: pytest.MonkeyPatch) -> None:
    free(10)
    sections = {**WATCHED, "mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, sections=sections) as st:
        run = commands(st, tmp_path, monkeypatch)
        st.insert()
        st.wait(hours=2)
        assert "waiting for room at its destination" in run("explain", "soil").stdout
        assert "no room for soil" in run("plan", "soil").stdout
        (file,) = [one["jdp_file_id"] for one in st.documents("files")][:1]
        (said,) = parsed(run("explain", file, "--json"))
        assert said["waits_for"]["why"] in ("room", "daemon")
        assert "soil goes on" in run("project", "resume", "soil").stdout
