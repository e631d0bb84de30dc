"""``jgi-stager verify``: what is missing, changed or surplus later, and how exactly that comes again."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from commands import Run, commands, parsed
from invariants import check_arrivals
from jgi_stager import admin, read_back, staged_tree
from jgi_stager.admin import NotAllowed
from jgi_stager.store import moves
from stage import Stage, file_id, small_catalogue, stage


@pytest.fixture
def staged(made: Stage) -> Stage:
    """Two analysis projects with three files each, all done."""
    made.insert()
    made.drive()
    return made


def flip(path: Path) -> None:
    """Change one bit, and let nothing else show it: as large as before, and the same time of change."""
    at = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def requested(st: Stage) -> dict[str, int]:
    """How often each id was asked for."""
    found: dict[str, int] = {}
    for request in st.documents("restore_requests"):
        for key in request["file_ids"]:
            found[key] = found.get(key, 0) + 1
    return found


def test_what_is_as_it_was_is_right_and_costs_no_reading(
    staged: Stage, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back, "read", None)
    monkeypatch.setattr(staged_tree, "read", None)
    found = run("verify", "soil")
    assert found.exit_code == 0, found.stderr
    assert found.stdout == "soil: 6 staged files looked at by size and time of change: 6 right.\n"


def test_each_difference_is_named_and_what_others_write_there_is_none(staged: Stage, run: Run) -> None:
    staged.path(1, 1).unlink()
    staged.path(1, 2).write_bytes(b"short")
    os.utime(staged.path(1, 3), ns=(1, 1))
    staged.path(2, 1).unlink()
    staged.path(2, 1).symlink_to(staged.path(2, 2))
    directory = staged.path(2, 1).parent
    for name in ("x.md5", "nmdc_minted_ids.json", "notes.txt"):
        (directory / name).write_text("x")
    (directory / "of_the_importer").mkdir()
    (directory / "of_the_importer" / "x").write_text("x")
    (directory / "same_name" / "6" / "deep").mkdir(parents=True)
    (directory / "same_name" / "6" / "left").write_text("x")
    found = run("verify", "soil", "--json")
    assert found.exit_code == 1
    said = json.loads(found.stdout)
    assert said["counts"] == {
        "right": 2, "missing": 1, "changed": 2, "unclear": 1, "unseen": 0, "surplus": 2
    }  # fmt: skip
    assert [one["path"] for one in said["missing"]] == [str(staged.path(1, 1))]
    assert {one["said"] for one in said["changed"]} == {"it has 5 bytes, not 1000", "it is no regular file"}
    assert [one["jdp_file_ids"] for one in said["unclear"]] == [[file_id(1, 3)]]
    assert [Path(one["path"]).name for one in said["surplus"]] == ["notes.txt", "left"]
    text = run("verify", "soil", "--ap", "Ga0500001").stdout
    assert f"missing   {staged.path(1, 1)}: it is not there" in text
    assert "3 staged files looked at" in text
    assert "jgi-stager verify soil --restage" in text
    assert staged.counts() == {"done": 6}, "nothing was asked for again"


def test_a_flipped_bit_is_seen_by_reading_alone_and_what_was_touched_is_right_again(
    staged: Stage, run: Run
) -> None:
    flip(staged.path(1, 1))
    os.utime(staged.path(1, 2), ns=(1, 1))
    assert run("verify", "soil").exit_code == 0
    found = run("verify", "soil", "--deep")
    assert found.exit_code == 1
    assert f"changed   {staged.path(1, 1)}: its md5 is " in found.stdout
    assert "6 staged files looked at by size and md5: 5 right, 1 changed." in found.stdout
    # What was read is remembered, with its new time of change.
    said = parsed(run("verify", "soil", "--json"))
    assert said["counts"]["unclear"] == 0
    (touched,) = staged.documents("files", jdp_file_id=file_id(1, 2))
    assert touched["verified"]["mtime_ns"] == 1


def test_fifty_of_three_thousand_are_deleted_or_flipped_and_exactly_these_come_again(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, sections = small_catalogue(30, 100, size=64), {"mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, catalogue, sections=sections) as st:
        run = commands(st, tmp_path, monkeypatch)
        st.insert()
        st.drive(hours=200, minutes=60)
        assert st.counts() == {"done": 3000}
        st.out.clock.advance(40 * 86_400)  # what was delivered is gone at JGI
        places = [(project, number) for project in range(1, 31) for number in range(1, 101)]
        chosen = random.Random(7).sample(places, 50)
        published = tmp_path / "published"
        published.mkdir()
        taken = {}
        for count, place in enumerate(chosen):
            path = st.path(*place)
            if count % 2:
                path.unlink()
                continue
            flip(path)
            if count % 4 == 0:
                os.link(path, published / path.name)
                taken[published / path.name] = (path.stat().st_ino, path.read_bytes())
        before = {place: st.path(*place).stat().st_mtime_ns for place in places if place not in chosen}
        found = run("verify", "soil", "--deep", "--restage", "--yes")
        assert found.exit_code == 1, found.stderr
        assert "2,950 right, 25 missing, 25 changed." in found.stdout
        assert "50 files to come again: up to 3.20 kB from tape" in found.stdout
        assert "50 files of soil start again." in found.stdout
        assert st.counts() == {"done": 2950, "pending": 50}
        st.drive(hours=200, minutes=60)
        assert st.project()["state"] == "done"
        again = {key for key, times in requested(st).items() if times == 2}
        assert again == {file_id(*place) for place in chosen}
        assert set(requested(st).values()) == {1, 2}
        check_arrivals(st)
        assert {place: st.path(*place).stat().st_mtime_ns for place in before} == before
        assert {path: (path.stat().st_ino, path.read_bytes()) for path in taken} == taken
        assert run("verify", "soil", "--deep").exit_code == 0


def test_what_jgi_still_has_delivered_comes_again_without_tape(staged: Stage, run: Run) -> None:
    staged.path(1, 1).unlink()
    assert run("verify", "soil", "--restage", "--yes").exit_code == 1
    (file,) = staged.documents("files", state="pending")
    assert (file["setbacks"], file["verified"]) == (0, None)
    assert file["history"][-1]["why"].startswith("asked for again by ")
    assert file["history"][-1]["why"].endswith(": missing or changed")
    staged.drive()
    assert staged.counts() == {"done": 6}
    assert set(requested(staged).values()) == {1}
    check_arrivals(staged)
    assert [entry["to"] for entry in staged.project()["history"]][-3:] == ["done", "active", "done"]
    assert len(staged.notices("done")) == 2, "people hear of the second end, too"


def test_a_person_is_asked_first_and_may_say_no(staged: Stage, run: Run) -> None:
    staged.path(1, 1).unlink()
    assert run("verify", "soil", "--restage", text="n\n").exit_code == 1
    assert staged.counts() == {"done": 6}
    assert run("verify", "soil", "--restage", text="y\n").exit_code == 1
    assert staged.counts() == {"done": 5, "pending": 1}


def test_killed_between_two_writes_the_rest_comes_with_the_next_command(
    staged: Stage, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a project whose files move again goes on whether or not the command came to its end."""
    for number in (1, 2, 3):
        staged.path(1, number).unlink()
    monkeypatch.setattr(admin, "MOVED_TOGETHER", 1)
    real, calls = moves.restage, 0

    def dies(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return int(real(*arguments))

    monkeypatch.setattr(moves, "restage", dies)
    run("verify", "soil", "--restage", "--yes")
    assert staged.counts() == {"done": 5, "pending": 1}
    staged.run("finish")
    assert staged.project()["state"] == "active"
    monkeypatch.setattr(moves, "restage", real)
    assert run("verify", "soil", "--restage", "--yes").exit_code == 1
    assert staged.counts() == {"done": 3, "pending": 3}
    staged.drive()
    check_arrivals(staged)


def test_a_cancelled_project_is_resumed_first(staged: Stage, run: Run) -> None:
    staged.path(1, 1).unlink()
    staged.store.database["projects"].update_one({}, {"$set": {"state": "cancelled"}})
    found = run("verify", "soil", "--restage", "--yes")
    assert found.exit_code == 1
    assert "soil is cancelled; resume it first" in found.stderr
    with pytest.raises(NotAllowed):
        admin.restage(staged.store, "soil", "a person", [], "")


def test_where_the_place_cannot_be_seen_globus_lists_it_and_nothing_is_read(staged: Stage, run: Run) -> None:
    """The directories are there for Globus alone."""
    elsewhere = str(staged.staged / "not" / "here")
    staged.store.database["projects"].update_one({}, {"$set": {"analysis_projects_dir": elsewhere}})
    staged.path(1, 1).unlink()
    staged.path(1, 2).write_bytes(b"short")
    os.utime(staged.path(1, 3), ns=(1, 1))
    found = run("verify", "soil")
    assert found.exit_code == 1, found.stderr
    assert "looked at by size, as Globus lists them: 4 right, 1 missing, 1 changed." in found.stdout
    deep = run("verify", "soil", "--deep")
    assert deep.exit_code == 1
    assert "cannot be seen from here, so no file can be read" in deep.stderr


def test_a_whole_tree_that_was_purged_is_missing(staged: Stage, run: Run) -> None:
    for project in (1, 2):
        for path in staged.path(project, 1).parent.iterdir():
            path.unlink()
        staged.path(project, 1).parent.rmdir()
    said = json.loads(run("verify", "soil", "--json").stdout)
    assert (said["counts"]["missing"], said["files"]) == (6, 6)


def test_what_is_not_done_is_neither_missing_nor_surplus(made: Stage, run: Run) -> None:
    made.insert()
    made.until("transferring")
    found = run("verify", "soil")
    assert found.exit_code == 0
    assert "0 staged files" in found.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "there is no project called nobody"),
        (["soil", "--ap", "Ga7"], "soil has no files of an analysis project Ga7"),
    ],
)
def test_what_cannot_be_looked_at_is_said_with_its_cure(
    staged: Stage, run: Run, words: list[str], said: str
) -> None:
    found = run("verify", *words)
    assert found.exit_code == 1
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_the_md5_of_a_file_is_what_was_staged(staged: Stage) -> None:
    for file in staged.documents("files"):
        content = Path(file["destination_path"]).read_bytes()
        assert file["verified"]["md5"] == hashlib.md5(content).hexdigest()
