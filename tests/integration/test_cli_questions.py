"""``status``, ``files``, ``explain``, ``plan`` and ``retry`` as a person gives them."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest

from commands import Run, commands, parsed
from jgi_stager.cli.status import DAEMON_DOWN
from jgi_stager.lifecycle import State
from jgi_stager.store import moves
from stage import PROPOSAL, Stage, small_catalogue, stage


def test_status_has_everything_a_program_needs(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept", "discover", "discover", "request_restores")
    found = parsed(run("status", "--json"))
    assert set(found) == {
        "now", "clock_scale", "daemon", "projects", "quota", "requests", "tasks", "workers", "credentials",
        "mails", "alarms", "set_aside", "todo", "outages", "outages_problem",
    }  # fmt: skip
    soil = found["projects"][0]
    assert soil["counts"]["restore_requested"] == {"files": 6, "bytes": 6000}
    assert set(soil["waits_for"]) == {
        "why", "sentence", "state", "files", "bytes", "since", "until", "do", "evidence",
    }  # fmt: skip
    assert found["requests"][0]["ids"] == 6
    assert {one["service"]: one["state"] for one in found["credentials"]} == dict.fromkeys(
        ("gold", "jdp", "globus"), "usable"
    )


def test_only_the_analysis_projects_of_the_named_biosamples_are_counted(made: Stage, run: Run) -> None:
    made.faults({"match": "jdp.*", "kind": "status", "status": 503})
    made.insert(biosample_ids=["Gb0258001"])
    made.run("accept", "discover", "discover")
    assert len(made.documents("projects", state="discovering")) == 1
    (found,) = parsed(run("explain", "soil", "--json"))
    (sentence,) = [one["sentence"] for one in found["also"] if one["why"] == "discovery"]
    assert sentence.startswith("its files are being listed: 0 of 1 analysis project")


def test_status_for_people_has_no_colour_when_piped(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept", "discover", "discover", "request_restores")
    found = run("status")
    assert found.exit_code == DAEMON_DOWN
    assert "\x1b" not in found.stdout
    for word in (
        "soil  active  0 %",
        "Quota",
        "JDP     1 request on tape (6.00 kB)",
        "Logins  gold ok",
        "You",
    ):
        assert word in found.stdout
    assert run("status", "nosuch").exit_code == 1


def test_files_are_listed_with_filters(made: Stage, run: Run) -> None:
    made.insert()
    made.drive(24)
    assert len(parsed(run("files", "soil", "--json"))) == 6
    one = parsed(run("files", "soil", "--ap", "Ga0500001", "--limit", "2", "--json"))
    assert [file["state"] for file in one] == ["done", "done"]
    entered = {document["jdp_file_id"]: document["since"] for document in made.documents("files")}
    assert [datetime.fromisoformat(file["since"]) for file in one] == [
        entered[file["jdp_file_id"]].replace(microsecond=0) for file in one
    ]
    assert parsed(run("files", "soil", "--state", "failed", "--json")) == []
    assert "... and 5 more" in run("files", "soil", "--limit", "1").stdout
    assert run("files", "nosuch").exit_code == 1
    assert run("files", "soil", "--state", "nosuch").exit_code == 2


def test_explain_finds_a_project_or_a_file_by_id_name_or_destination(made: Stage, run: Run) -> None:
    made.insert()
    made.drive(24)
    file = made.documents("files")[0]
    for text in (file["jdp_file_id"], file["file_name"], file["destination_path"]):
        found = parsed(run("explain", text, "--json"))
        assert [(one["kind"], one["state"], one["waits_for"]["why"]) for one in found] == [
            ("file", "done", "nothing")
        ]
    assert parsed(run("explain", "soil", "--json"))[0]["kind"] == "project"
    page = run("explain", file["file_name"]).stdout
    assert "verified at the destination: size and md5" in page
    assert "asked for in request" in page
    missing = run("explain", "nosuch")
    assert (missing.exit_code, "no project called nosuch" in missing.stderr) == (1, True)


def test_names_from_outside_cannot_steer_the_terminal(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept", "discover", "discover")
    made.store.database["files"].update_one({}, {"$set": {"file_name": "a\x1b[2Jb"}})
    assert "\x1b" not in run("files", "soil").stdout


def test_retry_says_how_many_files_start_again(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept", "discover", "discover")
    oids = [file["_id"] for file in made.documents("files")]
    moves.fail(made.store, moves.by_oids(oids[:2]), State.PENDING, "its md5 is wrong")
    assert parsed(run("retry", "soil", "--reason", "nothing like it", "--json"))["released"] == 0
    assert "2 files of soil start again" in run("retry", "soil", "--reason", "md5").stdout
    assert run("retry", "nosuch").exit_code == 1
    assert run("retry", "soil", "--file", "nosuch").exit_code == 1


def test_a_plan_asks_for_nothing_and_writes_nothing(made: Stage, run: Run) -> None:
    found = parsed(run("plan", "--proposal", str(PROPOSAL), "--json"))
    assert (found["files"], found["bytes"], found["requests"], found["analysis_projects"]) == (6, 6000, 1, 2)
    assert found["eta"]["requests_measured"] == 0
    assert made.calls()["jdp.download_files"] == 0
    assert made.documents("projects") == made.documents("files") == []
    one = parsed(run("plan", "--proposal", str(PROPOSAL), "--biosample", "Gb0258001", "--json"))
    assert one["analysis_projects"] == 1
    made.insert()
    assert parsed(run("plan", "soil", "--json"))["files"] == 6
    made.drive(24)
    done = parsed(run("plan", "soil", "--json"))
    assert (done["files"], done["left_files"], done["eta"]) == (6, 0, None)
    assert (done["requests"], done["days_of_quota"], done["left_restore_bytes"]) == (0, 0, 0)
    page = run("plan", "soil").stdout
    assert "nothing: every file is done" in page
    assert not any(word in page for word in ("from tape", "quota", "more day", "request for")), page
    assert "Nothing was requested and nothing was written." in page


def test_a_plan_of_a_project_in_mid_way_counts_only_what_is_left_to_ask_for(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=sections, max_window_bytes=2000) as st:
        run = commands(st, tmp_path, monkeypatch)
        st.insert()
        st.until("restore_requested")
        found = parsed(run("plan", "soil", "--json"))
        assert (found["files"], found["left_files"], found["left_ids"]) == (6, 6, 4)
        assert (found["left_restore_bytes"], found["requests"], found["days_of_quota"]) == (4000, 2, 1)
        page = " ".join(run("plan", "soil").stdout.split())
        assert "left 6 files, 6.00 kB" in page
        assert "from tape 4 distinct files, 4.00 kB, in at least 2 requests" in page
        assert "the quota alone makes it take 1 more day" in page


def test_explain_says_once_when_a_project_was_done(made: Stage, run: Run) -> None:
    made.insert()
    made.drive(24)
    (ended,) = [one["at"] for one in made.project()["history"] if one["to"] == "done"]
    said, _, history = run("explain", "soil").stdout.partition("\n\n")
    assert f"{ended:%Y-%m-%d %H:%M}  done" in history
    assert re.findall(r"[0-9]{2}:[0-9]{2} UTC", said) == [f"{ended:%H:%M} UTC"]


def test_a_plan_of_nothing_is_a_mistake(made: Stage, run: Run) -> None:
    assert run("plan").exit_code == 2
    assert run("plan", "soil", "--proposal", "1").exit_code == 2
    assert run("plan", "--proposal", "x").exit_code == 2
    assert run("plan", "nosuch").exit_code == 1
    unknown = run("plan", "--proposal", "1")
    assert (unknown.exit_code, "GOLD shows no usable analysis project" in unknown.stderr) == (1, True)
    made.write_secret("gold_offline_token", "wrong-wrong-wrong")
    refused = run("plan", "--proposal", str(PROPOSAL))
    assert (refused.exit_code, "jgi-stager token set gold" in refused.stderr) == (1, True)
