"""The simulator's restore requests: credentials, limits, tape, delivery, manifest, expiry."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from jgi_stager.simulator import generate
from jgi_stager.simulator.restores import ON_DISK
from jgi_stager.simulator.settings import MANIFEST_FAULTS
from simulated import DAY, HOUR, Outside, outside


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Outside]:
    with outside(tmp_path) as found:
        yield found


def test_exactly_one_bearer_counts(out: Outside) -> None:
    token = out.settings.credentials.jdp_token
    for value in (token, f"Bearer Bearer {token}", "Bearer wrong", ""):
        answer = out.ask(out.small_ids(1), Authorization=value)
        assert answer.status_code == 401
        assert answer.json() == {"detail": "Authentication credentials were not provided."}
    assert out.ask(out.small_ids(1)).status_code == 200
    assert len(out.books()["requests"]) == 1


def test_the_cookie_counts_where_it_is_switched_on(out: Outside) -> None:
    cookie = {"Cookie": f"kc_session={out.settings.credentials.jdp_token}"}
    assert out.ask(out.small_ids(1), **cookie).status_code == 401
    out.control(switches={"jdp_credential": "cookie"})
    assert out.ask(out.small_ids(1), **cookie).status_code == 200
    assert out.ask(out.small_ids(1)).status_code == 401


def test_the_session_ends_at_an_instant_and_a_new_token_counts(out: Outside) -> None:
    out.control(switches={"jdp_token_ends_at": "2026-03-01T13:00:00Z"})
    assert out.ask(out.small_ids(1)).status_code == 200
    out.clock.advance(HOUR)
    assert out.ask(out.small_ids(1)).status_code == 401
    out.control(switches={"jdp_token_ends_at": None, "jdp_token": "new"})
    assert out.ask(out.small_ids(1)).status_code == 401
    assert out.ask(out.small_ids(1), Authorization="Bearer new").status_code == 200


def test_without_the_trailing_slash_the_body_is_lost(out: Outside) -> None:
    answer = out.ask(out.small_ids(1), "/download_files")
    assert answer.status_code == 405
    assert answer.history[0].status_code == 301
    assert out.books()["requests"] == []


@pytest.mark.parametrize("status", ["400", "403", "429"])
def test_too_many_ids_are_refused_and_booked(out: Outside, status: str) -> None:
    out.control(switches={"over_limit": status})
    ids = [*list(out.sim.world.catalogue.files), *(f"{n:024x}" for n in range(751))][:751]
    answer = out.ask(ids)
    assert answer.status_code == int(status)
    assert "detail" in answer.json()
    books = out.books()
    assert books["requests"] == []
    assert books["breaches"][0]["kind"] == "ids"


def test_the_window_rolls(tmp_path: Path) -> None:
    files = list(generate(8, 1).files.values())
    first, second = files[0], next(file for file in files[1:] if file.size > 10**9)
    with outside(tmp_path, max_window_bytes=first.size + second.size - 1) as out:
        assert out.ask([first.id]).status_code == 200
        out.clock.advance(DAY - 1)
        assert out.ask([second.id]).status_code == 400
        out.clock.advance(1)
        assert out.ask([second.id]).status_code == 200
        books = out.books()
        assert books["max_window_bytes"] == max(first.size, second.size)
        assert [breach["accepted"] for breach in books["breaches"]] == [False]


def test_a_breach_can_be_accepted_and_is_booked(tmp_path: Path) -> None:
    with outside(tmp_path, max_window_bytes=1) as out:
        out.control(switches={"over_limit": "accept"})
        assert out.ask(out.small_ids(2)).status_code == 200
        books = out.books()
        assert books["max_window_bytes"] > 1
        assert [breach["accepted"] for breach in books["breaches"]] == [True]


def test_the_counts_tell_tape_from_disk_and_drop_what_nobody_knows(out: Outside) -> None:
    files = out.sim.world.catalogue.files
    archive = out.sim.world.archive
    on_disk = [one for one in files if archive.state(one).status in ON_DISK][:2]
    on_tape = [one for one in files if archive.state(one).status == "PURGED"][:3]
    first = out.ask([*on_disk, *on_tape, "0" * 24]).json()
    assert (first["updated_count"], first["restored_count"]) == (2, 3)
    again = out.ask(on_tape).json()
    assert (again["updated_count"], again["restored_count"]) == (0, 3)
    assert isinstance(first["request_id"], int) is not isinstance(again["request_id"], int)
    books = out.books()
    assert books["pulled_files"] == 3
    assert books["pulled_more_than_once"] == {}
    assert set(books["requested_more_than_once"]) == set(on_tape)


def test_a_request_goes_from_new_to_expired(out: Outside) -> None:
    catalogue, archive = out.sim.world.catalogue, out.sim.world.archive
    ids = [one for one in catalogue.files if archive.state(one).status == "PURGED"][:40]
    request_id = int(out.ask(ids).json()["request_id"])
    seen, files = [], []
    for _ in range(40):
        out.clock.advance(61)
        seen.append(out.status(request_id)["status"].lower())
        files.append(archive.state(ids[0]).status)
    assert list(dict.fromkeys(seen)) == ["pending", "ready"]
    assert list(dict.fromkeys(files)) == ["RESTORE_IN_PROGRESS", "RESTORED"]
    assert seen.index("ready") > files.index("RESTORED")
    out.clock.advance(13 * DAY - 2 * HOUR)
    assert out.status(request_id)["status"].lower() == "ready"
    assert archive.state(ids[0]).status == "RESTORED"
    expires = out.status(request_id)["expiration_date"]
    assert expires == "2026-03-15T05:00:00.000000-07:00"
    assert {row["file_id"] for row in out.manifest(request_id)} == set(ids)
    for row in out.manifest(request_id):
        path = out.directory(request_id) / row["directory/path"] / row["filename"]
        assert path.stat().st_size == int(row["file size"])
    out.clock.advance(DAY + 2 * HOUR)
    assert out.status(request_id)["status"].lower() == "expired"
    assert not out.directory(request_id).exists()
    assert archive.state(ids[0]).status == "PURGED"


def test_the_manifest_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    with outside(tmp_path, first_request_id=900) as out:
        request_id = int(out.ask(list(out.sim.world.catalogue.files)[:60]).json()["request_id"])
        sizes: dict[str, list[int]] = {"pending": [], "ready": []}
        for _ in range(240):
            out.clock.advance(30)
            status = out.status(request_id)["status"].lower()
            if out.manifest_path(request_id).exists():
                sizes[status].append(out.manifest_path(request_id).stat().st_size)
        whole = sizes["ready"][-1]
        assert max(sizes["pending"]) < whole
        assert sizes["ready"][0] < whole
        assert len(out.manifest(request_id)) == 60


def test_an_unknown_request_is_not_found(out: Outside) -> None:
    assert out.status(1)["code"] == 404


@pytest.mark.parametrize("kind", MANIFEST_FAULTS)
def test_a_spoilt_manifest_can_mend(out: Outside, kind: str) -> None:
    out.mishap(kind, count=1, seconds=3 * HOUR)
    ids = out.small_ids(12)
    request_id = out.delivered(ids)
    out.clock.advance(10)
    out.books()
    assert not _is_right(out.manifest_path(request_id).read_bytes(), ids)
    out.clock.advance(3 * HOUR)
    out.books()
    assert _is_right(out.manifest_path(request_id).read_bytes(), ids)


def _is_right(raw: bytes, ids: list[str]) -> bool:
    try:
        rows = list(csv.DictReader(io.StringIO(raw.decode())))
    except UnicodeDecodeError:
        return False
    torn = not raw.endswith(b"\n")
    return not torn and {row.get("file_id") for row in rows} == set(ids)


def test_a_delivery_can_lack_files_and_hold_wrong_ones(out: Outside) -> None:
    ids = out.small_ids(6)
    kinds = ("delivery_lacks", "delivery_wrong_content", "delivery_wrong_size")
    faults = [{"kind": kind, "ids": [ids[number]]} for number, kind in enumerate(kinds)]
    out.control(switches={"world_faults": faults})
    request_id = out.delivered(ids)
    rows = {row["file_id"]: row for row in out.manifest(request_id)}
    assert set(rows) == set(ids[1:])
    catalogue = out.sim.world.catalogue.files

    def content(file_id: str) -> bytes:
        row = rows[file_id]
        return (out.directory(request_id) / row["directory/path"] / row["filename"]).read_bytes()

    assert len(content(ids[1])) == catalogue[ids[1]].size
    assert content(ids[1]) != catalogue[ids[1]].content.read()
    assert len(content(ids[2])) < catalogue[ids[2]].size
    assert content(ids[3]) == catalogue[ids[3]].content.read()


def test_a_stuck_request_goes_on_when_it_is_released(out: Outside) -> None:
    out.mishap("request_stuck", count=1)
    request_id = int(out.ask(out.small_ids(3)).json()["request_id"])
    for _ in range(10):
        out.clock.advance(DAY)
        assert out.status(request_id)["status"].lower() == "pending"
    out.control(switches={"world_faults": []})
    out.clock.advance(60)
    out.books()
    out.clock.advance(HOUR)
    assert out.status(request_id)["status"].lower() == "ready"
    assert len(out.manifest(request_id)) == 3


def test_words_nobody_knows(out: Outside) -> None:
    out.mishap("request_status_word", count=1)
    request_id = int(out.ask(out.small_ids(1)).json()["request_id"])
    assert out.status(request_id)["status"].upper() == "QUANTUM_FLUX"
    assert out.status(request_id)["status"].lower() == "new"


def test_restoring_without_delivery_leaves_no_directory(out: Outside) -> None:
    answer = out.ask(out.small_ids(2), "/request_archived_files/")
    out.clock.advance(6 * HOUR)
    assert out.status(int(answer.json()["request_id"]))["status"].lower() == "ready"
    assert not out.directory(int(answer.json()["request_id"])).exists()
