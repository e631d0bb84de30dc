"""Each step, and each question, on databases of several sizes: flat, because what is open stays the same."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.databases import begin, filled, project_names
from benchmarks.figures import Figure, Meter, of_cost, resident
from commands import toml
from jgi_stager.cli.main import app
from jgi_stager.metrics import REGISTRY
from jgi_stager.service.metrics_snapshot import MetricsReader
from jgi_stager.steps import STEPS
from jgi_stager.web.collector import StoreCollector
from jgi_stager.web.health import Monitor, status_line_now
from stage import Stage

STEP_MS = 50.0
QUESTION_MS = 300.0
RESIDENT_MB = 200.0
IDLE_PERCENT = 1.0
SURVEY_EVERY_SECONDS = 10.0
MILLION = 10**6


def run(sizes: Sequence[int]) -> Iterator[Figure]:
    """The figures of every size."""
    for size in sizes:
        with filled(size) as made, tempfile.TemporaryDirectory(prefix="jgi-bench-") as home:
            yield from _ticks(made, size)
            with commands(made, Path(home)):
                yield from _questions(made, size)


def _ticks(made: Stage, size: int) -> Iterator[Figure]:
    meter = Meter.of(made.store.database)
    begin(made)
    per_second = 0.0
    for step in STEPS:
        spent = meter.repeated(partial(step.run, made.ctx))
        period = getattr(made.settings.schedule, f"{step.name}_seconds")
        per_second += spent.mongod / period
        yield of_cost(f"step {step.name} at {size:,}", spent, STEP_MS)
    monitor = Monitor(made.ctx, dict, MetricsReader(made.store, made.settings))
    survey = meter.repeated(partial(_fresh, monitor, partial(status_line_now, monitor)))
    per_second += survey.mongod / SURVEY_EVERY_SECONDS
    yield of_cost(f"health survey at {size:,}", survey, STEP_MS)
    registry = CollectorRegistry()
    registry.register(StoreCollector(monitor))
    pages: dict[str, Callable[[], object]] = {
        "/metrics": lambda: generate_latest(REGISTRY) + generate_latest(registry),
        "/healthz": monitor.health,
    }
    for name, page in pages.items():
        yield of_cost(f"{name} at {size:,}", meter.repeated(partial(_fresh, monitor, page)), QUESTION_MS)
    yield Figure(f"idle mongod at {size:,}", 100 * per_second, "% of a core", IDLE_PERCENT)
    yield Figure(f"resident at {size:,}", resident() / MILLION, "MB", RESIDENT_MB)


def _fresh(monitor: Monitor, page: Callable[[], object]) -> object:
    """Ask as if the last look were long ago."""
    monitor._taken_at = float("-inf")
    return page()


@contextmanager
def commands(made: Stage, home: Path) -> Iterator[None]:
    """Let commands use the settings of the stage."""
    path = home / "jgi-stager.toml"
    path.write_text(toml(made), encoding="utf-8")
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("JGI_STAGER_")}
    os.environ["JGI_STAGER_CONFIG"] = str(path)
    try:
        yield
    finally:
        del os.environ["JGI_STAGER_CONFIG"]
        os.environ |= before


def _questions(made: Stage, size: int) -> Iterator[Figure]:
    meter, name = Meter.of(made.store.database), project_names()[0]
    one = made.store.database["files"].find_one({"project_name": name, "state": "pending"}) or {}
    questions = (
        ("status",),
        ("explain", name),
        ("explain", one["jdp_file_id"]),
        ("explain", one["file_name"]),
        ("explain", one["destination_path"]),
        ("files", name),
        ("files", name, "--state", "failed"),
    )
    shown = (
        "status",
        "explain PROJECT",
        "explain ID",
        "explain NAME",
        "explain PATH",
        "files",
        "files --state failed",
    )
    for words, title in zip(questions, shown, strict=True):
        spent = meter.repeated(partial(_ask, words))
        yield of_cost(f"{title} at {size:,}", spent, QUESTION_MS)


def _ask(words: Sequence[str]) -> None:
    """Give a command in this process: what it takes beyond the start of one."""
    with redirect_stdout(io.StringIO()):
        try:
            app(list(words), standalone_mode=False)
        except SystemExit as ended:
            if ended.code not in (0, 3, None):
                raise
