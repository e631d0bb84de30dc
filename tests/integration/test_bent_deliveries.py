"""Deliveries and manifests that are not as expected: used if that is safe, told of, never asked for twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invariants import check_run
from jgi_stager.simulator import Catalogue
from stage import Stage, analysis_project, file_id, small_catalogue, small_file, stage

NUMBER = 652_401


def manifest_tasks(st: Stage) -> int:
    """How many Globus tasks brought manifests."""
    return len(st.documents("globus_tasks", kind="manifests"))


def check_whole(st: Stage, tasks: int) -> dict[str, Any]:
    """Every file has arrived, each was asked from tape once, and so many tasks brought manifests at most."""
    books = check_run(st)
    catalogue = st.out.sim.world.catalogue
    assert books["requested_bytes"] == sum(file.size for file in catalogue.files.values())
    assert manifest_tasks(st) <= tasks
    return books


def alarm(st: Stage, text: str) -> dict[str, Any]:
    """The data of the one alarm whose subject contains ``text``."""
    (found,) = [one["data"] for one in st.notices("alarm") if text in one["data"]["subject"]]
    assert isinstance(found, dict)
    return found


def with_names(*names: str) -> Catalogue:
    """One analysis project with files of these names, all as large."""
    files = [small_file(1, number, name=name) for number, name in enumerate(names, start=1)]
    return replace(small_catalogue(), analysis_projects=(analysis_project(1, files),))


# --- the form of a manifest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["quoted", "unquoted"])
@pytest.mark.parametrize("columns", ["reordered", "extra", "renamed"])
def test_columns_are_read_by_their_names(tmp_path: Path, mongod_uri: str, columns: str, form: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), manifest_form=form) as st:
        st.switch(manifest_columns=columns)
        st.insert()
        st.drive(hours=12)
        check_whole(st, tasks=2)
        assert st.alarms() == []


def test_a_header_that_nobody_knows_is_told_of_with_both_and_costs_neither_tape_nor_tasks(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.switch(manifest_columns="unknown")
        st.insert()
        st.until("restored")
        st.wait(hours=6)
        told = alarm(st, "the manifest of request 652401 has an unknown format")
        assert "it has no column file_id, directory/path" in told["text"]
        assert "expected: filename,file_id,JGI Grouping ID,directory/path," in told["text"]
        assert "found: filename,Portal Key,JGI Grouping ID,Location," in told["text"]
        assert "nothing is asked from tape again" in told["you"]
        st.wait(hours=72, minutes=60)
        assert st.counts() == {"restored": 4}
        assert manifest_tasks(st) <= 6
        assert len(st.alarms()) == 1
        assert len(st.out.books()["requests"]) == 1
        st.switch(manifest_columns="plain")
        text = st.out.manifest_path(NUMBER).read_text()
        fixed = text.replace("Portal Key", "file_id").replace("Location", "directory/path")
        st.out.manifest_path(NUMBER).write_text(fixed)
        st.drive(hours=6)
        check_whole(st, tasks=8)


def test_two_manifests_are_read_together(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 5)) as st:
        st.switch(manifest_files="two")
        st.insert()
        st.drive(hours=12)
        check_whole(st, tasks=2)
        assert st.alarms() == []


def test_a_manifest_with_another_name_is_read_and_two_of_them_are_kept_apart(
    tmp_path: Path, mongod_uri: str
) -> None:
    sections = {"jdp": {"restore_batch_size": 2}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=sections) as st:
        st.switch(manifest_files="renamed")
        st.insert()
        st.drive(hours=12)
        check_whole(st, tasks=4)
        kept = sorted(path.name[:8] for path in (st.staged / "soil" / "globus_manifests").iterdir())
        assert kept == ["R652401_", "R652402_"]


def test_manifests_that_contradict_each_other_fail_that_file_alone(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.insert()
        st.until("restored")
        st.out.clock.advance(600)
        st.out.books()
        path = st.out.manifest_path(NUMBER)
        lines = path.read_text().splitlines(keepends=True)
        other = lines[1].replace("soil1/IMG_Data", "soil1/Elsewhere")
        path.with_name("more_manifest.csv").write_text(lines[0] + other)
        bad = next(one for one in (file_id(1, 1), file_id(1, 2), file_id(1, 3)) if one in other)
        st.drive(hours=12)
        check_run(st, failed=[bad])
        (failed,) = st.documents("files", state="failed")
        assert "say different things about" in failed["reason"]


def test_what_is_missing_while_a_manifest_cannot_be_read_is_waited_for_and_not_asked_again(
    tmp_path: Path, mongod_uri: str
) -> None:
    sections = {"jdp": {"manifest_patience_hours": 3}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=sections) as st:
        st.switch(manifest_files="two")
        st.insert()
        st.until("restored")
        st.out.clock.advance(600)
        st.out.books()
        second = st.out.directory(NUMBER) / f"Globus_Download_{NUMBER}_File_Manifest_2.csv"
        whole = second.read_bytes()
        second.write_bytes(b"<html>\n")
        st.wait(hours=30, minutes=30)
        assert st.counts() == {"done": 2, "restored": 2}
        assert "'Globus_Download_652401_File_Manifest_2.csv' cannot be used" in alarm(st, "complete")["text"]
        assert len(st.out.books()["requests"]) == 1
        second.write_bytes(whole)
        st.drive(hours=6)
        check_run(st)


def test_other_tables_beside_a_manifest_that_lacks_files_are_named(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"manifest_patience_hours": 3}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=sections) as st:
        st.insert()
        st.until("restored")
        st.out.clock.advance(600)
        st.out.books()
        st.out.manifest_path(NUMBER).rename(st.out.directory(NUMBER) / "delivered_files.csv")
        st.wait(hours=6)
        assert "delivered_files.csv" in alarm(st, "does not become complete")["text"]
        assert manifest_tasks(st) == 0


def test_a_manifest_that_does_not_change_is_fetched_once_a_day(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until("restored")
        st.out.clock.advance(600)
        st.out.books()
        path = st.out.manifest_path(NUMBER)
        whole = path.read_bytes()
        path.write_bytes(b"\n")
        st.wait(hours=71, minutes=30)
        assert manifest_tasks(st) == 3
        path.write_bytes(whole)
        st.drive(hours=6)
        check_whole(st, tasks=4)


def test_ids_in_capitals_are_those_in_lower_case(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4)) as st:
        st.switch(ids_in_capitals=True)
        st.insert()
        st.drive(hours=12)
        check_whole(st, tasks=2)
        assert st.alarms() == []
        assert {file["jdp_file_id"] for file in st.documents("files")} == set(st.out.sim.world.catalogue.files)


# --- the directory of a delivery -----------------------------------------------------------------------------


def test_a_delivery_directory_with_another_name_is_found_by_its_ids(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"restore_batch_size": 4}}
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), sections=sections) as st:
        st.switch(delivery_directory="year")
        st.insert()
        st.drive(hours=12)
        check_whole(st, tasks=4)
        told = alarm(st, "lies in a directory with another name")
        assert "expected: /73709/R65240" in told["text"]
        assert f"found: /73709/{st.documents('restore_requests')[0]['delivery_directory'][:4]}" in told["text"]
        found = {one["request_id"]: one["delivery_directory"] for one in st.documents("restore_requests")}
        assert found == {NUMBER: f"R{NUMBER}_2026", NUMBER + 1: f"R{NUMBER + 1}_2026"}


def test_a_directory_of_others_is_never_taken_for_one_that_is_missing(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"restore_batch_size": 4, "manifest_patience_hours": 3}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 8), sections=sections) as st:
        st.insert()
        st.until("restored")
        while st.counts()["restored"] < 8:
            st.out.clock.advance(600)
            st.run("poll_requests")
        st.out.clock.advance(600)
        st.out.books()
        mine, other = st.out.directory(NUMBER), st.out.directory(NUMBER + 1)
        away = mine.with_name("away")
        mine.rename(away)
        # Another request's files, under a name with the number of the first.
        other.rename(mine.with_name(f"R{NUMBER}_copy"))
        st.wait(hours=8)
        assert st.counts() == {"restored": 8}
        told = alarm(st, f"manifest of request {NUMBER} does not become complete")
        assert f"'R{NUMBER}_copy' with 0 of 4 files" in told["text"]
        assert len(st.out.books()["requests"]) == 2
        away.rename(mine)
        mine.with_name(f"R{NUMBER}_copy").rename(other)
        st.drive(hours=12)
        check_whole(st, tasks=8)


def test_a_lost_request_is_found_in_a_directory_with_another_name(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.switch(delivery_directory="year")
        st.faults({"match": "jdp.download_files", "kind": "reset_after_effect", "count": 1})
        st.insert()
        st.drive(hours=48)
        check_whole(st, tasks=2)


# --- names in a delivery -------------------------------------------------------------------------------------


def test_files_that_lie_under_almost_the_name_in_the_manifest_are_used(tmp_path: Path, mongod_uri: str) -> None:
    catalogue = with_names("Ga05 a.gff", "Ga05 b.gff", "Ga05_c.gff")
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.switch(delivered_names="underscore")
        st.insert()
        st.drive(hours=12)
        check_whole(st, tasks=2)
        told = alarm(st, "files of request 652401 are called otherwise than its manifest says")
        assert "expected 'Ga05 a.gff', found 'Ga05_a.gff'" in told["text"]
        assert {Path(file["destination_path"]).name for file in st.documents("files")} == {
            "Ga05 a.gff",
            "Ga05 b.gff",
            "Ga05_c.gff",
        }


def test_a_delivery_of_which_every_name_differs_is_used_without_a_pause(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, with_names("a 1.gff", "a 2.gff")) as st:
        st.switch(delivered_names="underscore")
        st.insert()
        st.drive(hours=8)
        check_whole(st, tasks=2)
        assert {one["transfer_after"] for one in st.documents("restore_requests") if "transfer_after" in one} <= {
            None
        }


def test_the_file_of_another_row_is_never_used(tmp_path: Path, mongod_uri: str) -> None:
    """The blank one is gone; the other is as large and called almost the same, but is its own row."""
    with stage(tmp_path, mongod_uri, with_names("a 1.gff", "a_1.gff")) as st:
        st.insert()
        st.until("manifest_ready")
        (st.out.directory(NUMBER) / "soil1" / "IMG_Data" / "a 1.gff").unlink()
        st.drive(hours=24)
        books = check_run(st, again=True)
        assert books["requested_more_than_once"] == {file_id(1, 1): 2}
        assert st.alarms("called otherwise") == []


def test_where_two_files_may_be_meant_a_person_decides(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, with_names("a 1.gff", "b.gff")) as st:
        st.insert()
        st.until("manifest_ready")
        place = st.out.directory(NUMBER) / "soil1" / "IMG_Data" / "a 1.gff"
        place.with_name("a-1.gff").write_bytes(place.read_bytes())
        place.rename(place.with_name("a_1.gff"))
        st.drive(hours=24)
        check_run(st, failed=[file_id(1, 1)])
        (bad,) = st.documents("files", state="failed")
        assert "it cannot be told whether 'a-1.gff' or 'a_1.gff'" in bad["reason"]


def test_a_lookalike_with_other_content_is_never_called_done(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, with_names("a 1.gff", "b.gff")) as st:
        st.insert()
        st.until("manifest_ready")
        place = st.out.directory(NUMBER) / "soil1" / "IMG_Data" / "a 1.gff"
        place.write_bytes(bytes(reversed(place.read_bytes())))
        place.rename(place.with_name("a_1.gff"))
        st.drive(hours=48)
        check_run(st, again=True)
