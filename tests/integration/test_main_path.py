"""The way of a project from one inserted record to verified files, as the outside saw it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from invariants import check_limits, check_run, states_of
from jgi_stager.simulator import generate
from jgi_stager.simulator.observations import busiest_window
from stage import analysis_project, small_catalogue, small_file, stage, with_shared_file

DIRECT = ["pending", "restore_requested", "restored", "manifest_ready", "transferring", "done"]


def test_one_inserted_record_brings_every_file(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        st.insert(priority=1)
        st.drive()
        books = check_run(st)
        assert [states_of(file) for file in st.documents("files")] == [DIRECT] * 6
        assert len(books["requests"]) == 1
        assert Counter(task["files"] for task in books["tasks"]) == {1: 1, 6: 1}
        project = st.project()
        assert (project["state"], project["priority"]) == ("done", 1)
        assert project["nmdc_study_id"] == "nmdc:sty-11-5tgfr349"
        manifests = list((st.staged / "soil" / "globus_manifests").iterdir())
        assert [one.name for one in manifests] == ["Globus_Download_652401_File_Manifest.csv"]


def test_a_done_run_makes_no_more_calls(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.drive()
        before = st.calls()
        st.wait(hours=48, minutes=60)
        assert st.calls() == before
        check_run(st)


def test_the_file_of_a_done_project_carries_what_others_want_to_know(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert()
        st.drive()
        (file,) = st.documents("files")
        assert file["gold_biosample_id"] == "Gb0258001"
        assert file["gold_seq_id"] == "Gp0587001"
        assert file["gold_study_id"] == "Gs0149396"
        assert file["jgi_ap_id"] == "IMG_AP-1300001"
        assert file["jdp_file_size"] == 1000
        assert file["destination_path"] == str(st.path(1, 1))
        assert file["source_path"].startswith("/73709/R652401/soil1/IMG_Data/")


def test_the_quota_holds_in_every_window_of_many_days(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"restore_batch_size": 4}}
    catalogue = small_catalogue(4, 7, size=1000)
    with stage(tmp_path, mongod_uri, catalogue, sections=sections, max_window_bytes=7500) as st:
        st.insert()
        st.drive(hours=24 * 7, minutes=90)
        books = check_run(st)
        assert books["max_window_bytes"] == 7000
        assert max(request["asked"] for request in books["requests"]) == 4
        # 28 files of 1000 bytes at 7 a day: three windows are waited for, and none is wasted.
        first, last = (datetime.fromisoformat(books["requests"][at]["at"]) for at in (0, -1))
        assert timedelta(days=3) <= last - first < timedelta(days=3, hours=8)


def test_the_quota_holds_over_restarts(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 4), max_window_bytes=5000) as st:
        st.insert()
        for _ in range(12 * 3):
            st.restart()
            st.tick(120)
        books = check_run(st)
        assert len(books["requests"]) >= 3


def test_two_projects_share_the_quota_and_both_arrive(tmp_path: Path, mongod_uri: str) -> None:
    catalogue = small_catalogue(2, 4)
    with stage(tmp_path, mongod_uri, catalogue, max_window_bytes=6000) as st:
        st.insert("one", biosample_ids=["Gb0258001"])
        st.insert("two", biosample_ids=["Gb0258002"], priority=5)
        st.drive(hours=72, minutes=60)
        books = check_run(st, projects=("one", "two"))
        first = set(st.out.books(full=True)["requests"][0]["file_ids"])
        urgent = {file["jdp_file_id"] for file in st.documents("files", project_name="two")}
        assert urgent <= first
        assert len(books["requests"]) == 2


def test_an_id_in_two_analysis_projects_is_restored_once_and_delivered_twice(
    tmp_path: Path, mongod_uri: str
) -> None:
    catalogue = small_catalogue(2, 2)
    shared = next(iter(catalogue.files))
    with stage(tmp_path, mongod_uri, with_shared_file(catalogue, shared)) as st:
        st.insert()
        st.drive()
        check_run(st)
        found = st.documents("files", jdp_file_id=shared)
        assert sorted(file["ap_gold_id"] for file in found) == ["Ga0500001", "Ga0500002"]
        assert len({file["destination_path"] for file in found}) == 2


def test_an_id_in_two_projects_counts_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3), max_window_bytes=3000) as st:
        st.insert("one")
        st.insert("two")
        st.drive()
        books = check_run(st, projects=("one", "two"))
        assert books["requested_bytes"] == 3000
        for name in ("one", "two"):
            assert st.path(1, 1, name).is_file()


def test_a_project_that_comes_later_joins_what_is_delivered(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3), max_window_bytes=3000) as st:
        # A second request that waits for quota keeps the first delivery from being closed and forgotten.
        st.insert("one")
        st.drive()
        st.insert("two")
        st.drive()
        books = check_run(st, projects=("one", "two"))
        assert len(books["requests"]) == 1


def test_a_project_that_comes_while_tape_works_joins_the_request(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.insert("one")
        st.tick(5)
        st.insert("two")
        st.drive()
        books = check_run(st, projects=("one", "two"))
        assert len(books["requests"]) == 1
        assert [task["files"] for task in books["tasks"]] == [2, 3], "each file travels once, and is copied then"


def test_two_ids_with_one_name_and_the_same_content_travel_once(tmp_path: Path, mongod_uri: str) -> None:
    first = small_file(1, 1, name="stats.json")
    again = replace(first, id=small_file(1, 2).id, number=small_file(1, 2).number)
    catalogue = replace(small_catalogue(), analysis_projects=(analysis_project(1, [first, again]),))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        st.drive()
        books = check_run(st)
        assert books["requested"] == {first.id: 1}
        assert {file["state"] for file in st.documents("files")} == {"done"}
        assert len({file["destination_path"] for file in st.documents("files")}) == 1
        assert sum(task["files_transferred"] for task in books["tasks"]) == 2


def test_two_ids_with_one_name_and_other_content_get_two_places(tmp_path: Path, mongod_uri: str) -> None:
    first, other = small_file(1, 1, name="README.txt"), small_file(1, 2, size=700, name="README.txt")
    catalogue = replace(small_catalogue(), analysis_projects=(analysis_project(1, [first, other]),))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        st.drive()
        check_run(st)
        directory = st.path(1, 1).parent
        places = [str(Path(file["destination_path"]).relative_to(directory)) for file in st.documents("files")]
        assert sorted(places) == ["README.txt", f"same_name/{other.id}/README.txt"]
        assert any("README.txt" in text for text in st.notices("accepted")[0]["data"]["warnings"])


@pytest.mark.parametrize("case", ["lower", "upper"])
def test_a_generated_catalogue_with_all_its_quirks_arrives(tmp_path: Path, mongod_uri: str, case: str) -> None:
    sections: dict[str, dict[str, Any]] = {"staging": {"md5_max_bytes": 100_000}}
    catalogue = generate(4, 7)
    total = sum(file.size for file in catalogue.files.values())
    with stage(
        tmp_path,
        mongod_uri,
        catalogue,
        sections=sections,
        max_window_bytes=total // 3,
        transfer_bytes_per_second=1e11,
    ) as st:
        st.switch(status_case=case)
        st.insert()
        st.drive(hours=24 * 12, minutes=60)
        books = st.out.books()
        check_limits(st, books)
        assert set(st.counts()) == {"done"}
        assert books["requested_more_than_once"] == {}
        names = {file["file_name"] for file in st.documents("files")}
        assert not any("domtblout" in name or "blasttab" in name for name in names)
        window = busiest_window(
            [(datetime.fromisoformat(one["at"]).timestamp(), one["bytes"]) for one in books["requests"]], 86400
        )
        assert window <= total // 3


def test_a_project_that_comes_days_later_joins_the_delivery_while_it_lives(
    tmp_path: Path, mongod_uri: str
) -> None:
    alone = {"staging": {"share": False}}  # else it would be copied from the first
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3), sections=alone, max_window_bytes=3000) as st:
        st.insert("one")
        st.drive()
        st.wait(hours=24 * 5, minutes=600)
        assert [one["state"] for one in st.documents("restore_requests")] == ["closed"]
        st.insert("two")
        st.drive()
        books = check_run(st, projects=("one", "two"))
        assert len(books["requests"]) == 1
        st.wait(hours=24 * 9, minutes=600)
        st.insert("three")
        st.drive()
        assert len(st.out.books()["requests"]) == 2
        check_run(st, projects=("one", "two", "three"), again=True)
