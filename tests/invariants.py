"""What must hold whatever happened (design, section 3), read from what the simulator saw and the database."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from campaign import judge
from jgi_stager.lifecycle import LIFECYCLES, State
from jgi_stager.store import Document
from stage import Stage


def check_run(
    stage: Stage, *, projects: Collection[str] = ("soil",), failed: Collection[str] = (), again: bool = False
) -> dict[str, Any]:
    """Everything that holds at the end of a run in which each file but those in ``failed`` arrived.

    ``again``: files were asked for more than once with good reason. Returns what the simulator saw.
    """
    books = stage.out.books(full=True)
    check_limits(stage, books)
    check_histories(stage)
    check_arrivals(stage, failed)
    check_tasks(stage, books, again=again)
    if not again:
        assert books["requested_more_than_once"] == {}
    for name in projects:
        check_notices(stage, name, held=bool(failed))
    return books


def check_limits(stage: Stage, books: dict[str, Any]) -> None:
    """The quota in every window, and the ids of a request, as JDP saw them."""
    assert books["breaches"] == []
    assert books["max_window_bytes"] <= stage.settings.jdp.max_restore_bytes
    assert books["max_request_ids"] <= stage.settings.jdp.restore_batch_size


def check_histories(stage: Stage) -> None:
    """Every move of every document is in its table, and the last one led to the state it is in."""
    for collection in LIFECYCLES:
        assert list(judge.histories(collection, stage.documents(collection))) == []


def check_arrivals(stage: Stage, failed: Collection[str] = ()) -> None:
    """Each file that is done lies at its place with the size and md5 of the catalogue; ``failed`` ids failed."""
    wanted = stage.out.sim.world.catalogue.files
    for file in stage.documents("files"):
        if file["jdp_file_id"] in failed:
            assert file["state"] == State.FAILED, file["history"]
            assert file["reason"]
            continue
        assert file["state"] == State.DONE, file["history"]
        path = Path(file["destination_path"])
        project = file["project_name"].partition(" (removed ")[0]
        assert path.is_relative_to(stage.staged / project / "analysis_files")
        content = wanted[file["jdp_file_id"]].content
        assert path.stat().st_size == content.size
        assert hashlib.md5(path.read_bytes()).hexdigest() == content.md5
        assert "verified" in file["history"][-1]["why"]


def check_tasks(stage: Stage, books: dict[str, Any], *, again: bool = False) -> None:
    """The cap was kept, every task at Globus is in the database once, and no file was written twice."""
    assert books["most_active_tasks"] <= stage.settings.globus.max_active_tasks
    known = [one["task_id"] for one in stage.documents("globus_tasks") if one["task_id"]]
    assert sorted(known) == sorted(one["task_id"] for one in books["tasks"])
    if not again:
        twice = [path for path in books["written_more_than_once"] if "/analysis_files/" in path]
        assert twice == []


def check_notices(stage: Stage, name: str, *, held: bool = False) -> None:
    """People were told once that the project was accepted, and once how it ended."""
    kinds = [one["kind"] for one in stage.documents("notices", project=name)]
    assert kinds.count("accepted") == 1
    assert kinds.count("done") == (0 if held else 1)
    assert kinds.count("held") == (1 if held else 0)


def states_of(file: Document) -> list[str]:
    """The states a file went through."""
    return [entry["to"] for entry in file["history"]]
