"""Manifests that are late, torn, wrong or hostile: waited on or reported by name, never half used."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from invariants import check_histories, check_run, states_of
from jgi_stager import admin
from jgi_stager.failures import Rejected, Service
from jgi_stager.manifests import manifest_name
from jgi_stager.steps import transfers
from stage import Stage, analysis_project, file_id, small_catalogue, small_file, stage

NUMBER = 652_401
Change = Callable[[str], bytes]


def at_jgi(st: Stage, number: int = NUMBER) -> Path:
    """The manifest in the delivery."""
    return st.out.manifest_path(number)


def rewrite(st: Stage, change: Change, number: int = NUMBER) -> None:
    """Let the manifest of a delivery be something else."""
    st.out.clock.advance(600)
    st.out.books()
    path = at_jgi(st, number)
    path.write_bytes(change(path.read_text(encoding="utf-8")))


def edited(change: Callable[[dict[str, str]], dict[str, str] | None]) -> Change:
    """Change each row of the manifest; None leaves it out."""

    def apply(text: str) -> bytes:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        out = io.StringIO()
        writer = csv.DictWriter(out, rows[0].keys(), quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept for row in rows if (kept := change(dict(row))) is not None)
        return out.getvalue().encode()

    return apply


UNUSABLE: dict[str, Change] = {
    "empty": lambda text: b"",
    "only the header": lambda text: text.splitlines(keepends=True)[0].encode(),
    "torn": lambda text: text.encode()[:-40],
    "torn in the size": lambda text: text.encode()[:-3],
    "without its last rows": lambda text: "".join(text.splitlines(keepends=True)[:-2]).encode(),
    "other header": lambda text: text.replace("file_id", "id", 1).encode(),
    "latin-1": lambda text: text.replace("Soil", "B\u00f6den").encode("latin-1"),
    "utf-16": lambda text: text.encode("utf-16"),
    "holes": lambda text: text.encode()[:100] + bytes(200),
    "a web page": lambda text: b"<html><body>Maintenance</body></html>\n",
}


@pytest.mark.parametrize("how", UNUSABLE)
def test_a_manifest_that_is_not_whole_moves_no_file_and_is_read_again(
    tmp_path: Path, mongod_uri: str, how: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until("restored")
        whole: list[bytes] = []

        def spoil(text: str) -> bytes:
            whole.append(text.encode())
            return UNUSABLE[how](text)

        rewrite(st, spoil)
        st.wait(hours=3)
        assert st.counts() == {"restored": 4}
        at_jgi(st).write_bytes(whole[0])
        st.drive()
        check_run(st)


def test_a_manifest_that_is_not_there_yet_is_waited_for(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        away = at_jgi(st).with_suffix(".away")
        st.out.clock.advance(600)
        st.out.books()
        at_jgi(st).rename(away)
        st.wait(hours=30, minutes=60)
        assert st.counts() == {"restored": 3}
        assert len(st.alarms("does not become complete")) == 1
        assert st.documents("globus_tasks") == []
        away.rename(at_jgi(st))
        st.drive()
        check_run(st)


@pytest.mark.parametrize(
    "kind",
    ["manifest_torn", "manifest_bad_header", "manifest_bad_encoding", "manifest_extra", "manifest_short"],
)
def test_the_faults_of_the_simulator_pass(tmp_path: Path, mongod_uri: str, kind: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.out.mishap(kind, seconds=6 * 3600)
        st.insert()
        st.drive(hours=48)
        check_run(st)
        assert bool(st.alarms("1 extra")) is (kind == "manifest_extra")


UNREADABLE = (
    "empty",
    "only half of the header",
    "other header",
    "latin-1",
    "holes",
    "a web page",
    "torn in its first row",
)


@pytest.mark.parametrize("how", UNREADABLE)
def test_a_manifest_that_says_nothing_is_told_of_with_a_cure_and_costs_no_tape(
    tmp_path: Path, mongod_uri: str, how: str
) -> None:
    changes = UNUSABLE | {
        "only half of the header": lambda text: text[:30].encode(),
        "torn in its first row": lambda text: text[: text.index("\n") + 30].encode(),
    }
    with stage(tmp_path, mongod_uri, sections={"jdp": {"manifest_patience_hours": 2}}) as st:
        st.insert()
        st.until("restored")
        whole: list[bytes] = []

        def spoil(text: str) -> bytes:
            whole.append(text.encode())
            spoilt: Change = changes[how]
            return spoilt(text)

        rewrite(st, spoil)
        st.wait(hours=1.5, minutes=30)
        assert st.alarms() == []
        st.wait(hours=30, minutes=120)
        (alert,) = st.notices("alarm")
        if how in ("other header", "a web page"):
            assert "the manifest of request 652401 has an unknown format" in alert["data"]["subject"]
            assert "ask JGI whether the format of the manifests was changed" in alert["data"]["you"]
        else:
            assert "the manifest of request 652401 does not become complete" in alert["data"]["subject"]
            assert "ask JGI to write Globus_Download_652401_File_Manifest.csv" in alert["data"]["you"]
        assert len(st.out.books()["requests"]) == 1
        at_jgi(st).write_bytes(whole[0])
        st.drive()
        check_run(st)


def test_a_torn_manifest_is_used_as_far_as_it_goes_when_the_patience_is_over(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(
        tmp_path, mongod_uri, small_catalogue(1, 4), sections={"jdp": {"manifest_patience_hours": 3}}
    ) as st:
        st.insert()
        st.until("restored")
        rewrite(st, UNUSABLE["torn"])
        st.wait(hours=2)
        assert st.counts() == {"restored": 4}
        st.drive(hours=24)
        check_run(st)
        assert "its last line is torn" in st.notices("alarm")[0]["data"]["text"]
        (told,) = [one["data"] for one in st.notices("alarm") if "1 not listed" in one["data"]["subject"]]
        assert "Ga0500001_4.gff" in told["text"]


@pytest.mark.parametrize("cut", [0, 2])
def test_a_manifest_without_quotes_or_a_final_line_break_costs_no_tape_however_its_last_size_ends(
    tmp_path: Path, mongod_uri: str, cut: int
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), manifest_form="unquoted") as st:
        st.insert()
        st.until("restored")
        assert '"' not in at_jgi(st).read_text().splitlines()[0]
        rewrite(st, lambda text: text.encode()[: len(text) - cut])
        st.wait(hours=3)
        assert st.counts() == ({"restored": 4} if cut else {"done": 4})
        st.drive(hours=48)
        check_run(st)


def test_a_file_that_two_deliveries_lack_is_asked_for_no_third_time(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"manifest_patience_hours": 3}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=sections, retention_days=2) as st:
        st.out.mishap("delivery_lacks", ids=[file_id(1, 2)])
        st.insert()
        st.drive(hours=24 * 5, minutes=60)
        books = check_run(st, failed=[file_id(1, 2)], again=True)
        assert books["requested_more_than_once"] == {file_id(1, 2): 2}
        (bad,) = st.documents("files", state="failed")
        assert "request 652401 of 2026-03-01: it was delivered without it, with 3 of 4 files" in bad["reason"]
        # Nothing at all was delivered: so that was waited for until its end.
        assert re.search(r"request 652402 of 2026-03-0\d: the directory of delivery R652402 is not", bad["reason"])


def test_a_delivery_whose_manifest_cannot_be_used_costs_no_second_one(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2), retention_days=3) as st:
        st.out.mishap("manifest_bad_header")
        st.insert()
        st.drive(hours=24 * 8, minutes=180)
        ids = [file_id(1, 1), file_id(1, 2)]
        check_run(st, failed=ids)
        (reason,) = {file["reason"] for file in st.documents("files")}
        assert reason.startswith("request 652401 of 2026-03-01: its manifest cannot be used")
        assert "It is not asked for again by itself" in reason


def deliver_short(st: Stage, gone: Sequence[int] = ()) -> Path:
    """Deliver with a manifest that lists the first half, and with the files ``gone`` removed. The directory of the
    analysis project in the delivery."""
    st.out.mishap("manifest_short", request_ids=[NUMBER])
    st.insert()
    st.until("restored")
    place = st.out.directory(NUMBER) / "soil1"
    for at in gone:
        (place / "IMG_Data" / f"Ga0500001_{at}.gff").unlink()
    return place


def short(st: Stage, gone: Sequence[int] = ()) -> list[str]:
    """The same of six files, to its end. The subjects of the alarms, in the order in which they went out."""
    deliver_short(st, gone)
    st.wait(hours=5, minutes=60)
    assert len(st.notices("alarm")) == 1, "people hear of it at once"
    assert st.counts() == {"restored": 6}
    st.drive(hours=60, minutes=30)
    return [str(one["data"]["subject"]) for one in st.notices("alarm")]


def test_files_that_a_manifest_never_lists_are_asked_for_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        early, used = short(st, gone=[4, 5, 6])
        books = check_run(st, again=True)
        assert set(books["requested_more_than_once"]) == {file_id(1, at) for at in (4, 5, 6)}
        assert "does not become complete" in early
        assert "3 missing" in used
        assert "Ga0500001_4.gff" in st.notices("alarm")[1]["data"]["text"]


def test_files_that_a_manifest_never_lists_are_used_where_they_lie(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        _, used = short(st)
        check_run(st)
        assert used.endswith("(0 missing, 0 extra, 0 unusable, 3 not listed)")


def test_of_two_files_that_may_be_one_a_person_decides(tmp_path: Path, mongod_uri: str) -> None:
    """The one that is not listed lies in two places of the delivery, as large as it should be in both."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        place = deliver_short(st)
        (place / "copy").mkdir()
        shutil.copy(place / "IMG_Data" / "Ga0500001_2.gff", place / "copy")
        st.drive(hours=60, minutes=60)
        check_run(st, failed=[file_id(1, 2)])
        (bad,) = st.documents("files", state="failed")
        assert "does not list it, and it may be any of" in bad["reason"]
        assert "jgi-stager retry" in bad["reason"]


def test_what_cannot_be_seen_in_a_delivery_is_not_called_lost(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        place = deliver_short(st, gone=[2])
        (place / "closed").mkdir()
        look = st.ctx.globus.ls

        def closed(collection: str, path: str) -> Any:
            if path.endswith("/closed"):
                raise Rejected(Service.GLOBUS, "globus: it may not be read")
            return look(collection, path)

        with mock.patch.object(st.ctx.globus, "ls", closed):
            st.drive(hours=60, minutes=60)
        check_run(st, failed=[file_id(1, 2)])
        (bad,) = st.documents("files", state="failed")
        assert "not all of the delivery can be seen" in bad["reason"]


def test_a_kill_between_noting_the_missing_and_freeing_them_strands_nothing(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        deliver_short(st)
        missing = [file_id(1, at) for at in (3, 4)]
        st.store.restore_requests.update_many({}, {"$set": {"lost": missing}})
        st.drive(hours=12)
        check_run(st, again=True)


def test_rows_nobody_asked_for_are_named_and_ignored(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        stranger = '"x.txt","ffffffffffffffffffffffff","IMG_AP-1","soil1/IMG_Data","s","n","","5"\n'
        rewrite(st, lambda text: (text + stranger).encode())
        st.drive()
        check_run(st)
        assert "f" * 24 in st.notices("alarm")[0]["data"]["text"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("directory/path", "../../../../etc"),
        ("directory/path", "/etc"),
        ("directory/path", "soil1/./IMG_Data"),
        ("filename", "../evil"),
        ("filename", ".."),
        ("filename", "a/b"),
        ("filename", "a\nb"),
        ("filename", ""),
        ("file size", "-1"),
        ("file size", "1e3"),
        ("file size", "\u0661"),
        ("file_id", "6190000Xababababab000001"),
    ],
)
def test_a_hostile_row_fails_its_file_at_once_and_holds_up_no_other(
    tmp_path: Path, mongod_uri: str, field: str, value: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        first = f"Ga{500_001:07d}_1.gff"
        rewrite(st, edited(lambda row: row | ({field: value} if row["filename"] == first else {})))
        st.drive(hours=5)
        books = check_run(st, failed=[file_id(1, 1)])
        assert books["requested_more_than_once"] == {}
        (bad,) = st.documents("files", state="failed")
        assert "the manifest of request 652401 gives no place for it" in bad["reason"]
        assert re.search(r"line [23] \(", bad["reason"])
        assert "Cannot be used:" in st.notices("alarm")[0]["data"]["text"]
        assert not (tmp_path / "evil").exists()


def test_a_file_whose_row_jgi_corrects_goes_on_without_tape(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        whole: list[bytes] = []

        def spoil(text: str) -> bytes:
            whole.append(text.encode())
            return text.replace("soil1/IMG_Data", "../IMG_Data", 1).encode()

        rewrite(st, spoil)
        st.drive(hours=5)
        assert st.counts() == {"done": 2, "failed": 1}
        at_jgi(st).write_bytes(whole[0])
        admin.release(st.store, "soil", "me")
        st.drive(hours=12)
        assert st.out.books()["requested_more_than_once"] == {}
        assert st.counts() == {"done": 3}


@pytest.mark.parametrize("field", ["file size", "md5 checksum"])
def test_a_manifest_that_contradicts_jdp_fails_that_file_with_a_reason(
    tmp_path: Path, mongod_uri: str, field: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        first = f"Ga{500_001:07d}_1.gff"
        other = "999" if field == "file size" else "0" * 32
        rewrite(st, edited(lambda row: row | ({field: other} if row["filename"] == first else {})))
        st.drive()
        check_run(st, failed=[file_id(1, 1)])
        (bad,) = st.documents("files", state="failed")
        assert "the manifest says" in bad["reason"]


@pytest.mark.parametrize("planted", ["link", "pipe", "directory"])
def test_what_is_planted_in_the_place_of_a_manifest_is_not_followed(
    tmp_path: Path, mongod_uri: str, planted: str
) -> None:
    with stage(tmp_path, mongod_uri, sections={"jdp": {"manifest_patience_hours": 0}}) as st:
        st.insert()
        st.until("restored")
        st.run("fetch_manifests")
        st.out.clock.advance(600)
        st.run("poll_tasks")
        place = st.staged / "soil" / "globus_manifests" / manifest_name(NUMBER)
        content = place.read_bytes()
        place.unlink()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(content)
        if planted == "link":
            place.symlink_to(elsewhere)
        elif planted == "pipe":
            os.mkfifo(place)
        else:
            place.mkdir()
        st.run("fetch_manifests")
        assert st.counts() == {"restored": 3}
        assert "cannot be read" in st.documents("restore_requests")[0]["error"]
        (alert,) = st.notices("alarm")
        assert f"read {place} as a plain file" in alert["data"]["you"]


def test_two_manifests_in_one_task_do_not_hold_up_each_other(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"restore_batch_size": 2}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=sections) as st:
        st.insert()
        st.until("restored")
        while st.counts()["restored"] < 6:
            st.out.clock.advance(600)
            st.run("poll_requests")
        rewrite(st, lambda text: text.encode()[:-30], NUMBER + 1)
        st.wait(hours=6)
        assert st.counts() == {"done": 4, "restored": 2}
        manifests = [one for one in st.documents("globus_tasks") if one["kind"] == "manifests"]
        assert max(len(one["request_ids"]) for one in manifests) >= 2


def test_many_deliveries_at_once_keep_the_cap_of_active_tasks(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"restore_batch_size": 2}, "globus": {"max_active_tasks": 2, "max_files_per_task": 3}}
    slow: dict[str, Any] = {"transfer_bytes_per_second": 6e4, "transfer_file_overhead_bytes": 24_000_000}
    with stage(tmp_path, mongod_uri, small_catalogue(2, 6), sections=sections, max_active_tasks=50, **slow) as st:
        st.insert(biosample_ids=["Gb0258001"])
        st.until("transferring")
        # One of the two is for files. The other is needed while the first project's files are still on their way.
        st.insert("second", biosample_ids=["Gb0258002"])
        st.drive(hours=48, minutes=5)
        books = check_run(st)
        assert books["most_active_tasks"] == 2


def test_a_project_that_a_person_removed_stops_no_other(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2), sections={"jdp": {"restore_batch_size": 2}}) as st:
        gone = st.insert("gone", biosample_ids=["Gb0258001"])
        st.insert("stays", biosample_ids=["Gb0258002"])
        st.until("restored")
        st.store.database["projects"].delete_one({"_id": gone})
        st.wait(hours=5)
        assert st.project("stays")["state"] == "done"
        check_histories(st)


def test_a_delivery_under_another_short_name_is_found(tmp_path: Path, mongod_uri: str) -> None:
    first, second = (analysis_project(number, [small_file(number, 1)]) for number in (1, 2))
    catalogue = replace(small_catalogue(), analysis_projects=(first, replace(second, short_name=first.short_name)))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        st.drive()
        check_run(st)
        sources = {str(file["source_path"]).split("/")[3] for file in st.documents("files")}
        assert sources == {"soil1", "soil1_1"}
        assert {states_of(file)[-1] for file in st.documents("files")} == {"done"}


def test_manifests_that_are_too_many_for_one_task_come_with_several(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "MOST_BODY_BYTES", 1000)
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections={"jdp": {"restore_batch_size": 1}}) as st:
        st.insert()
        st.drive(48)
        brought = st.documents("globus_tasks", kind="manifests")
        assert sorted(number for task in brought for number in task["request_ids"]) == sorted(
            one["request_id"] for one in st.documents("restore_requests")
        )
        assert len(brought) >= 2
        assert st.counts() == {"done": 4}
