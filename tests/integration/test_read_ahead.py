"""What has arrived of a Globus task is read back while the task runs, and decides nothing before it has ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from invariants import check_run
from jgi_stager import read_back
from stage import Stage, small_catalogue, stage


@pytest.fixture
def slow(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """Four files of 1 kB, of which one arrives in a hundred seconds; two of them have arrived."""
    with stage(
        tmp_path,
        mongod_uri,
        small_catalogue(1, 4),
        transfer_bytes_per_second=10.0,
        transfer_file_overhead_bytes=0,
    ) as st:
        st.insert()
        st.until("transferring")
        st.out.clock.advance(250)
        st.run("poll_tasks")
        assert (arrived(st), st.counts()) == (2, {"transferring": 4})
        yield st


def arrived(st: Stage) -> int:
    """How many files are at their destination."""
    return sum(Path(one["destination_path"]).exists() for one in st.documents("files"))


def noted(st: Stage) -> list[str]:
    """The files of which it is known that they are right."""
    return [one["file_name"] for one in st.documents("files") if one.get("verified")]


def names(paths: list[str]) -> list[str]:
    """The names of files."""
    return [Path(path).name for path in paths]


def finish(st: Stage) -> None:
    """Let the task end, and what it brought be judged."""
    st.out.clock.advance(3600)
    st.run("poll_tasks", "verify")


def test_what_has_arrived_is_read_while_a_task_runs_and_not_again(slow: Stage, opened: list[str]) -> None:
    slow.run("read_ahead")
    slow.run("read_ahead")
    early = sorted(names(opened))
    assert (len(early), sorted(noted(slow))) == (2, early)
    assert slow.counts() == {"transferring": 4}, "nothing is decided while the task runs"
    finish(slow)
    assert slow.counts() == {"done": 4}
    assert len(opened) == len(set(opened)) == 4
    slow.drive()
    check_run(slow)


def test_what_changed_since_it_was_read_is_read_again_and_found_wrong(slow: Stage, opened: list[str]) -> None:
    slow.run("read_ahead")
    (spoilt, _) = noted(slow)
    (path,) = [Path(one["destination_path"]) for one in slow.documents("files", file_name=spoilt)]
    path.write_bytes(b"x" * path.stat().st_size)
    finish(slow)
    assert names(opened).count(spoilt) == 2
    assert slow.counts() == {"done": 3, "manifest_ready": 1}
    slow.drive()
    check_run(slow, again=True)


def test_what_is_not_right_yet_is_left_to_the_end_and_read_once_more_only_if_it_changes(
    slow: Stage, opened: list[str]
) -> None:
    one, other = (Path(file["destination_path"]) for file in slow.documents("files")[:2])
    if not one.exists() or not other.exists():
        one, other = (Path(file["destination_path"]) for file in slow.documents("files")[2:])
    right = one.read_bytes()
    one.write_bytes(b"x" * len(right))
    other.write_bytes(other.read_bytes()[:-1])
    for _ in range(3):
        slow.run("read_ahead")
    assert names(opened) == [one.name], "what is too short is not read, what is wrong once"
    one.write_bytes(right)
    os.utime(one, ns=(1, 1))
    slow.run("read_ahead")
    assert (names(opened), noted(slow)) == ([one.name] * 2, [one.name])


def test_a_link_is_not_followed_and_a_file_without_md5_or_above_the_limit_is_not_read(
    slow: Stage, opened: list[str]
) -> None:
    one, other = (file for file in slow.documents("files") if Path(file["destination_path"]).exists())
    target = Path(one["destination_path"])
    target.rename(target.with_suffix(".moved"))
    target.symlink_to(target.with_suffix(".moved"))
    slow.store.database["files"].update_one({"_id": other["_id"]}, {"$set": {"md5sum": None}})
    slow.run("read_ahead")
    assert (opened, noted(slow)) == ([], [])
    target.unlink()
    target.with_suffix(".moved").rename(target)
    for staging in ({"md5_max_bytes": 999}, {"md5_max_bytes": None, "verify_by": "workers"}):
        slow.restart(staging=staging)
        slow.run("read_ahead")
        assert opened == [], str(staging)


def test_a_daemon_that_stops_keeps_what_it_has_read(slow: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = read_back.read
    read: list[str] = []

    def stops(path: str, stop: read_back.Stop) -> read_back.Content | None:
        read.append(path)
        if len(read) > 1:
            raise read_back.Stopped
        return real(path, stop)

    monkeypatch.setattr(read_back, "read", stops)
    slow.run("read_ahead")
    monkeypatch.undo()
    assert len(noted(slow)) == 1
    finish(slow)
    assert slow.counts() == {"done": 4}


def test_what_is_left_when_the_task_has_ended_is_left_to_its_verification(
    slow: Stage, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = read_back.read

    def read(path: str, stop: read_back.Stop) -> read_back.Content | None:
        if not opened:
            slow.run("poll_tasks")
        return real(path, stop)

    monkeypatch.setattr(read_back, "read", read)
    monkeypatch.setattr("jgi_stager.steps.read_ahead.ASKED_SECONDS", 0)
    monkeypatch.setattr(read_back, "workers", lambda _: 1)
    slow.out.clock.advance(3600)
    (task,) = slow.documents("globus_tasks", kind="files")
    slow.ctx.globus.task(task["task_id"])
    assert arrived(slow) == 4
    slow.run("read_ahead")
    assert [one["state"] for one in slow.documents("globus_tasks", kind="files")] == ["ended"]
    assert 0 < len(opened) < 4
    slow.run("verify")
    assert (slow.counts(), len(opened)) == ({"done": 4}, 4), "nothing is read twice"
