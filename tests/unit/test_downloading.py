"""A file that is downloaded is whole and right when it gets its name, whatever came before."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jgi_stager import downloading, put_aside
from jgi_stager.clock import ManualClock
from jgi_stager.downloading import FetchHooks, Patched, Spoilt, Wanted
from jgi_stager.failures import OtherPart, Service, Transient
from jgi_stager.read_back import Content, Stopped
from killer import Killed
from simulated import START

WHOLE = b"".join(bytes([at % 251]) * 7 for at in range(3000))
MD5 = hashlib.md5(WHOLE, usedforsecurity=False).hexdigest()
KEY = "ab" * 12


@dataclass(frozen=True)
class Sent:
    """What a host sends."""

    start: int
    total: int | None
    validator: str | None
    pieces: Iterator[bytes]


@dataclass
class Host:
    """A host that has a file. Each call takes the next of ``plays``; without one it sends what is asked for."""

    content: bytes = WHOLE
    plays: list[Callable[[int], Sent]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    sent: int = 0

    @contextmanager
    def opened(self, start: int) -> Iterator[Sent]:
        self.asked.append(start)
        yield self.plays.pop(0)(start) if self.plays else self.good(start)

    def good(self, start: int) -> Sent:
        return Sent(start, len(self.content), '"1"', self.pieces(self.content[start:]))

    def pieces(self, data: bytes, cut: int | None = None, size: int = 1000) -> Iterator[bytes]:
        for at in range(0, len(data), size):
            if cut is not None and at >= cut:
                raise Transient(Service.DOWNLOADS, "the file broke off")
            self.sent += len(data[at : at + size])
            yield data[at : at + size]

    def cut(self, after: int) -> Callable[[int], Sent]:
        return lambda start: Sent(start, len(self.content), '"1"', self.pieces(self.content[start:], after))


@dataclass
class Site:
    """A project, and a file that is wanted in it."""

    root: Path
    host: Host = field(default_factory=Host)
    begun: list[str | None] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def project(self) -> Path:
        return self.root / "soil"

    @property
    def destination(self) -> Path:
        return self.project / "analysis_files" / "Ga0500001" / "a.gff"

    @property
    def draft(self) -> Path:
        return self.project / downloading.WORKSHOP / f"{KEY}.part"

    def fetch(self, before: Callable[[], None] = lambda: None, **wanted: Any) -> Content:
        values: dict[str, Any] = {"size": len(WHOLE), "md5": MD5, **wanted}
        steer = FetchHooks(self.host.opened, self.begun.append, self.aside, before, self.stop)
        return downloading.fetch(Wanted(KEY, self.destination, **values), self.project, steer)

    def aside(self, path: str) -> None:
        put_aside.put_aside(path, ManualClock(START).now())

    def is_right(self) -> bool:
        return self.destination.read_bytes() == WHOLE


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_file_arrives_whole_and_keeps_no_draft(site: Site) -> None:
    found = site.fetch()
    assert (found.md5, found.size) == (MD5, len(WHOLE))
    assert site.is_right()
    assert found.mtime_ns == site.destination.stat().st_mtime_ns
    assert site.begun == ['"1"']
    downloading.forget(site.project, KEY)
    assert site.destination.stat().st_nlink == 1
    assert not site.draft.parent.exists()


def test_what_was_cut_off_is_continued_where_it_ended(site: Site) -> None:
    site.host.plays = [site.host.cut(9000)]
    with pytest.raises(Transient):
        site.fetch()
    assert not site.destination.exists()
    assert site.draft.stat().st_size == 9000
    site.fetch()
    assert site.host.asked == [0, 9000]
    assert site.host.sent == len(WHOLE), "no byte comes twice"
    assert site.is_right()


def test_a_connection_that_brought_much_is_opened_again_at_once(site: Site) -> None:
    site.host.plays = [site.host.cut(9000), site.host.cut(5000)]
    with mock.patch.object(downloading, "WORTH_GOING_ON", 4000):
        site.fetch()
    assert site.host.asked == [0, 9000, 14000]
    assert site.is_right()


def test_who_gives_no_parts_is_asked_for_the_whole_and_nothing_is_mixed(site: Site) -> None:
    site.host.plays = [site.host.cut(9000), lambda _: site.host.good(0)]
    with pytest.raises(Transient):
        site.fetch()
    site.fetch()
    assert site.host.asked == [0, 9000]
    assert site.is_right()


def test_another_part_begins_the_file_again(site: Site) -> None:
    def other(_: int) -> Sent:
        raise OtherPart(Service.DOWNLOADS, "416")

    site.host.plays = [site.host.cut(9000), other]
    for kind in (Transient, OtherPart):
        with pytest.raises(kind):
            site.fetch()
    assert site.draft.stat().st_size == 0
    site.fetch()
    assert site.host.asked == [0, 9000, 0]


def test_a_draft_that_is_whole_is_not_asked_for_again(site: Site) -> None:
    site.draft.parent.mkdir(parents=True)
    site.draft.write_bytes(WHOLE)
    site.fetch()
    assert site.host.asked == []
    assert site.begun == [None]
    assert site.is_right()


@pytest.mark.parametrize("left", [WHOLE + b"x", b"x" * len(WHOLE), b"x" * 9000])
def test_a_draft_that_is_wrong_costs_no_more_than_itself(site: Site, left: bytes) -> None:
    site.draft.parent.mkdir(parents=True)
    site.draft.write_bytes(left)
    if len(left) <= len(WHOLE):
        with pytest.raises(Patched):
            site.fetch()
        assert not site.destination.exists()
    site.fetch()
    assert site.host.asked[-1] == 0
    assert site.is_right()


WRONG: dict[str, Callable[[Host], Callable[[int], Sent]]] = {
    "bytes": lambda host: lambda _: Sent(0, len(WHOLE), None, host.pieces(b"x" * len(WHOLE))),
    "shorter, and says so": lambda host: lambda _: Sent(0, 700, None, host.pieces(WHOLE[:700])),
    "shorter": lambda host: lambda _: Sent(0, None, None, host.pieces(WHOLE[:700])),
    "longer": lambda host: lambda _: Sent(0, None, None, host.pieces(WHOLE + b"more")),
    "longer, and says so": lambda host: lambda _: Sent(0, len(WHOLE) + 4, None, host.pieces(WHOLE + b"more")),
    "nothing": lambda host: lambda _: Sent(0, None, None, host.pieces(b"")),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_what_jdp_says_gets_no_name(site: Site, name: str) -> None:
    site.host.plays = [WRONG[name](site.host)]
    with pytest.raises(Spoilt):
        site.fetch()
    assert not site.destination.exists()
    assert site.draft.stat().st_size == 0, "the next try begins anew"
    site.fetch()
    assert site.is_right()


def test_without_a_size_or_md5_the_answer_says_where_the_end_is(site: Site) -> None:
    site.fetch(size=None, md5=None)
    assert site.is_right()


def test_an_empty_file_needs_no_answer(site: Site) -> None:
    site.fetch(size=0, md5=hashlib.md5(b"", usedforsecurity=False).hexdigest())
    assert site.destination.read_bytes() == b""
    assert site.begun == [None]


def test_what_lies_at_the_destination_is_taken_if_it_is_the_file(site: Site) -> None:
    site.destination.parent.mkdir(parents=True)
    site.destination.write_bytes(WHOLE)
    before = site.destination.stat()
    assert site.fetch().md5 == MD5
    assert site.host.asked == []
    assert (site.destination.stat().st_ino, site.destination.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )


@pytest.mark.parametrize("kind", ["other", "as long", "hard link", "symbolic link", "dangling"])
def test_what_else_lies_there_is_put_aside_unchanged(site: Site, tmp_path: Path, kind: str) -> None:
    data = b"published" if kind != "as long" else b"p" * len(WHOLE)
    published = tmp_path / "published"
    published.write_bytes(data)
    site.destination.parent.mkdir(parents=True)
    if kind == "hard link":
        os.link(published, site.destination)
    elif kind == "symbolic link":
        site.destination.symlink_to(published)
    elif kind == "dangling":
        site.destination.symlink_to(tmp_path / "nowhere")
    else:
        site.destination.write_bytes(data)
    site.fetch()
    assert site.is_right()
    assert not site.destination.is_symlink()
    assert published.read_bytes() == data
    (aside,) = (site.project / put_aside.DIRECTORY / "Ga0500001").iterdir()
    assert kind in ("symbolic link", "dangling") or aside.read_bytes() == data
    assert not (tmp_path / "nowhere").exists()


def test_a_link_in_the_place_of_the_workshop_or_a_draft_is_not_followed(site: Site, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    site.project.mkdir()
    (site.project / downloading.WORKSHOP).symlink_to(elsewhere)
    with pytest.raises(NotADirectoryError):
        site.fetch()
    downloading.forget(site.project, KEY)
    assert list(elsewhere.iterdir()) == []
    (site.project / downloading.WORKSHOP).unlink()
    site.draft.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    site.draft.symlink_to(victim)
    site.fetch()
    assert victim.read_bytes() == b"precious"
    assert site.is_right()


def test_a_draft_with_another_name_is_not_written_on(site: Site, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    site.draft.parent.mkdir(parents=True)
    os.link(victim, site.draft)
    site.fetch()
    assert victim.read_bytes() == b"precious"
    assert site.is_right()


def test_two_daemons_do_not_write_on_one_draft(site: Site) -> None:
    site.draft.parent.mkdir(parents=True)
    with site.draft.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            site.fetch()
    site.fetch()
    assert site.is_right()


def test_a_daemon_that_was_replaced_gives_no_file_its_name(site: Site) -> None:
    def lost() -> None:
        raise RuntimeError("the lease is lost")

    with pytest.raises(RuntimeError):
        site.fetch(before=lost)
    assert not site.destination.exists()
    site.fetch()
    assert site.host.asked == [0], "what it had fetched is used"


def test_the_end_comes_within_a_piece_and_keeps_what_is_here(site: Site) -> None:
    pieces = site.host.pieces

    def stopping(data: bytes, cut: int | None = None, size: int = 1000) -> Iterator[bytes]:
        for number, piece in enumerate(pieces(data, cut, size)):
            if number == 3:
                site.stop.set()
            yield piece

    with mock.patch.object(site.host, "pieces", stopping), pytest.raises(Stopped):
        site.fetch()
    assert site.draft.stat().st_size == 3000
    site.stop.clear()
    site.fetch()
    assert site.host.asked == [0, 3000]


def test_a_full_disk_keeps_what_is_here(site: Site) -> None:
    real, written = os.pwrite, []

    def full(*args: Any) -> int:
        written.append(args)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    with mock.patch.object(os, "pwrite", full), pytest.raises(OSError, match="No space left"):
        site.fetch()
    assert site.draft.stat().st_size == 5000
    site.fetch()
    assert site.host.asked == [0, 5000]


@pytest.mark.parametrize("kept", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("name", ["open", "mkdir", "pwrite", "fsync", "link", "ftruncate"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_kill_at_any_write_leaves_the_right_file_or_none(site: Site, name: str, nth: int, kept: bool) -> None:
    real, calls = getattr(os, name), []

    def killing(*args: Any, **named: Any) -> Any:
        calls.append(args)
        if len(calls) == nth:
            if kept:
                real(*args, **named)
            raise Killed
        return real(*args, **named)

    with mock.patch.object(os, name, killing):
        try:
            site.fetch()
        except Killed:
            assert not site.destination.exists() or site.is_right()
    site.fetch()
    assert site.is_right()
    downloading.forget(site.project, KEY)
    assert site.destination.stat().st_nlink == 1
    assert not (site.project / put_aside.DIRECTORY).exists()


def test_what_nobody_wants_is_cleared_and_strange_names_are_left(site: Site) -> None:
    site.draft.parent.mkdir(parents=True)
    for name in (f"{KEY}.part", f"{'cd' * 12}.part", "notes.txt"):
        (site.draft.parent / name).write_bytes(b"x")
    assert sorted(downloading.drafts(site.project)) == [KEY, "cd" * 12]
    downloading.clear(site.project, {KEY})
    assert sorted(one.name for one in site.draft.parent.iterdir()) == [f"{KEY}.part", "notes.txt"]


@dataclass(frozen=True)
class Try:
    """One try: how the host answers, and after how many writes we are killed, if we are."""

    answer: str
    at: int
    killed_at: int | None


TRIES = st.lists(
    st.builds(
        Try,
        st.sampled_from(["good", "cut", "whole", "wrong", "short", "other"]),
        st.integers(0, 20),
        st.none() | st.integers(1, 25),
    ),
    max_size=6,
)


def played(host: Host, one: Try) -> Callable[[int], Sent]:
    """How the host answers."""

    def refuse(_: int) -> Sent:
        raise OtherPart(Service.DOWNLOADS, "no such part")

    def short(start: int) -> Sent:
        return Sent(start, None, None, host.pieces(WHOLE[start : start + one.at * 1000]))

    def wrong(start: int) -> Sent:
        return Sent(start, len(WHOLE), None, host.pieces(b"x" * (len(WHOLE) - start)))

    answers: dict[str, Callable[[int], Sent]] = {
        "good": host.good,
        "cut": host.cut(one.at * 1000),
        "whole": lambda _: host.good(0),
        "wrong": wrong,
        "short": short,
        "other": refuse,
    }
    return answers[one.answer]


def dying(after: int | None) -> Callable[..., int]:
    """Writes so often, and then we are killed."""
    real, written = os.pwrite, []

    def write(*args: Any) -> int:
        written.append(args)
        if after is not None and len(written) > after:
            raise Killed
        return real(*args)

    return write


@settings(max_examples=150, deadline=None)
@given(TRIES)
def test_whatever_happens_nothing_but_the_right_file_ever_has_the_name(
    tmp_path_factory: Any, tries: list[Try]
) -> None:
    site = Site(tmp_path_factory.mktemp("site"))
    for one in tries:
        site.host.plays = [played(site.host, one)]
        with mock.patch.object(os, "pwrite", dying(one.killed_at)), suppress(Transient, Spoilt, Patched, Killed):
            site.fetch()
        assert not site.destination.exists() or site.is_right()
    site.host.plays = []
    for _ in range(2):
        try:
            site.fetch()
            break
        except Patched:
            continue
    assert site.is_right()
