"""Answers of discovery are kept together: as if each had been kept alone, wherever keeping is cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from bson import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from jgi_stager import admin
from jgi_stager.clients.jdp import ApListing
from jgi_stager.discovery_models import DiscoveredProject
from jgi_stager.failures import Service, Transient
from jgi_stager.models import Project
from jgi_stager.steps import listing, services
from jgi_stager.store import RecordTooLarge, discoveries, projects, tallies
from killer import Killed, Killer
from stage import Stage, analysis_project, small_catalogue, small_file, stage

BOOKS = ("projects", "files", "discoveries", "tallies")
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


# --- the ways in which a project comes to be listed


def listed_for_the_first_time(made: Stage) -> None:
    made.insert()
    made.run("accept")


def rescanned(made: Stage) -> None:
    """One file is gone, one has another size, and each analysis project has a new one."""
    made.insert()
    made.drive()
    files = {number: [small_file(number, one) for one in (1, 2, 3, 4)] for number in range(1, 5)}
    files[1][0] = small_file(1, 1, size=77)
    del files[2][0]
    world = made.out.sim.world
    aps = tuple(analysis_project(number, some) for number, some in files.items())
    world.catalogue = world.archive.catalogue = replace(world.catalogue, analysis_projects=aps)
    admin.rescan_project(made.store, "soil", "root")


def rescanned_in_vain(made: Stage) -> None:
    """Each analysis project has a new file, of which no name can be made."""
    made.insert()
    made.drive()
    files = {number: [small_file(number, one) for one in (1, 2, 3)] for number in range(1, 5)}
    for number, some in files.items():
        some.append(small_file(number, 4, name="../odd"))
    world = made.out.sim.world
    aps = tuple(analysis_project(number, some) for number, some in files.items())
    world.catalogue = world.archive.catalogue = replace(world.catalogue, analysis_projects=aps)
    admin.rescan_project(made.store, "soil", "root")


def inserted_again(made: Stage) -> None:
    """What arrived for the record before was set aside."""
    made.insert()
    made.drive()
    made.store.database["projects"].delete_many({})
    made.insert()
    made.run("audit", "accept")


WAYS: dict[str, Callable[[Stage], None]] = {
    one.__name__: one for one in (listed_for_the_first_time, rescanned, rescanned_in_vain, inserted_again)
}


# --- the database


def snapshot(made: Stage) -> dict[str, list[dict[str, Any]]]:
    return {name: made.documents(name) for name in BOOKS}


def put_back(made: Stage, books: dict[str, list[dict[str, Any]]]) -> None:
    for name, documents in books.items():
        made.store.database[name].delete_many({})
        if documents:
            made.store.database[name].insert_many(documents)


def found(made: Stage) -> dict[str, Any]:
    """What does not depend on ids, nor on how the tally, and the state of a project that grows, were put right."""
    made.run("finish")
    told = {name: sorted(map(_told, made.documents(name))) for name in ("files", "discoveries")}
    project = {name: made.project().get(name) for name in ("state", "discovery", "rescan")}
    return {**told, "project": project, "tally": tallies.of_project(made.store, "soil")}


def _told(document: dict[str, Any]) -> str:
    return repr(sorted(item for item in document.items() if item[0] != "_id"))


def project_of(made: Stage) -> Project:
    (record,) = projects.all_records(made.store)
    assert isinstance(record, Project)
    project = projects.in_discovery(record)
    assert project is not None
    return project


def left(made: Stage) -> list[DiscoveredProject]:
    return [ap for ap in discoveries.chosen(made.store, project_of(made)) if ap.listed is None]


@contextmanager
def to_be_listed(tmp_path: Path, uri: str, way: str) -> Iterator[tuple[Stage, dict[str, ApListing]]]:
    """A project of which every question is answered but those about files, and the answers to these."""
    with stage(tmp_path, uri, small_catalogue(4, 3)) as made:
        WAYS[way](made)
        with mock.patch.object(listing, "list_files", return_value=0):
            made.run("discover")
        aps = left(made)
        assert len(aps) == 4
        yield made, {ap.ap_gold_id: made.ctx.jdp.files_of_analysis_project(ap.its_ap_id) for ap in aps}


def keep(made: Stage, answers: dict[str, ApListing], aps: Sequence[DiscoveredProject]) -> None:
    listing.keep_listings(made.ctx, project_of(made), [(ap, answers[ap.ap_gold_id]) for ap in aps])


def listed_has_its_files(made: Stage, whole: list[dict[str, Any]]) -> bool:
    """Whether no analysis project is marked as listed before all of its files are there."""
    keys = ("project_name", "ap_gold_id", "jdp_file_id")
    there = {tuple(one[key] for key in keys) for one in made.documents("files")}
    unlisted = {ap.ap_gold_id for ap in left(made)}
    return all(tuple(one[key] for key in keys) in there for one in whole if one["ap_gold_id"] not in unlisted)


@pytest.mark.parametrize("way", WAYS)
def test_kept_together_the_books_are_the_same_as_kept_alone(tmp_path: Path, mongod_uri: str, way: str) -> None:
    with to_be_listed(tmp_path, mongod_uri, way) as (made, answers):
        before = snapshot(made)
        while aps := left(made):
            keep(made, answers, aps[:1])
        alone, whole = found(made), made.documents("files")
        assert len(whole) == {"listed_for_the_first_time": 12, "inserted_again": 24}.get(way, 16)

        @settings(max_examples=25, deadline=None)
        @given(st.lists(st.tuples(st.permutations(range(4)), st.integers(1, 4), st.integers(0, 9)), max_size=8))
        def in_groups(tries: list[tuple[list[int], int, int]]) -> None:
            put_back(made, before)
            for order, size, writes in tries:
                aps = left(made)
                group = [aps[at] for at in order if at < len(aps)][:size]
                if not group:
                    break
                with pytest.MonkeyPatch.context() as patched, suppress(Killed):
                    Killer(patched).left = writes
                    keep(made, answers, group)
                assert listed_has_its_files(made, whole)
            if aps := left(made):
                keep(made, answers, aps)
            for one in made.documents("tallies"):
                marks = {f"doubt.{key}": LONG_AGO for key in one.get("doubt", {})}
                if marks:
                    made.store.database["tallies"].update_one({"_id": one["_id"]}, {"$set": marks})
            assert found(made) == alone
            assert tallies.of_project(made.store, "soil") == tallies.counted(made.store, "soil")

        in_groups()


def test_all_answers_of_a_group_are_kept_in_few_writes(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with to_be_listed(tmp_path, mongod_uri, "listed_for_the_first_time") as (made, answers):
        killer = Killer(monkeypatch)
        keep(made, answers, left(made))
        # The mark of the tally, the files, the tally, what is noted, the project.
        assert killer.written == 5
        assert left(made) == []


@pytest.mark.parametrize("same_id", [False, True])
def test_what_a_removed_record_still_asks_for_is_not_entered_for_the_next(
    tmp_path: Path, mongod_uri: str, *, same_id: bool
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(30, 2)) as made:
        made.insert()
        made.run("accept")
        with mock.patch.object(listing, "list_files", return_value=0):
            made.run("discover")
        real, asked = made.ctx.jdp.files_of_analysis_project, list[int]()

        def ask(its_ap_id: int) -> ApListing:
            asked.append(its_ap_id)
            if len(asked) == 10:
                again = {"_id": made.project()["_id"]} if same_id else {}
                made.store.database["projects"].delete_many({})
                made.out.clock.advance(1)
                made.insert(**again)
                made.run("accept")
            return real(its_ap_id)

        with mock.patch.object(made.ctx.jdp, "files_of_analysis_project", ask):
            made.run("discover")
        assert made.documents("files", project_name="soil") == []
        assert len(asked) < 25, "and nobody is asked in vain for long"
        made.drive()
        assert Counter(one["state"] for one in made.documents("files", project_name="soil")) == {"done": 60}


# --- who fails hurts no other


@pytest.fixture
def all_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "wait", lambda calls, return_when: wait(calls))


@pytest.mark.usefixtures("all_come_at_once")
def test_an_answer_that_cannot_be_kept_hurts_no_other(tmp_path: Path, mongod_uri: str) -> None:
    kept: list[int] = []
    groups: list[int] = []

    def keep_them(answers: Sequence[tuple[int, int]]) -> None:
        groups.append(len(answers))
        if any(item == 3 for item, _ in answers):
            raise Transient(Service.JDP, "this one cannot be kept", answered=True)
        kept.extend(answer for _, answer in answers)

    with stage(tmp_path, mongod_uri) as made:
        with pytest.raises(Transient, match="this one"):
            services.ask_all(made.ctx, Service.JDP, range(6), lambda one: 10 * one, keep_them, 2, anonymous=True)
        assert sorted(kept) == [0, 10, 20, 40, 50]
        assert groups == [6, 1, 1, 1, 1, 1, 1]


@pytest.mark.usefixtures("all_come_at_once")
def test_a_group_is_limited_by_what_its_answers_weigh(tmp_path: Path, mongod_uri: str) -> None:
    groups: list[int] = []

    def keep_them(answers: Sequence[tuple[int, int]]) -> None:
        groups.append(sum(answer for _, answer in answers))

    with stage(tmp_path, mongod_uri) as made:
        heavy = services.KEPT_TOGETHER - 1
        done = services.ask_all(
            made.ctx,
            Service.JDP,
            range(9),
            lambda one: heavy if one % 2 else 1,
            keep_them,
            4,
            weigh=lambda answer: answer,
            anonymous=True,
        )
    assert done == 9
    assert sum(groups) == 4 * heavy + 5
    assert max(groups) < 2 * services.KEPT_TOGETHER


@pytest.mark.usefixtures("all_come_at_once")
def test_an_analysis_project_without_room_for_its_listing_holds_up_itself_alone(
    tmp_path: Path, mongod_uri: str
) -> None:
    with to_be_listed(tmp_path, mongod_uri, "listed_for_the_first_time") as (made, _):
        full = left(made)[0]
        (document,) = made.documents("discoveries", _id=full.key)
        junk = "x" * (16 * 1024 * 1024 - len(encode(document)) - 30)
        made.store.database["discoveries"].update_one({"_id": full.key}, {"$set": {"junk": junk}})
        real = listing.keep_listings
        tried: list[int] = []

        def keep_them(*args: Any) -> bool:
            tried.append(len(args[2]))
            return real(*args)

        with mock.patch.object(listing, "keep_listings", keep_them):
            made.run("discover")
        assert tried == [4, 1, 1, 1, 1]
        assert left(made) == [full]
        assert made.alarms("as large as MongoDB allows")
        made.store.database["discoveries"].update_one({"_id": full.key}, {"$unset": {"junk": ""}})
        made.drive()
        assert made.counts() == {"done": 12}


def test_a_bulk_write_that_finds_no_room_says_so(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as made:
        key = "p:1:Ga1"
        made.store.database["discoveries"].insert_one({"_id": key, "junk": "x" * (16 * 1024 * 1024 - 100)})
        with pytest.raises(RecordTooLarge):
            discoveries.note_each(made.store, "p:1", {"Ga1": {"named": ["a" * 200]}, "Ga2": {"named": []}})
        assert made.documents("discoveries", _id="p:1:Ga2")


def test_files_that_are_there_already_stay_as_they_are(tmp_path: Path, mongod_uri: str) -> None:
    """Killed before the mark, the next try enters what is missing, and counts that alone."""
    with to_be_listed(tmp_path, mongod_uri, "listed_for_the_first_time") as (made, answers):
        with pytest.MonkeyPatch.context() as patched, suppress(Killed):
            Killer(patched).left = 3
            keep(made, answers, left(made))
        before = {one["_id"]: one for one in made.documents("files")}
        assert len(before) == 12
        gone = next(iter(before))
        made.store.database["files"].delete_one({"_id": gone})
        keep(made, answers, left(made))
        now = {one["_id"]: one for one in made.documents("files")}
        assert len(now) == 12
        assert {key: one for key, one in now.items() if key in before} == {
            key: one for key, one in before.items() if key != gone
        }
