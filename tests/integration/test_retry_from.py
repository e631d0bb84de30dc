"""``retry --from``: a failed file goes on from where it stopped, and nothing is asked from tape for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from commands import commands, parsed
from factories import SOME_TIME
from jgi_stager import admin, check_again, manifest_files
from jgi_stager.admin import NotAllowed, Way, send_back
from jgi_stager.cli import retry
from jgi_stager.lifecycle import State
from jgi_stager.steps.verify import Finding
from jgi_stager.store import moves, requests
from jgi_stager.store.files import FileRow
from jgi_stager.stored import Verified
from killer import Killed
from stage import Stage, file_id, small_catalogue, stage


@pytest.fixture
def st(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """One project of three analysis projects with two files each."""
    sections = {"mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, small_catalogue(3, 2), sections=sections) as found:
        yield found


def fail(st: Stage, state: State, reason: str = "a full disk", *numbers: int) -> None:
    """Drive until files are in ``state``; let all of them fail there, or those of these analysis projects."""
    st.insert()
    st.until(state)
    ids = [file_id(one, two) for one in numbers or (1, 2, 3) for two in (1, 2)]
    where = moves.by_project("soil", jdp_file_id={"$in": ids})
    assert moves.fail(st.store, where, state, reason) == len(ids)


def requested(st: Stage) -> int:
    """How many requests JDP has seen."""
    return len(st.out.books()["requests"])


def last_why(st: Stage, number: int = 1) -> str:
    (file,) = st.documents("files", jdp_file_id=file_id(number, 1))
    return str(file["history"][-1]["why"])


@pytest.mark.parametrize(("way", "state"), [(Way.TRANSFER, State.MANIFEST_READY), (Way.MANIFEST, State.RESTORED)])
def test_a_file_goes_on_from_a_delivery_that_was_closed_meanwhile(st: Stage, way: Way, state: State) -> None:
    fail(st, State.MANIFEST_READY)
    st.drive(12)
    assert st.project()["state"] == "held"
    assert [one["state"] for one in st.documents("restore_requests")] == ["closed"]
    asked, fetched = requested(st), st.calls()["transfer.submit"]
    found = send_back(st.store, "soil", "alice", way)
    assert (found.files, found.bytes, found.left) == (6, 6000, ())
    assert st.counts() == {state: 6}
    assert "sent by alice" in last_why(st)
    assert [one["state"] for one in st.documents("restore_requests")] == ["ready"]
    st.run("poll_requests", "audit")
    assert st.counts() == {state: 6}, "the delivery stays open for them"
    st.drive(12)
    assert st.counts() == {"done": 6}
    assert st.project()["state"] == "done"
    assert requested(st) == asked
    if way is Way.MANIFEST:
        assert st.calls()["transfer.submit"] == fetched + 2, "the manifest was fetched again"


def test_a_delivery_that_ended_is_named_and_its_files_are_not_touched(st: Stage) -> None:
    fail(st, State.MANIFEST_READY)
    st.drive(12)
    st.out.clock.advance(timedelta(days=20).total_seconds())
    before = st.documents("files")
    for way in (Way.TRANSFER, Way.MANIFEST):
        found = send_back(st.store, "soil", "alice", way)
        (left,) = found.left
        assert (found.files, left.files, len(left.names)) == (0, 6, 5)
        assert "ends at" in left.reason
    assert st.documents("files") == before
    assert [one["state"] for one in st.documents("restore_requests")] == ["closed"]


def test_a_delivery_that_expires_meanwhile_lets_the_files_start_anew(st: Stage) -> None:
    fail(st, State.MANIFEST_READY)
    asked = requested(st)
    assert send_back(st.store, "soil", "alice", Way.TRANSFER).files == 6
    st.out.clock.advance(timedelta(days=20).total_seconds())
    st.run("poll_requests")
    assert st.counts() == {"pending": 6}
    st.drive(48)
    assert st.counts() == {"done": 6}
    assert requested(st) == asked + 1


def test_the_choice_is_by_reason_analysis_project_state_and_age(st: Stage) -> None:
    fail(st, State.MANIFEST_READY, "a full disk", 1)
    st.out.clock.advance(7200)
    later = moves.by_project("soil", ap_gold_id="Ga0500002")
    assert moves.fail(st.store, later, State.MANIFEST_READY, "something else") == 2

    def would(**which: Any) -> int:
        return send_back(st.store, "soil", "alice", Way.TRANSFER, dry_run=True, **which).files

    assert would() == 4
    assert would(reason="FULL") == 2
    assert would(ap_gold_ids=["Ga0500002"]) == 2
    assert would(failed_in=[State.TRANSFERRING]) == 0
    assert would(failed_in=[State.MANIFEST_READY]) == 4
    assert would(failed_before=st.out.clock.now() - timedelta(hours=1)) == 2
    assert would(file_ids=[file_id(1, 1)], reason="full") == 1
    assert st.counts()["failed"] == 4, "a dry run changes nothing"
    assert admin.release(st.store, "soil", "alice", ap_gold_ids=["Ga0500001"], reason="disk") == (2, 0)
    assert send_back(st.store, "soil", "alice", Way.TRANSFER).files == 2


def test_what_was_in_no_delivery_or_has_no_known_place_is_named(st: Stage) -> None:
    st.insert()
    st.run("accept", "discover", "discover")
    moves.fail(st.store, moves.by_project("soil", ap_gold_id="Ga0500001"), State.PENDING, "x")
    st.until(State.RESTORED)
    moves.fail(st.store, moves.by_project("soil", ap_gold_id="Ga0500002"), State.RESTORED, "x")
    st.store.database["files"].update_one({"jdp_file_id": file_id(2, 1)}, {"$set": {"jdp_file_size": None}})
    found = send_back(st.store, "soil", "alice", Way.TRANSFER)
    assert found.files == 0
    assert sorted((one.files, one.reason.partition(":")[0]) for one in found.left) == [
        (1, "JDP gives no usable name or size"),
        (1, "where it lies in its delivery is not known"),
        (2, "it never was in a delivery"),
    ]
    assert send_back(st.store, "soil", "alice", Way.MANIFEST).files == 1


def test_a_file_that_the_manifest_still_lacks_fails_again_and_costs_no_tape(st: Stage) -> None:
    """By itself the daemon would ask for it once more; who sends it back to its delivery wants no tape."""
    fail(st, State.RESTORED, "it is not in the manifest", 1)
    st.drive(12)
    asked = requested(st)
    assert send_back(st.store, "soil", "alice", Way.MANIFEST).files == 2
    for number in (1, 2):
        requests.add_lost(st.store, st.documents("restore_requests")[0]["_id"], [file_id(1, number)])
    with without_rows(st, file_id(1, 1), file_id(1, 2)):
        st.drive(30)
    assert st.counts() == {"done": 4, "failed": 2}
    assert requested(st) == asked
    (file,) = st.documents("files", jdp_file_id=file_id(1, 1))
    assert "sent back to this delivery alone" in file["reason"]


def without_rows(st: Stage, *ids: str) -> Any:
    """Every manifest that arrives here lacks these files."""
    real = manifest_files.content

    def cut(path: Path) -> bytes:
        lines = real(path).splitlines(keepends=True)
        return b"".join(line for line in lines if not any(one.encode() in line for one in ids))

    return mock.patch.object(manifest_files, "content", cut)


@pytest.mark.parametrize("write", range(4))
def test_a_kill_between_any_two_writes_loses_no_file(st: Stage, write: int) -> None:
    fail(st, State.MANIFEST_READY)
    st.drive(12)
    asked, left = requested(st), [write]

    def counted(real: Any) -> Any:
        def function(*args: Any, **fields: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*args, **fields)

        return function

    with (
        mock.patch.object(requests, "update_request", counted(requests.update_request)),
        mock.patch.object(moves, "move", counted(moves.move)),
        pytest.raises(Killed),
    ):
        send_back(st.store, "soil", "alice", Way.TRANSFER)
    st.wait(3)
    assert set(st.counts()) <= {"failed", "done"}
    send_back(st.store, "soil", "alice", Way.TRANSFER)
    st.drive(12)
    assert st.counts() == {"done": 6}
    assert requested(st) == asked


def test_a_delivery_that_the_daemon_closes_at_this_moment_is_open_again(st: Stage) -> None:
    fail(st, State.MANIFEST_READY)
    real, first = moves.move, [True]

    def close_first(*args: Any, **fields: Any) -> int:
        if not first:
            return real(*args, **fields)
        first.clear()
        with st.beside():
            st.run("poll_requests")
        assert [one["state"] for one in st.documents("restore_requests")] == ["closed"]
        return real(*args, **fields)

    with mock.patch.object(moves, "move", close_first):
        assert send_back(st.store, "soil", "alice", Way.TRANSFER).files == 6
    assert [one["state"] for one in st.documents("restore_requests")] == ["ready"]
    st.drive(12)
    assert st.counts() == {"done": 6}


def test_a_cancelled_project_is_resumed_first(st: Stage) -> None:
    fail(st, State.MANIFEST_READY)
    admin.cancel_project(st.store, "soil", "alice")
    with pytest.raises(NotAllowed, match="resume it first"):
        send_back(st.store, "soil", "alice", Way.TRANSFER)


# --- verify --------------------------------------------------------------------------------------------------


def arrived(st: Stage) -> None:
    """All files have arrived, and failed all the same, such as for a destination that could not be read."""
    fail(st, State.TRANSFERRING)
    st.wait(3)
    assert st.counts() == {"failed": 6}
    assert st.path(1, 1).exists()


def _outcome(row: FileRow, found: Finding | str) -> tuple[str | None, Verified | None]:
    if isinstance(found, str) or found.problem is not None:
        return (found if isinstance(found, str) else found.problem), None
    return None, found.verified(row.size, SOME_TIME)


def verified(st: Stage, **which: Any) -> list[bool]:
    rows = admin.failed_files(st.store, "soil", **which)
    found = check_again.check_again(rows, None, lambda _: None, threading.Event())
    return [admin.settle(st.store, row, *_outcome(row, one), "alice") for row, one in found]


def test_what_lies_right_at_the_destination_is_done_and_the_rest_fails_with_a_fresh_reason(st: Stage) -> None:
    arrived(st)
    calls, asked = st.calls()["transfer.submit"], requested(st)
    st.path(1, 1).write_bytes(b"x" * 1000)
    st.path(1, 2).unlink()
    st.path(2, 1).write_bytes(b"short")
    assert sum(verified(st)) == 3
    assert st.counts() == {"done": 3, "failed": 3}
    reasons = {one["file_name"]: one["reason"] for one in st.documents("files", state="failed")}
    assert "its md5 is" in reasons["Ga0500001_1.gff"]
    assert "it is not at the destination" in reasons["Ga0500001_2.gff"]
    assert "5 bytes arrived instead of 1000" in reasons["Ga0500002_1.gff"]
    assert all(one.startswith("a full disk. Looked at again for alice") for one in reasons.values())
    st.path(2, 1).unlink()
    assert sum(verified(st, ap_gold_ids=["Ga0500002"])) == 0
    assert all(one["verified"]["md5"] for one in st.documents("files", state="done"))
    (again,) = st.documents("files", jdp_file_id=file_id(2, 1))
    assert again["reason"].count("Looked at again") == 1, "only what was found last"
    assert "verified at the destination: size and md5; again, for alice" in last_why(st, 3)
    assert (st.calls()["transfer.submit"], requested(st)) == (calls, asked)
    admin.release(st.store, "soil", "alice")
    st.drive(24)
    assert st.project()["state"] == "done"


def test_a_file_that_was_released_meanwhile_is_left_alone(st: Stage) -> None:
    arrived(st)
    rows = admin.failed_files(st.store, "soil")
    admin.release(st.store, "soil", "bob")
    assert not admin.settle(st.store, rows[0], None, Finding(None, "size and md5").verified(1, SOME_TIME), "alice")
    assert not admin.settle(st.store, rows[1], "it is not there", None, "alice")
    assert st.counts() == {"pending": 6}
    assert {one["reason"] for one in st.documents("files")} == {None}


# --- the command ---------------------------------------------------------------------------------------------


def test_the_command_says_what_it_would_do_and_does_it(
    st: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = commands(st, tmp_path, monkeypatch)
    arrived(st)
    dry = give("retry", "soil", "--from", "verify", "--dry-run")
    assert "6 files of soil are right at the destination." in dry.output
    assert "Nothing was changed" in dry.output
    assert st.counts() == {"failed": 6}
    found = parsed(give("retry", "soil", "--from", "verify", "--ap", "Ga0500001", "--older-than", "1m", "--json"))
    assert (found["from"], found["released"], found["not_releasable"]) == ("verify", 2, 0)
    os.unlink(st.path(2, 1))
    told = give("retry", "soil", "--from", "verify").output
    assert "3 files of soil are right" in told
    assert "1 file stays failed: it is not at the destination" in told
    assert "Ga0500002_1.gff" in told
    # A delivery without a date on which it ends is used, whatever the time is.
    st.store.database["restore_requests"].update_many({}, {"$set": {"expiration_date": None}})
    assert parsed(give("retry", "soil", "--from", "transfer", "--json"))["released"] == 1
    assert "no failed file; see" in give("retry", "soil", "--from", "transfer").output
    st.store.database["restore_requests"].update_many({}, {"$set": {"expiration_date": None}})
    st.drive(24)
    assert st.counts() == {"done": 6}


def test_where_this_machine_does_not_see_the_destination_globus_lists_it(
    st: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = commands(st, tmp_path, monkeypatch)
    arrived(st)
    blind = SimpleNamespace(scandir=mock.Mock(side_effect=PermissionError("no")))
    with mock.patch.object(check_again, "os", blind):
        st.faults({"match": "transfer.ls", "kind": "status:503"})
        (left,) = parsed(give("retry", "soil", "--from", "verify", "--ap", "Ga0500001", "--json"))["left"]
        assert "nor listed by Globus" in left["reason"]
        assert [one["reason"] for one in st.documents("files")] == ["a full disk"] * 6
        st.faults()
        assert parsed(give("retry", "soil", "--from", "verify", "--json"))["released"] == 6


def test_on_a_terminal_it_asks_first_and_a_bad_age_is_named(
    st: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = commands(st, tmp_path, monkeypatch)
    arrived(st)
    monkeypatch.setattr(retry, "_on_a_terminal", lambda: True)
    for way in ([], ["--from", "verify"]):
        refused = give("retry", "soil", *way, text="n\n")
        assert refused.exit_code == 1
        assert "Go on?" in refused.output
    assert st.counts() == {"failed": 6}
    wrong = give("retry", "soil", "--older-than", "2 fortnights")
    assert wrong.exit_code == 2
    assert "such as 90m, 6h or 2d" in wrong.output
    assert give("retry", "soil", "--yes").exit_code == 0
    assert st.counts() == {"pending": 6}
