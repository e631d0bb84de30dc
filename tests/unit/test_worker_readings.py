"""What workers are asked, what their answers are worth, and what they do not read."""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import SOME_TIME
from jgi_stager import read_back, verify_worker, worker_readings
from jgi_stager.reading_models import (
    LONGEST_PATH,
    MOST_BYTES,
    MOST_FILES,
    MOST_TAKES,
    FileRead,
    FileToRead,
    Reading,
    answers_of,
    is_left,
    may_be_read,
    share_out,
    used_up,
)
from jgi_stager.stored import UnfitError, misfit, parse
from jgi_stager.worker_readings import AskAgainError, WorkerReadings

HOUR = timedelta(hours=1)
MD5 = "0" * 32


def reading(*files: FileToRead, **fields: Any) -> Reading:
    return Reading(key="r", task="t", files=list(files), **{"offered": True, "asked_at": SOME_TIME, **fields})


# --- asking -------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.builds(
            FileToRead, path=st.integers(0, 300).map(lambda n: f"/s/{n:03}"), size=st.integers(0, 3 * MOST_BYTES)
        )
    )
)
def test_each_path_is_in_one_group_and_no_group_is_larger_than_allowed_but_for_one_file(
    wanted: list[FileToRead],
) -> None:
    groups = share_out(wanted)
    paths = [file.path for group in groups for file in group]
    assert paths == sorted({file.path for file in wanted})
    for group in groups:
        assert 1 <= len(group) <= MOST_FILES
        assert len(group) == 1 or sum(file.size for file in group) <= MOST_BYTES


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/stage", "/stage/../etc/passwd", "stage/a", "/stage/a\0b", "/stage/" + "x" * LONGEST_PATH],
)
def test_what_is_not_below_the_staging_directory_is_asked_of_nobody(path: str) -> None:
    assert not may_be_read(PurePosixPath("/stage"), path)


def test_what_nobody_comes_for_is_left_to_the_daemon_and_what_waits_behind_others_is_not() -> None:
    one = reading()
    assert not is_left(one, None, SOME_TIME + HOUR / 2, HOUR)
    assert is_left(one, None, SOME_TIME + HOUR, HOUR)
    assert not is_left(one, SOME_TIME + 9 * HOUR, SOME_TIME + 9.5 * HOUR, HOUR)
    assert is_left(one, SOME_TIME + 9 * HOUR, SOME_TIME + 10 * HOUR, HOUR)
    assert is_left(reading(takes=MOST_TAKES), SOME_TIME, SOME_TIME, HOUR)


def test_a_clock_that_was_set_back_does_not_make_files_wait_for_ever() -> None:
    ahead = reading(asked_at=SOME_TIME + 48 * HOUR)
    assert is_left(ahead, SOME_TIME + 48 * HOUR, SOME_TIME, HOUR)
    assert not is_left(reading(), SOME_TIME + 48 * HOUR, SOME_TIME, HOUR), "another's sign from the future is none"


# --- answers ------------------------------------------------------------------------------------------------


def test_answers_count_when_a_reading_is_over_and_what_it_lacks_is_the_daemons() -> None:
    found = FileRead(md5=MD5, size=1, mtime_ns=1)
    open_one = reading(FileToRead(path="/s/a", size=1, found=found), FileToRead(path="/s/b", size=1))
    over = reading(FileToRead(path="/s/c", size=1, found=found), FileToRead(path="/s/d", size=1), offered=False)
    answers = answers_of([open_one, over])
    assert answers.waiting == {"/s/a", "/s/b"}
    assert answers.found == {"/s/c": found}
    assert answers.own == {"/s/d"}
    assert used_up([open_one, over], {"/s/d"}) == []
    assert used_up([open_one, over], {"/s/a"}) == ["r"]


@pytest.mark.parametrize(
    "found",
    [
        {"md5": "../../etc", "size": 1, "mtime_ns": 1},
        {"md5": MD5.upper().replace("0", "A"), "size": 1, "mtime_ns": 1},
        {"md5": MD5, "size": -1, "mtime_ns": 1},
        {"md5": MD5, "size": 1},
        {"md5": 7},
        {"failed": "x" * 201},
        "text",
    ],
)
def test_an_answer_of_another_form_is_none(found: object) -> None:
    file = {"path": "/s/a", "size": 1, "found": found}
    document = {"_id": "r", "task": "t", "files": [file], "offered": False, "asked_at": SOME_TIME}
    assert misfit(Reading, document) is not None
    with pytest.raises(UnfitError):
        parse(Reading, document)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    path = tmp_path / "stage" / "a"
    path.parent.mkdir()
    path.write_bytes(b"content")
    return path


def answered(path: Path, **fields: Any) -> WorkerReadings:
    """What a worker says of a file that lies there."""
    said = {
        "md5": hashlib.md5(path.read_bytes()).hexdigest(),
        "size": path.stat().st_size,
        "mtime_ns": path.stat().st_mtime_ns,
    }
    over = reading(FileToRead(path=str(path), size=7, found=FileRead(**{**said, **fields})), offered=False)
    return WorkerReadings(PurePosixPath(path.parent), [over], answers_of([over]))


def test_what_a_worker_read_counts_if_it_is_right_and_the_file_is_still_the_same(there: Path) -> None:
    right, known = hashlib.md5(b"content").hexdigest(), answered(there)
    content = known.confirmed(str(there), 7, right)
    assert content is not None
    assert content == known.instead(str(there), 7)
    assert content.md5 == right
    assert known.confirmed(str(there), 7, MD5) is None
    assert known.confirmed(str(there), 8, right) is None
    os.utime(there, ns=(1, 1))
    assert known.confirmed(str(there), 7, right) is None
    with pytest.raises(AskAgainError):
        known.instead(str(there), 7)


def test_where_this_machine_does_not_see_the_file_the_word_of_a_worker_counts(there: Path) -> None:
    right, known = hashlib.md5(b"content").hexdigest(), answered(there)
    there.unlink()
    assert known.confirmed(str(there), 7, right) is not None


def test_what_failed_at_a_worker_or_has_another_size_there_says_nothing_about_the_file(there: Path) -> None:
    failed = answered(there, md5=None, size=None, mtime_ns=None, failed="Input/output error")
    with pytest.raises(AskAgainError, match="Input/output error"):
        failed.instead(str(there), 7)
    with pytest.raises(AskAgainError, match="changed"):
        answered(there).instead(str(there), 8)
    unreadable = answered(there, md5=None, size=None, mtime_ns=None)
    assert unreadable.instead(str(there), 7) is None
    assert not unreadable.may_ask(str(there))
    assert worker_readings.NOBODY.instead(str(there), 7) is None
    assert not worker_readings.NOBODY.may_ask(str(there))


# --- what a worker reads ------------------------------------------------------------------------------------


def test_a_worker_reads_nothing_outside_of_the_staging_directory(tmp_path: Path, there: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"key")
    (there.parent / "link").symlink_to(secret / "key")
    (there.parent / "loop").symlink_to(there.parent / "loop")
    (there.parent / "away").symlink_to(secret)
    hostile = [
        str(secret / "key"),
        str(there.parent / "link"),
        str(there.parent / "loop" / "a"),
        str(there.parent / "away" / "key"),
        f"{there.parent}/../secret/key",
        f"{there.parent}x/a",
        "/proc/self/environ",
        "/",
    ]
    for path in hostile:
        assert verify_worker.read_file(there.parent, path, threading.Event()) == FileRead(), path
    found = verify_worker.read_file(there.parent, str(there), threading.Event())
    assert found.md5 == hashlib.md5(b"content").hexdigest()


def test_a_staging_directory_that_is_a_link_itself_is_read(tmp_path: Path, there: Path) -> None:
    link = tmp_path / "scratch"
    link.symlink_to(there.parent)
    assert verify_worker.read_file(link, str(link / "a"), threading.Event()).size == 7


def test_a_file_system_that_fails_is_told_apart_from_a_file_that_is_not_there(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify_worker.read_file(there.parent, f"{there}x", threading.Event()) == FileRead()

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(read_back, "read", fails)
    assert verify_worker.read_file(there.parent, str(there), threading.Event()).failed == "Input/output error"
