"""Killed at any instant: before or after any call to the outside and any write to the books.

A run is counted once; then it is repeated and dies at its n-th effect, just before or just after it. Whatever
comes next starts from the books alone, as a new process does. ``CRASH_POINTS=all`` takes every n; by default a
sample spread over the whole run is taken.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pymongo.collection import Collection

from invariants import check_run
from jgi_stager.steps.tools import Tools
from stage import Stage, file_id, small_catalogue, stage, with_shared_file

CALLS = {
    "gold": ("analysis_projects_of_proposal", "analysis_projects_of_biosample", "biosamples_of_proposal"),
    "jdp": ("files_of_analysis_project", "request_files", "request_status"),
    "nmdc": ("study_of_proposal",),
    "globus": ("submission_id", "submit", "task", "ls", "skipped_errors"),
}
WRITES = ("insert_one", "update_one", "update_many", "bulk_write")
SAMPLE = 9
"""Crash points of a default run, for each of before and after."""
EVERY = os.environ.get("CRASH_POINTS") == "all"


class Killed(BaseException):
    """What kill -9 does: nothing of ours may catch it."""


@dataclass
class Killer:
    """Counts effects, and lets the process die at one of them. The dead have no effects."""

    at: int | None = None
    after: bool = False
    seen: list[str] = field(default_factory=list)
    dead: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def around(self, name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
        """The effect, counted."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                if self.dead:
                    raise Killed
                self.seen.append(name)
                mine = len(self.seen) == self.at
                self.dead = mine and not self.after
            if self.dead:
                raise Killed
            result = effect(*args, **kwargs)
            if mine:
                self.dead = True
                raise Killed
            return result

        return wrapped


@contextmanager
def killer_of(tools: Tools, at: int | None = None, *, after: bool = False) -> Iterator[Killer]:
    """Wrap every call to the outside and every write to the books."""
    killer = Killer(at, after)
    for client, names in CALLS.items():
        one = getattr(tools, client)
        for name in names:
            vars(one)[name] = killer.around(f"{client}.{name}", getattr(one, name))
    writes: Any = {name: _write(killer, name) for name in WRITES}
    with mock.patch.multiple(Collection, **writes):
        yield killer


def _write(killer: Killer, name: str) -> Callable[..., Any]:
    real = getattr(Collection, name)

    def wrapped(self: Collection[Any], *args: Any, **kwargs: Any) -> Any:
        return killer.around(f"{self.name}.{name}", real)(self, *args, **kwargs)

    return wrapped


@contextmanager
def beginning(directory: Path, uri: str) -> Iterator[Stage]:
    """Two analysis projects that share a file, in two requests, of which one has a late manifest."""
    catalogue = with_shared_file(small_catalogue(2, 2), file_id(1, 1))
    sections = {"jdp": {"restore_batch_size": 2}}
    with stage(directory, uri, catalogue, sections=sections, max_window_bytes=4000) as st:
        st.insert()
        yield st


def effects(directory: Path, uri: str) -> list[str]:
    """What a run does when nobody kills it."""
    with beginning(directory, uri) as st, killer_of(st.tools) as killer:
        st.drive(minutes=10)
        seen = list(killer.seen)
        check_run(st)
    return seen


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_effect_neither_loses_nor_doubles_anything(
    tmp_path: Path, mongod_uri: str, after: bool
) -> None:
    total = len(effects(tmp_path / "whole", mongod_uri))
    assert total > 80
    points = range(1, total + 1) if EVERY else range(1 + after * 3, total + 1, max(1, total // SAMPLE))
    for at in points:
        with beginning(tmp_path / str(at), mongod_uri) as st:
            with killer_of(st.tools, at, after=after) as killer, pytest.raises(Killed):
                st.drive(minutes=10)
            finish(st, f"killed {'after' if after else 'before'} effect {at}, {killer.seen[-1]}")


def finish(st: Stage, what: str) -> None:
    """Start anew on what is left, and look at the end of it."""
    try:
        st.restart()
        st.drive(hours=60, minutes=40)
        books = check_run(st)
        assert len(books["requests"]) == 2
        assert st.counts() == {"done": 5}
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error


@pytest.mark.parametrize(
    "effect",
    [
        "jdp.request_files",
        "globus.submit",
        "restore_requests.update_one",
        "files.update_many",
        "notices.insert_one",
    ],
)
def test_a_kill_at_the_effects_that_cost_most(tmp_path: Path, mongod_uri: str, effect: str) -> None:
    """Never left to the sample: each first and last one, before and after."""
    seen = effects(tmp_path / "whole", mongod_uri)
    places = [number for number, name in enumerate(seen, start=1) if name == effect]
    for at in {places[0], places[-1]}:
        for after in (False, True):
            with beginning(tmp_path / f"{at}{after}", mongod_uri) as st:
                with killer_of(st.tools, at, after=after), pytest.raises(Killed):
                    st.drive(minutes=10)
                finish(st, f"killed {'after' if after else 'before'} effect {at}, {effect}")


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_again_and_again_only_cost_time(tmp_path: Path, mongod_uri: str, seed: int) -> None:
    with beginning(tmp_path, mongod_uri) as st:
        for lives in range(200):
            with killer_of(st.tools, 5 + (lives * 7 + seed * 11) % 17, after=bool((lives + seed) % 2)):
                try:
                    st.drive(hours=60, minutes=20)
                except Killed:
                    st.out.clock.advance(600)
                else:
                    break
            st.restart()
        check_run(st)
        assert st.counts() == {"done": 5}
        assert lives >= 5
