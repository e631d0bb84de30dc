"""Reading files back: what is read, how many at a time, and how it ends."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jgi_stager import liveness, read_back
from jgi_stager.read_back import Stop


def test_whole_files_are_read_and_neither_links_nor_pipes(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_bytes(b"12345" * 3)
    link.symlink_to(file)
    os.mkfifo(pipe)
    found = read_back.read(str(file), threading.Event())
    assert found is not None
    assert found.md5 == hashlib.md5(b"12345" * 3).hexdigest()
    assert (found.size, found.mtime_ns) == (15, file.stat().st_mtime_ns)
    for path in (link, pipe, tmp_path, tmp_path / "no"):
        assert read_back.read(str(path), threading.Event()) is None


def test_a_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert read_back.read("socket", threading.Event()) is None


def test_reading_ends_within_a_chunk_and_an_empty_file_has_none(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").touch()
    with pytest.raises(read_back.Stopped):
        read_back.read(str(tmp_path / "file"), stop)
    empty = read_back.read(str(tmp_path / "empty"), stop)
    assert empty is not None
    assert empty.md5 == hashlib.md5(b"").hexdigest()


def test_unchanged_is_a_regular_file_of_that_size_and_time(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"123")
    link.symlink_to(file)
    at = file.stat().st_mtime_ns
    assert read_back.is_unchanged(str(file), 3, at)
    assert not read_back.is_unchanged(str(file), 3, at + 1)
    assert not read_back.is_unchanged(str(file), 2, at)
    assert not read_back.is_unchanged(str(file), 3, None)
    assert not read_back.is_unchanged(str(link), 3, at)
    assert not read_back.is_unchanged(str(tmp_path / "no"), 3, at)


def test_as_many_as_configured_else_the_cores_and_at_most_four(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, most in ((1, 1), (2, 2), (64, 4), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert read_back.workers(None) == most
    assert read_back.workers(9) == 9


def test_everything_is_looked_at_once_by_few_at_a_time_and_little_is_taken_ahead() -> None:
    taken, working, most = 0, threading.Semaphore(3), []

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    def read_one(number: int, _: Stop) -> int:
        alone = working.acquire(blocking=False)
        assert alone, "more than three at a time"
        working.release()
        return number * 2

    found = {}
    for answered, (item, answer) in enumerate(read_back.map_unordered(read_one, items(), 3, threading.Event()), 1):
        most.append(taken - answered)
        found[item] = answer.result()
    assert found == {number: number * 2 for number in range(100)}
    assert max(most) <= 6


def test_what_goes_wrong_with_one_is_its_own_matter() -> None:
    def read_one(number: int, _: Stop) -> int:
        if number == 1:
            raise OSError(5, "Input/output error")
        return number

    found = dict(read_back.map_unordered(read_one, range(3), 2, threading.Event()))
    assert (found[0].result(), found[2].result()) == (0, 2)
    with pytest.raises(OSError, match="Input/output"):
        found[1].result()


def test_who_stops_to_ask_ends_what_is_being_read() -> None:
    begun = threading.Event()

    def read_one(number: int, stop: Stop) -> int:
        if number == 0:
            return 0
        begun.set()
        while not stop.is_set():
            pass
        raise read_back.Stopped

    answers = read_back.map_unordered(read_one, iter(range(10)), 2, threading.Event())
    assert next(iter(answers))[0] == 0
    assert begun.wait(10)
    answers.close()  # type: ignore[attr-defined]


def test_nothing_begins_after_a_stop() -> None:
    stop = threading.Event()
    stop.set()
    assert list(read_back.map_unordered(lambda number, _: number, range(3), 2, stop)) == []


def test_the_progress_of_the_threads_is_that_of_who_waits() -> None:
    known = liveness.Liveness()

    def read_one(_: int, __: Stop) -> float:
        with_nobody = known.silent(-1)["verify"]
        liveness.mark_progress()
        return with_nobody - known.silent(-1)["verify"]

    with known.work("verify"):
        known._workers[threading.get_ident()].moved_at -= 100
        ((_, answer),) = read_back.map_unordered(read_one, [1], 1, threading.Event())
    assert answer.result() > 50


def test_changed_is_what_is_seen_to_be_something_else(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"123")
    link.symlink_to(file)
    at = file.stat().st_mtime_ns
    assert not read_back.is_changed(str(file), 3, at)
    assert not read_back.is_changed(str(tmp_path / "no"), 3, at)
    assert read_back.is_changed(str(file), 2, at)
    assert read_back.is_changed(str(file), 3, at + 1)
    assert read_back.is_changed(str(link), 3, at)
