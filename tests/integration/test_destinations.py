"""What lies at the destination: names that are there twice, and files that somebody has linked to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invariants import check_arrivals, check_run
from jgi_stager import put_aside
from jgi_stager.clients.globus import Globus
from jgi_stager.simulator import Catalogue
from jgi_stager.steps import transfers
from killer import Killed
from stage import PROPOSAL, Stage, analysis_project, file_id, small_file, stage


def twins(count: int = 3) -> Catalogue:
    """One analysis project whose files are all called alike, and differ."""
    files = [small_file(1, number, 1000 + number, "reads.gff") for number in range(1, count + 1)]
    return Catalogue((analysis_project(1, files),), PROPOSAL)


def test_of_files_with_one_name_the_first_alone_lies_in_the_directory_of_the_analysis_project(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, twins()) as st:
        st.insert()
        st.drive()
        check_run(st)
        directory = st.staged / "soil" / "analysis_files" / "Ga0500001"
        assert [path.name for path in directory.iterdir() if path.is_file()] == ["reads.gff"]
        found = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
        assert [str(path) for path in found] == [
            "reads.gff",
            f"same_name/{file_id(1, 2)}/reads.gff",
            f"same_name/{file_id(1, 3)}/reads.gff",
        ]
        assert "same_name" in str(st.notices("accepted")[0]["data"]["warnings"])


def as_an_older_release_called_them(st: Stage) -> None:
    """Let the second file have the name that the releases before gave it, in the database and on the disk."""
    (second,) = st.documents("files", jdp_file_id=file_id(1, 2))
    old = st.staged / "soil" / "analysis_files" / "Ga0500001" / f"{file_id(1, 2)}.reads.gff"
    if Path(second["destination_path"]).exists():
        Path(second["destination_path"]).rename(old)
    st.store.database["files"].update_one({"_id": second["_id"]}, {"$set": {"destination_path": str(old)}})


def test_a_name_of_an_older_release_stays_whatever_is_listed_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, twins(2)) as st:
        st.insert()
        st.until("pending")
        as_an_older_release_called_them(st)
        kept = [one["destination_path"] for one in st.documents("files")]
        # A person lets them start again, and JDP lists them once more.
        st.store.database["files"].update_many({}, {"$set": {"to_list_again": True}})
        st.drive()
        check_run(st)
        assert [one["destination_path"] for one in st.documents("files")] == kept
        assert kept[1].endswith(f"/Ga0500001/{file_id(1, 2)}.reads.gff")


def test_what_arrived_under_a_name_of_an_older_release_is_taken_over_with_it(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, twins()) as st:
        st.insert()
        st.drive()
        as_an_older_release_called_them(st)
        kept = [one["destination_path"] for one in st.documents("files")]
        st.store.database["projects"].delete_many({})
        st.insert()
        st.drive()
        check_arrivals(st)
        assert [one["destination_path"] for one in st.documents("files", project_name="soil")] == kept
        assert st.out.books()["requested_more_than_once"] == {}


def test_a_file_never_gets_the_place_of_another_that_is_entered(tmp_path: Path, mongod_uri: str) -> None:
    """The first listing was cut off when a part of it was entered, and JDP then lists an older file, too."""
    with stage(tmp_path, mongod_uri, twins(2)) as st:
        st.insert()
        st.run("accept", "discover")
        books = st.store.database
        books["files"].delete_one({"jdp_file_id": file_id(1, 1)})
        place = str(st.staged / "soil" / "analysis_files" / "Ga0500001" / "reads.gff")
        books["files"].update_one({"jdp_file_id": file_id(1, 2)}, {"$set": {"destination_path": place}})
        books["projects"].update_one({}, {"$set": {"state": "discovering"}})
        books["discoveries"].update_many({}, {"$unset": {"listed": ""}})
        st.drive()
        check_arrivals(st)
        first, second = (st.documents("files", jdp_file_id=file_id(1, number))[0] for number in (1, 2))
        assert second["destination_path"] == place
        assert first["destination_path"].endswith(f"/same_name/{file_id(1, 1)}/reads.gff")


# --- links --------------------------------------------------------------------------------------------------


def importer_takes(tmp_path: Path, *places: Path) -> list[Path]:
    """Hard-link what lies there, as the importer does."""
    published = tmp_path / "published"
    published.mkdir(exist_ok=True)
    found = []
    for number, place in enumerate(places):
        found.append(published / f"{number}_{place.name}")
        os.link(place, found[-1])
    return found


def until_spoilt_and_taken(st: Stage, tmp_path: Path) -> list[tuple[Path, int, bytes]]:
    """Two of the files arrive spoilt, and are taken; they wait to be transferred again."""
    st.insert()
    st.until("transferring")
    for _ in range(20):
        st.out.clock.advance(600)
        if st.run("poll_tasks"):
            break
    places = [st.path(1, 1), st.path(1, 2)]
    for place in places:
        place.write_bytes(b"x" * 1000)
    taken = importer_takes(tmp_path, *places)
    st.run("verify")
    assert st.counts() == {"manifest_ready": 2, "done": 1}
    return [(path, path.stat().st_ino, path.read_bytes()) for path in taken]


def assert_untouched(taken: list[tuple[Path, int, bytes]]) -> None:
    """What was published has its inode and its content."""
    for path, inode, content in taken:
        assert (path.stat().st_ino, path.read_bytes()) == (inode, content)


def aside(st: Stage) -> Path:
    """Where the files of the analysis project are put aside."""
    return st.staged / "soil" / "put_aside" / "Ga0500001"


def told(st: Stage) -> list[str]:
    """What people were told of files that were put aside."""
    return [one["data"]["text"] for one in st.notices("alarm") if "put aside" in one["data"]["subject"]]


def test_a_hard_link_is_never_written_through_and_what_it_was_is_put_aside(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        taken = until_spoilt_and_taken(st, tmp_path)
        st.drive()
        check_run(st, again=True)
        assert_untouched(taken)
        assert [path.stat().st_ino for path in sorted(aside(st).iterdir())] == [inode for _, inode, _ in taken]
        assert not {st.path(1, 1).stat().st_ino, st.path(1, 2).stat().st_ino} & {inode for _, inode, _ in taken}
        (text,) = told(st)
        assert str(st.path(1, 2)) in text
        assert str(aside(st)) in text
        assert sorted(path.name for path in st.path(1, 1).parent.iterdir()) == [
            f"Ga0500001_{number}.gff" for number in (1, 2, 3)
        ]


def killed(*_: Any, **__: Any) -> Any:
    """End it."""
    raise Killed


@pytest.mark.parametrize("moment", ["before telling", "before the first", "after the first", "before the POST"])
def test_killed_anywhere_on_the_way_no_link_is_written_through_and_people_know(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        taken = until_spoilt_and_taken(st, tmp_path)
        real = put_aside.put_aside

        def once(path: str, at: Any) -> str:
            to = real(path, at)
            monkeypatch.setattr(put_aside, "put_aside", killed)
            return to

        kills: dict[str, tuple[Any, str, Callable[..., Any]]] = {
            "before telling": (transfers, "_alert_links", killed),
            "before the first": (put_aside, "put_aside", killed),
            "after the first": (put_aside, "put_aside", once),
            "before the POST": (Globus, "submit", killed),
        }
        monkeypatch.setattr(*kills[moment])
        with pytest.raises(Killed):
            st.wait(hours=4, minutes=5)
        monkeypatch.undo()
        st.restart()
        st.drive()
        check_run(st, again=True)
        assert_untouched(taken)
        assert len(list(aside(st).iterdir())) == 2
        assert all(any(str(st.path(1, number)) in text for text in told(st)) for number in (1, 2))


def test_what_cannot_be_put_aside_is_not_written_and_fails_alone(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def fails(source: str, *rest: Any, **more: Any) -> None:
        if source == "Ga0500001_1.gff":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, *rest, **more)

    with stage(tmp_path, mongod_uri) as st:
        taken = until_spoilt_and_taken(st, tmp_path)
        monkeypatch.setattr(os, "replace", fails)
        st.drive()
        assert_untouched(taken)
        assert st.counts() == {"done": 2, "failed": 1}
        (failed,) = st.documents("files", state="failed")
        assert "cannot be put aside: Invalid cross-device link. Move it away by hand" in failed["reason"]
        assert st.path(1, 1).stat().st_ino == taken[0][1]


def test_a_file_system_that_fails_for_a_moment_delays_the_transfer(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with stage(tmp_path, mongod_uri) as st:
        taken = until_spoilt_and_taken(st, tmp_path)
        monkeypatch.setattr(put_aside, "with_other_names", fails)
        st.wait(hours=1)
        monkeypatch.undo()
        assert st.counts() == {"manifest_ready": 2, "done": 1}
        st.drive()
        check_run(st, again=True)
        assert_untouched(taken)
