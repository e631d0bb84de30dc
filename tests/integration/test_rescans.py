"""A project is looked for again at GOLD and JDP: what is new is staged, what is known is never touched."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import Run, parsed
from invariants import check_arrivals, check_histories
from jgi_stager import admin
from jgi_stager.models import Project
from jgi_stager.simulator.catalogue import CatalogueFile
from jgi_stager.store import discoveries, projects
from killer import Killed, Killer
from stage import Stage, analysis_project, file_id, small_catalogue, small_file, stage


def show(st: Stage, *listed: Sequence[CatalogueFile]) -> None:
    """Let GOLD and JDP show analysis projects 1, 2, ... with these files from now on, and no empty one."""
    world, known = st.out.sim.world, st.out.sim.world.catalogue
    shown = [analysis_project(number, files) for number, files in enumerate(listed, 1) if files]
    world.catalogue = world.archive.catalogue = replace(known, analysis_projects=tuple(shown))


def some(project: int, *numbers: int, **changes: Any) -> list[CatalogueFile]:
    """Files of an analysis project."""
    return [small_file(project, number, **changes) for number in numbers]


def rescan(st: Stage) -> None:
    """A person asks for it, and the daemon gets as far as it can."""
    admin.rescan_project(st.store, "soil", "root")
    st.drive(72)


def states(st: Stage) -> dict[str, Any]:
    """What does not depend on when things happened."""
    files = [
        (one["jdp_file_id"], one["destination_path"], one["source_file_id"], one["state"])
        for one in st.documents("files")
    ]
    project = st.project()
    return {
        "files": sorted(files),
        "state": project["state"],
        "number": project["discovery"]["number"],
        "rescan": project["rescan"],
        "told": [one["data"] for one in st.notices("rescanned")],
    }


def moves_to(st: Stage, state: str) -> list[str]:
    """Why the project came to a state, each time."""
    return [one["why"] for one in st.project()["history"] if one["to"] == state != one["from"]]


def test_a_project_that_is_done_grows_and_is_done_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.insert()
        st.drive()
        before = {one["jdp_file_id"]: one for one in st.documents("files")}
        show(st, some(1, 1, 2, 3), some(2, 1, 2), some(3, 1, 2))
        rescan(st)
        check_arrivals(st)
        check_histories(st)
        assert len(st.documents("files")) == 7
        assert {one["jdp_file_id"]: one for one in st.documents("files") if one["jdp_file_id"] in before} == before
        (told,) = [one["data"] for one in st.notices("rescanned")]
        assert (told["added"], told["added_bytes"], told["new_names"]) == (3, 3000, "Ga0500003")
        assert (told["changed"], told["gone"], told["superseded"], told["by"]) == (0, 0, 0, "root")
        assert len(st.notices("done")) == 2
        assert len(st.notices("accepted")) == 1
        assert moves_to(st, "active") == ["every file is listed", "JDP lists new files of it"]
        assert st.project()["rescan"] is None
        assert st.out.books()["requested_more_than_once"] == {}


def test_what_changed_or_went_is_told_once_and_not_touched(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 3)) as st:
        st.insert()
        st.drive()
        before = st.documents("files")
        show(st, [small_file(1, 1, 2000), *some(1, 2)], [], some(3, 1, 2, 3))
        rescan(st)
        assert st.documents("files") == before
        assert st.project()["state"] == "done"
        assert len(st.notices("done")) == 1
        (told,) = [one["data"] for one in st.notices("rescanned")]
        (changed,), (gone,) = told["changed_files"], told["gone_files"]
        assert changed == f"Ga0500001_1.gff ({file_id(1, 1)}, Ga0500001): 1.00 kB, now 2.00 kB"
        assert gone == f"Ga0500001_3.gff ({file_id(1, 3)}, Ga0500001)"
        assert (told["added"], told["superseded_names"]) == (0, "Ga0500002")
        rescan(st)
        assert len(st.notices("rescanned")) == 1, "what was told is not told again"
        assert st.project()["history"][-1]["why"] == "rescanned: nothing new"
        assert st.documents("files") == before


def test_a_new_file_with_the_name_of_one_that_is_staged_goes_beside_it(tmp_path: Path, mongod_uri: str) -> None:
    """JGI puts another file in the place of one: the new id has the old name, and the old id is not listed."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        st.insert()
        st.drive()
        old = st.path(1, 1)
        content = old.read_bytes()
        again = small_file(1, 9, 3000, name="Ga0500001_1.gff")
        show(st, [again, *some(1, 2)])
        rescan(st)
        check_arrivals_of(st, file_id(1, 2), file_id(1, 9))
        (new,) = st.documents("files", jdp_file_id=file_id(1, 9))
        assert new["destination_path"] != str(old)
        assert old.read_bytes() == content
        assert Path(new["destination_path"]).stat().st_size == 3000


def check_arrivals_of(st: Stage, *ids: str) -> None:
    """These files lie at their places."""
    for one in st.documents("files", jdp_file_id={"$in": list(ids)}):
        assert one["state"] == "done"
        assert Path(one["destination_path"]).is_file()


def test_files_that_are_on_their_way_go_on_while_the_project_is_looked_for(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.insert()
        st.until("restore_requested")
        show(st, some(1, 1, 2), some(2, 1, 2), some(3, 1))
        admin.rescan_project(st.store, "soil", "root")
        st.faults({"match": "gold.analysis_projects", "kind": "status:503"})
        st.wait(24)
        assert st.counts() == {"done": 4}, "GOLD is out, and nothing waits for it"
        assert st.project()["state"] == "done"
        assert "503" in st.project()["rescan"]["error"]
        st.faults()
        st.drive(48)
        assert st.counts() == {"done": 5}
        assert len(st.notices("done")) == 2
        assert len(st.notices("rescanned")) == 1


@pytest.mark.parametrize("killed_every", [1, 2, 3])
def test_killed_between_any_two_writes_a_rescan_ends_the_same(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, killed_every: int
) -> None:
    def play(directory: str, writes: int) -> dict[str, Any]:
        with stage(tmp_path / directory, mongod_uri, small_catalogue(2, 2)) as st:
            st.insert()
            st.drive()
            show(st, [*some(1, 1), small_file(1, 2, 3000), *some(1, 3)], [], some(3, 1, 2))
            admin.rescan_project(st.store, "soil", "root")
            for _ in range(200):
                killer.left = writes
                with suppress(Killed):
                    st.run("discover")
                    break
                killer.left = 10**6
                st.restart()
                writes += 1  # or it would never get past an answer of two writes
            killer.left = 10**6
            st.drive(72)
            found = states(st)
            found["told"] = [
                {name: value for name, value in one.items() if name != "destination"} for one in found["told"]
            ]
            found["files"] = [(a, Path(b).name, c, d) for a, b, c, d in found["files"]]
            return found

    killer = Killer(monkeypatch)
    whole = play("whole", 10**6)
    assert (whole["number"], len(whole["told"])) == (1, 1)
    assert play(f"killed{killed_every}", killed_every) == whole


def test_two_who_ask_at_once_get_one_rescan(made: Stage) -> None:
    made.insert()
    made.drive()
    seen = projects.get(made.store, "soil")
    assert isinstance(seen, Project)
    assert projects.begin_rescan(made.store, seen, "alice", "w")
    assert not projects.begin_rescan(made.store, seen, "bob", "w")
    assert "since" in admin.rescan_project(made.store, "soil", "bob").said
    made.drive(24)
    assert made.project()["discovery"]["number"] == 1
    assert not projects.begin_rescan(made.store, seen, "carol", "w"), "she looked before the last one"
    assert made.notices("rescanned") == []
    assert made.calls()["jdp.search"] >= 4


def test_what_an_earlier_discovery_found_is_left_to_the_server(made: Stage) -> None:
    made.insert()
    made.drive()
    for number in (1, 2):
        rescan(made)
        kept = made.documents("discoveries", gone_at=None)
        assert {one["discovery"].rpartition(":")[2] for one in kept} == {str(number)}
        assert len([one for one in kept if "ap_gold_id" in one]) == 2
    seen = projects.get(made.store, "soil")
    assert isinstance(seen, Project)
    assert discoveries.retire(made.store, seen) == 0


def test_a_project_is_rescanned_by_itself_when_its_record_says_so(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert(rescan_days=7)
        st.drive()
        st.wait(5 * 24, minutes=240)
        assert "rescanned_at" not in st.project() or st.project()["rescanned_at"] is None
        show(st, some(1, 1, 2))
        st.wait(3 * 24, minutes=120)
        assert st.counts() == {"done": 2}
        assert st.notices("rescanned")[0]["data"]["by"] == "rescan_days"
        st.wait(8 * 24, minutes=240)
        assert st.project()["discovery"]["number"] == 2
        assert len(st.notices("rescanned")) == 1


def test_gold_that_shows_nothing_now_changes_nothing(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert()
        st.drive()
        before = st.documents("files")
        world = st.out.sim.world
        world.catalogue = replace(world.catalogue, proposal_id=1)
        rescan(st)
        assert st.project()["state"] == "done"
        assert (st.project()["rescan"], st.project()["discovery"].get("number", 0)) == (None, 0)
        assert len(st.alarms("found no analysis project")) == 1
        assert st.documents("files") == before


def test_a_project_that_was_never_listed_or_is_paused_is_not_rescanned(made: Stage) -> None:
    made.insert()
    made.run("accept")
    with pytest.raises(admin.NotAllowed, match="is discovering"):
        admin.rescan_project(made.store, "soil", "root")
    made.drive()
    admin.rescan_project(made.store, "soil", "root")


def test_a_rescan_waits_while_its_project_is_paused(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert()
        st.until("restore_requested")
        show(st, some(1, 1, 2))
        admin.rescan_project(st.store, "soil", "root")
        admin.pause_project(st.store, "soil", "root")
        searches = st.calls()["jdp.search"]
        st.run("discover")
        assert st.calls()["jdp.search"] == searches
        admin.resume_project(st.store, "soil", "root")
        st.drive(48)
        assert st.counts() == {"done": 2}


# --- the command ---------------------------------------------------------------------------------------------


def test_the_command_asks_for_it_and_a_dry_run_only_looks(made: Stage, run: Run) -> None:
    assert run("project", "rescan", "soil").exit_code == 1
    made.insert()
    made.drive()
    show(made, [small_file(1, 1, 2000), *some(1, 2, 4)], [], some(3, 1))
    dry = parsed(run("project", "rescan", "soil", "--dry-run", "--json"))
    assert (dry["added_files"], dry["added_bytes"]) == (2, 2000)
    assert (dry["new"], dry["superseded"], len(dry["changed"]), len(dry["gone"])) == (
        ["Ga0500003"],
        ["Ga0500002"],
        1,
        1,
    )
    assert "Ga0500003" in run("project", "rescan", "soil", "--dry-run").stdout
    assert made.project().get("rescan") is None
    assert parsed(run("project", "rescan", "soil", "--json"))["changed"] == "rescan"
    assert "GOLD is asked" in run("explain", "soil").stdout
    made.drive(48)
    told = made.notices("rescanned")[0]["data"]
    assert (told["added"], told["new"], told["superseded"], told["changed"], told["gone"]) == (2, 1, 1, 1, 1)
    plan = parsed(run("plan", "soil", "--json"))
    assert (plan["left_files"], plan["left_bytes"]) == (0, 0)
    assert "the last one ended at" in run("explain", "soil").stdout
