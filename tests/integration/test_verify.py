"""Verification: a file is done only after its destination was looked at, whatever Globus says."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from invariants import check_histories, check_run, states_of
from jgi_stager import read_back
from jgi_stager.steps import transitions, verify
from jgi_stager.store import projects
from stage import file_id, small_catalogue, stage


@pytest.mark.parametrize("kind", ["arrival_wrong_size", "arrival_wrong_content"])
def test_what_arrived_wrong_is_transferred_again(tmp_path: Path, mongod_uri: str, kind: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until("manifest_ready")
        st.out.mishap(kind, count=1)
        st.drive()
        books = check_run(st, again=True)
        assert books["requested_more_than_once"] == {}
        ways = sorted(len(states_of(file)) for file in st.documents("files"))
        assert ways == [6, 6, 6, 8]
        assert sum(file["setbacks"] for file in st.documents("files")) == 1


@pytest.mark.parametrize("kind", ["delivery_wrong_content", "delivery_wrong_size"])
def test_a_delivery_that_is_wrong_for_ever_fails_that_file_alone(
    tmp_path: Path, mongod_uri: str, kind: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.out.mishap(kind, ids=[file_id(1, 2)])
        st.insert()
        st.drive(hours=48)
        books = check_run(st, failed=[file_id(1, 2)], again=True)
        assert books["requested_more_than_once"] == {file_id(1, 2): 2}
        (bad,) = st.documents("files", state="failed")
        arrived = "500 bytes arrived instead of 1000" if kind == "delivery_wrong_size" else "its md5 is "
        assert f"request 652401: {arrived}" in bad["reason"]
        assert f"request 652402: {arrived}" in bad["reason"]
        assert bad["failed_from"] == "transferring"


def test_a_first_wrong_arrival_after_an_expiry_is_not_asked_from_tape(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.out.mishap("request_expires_early", count=1, seconds=600)
        st.insert()
        st.until("pending")
        st.wait(hours=1, minutes=5)
        assert {file["setbacks"] for file in st.documents("files")} == {1}
        st.out.mishap("arrival_wrong_content", count=1)
        st.drive(hours=24)
        books = check_run(st, again=True)
        assert set(books["requested_more_than_once"].values()) == {2}


@pytest.mark.parametrize("kind", ["delivery_wrong_content", "delivery_wrong_size"])
def test_a_delivery_that_is_wrong_is_tried_twice_and_then_asked_for_again(
    tmp_path: Path, mongod_uri: str, kind: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.out.mishap(kind, ids=[file_id(1, 2)], count=1)
        st.insert()
        st.drive(hours=48)
        books = check_run(st, again=True)
        assert books["requested_more_than_once"] == {file_id(1, 2): 2}
        (again,) = [file for file in st.documents("files") if file["setbacks"]]
        ways = " ".join(states_of(again)[4:])
        assert ways.startswith("transferring manifest_ready transferring pending restore_requested restored")
        assert ways.endswith("transferring done")


def test_the_word_of_globus_is_not_enough(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until_ended()
        st.path(1, 1).unlink()
        st.path(1, 2).write_bytes(b"x" * 1000)
        st.run("verify")
        assert st.counts() == {"done": 1, "manifest_ready": 2}
        st.drive()
        check_run(st, again=True)


def test_a_link_at_the_destination_is_not_the_file(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until_ended()
        real = st.path(1, 1).rename(tmp_path / "elsewhere")
        st.path(1, 1).symlink_to(real)
        st.run("verify")
        assert st.counts()["done"] == 2


def test_where_this_machine_cannot_read_the_size_decides_and_the_history_says_so(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back, "read", lambda *_: None)
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.drive()
        check_run(st)
        how = f"size; the path cannot be read here{verify.COMPARED_BY_GLOBUS}"
        for file in st.documents("files"):
            assert file["history"][-1]["why"] == f"verified at the destination: {how}"
            assert (file["verified"]["size"], file["verified"]["md5"]) == (1000, None)
            assert file["verified"]["how"] == how


def test_of_a_task_that_failed_globus_compared_nothing_for_certain(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back, "read", lambda *_: None)
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until_ended()
        st.store.database["globus_tasks"].update_many({"kind": "files"}, {"$set": {"status": "FAILED"}})
        st.run("verify")
        assert {file["verified"]["how"] for file in st.documents("files")} == {
            "size; the path cannot be read here"
        }


def test_a_file_that_does_not_fit_holds_up_none_of_the_others_of_a_task_that_failed(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.insert()
        st.until("manifest_ready")
        st.out.mishap("task_failed", count=1)
        st.until_ended()
        found = st.store.database["files"]
        odd = {"jdp_file_id": file_id(1, 2)}
        size = found.find_one(odd, {"jdp_file_size": 1})
        found.update_one(odd, {"$set": {"jdp_file_size": "many"}})
        st.wait(hours=12)
        assert Counter(one["state"] for one in st.documents("files")) == {"done": 2, "transferring": 1}
        found.update_one(odd, {"$set": {"jdp_file_size": size and size["jdp_file_size"]}})
        st.drive()
        check_run(st, again=True)


def test_a_file_above_the_limit_is_checked_by_size(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections={"staging": {"md5_max_bytes": 999}}) as st:
        st.insert()
        st.drive()
        check_run(st)
        assert {file["history"][-1]["why"] for file in st.documents("files")} == {
            f"verified at the destination: size; larger than 999 bytes{verify.COMPARED_BY_GLOBUS}"
        }


def test_a_stop_in_the_middle_of_reading_keeps_what_was_read_and_goes_on_after_the_start(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_at_a_time = {"staging": {"verify_workers": 1}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=one_at_a_time) as st:
        st.insert()
        st.until_ended()
        opened: list[str] = []
        real = read_back.read

        def read(path: str, stop: read_back.Stop) -> read_back.Content | None:
            opened.append(path)
            if len(opened) == 3:
                st.ctx.stop.set()
            return real(path, stop)

        monkeypatch.setattr(read_back, "read", read)
        st.run("verify")
        assert st.counts() == {"done": 2, "transferring": 2}
        assert {one["state"] for one in st.documents("globus_tasks", kind="files")} == {"ended"}
        st.restart()
        opened.clear()
        st.drive()
        check_run(st)
        assert len(opened) == 2, "no file was read to its end twice"


def test_a_kill_costs_no_more_reading_than_what_was_not_stored(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "STORED_TOGETHER", 2)
    one_at_a_time = {"staging": {"verify_workers": 1}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=one_at_a_time) as st:
        st.insert()
        st.until_ended()
        real, killed = transitions.finish_files, KeyboardInterrupt

        def dies(*arguments: Any) -> int:
            monkeypatch.setattr(transitions, "finish_files", killed_at_once)
            return real(*arguments)

        def killed_at_once(*_: Any) -> int:
            raise killed

        monkeypatch.setattr(transitions, "finish_files", dies)
        with pytest.raises(killed):
            st.run("verify")
        monkeypatch.setattr(transitions, "finish_files", real)
        assert st.counts() == {"done": 2, "transferring": 4}
        st.restart()
        st.drive()
        check_run(st)


def test_what_was_read_before_and_did_not_change_is_not_read_again(
    tmp_path: Path, mongod_uri: str, opened: list[str]
) -> None:
    """Two files hang on a task again that were found right before; one of them was touched since."""
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until_ended()
        st.run("verify")
        assert st.counts() == {"done": 3}
        documents = st.documents("files")
        assert all(one["verified"]["md5"] == one["md5sum"] for one in documents)
        assert all(
            one["verified"]["mtime_ns"] == Path(one["destination_path"]).stat().st_mtime_ns for one in documents
        )
        books = st.store.database
        books["files"].update_many({}, {"$set": {"state": "transferring"}})
        books["globus_tasks"].update_many({"kind": "files"}, {"$set": {"state": "ended"}})
        os.utime(st.path(1, 2), ns=(1, 1))
        opened.clear()
        st.run("verify")
        assert st.counts() == {"done": 3}
        assert opened == [str(st.path(1, 2))]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT])
def test_a_file_that_cannot_be_opened_for_a_moment_is_not_believed(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.open

    def fails(path: Any, *args: Any, **more: Any) -> int:
        if str(path).endswith(".gff"):
            raise OSError(code, os.strerror(code))
        return real(path, *args, **more)

    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert()
        st.until("transferring")
        st.out.mishap("arrival_wrong_content", count=1)
        st.out.clock.advance(3600)
        st.out.books()
        monkeypatch.setattr(os, "open", fails)
        for _ in range(3):
            st.run("poll_tasks", "verify")
            st.out.clock.advance(900)
        assert st.counts() == {"transferring": 1}
        monkeypatch.undo()
        st.drive()
        check_run(st, again=True)


def test_reading_back_that_breaks_off_is_tried_again(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> read_back.Content:
        raise OSError(5, "Input/output error")

    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until_ended()
        monkeypatch.setattr(read_back, "read", broken)
        st.wait(hours=1)
        assert st.counts() == {"transferring": 3}
        monkeypatch.undo()
        st.drive()
        check_run(st)


def test_globus_that_is_out_delays_verification_and_spends_nobodys_budget(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until_ended()
        st.faults({"match": "transfer.*", "kind": "status:502"})
        st.wait(hours=12, minutes=30)
        assert st.counts() == {"transferring": 3}
        st.faults()
        st.drive()
        check_run(st)
        assert {file["setbacks"] for file in st.documents("files")} == {0}


def test_a_file_whose_delivery_expired_meanwhile_is_asked_for_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, retention_days=5) as st:
        st.insert()
        st.until_ended()
        st.path(1, 2).unlink()
        st.out.clock.advance(86_400 * 6)
        st.run("poll_requests", "verify")
        assert st.counts() == {"done": 2, "pending": 1}
        st.drive(hours=48)
        check_run(st, again=True)


def test_retry_of_a_failed_file_brings_a_held_project_to_its_end(tmp_path: Path, mongod_uri: str) -> None:
    from jgi_stager.store import moves

    with stage(tmp_path, mongod_uri) as st:
        st.out.mishap("delivery_wrong_content", ids=[file_id(1, 2)])
        st.insert()
        st.drive(hours=48)
        assert st.project()["state"] == "held"
        st.switch(world_faults=[])
        st.out.clock.advance(86_400 * 15)
        assert moves.release(st.store, moves.by_project("soil"), "a person") == 1
        st.drive(hours=48)
        assert st.project()["state"] == "done"
        check_histories(st)
        assert [len(st.notices(kind)) for kind in ("held", "done")] == [1, 1]


def test_a_release_while_the_end_is_being_decided_is_not_lost(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person retries between the two looks of the step that ends projects."""
    from jgi_stager.store import files, moves

    with stage(tmp_path, mongod_uri) as st:
        st.out.mishap("delivery_wrong_content", ids=[file_id(1, 2)])
        st.insert()
        st.drive(hours=48)
        real = files.any_in

        def any_in(*args: Any) -> bool:
            found: bool = real(*args)
            moves.release(st.store, moves.by_project("soil"), "a person")
            return found

        monkeypatch.setattr(files, "any_in", any_in)
        st.run("finish")
        monkeypatch.undo()
        assert st.counts()["pending"] == 1
        found = projects.get(st.store, "soil")
        assert found is not None
        assert found.state != "done"
