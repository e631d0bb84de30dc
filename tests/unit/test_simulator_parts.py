"""The parts of the simulator that need no HTTP: tape, windows, mishaps, faults, paths, delivery plans."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jgi_stager.simulator import SimulatorSettings, World, WorldFault, generate
from jgi_stager.simulator.delivery import HEADER, manifest_text, plan_delivery, spoilt_manifest
from jgi_stager.simulator.faults import FaultBoard, FaultRule
from jgi_stager.simulator.filesystem import Collections, Forbidden, UnknownCollection
from jgi_stager.simulator.mishaps import Mishaps
from jgi_stager.simulator.observations import busiest_window
from jgi_stager.simulator.settings import MANIFEST_FAULTS
from jgi_stager.simulator.tape import Pull, TapeRobot
from jgi_stager.simulator.tokens import TokenRegistry


def test_tape_reads_in_order_with_as_many_drives_as_there_are() -> None:
    robot = TapeRobot(drives=2, mount_seconds=10, bytes_per_second=100)
    for number in range(3):
        robot.add(Pull(1000, (f"file{number}",), 1000))
    ended = [(at, pull.ids[0]) for at, what, pull in robot.advance(2000) if what == "end"]
    assert ended == [(1020, "file0"), (1020, "file1"), (1040, "file2")]


def test_tape_takes_longer_under_load() -> None:
    def last(cartridges: int) -> float:
        robot = TapeRobot(4, 60, 1e6)
        for number in range(cartridges):
            robot.add(Pull(0.0, (str(number),), 10**8))
        return max(at for at, _, _ in robot.advance(1e9))

    assert last(40) == pytest.approx(10 * last(4))


def test_tape_gives_the_same_history_in_one_step_or_many() -> None:
    def history(steps: list[float]) -> list[tuple[float, str, tuple[str, ...]]]:
        robot = TapeRobot(2, 5, 10)
        for number in range(7):
            robot.add(Pull(0.0, (str(number),), 37 * number))
        return [(at, what, pull.ids) for now in steps for at, what, pull in robot.advance(now)]

    assert sorted(history([500])) == sorted(history([1, 7, 30, 31, 90, 500]))


requests = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), max_size=30)


@given(requests, st.integers(1, 100))
def test_the_busiest_window_is_the_worst_over_all_instants(found: list[tuple[int, int]], width: int) -> None:
    worst = max((sum(size for at, size in found if end - width < at <= end) for end in range(301)), default=0)
    assert busiest_window([(float(at), size) for at, size in found], width) == worst


def test_a_mishap_hits_as_often_as_it_may_and_ends_in_time() -> None:
    mishaps = Mishaps([WorldFault(kind="request_stuck", count=1, seconds=60, request_ids=[7])])
    assert mishaps.take("request_stuck", 0, ["a"], 6) is None
    hit = mishaps.take("request_stuck", 0, ["a"], 7)
    assert mishaps.take("request_stuck", 0, ["a"], 7) is None
    assert mishaps.holds(hit, 59)
    assert not mishaps.holds(hit, 60)
    mishaps.faults = []
    assert not mishaps.holds(hit, 1)


def test_fault_rules_pick_by_name_number_count_and_chance() -> None:
    board = FaultBoard(seed=1)
    board.set([FaultRule.model_validate({"match": "jdp.*", "kind": "status:429", "nth": 2})])
    assert board.rules[0].status == 429
    assert [board.pick(name) is not None for name in ("jdp.search", "gold.x", "jdp.y", "jdp.z")] == [
        False,
        False,
        True,
        False,
    ]
    board.set([FaultRule(match="*", kind="slow", probability=0.3, count=20)])
    hits = sum(board.pick("gold.exchange") is not None for _ in range(60))
    assert 8 < hits <= 20


@pytest.mark.parametrize("rule", [{"match": "x", "kind": "explode"}, {"match": "x", "kind": "slow", "n": 1}])
def test_fault_rules_nobody_knows_are_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FaultRule.model_validate(rule)


def test_tokens_end_and_are_told_apart() -> None:
    book = TokenRegistry("gold", 100)
    token = book.issue(1000)
    assert book.find(f"Bearer {token.value}", 1099) == token
    for header, now in ((f"Bearer {token.value}", 1100), (f"Bearer Bearer {token.value}", 1001), ("", 1001)):
        assert book.find(header, now) is None


@pytest.fixture
def collections(tmp_path: Path) -> Collections:
    return Collections("jgi", tmp_path / "jgi", "nersc", tmp_path / "nersc")


def test_collection_paths_become_local_ones(collections: Collections, tmp_path: Path) -> None:
    assert collections.resolve("jgi", "/73709//R1/") == str(tmp_path / "jgi/73709/R1")
    assert collections.resolve("nersc", f"{tmp_path}/nersc/p/x") == f"{tmp_path}/nersc/p/x"


def test_paths_that_leave_the_collection_are_refused(collections: Collections, tmp_path: Path) -> None:
    (tmp_path / "nersc/link").symlink_to(tmp_path)
    outside = (
        "/etc/passwd",
        f"{tmp_path}/nersc/../jgi/x",
        f"{tmp_path}/nersc/link/jgi/x",
        "relative",
        "/",
    )
    for path in outside:
        with pytest.raises(Forbidden):
            collections.resolve("nersc", path)
    with pytest.raises(Forbidden):
        collections.resolve("jgi", "/../nersc")
    with pytest.raises(UnknownCollection):
        collections.resolve("moon", "/x")


def test_short_names_that_clash_are_numbered_within_a_delivery() -> None:
    catalogue = generate(60, 1)
    plan = plan_delivery(catalogue, catalogue.files)
    short = {one.short_name for one in plan}
    assert len(short) == len({one.project.ap_gold_id for one in plan})
    assert any(name.endswith("_1") for name in short)
    assert len({(one.directory, one.name) for one in plan}) == len(plan)


def test_a_manifest_has_the_recorded_header_and_one_row_for_each_file() -> None:
    catalogue = generate(1, 1)
    plan = plan_delivery(catalogue, catalogue.files)
    text = manifest_text(plan)
    assert text.startswith('"filename","file_id","JGI Grouping ID","directory/path",')
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == HEADER
    assert {row["file_id"]: (int(row["file size"]), row["md5 checksum"]) for row in rows} == {
        file.id: (file.size, file.content.md5) for file in catalogue.files.values()
    }


def test_every_spoilt_manifest_differs_from_the_right_one() -> None:
    catalogue = generate(1, 1)
    plan = plan_delivery(catalogue, catalogue.files)
    right = manifest_text(plan).encode()
    spoilt = {kind: spoilt_manifest(kind, plan) for kind in MANIFEST_FAULTS}
    assert len({*spoilt.values(), right}) == len(MANIFEST_FAULTS) + 1
    assert not spoilt["manifest_torn"].endswith(b"\n")
    with pytest.raises(UnicodeDecodeError):
        spoilt["manifest_bad_encoding"].decode()


def test_switches_change_together_or_not_at_all(tmp_path: Path) -> None:
    settings = SimulatorSettings(root_dir=tmp_path / "c", nersc_prefix=tmp_path / "n")
    world = World(settings, generate(1, 1), datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(ValidationError):
        world.switch({"jdp_token_revoked": True, "no_such_switch": 1})
    assert world.switches.model_dump()["jdp_token_revoked"] is False
    world.switch({"world_faults": [{"kind": "task_failed"}]})
    world.switch({"jdp_token_revoked": True})
    assert world.switches.jdp_token_revoked
    assert world.mishaps.take("task_failed", 0) is not None


def test_time_in_the_world_never_runs_backwards(tmp_path: Path) -> None:
    settings = SimulatorSettings(root_dir=tmp_path / "c", nersc_prefix=tmp_path / "n")
    start = datetime(2026, 3, 1, tzinfo=UTC)
    world = World(settings, generate(1, 1), start)
    later = world.advance(datetime(2026, 3, 2, tzinfo=UTC))
    assert world.advance(start) == later
