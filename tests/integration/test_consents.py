"""A consent that is missing at a collection: told once with what to do, and over only when it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invariants import check_run
from jgi_stager.alarm_models import Cause
from jgi_stager.simulator.settings import JGI_COLLECTION_ID, NERSC_COLLECTION_ID
from jgi_stager.store import alarms
from stage import Stage, small_catalogue, stage
from watched import drive, tick, wait

IDS = {"jgi": JGI_COLLECTION_ID, "nersc": NERSC_COLLECTION_ID}
NAMES = {"jgi": "JGI's collection", "nersc": "NERSC's collection"}


def as_a_person(daemon: Stage) -> None:
    """Log in with a refresh token: such a login cannot agree by itself."""
    (daemon.secrets / "globus_client_secret").unlink()
    daemon.write_secret("globus_refresh_token", daemon.out.settings.credentials.globus_refresh_token)


def refuse(daemon: Stage, of: str, calls: str) -> None:
    daemon.switch(require_data_access=True, data_access_granted=False, data_access_of=of, data_access_calls=calls)


def agree(daemon: Stage) -> None:
    """A person logs in anew, and agrees."""
    daemon.switch(data_access_granted=True)
    as_a_person_again = daemon.secrets / "globus_refresh_token"
    token = as_a_person_again.read_text().strip()
    as_a_person_again.unlink()
    daemon.write_secret("globus_refresh_token", token)


def needs(daemon: Stage) -> list[str]:
    return [one for one in daemon.alarms() if "needs you" in one]


def still_open(daemon: Stage) -> list[str]:
    return [one.key for one in alarms.open_alarms(daemon.store, {Cause.CONSENT})]


@pytest.mark.parametrize(("of", "calls"), [("nersc", "submit"), ("jgi", "submit"), ("jgi", "ls"), ("nersc", "ls")])
def test_a_missing_consent_is_one_matter_until_a_call_of_its_kind_is_taken(
    tmp_path: Path, mongod_uri: str, of: str, calls: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as daemon:
        as_a_person(daemon)
        refuse(daemon, of, calls)
        daemon.insert()
        wait(daemon, hours=30, minutes=60)
        need = f"needs you: Globus wants the consent data_access for {NAMES[of]}"
        assert needs(daemon) == [need, f"still {need}"]
        first = daemon.notices("alarm")[0]["data"]
        assert first["command"] == f"jgi-stager login --data-access {IDS[of]}"
        does = "submit transfers" if calls == "submit" else "list directories"
        assert f"Found: Globus refuses to {does}" in first["text"]
        # The deliveries are listed now and then before anything waits for Globus.
        assert ("6 files" if calls == "submit" else "wait") in first["text"]
        # Globus was asked about tasks meanwhile, and answered: nobody is told that anything is solved.
        assert daemon.calls()["transfer.task_list"] > 0
        assert (daemon.notices("solved"), daemon.notices("needs_person")) == ([], [])
        assert still_open(daemon) == [f"consent:{IDS[of]}:data_access"]
        assert not [file for file in daemon.documents("files") if file["setbacks"] or file["state"] == "failed"]
        agree(daemon)
        drive(daemon, hours=12, minutes=60)
        tick(daemon)
        assert still_open(daemon) == []
        (solved,) = daemon.notices("solved")
        assert NAMES[of] in solved["data"]["what"]
        check_run(daemon)
        # The same was asked from tape once; where it was known before anything was asked, little went first.
        asked = [one["file_ids"] for one in daemon.documents("restore_requests")]
        assert sorted(len(ids) for ids in asked) == ([2, 4] if (of, calls) == ("jgi", "ls") else [6])
        assert len({one for ids in asked for one in ids}) == 6


def test_a_restart_tells_nobody_again_and_knows_when_it_is_over(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as daemon:
        as_a_person(daemon)
        refuse(daemon, "nersc", "submit")
        daemon.insert()
        for _ in range(5):
            wait(daemon, hours=4, minutes=60)
            daemon.restart()
        assert len(needs(daemon)) == 1
        assert daemon.notices("solved") == []
        agree(daemon)
        daemon.restart()
        drive(daemon, hours=12, minutes=60)
        tick(daemon)
        assert still_open(daemon) == []
        assert len(daemon.notices("solved")) == 1


def test_two_collections_are_two_matters_and_one_login(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as daemon:
        as_a_person(daemon)
        refuse(daemon, "both", "submit")
        daemon.insert()
        wait(daemon, hours=12, minutes=60)
        assert len(needs(daemon)) == 2
        both = " ".join(f"--data-access {one}" for one in sorted(IDS.values()))
        assert {one["data"]["command"] for one in daemon.notices("alarm")} == {f"jgi-stager login {both}"}
        agree(daemon)
        drive(daemon, hours=12, minutes=60)
        tick(daemon)
        assert len(daemon.notices("solved")) == 2


def test_a_client_agrees_by_itself_and_nobody_is_told(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as daemon:
        daemon.switch(require_data_access=True)
        daemon.insert()
        drive(daemon, hours=12, minutes=60)
        check_run(daemon)
        assert needs(daemon) == []


def test_a_client_that_is_refused_all_the_same_is_told_who_can_help(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as daemon:
        refuse(daemon, "jgi", "both")
        daemon.insert()
        wait(daemon, hours=12, minutes=60)
        (need,) = daemon.notices("alarm")
        assert "it agreed by itself and is refused all the same" in need["data"]["you"]
        assert daemon.notices("solved") == []


def test_what_runs_goes_on_while_submissions_are_refused(tmp_path: Path, mongod_uri: str) -> None:
    """Tasks that were submitted before are polled, and what they brought is verified."""
    alone = {"staging": {"share": False}}  # else the second project copies what the first has
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3), sections=alone) as daemon:
        as_a_person(daemon)
        daemon.insert()
        daemon.until("transferring")
        refuse(daemon, "both", "submit")
        other: dict[str, Any] = {"proposal_id": str(daemon.project()["proposal_id"])}
        daemon.insert("other", **other)
        wait(daemon, hours=12, minutes=60)
        assert daemon.project()["state"] == "done"
        assert daemon.project("other")["state"] == "active"
        assert daemon.notices("solved") == []
