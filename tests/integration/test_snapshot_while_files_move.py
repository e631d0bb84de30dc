"""The collections are read one after the other: the answers hold although files move in between."""

from __future__ import annotations

from typing import Any
from unittest import mock

from jgi_stager.reporting import eta, snapshot
from jgi_stager.store import projects
from stage import Stage

LARGE = 40_000_000_000


def test_files_that_are_asked_for_between_two_reads_are_estimated_once(made: Stage) -> None:
    """Measured: hours and all memory, for the demands had files that the counts, read later, had not."""
    made.insert()
    made.run("accept", "discover")
    made.store.files.update_many({}, {"$set": {"jdp_file_size": LARGE}})
    made.store.database["tallies"].drop()  # what is edited by hand is counted anew within a day
    total = LARGE * len(made.documents("files"))
    assert made.counts()["pending"] == total // LARGE
    books = snapshot.SnapshotSource(made.store, made.settings, made.clock)
    read = projects.all_records

    def after_a_request(*args: Any) -> Any:
        made.run("request_restores")
        return read(*args)

    with mock.patch.object(projects, "all_records", after_a_request):
        torn = snapshot.take_snapshot(books)
    shown = torn.project("soil")
    assert shown is not None
    assert shown.of("pending").files == 0
    assert torn.waiting.demands, "the case is not met: the demands were read after the files moved"
    with mock.patch.object(eta, "_ends", wraps=eta._ends) as played:
        found = eta.estimate(torn)
    assert sum(part.bytes for part in played.call_args.args[0]) == total
    settled = eta.estimate(snapshot.take_snapshot(books))
    assert abs((found["soil"].at - settled["soil"].at).total_seconds()) < 3600


def test_whether_files_are_read_back_is_known_to_the_estimate(made: Stage) -> None:
    books = snapshot.SnapshotSource(made.store, made.settings, made.clock)
    assert snapshot.take_snapshot(books).reads_back
    made.restart(staging={"md5_max_bytes": 0})
    assert not snapshot.take_snapshot(snapshot.SnapshotSource(made.store, made.settings, made.clock)).reads_back
