"""The simulator's GOLD, NMDC and JDP search over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from jgi_stager.simulator import generate
from simulated import HOUR, Outside, outside

PROPOSAL = 503_125


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Outside]:
    with outside(tmp_path, generate(30, 1)) as found:
        yield found


def test_gold_wants_a_token_and_ends_it_after_half_a_day(out: Outside) -> None:
    headers = out.gold_headers()
    assert out.gold("biosamples", headers, itsProposalId=PROPOSAL).status_code == 200
    offline = {"Authorization": f"Bearer {out.settings.credentials.gold_offline_token}"}
    assert out.gold("biosamples", offline, itsProposalId=PROPOSAL).status_code == 401
    out.clock.advance(12 * HOUR + 1)
    assert out.gold("biosamples", headers, itsProposalId=PROPOSAL).status_code == 401
    assert out.gold("biosamples", out.gold_headers(), itsProposalId=PROPOSAL).status_code == 200


def test_a_revoked_gold_session_answers_500_with_the_reason(out: Outside) -> None:
    out.control(switches={"gold_session_revoked": True})
    params = {"offlineToken": out.settings.credentials.gold_offline_token}
    answer = out.session.get(f"{out.sim.urls.gold}/exchange", params=params, timeout=10)
    assert answer.status_code == 500
    assert "invalid_grant" in answer.text


def test_jdps_clock_can_be_wrong_for_some_answers_and_no_other_clock_is(out: Outside) -> None:
    def dates(path: str, times: int) -> list[str]:
        url = f"{out.sim.urls.root}/{path}"
        return [str(out.session.get(url, timeout=10).headers["Date"]) for _ in range(times)]

    right, ahead = "Sun, 01 Mar 2026 12:00:00 GMT", "Mon, 02 Mar 2026 13:00:00 GMT"
    out.control(switches={"jdp_date_ahead_hours": 25, "jdp_date_wrong_answers": 2})
    assert dates("gold/api/v1/projects", 1) == [right]
    assert dates("jdp/search/", 3) == [ahead, ahead, right]
    out.control(switches={"jdp_date_ahead_hours": 0, "jdp_date": "yesterday", "jdp_date_wrong_answers": None})
    assert dates("jdp/search/", 3) == ["yesterday"] * 3


def test_gold_finds_the_same_projects_by_every_way(out: Outside) -> None:
    headers = out.gold_headers()
    everything = out.gold("analysis_projects", headers, itsProposalId=PROPOSAL).json()
    samples = out.gold("biosamples", headers, itsProposalId=PROPOSAL).json()
    by_sample = [
        row["apGoldId"]
        for sample in samples
        for row in out.gold("analysis_projects", headers, biosampleGoldId=sample["biosampleGoldId"]).json()
    ]
    assert sorted(by_sample) == sorted(row["apGoldId"] for row in everything)
    gold_project = everything[0]["projects"][0]
    rows = out.gold("analysis_projects", headers, projectGoldId=gold_project).json()
    assert everything[0] in rows
    projects = out.gold("projects", headers, biosampleGoldId=samples[0]["biosampleGoldId"]).json()
    assert gold_project in {row["projectGoldId"] for row in projects}


@pytest.mark.parametrize(("switch", "status"), [("403", 403), ("404", 404), ("empty", 200)])
def test_an_unknown_proposal_is_nothing_in_three_ways(out: Outside, switch: str, status: int) -> None:
    out.control(switches={"gold_unknown_proposal": switch})
    answer = out.gold("biosamples", out.gold_headers(), itsProposalId=1)
    assert answer.status_code == status
    assert status != 200 or answer.json() == []


def test_nmdc_pages_count_once(out: Outside) -> None:
    url = f"{out.sim.urls.nmdc}/nmdcschema"
    query = {"filter": json.dumps({"jgi_portal_study_identifiers": f"jgi.proposal:{PROPOSAL}"})}
    study = out.session.get(f"{url}/study_set", params=query, timeout=10).json()["resources"][0]["id"]
    wanted = {"associated_studies": study, "gold_sequencing_project_identifiers": {"$exists": True}}
    query = {"filter": json.dumps(wanted), "max_page_size": "7"}
    seen: list[str] = []
    while True:
        page = out.session.get(f"{url}/data_generation_set", params=query, timeout=10).json()
        seen += [one["id"] for one in page["resources"]]
        if "next_page_token" not in page:
            break
        used = query = {**query, "page_token": page["next_page_token"]}
    known = {one["id"] for one in out.sim.world.catalogue.data_generations}
    assert len(seen) == len(set(seen)) == len(known) - 1
    assert out.session.get(f"{url}/data_generation_set", params=used, timeout=10).status_code == 400
    assert out.session.get(f"{url}/study_set", params={"filter": "[]"}, timeout=10).status_code == 422


def test_a_search_page_counts_organisms_and_is_at_most_fifty(out: Outside) -> None:
    catalogue = out.sim.world.catalogue
    number = next(
        n for n, found in catalogue.by_project_number.items() if n in catalogue.by_its_ap_id and len(found) == 2
    )
    first = out.search(q=number, x=1).json()
    assert (first["total"], first["next_page"], len(first["organisms"])) == (2, 2, 1)
    assert first["organisms"][0]["agg_id"] != number
    second = out.search(q=number, x=1, p=2).json()
    assert (second["next_page"], second["organisms"][0]["agg_id"]) == (False, number)
    assert out.search(q=number, p=0).json()["organisms"] == []
    assert out.search(q=number, x=51).status_code == 400


def test_nothing_found_has_no_organisms(out: Outside) -> None:
    answer = out.search(q=999).json()
    assert "organisms" not in answer
    assert answer["total"] == answer["file_total"] == 0


def test_without_the_field_a_number_matches_sizes_too(out: Outside) -> None:
    file = next(iter(out.sim.world.catalogue.files.values()))
    assert out.search(q=file.size).json()["total"] == 0
    assert out.search(q=file.size, f="").json()["total"] > 0


def test_descriptors_have_the_quirks_of_the_real_ones(out: Outside) -> None:
    files = []
    for number in out.sim.world.catalogue.by_its_ap_id:
        for organism in out.search(q=number).json().get("organisms", ()):
            files += organism["files"]
    assert {type(one["file_size"]) for one in files} == {int, float}
    assert {type(one["file_type"]) for one in files} == {str, list}
    assert any(one.get("md5sum", "absent") is None for one in files)
    assert any("md5sum" not in one for one in files)
    owners = {type(one["metadata"].get("analysis_project_id")) for one in files}
    assert owners == {int, list, type(None)}
    assert {one["file_status"] for one in files} == {"PURGED", "RESTORED", "BACKUP_COMPLETE"}


def test_some_descriptors_are_repeated_and_the_totals_say_so(out: Outside) -> None:
    repeated = 0
    for number in out.sim.world.catalogue.by_its_ap_id:
        answer = out.search(q=number).json()
        ids = [file["_id"] for organism in answer.get("organisms", ()) for file in organism["files"]]
        assert (answer["file_total"], answer["unique_file_total"]) == (len(ids), len(set(ids)))
        repeated += len(ids) > len(set(ids))
    assert repeated > 0


def test_without_quirks_descriptors_are_tidy(out: Outside) -> None:
    out.control(switches={"quirks": False})
    known = out.sim.world.catalogue.files
    for number in list(out.sim.world.catalogue.by_its_ap_id)[:8]:
        for organism in out.search(q=number).json().get("organisms", ()):
            for file in organism["files"]:
                assert type(file["file_size"]) is int
                assert file["md5sum"] == known[file["_id"]].content.md5


def test_the_search_by_ids_leaves_unknown_ones_out(out: Outside) -> None:
    url = f"{out.sim.urls.jdp}/search/by_file_ids/"
    ids = [*list(out.sim.world.catalogue.files)[:5], "0" * 24]
    answer = out.session.post(url, json={"ids": ids, "aggregations": True}, timeout=10).json()
    found = {file["_id"] for organism in answer["organisms"] for file in organism["files"]}
    assert found == set(ids[:5])
    assert out.session.post(url, json={"ids": ids * 10}, timeout=10).status_code == 400


def test_an_unknown_switch_is_refused(out: Outside) -> None:
    answer = out.session.post(f"{out.sim.urls.sim}/control", json={"switches": {"x": 1}}, timeout=10)
    assert answer.status_code == 400
    listed = out.session.get(f"{out.sim.urls.sim}/catalogue", timeout=10).json()
    assert len(listed["files"]) == len(out.sim.world.catalogue.rows())
    assert requests.get(f"{out.sim.urls.root}/nothing/here", timeout=10).status_code == 404
