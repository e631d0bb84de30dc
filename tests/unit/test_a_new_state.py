"""A new state is its row in lifecycle.py, its step and the row of that: nothing else has to know it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "State": ("FILE_MOVES", "PENDING"),
    "ProjectState": ("PROJECT_MOVES", "ACTIVE"),
    "RequestState": ("REQUEST_MOVES", "WAITING"),
    "TaskState": ("TASK_MOVES", "ENDED"),
    "NoticeState": ("NOTICE_MOVES", "WAITING"),
}
"""Each enum with its table and the state from which, and to which, the new one is."""

LOOK = """
import pkgutil, importlib
import jgi_stager
for module in pkgutil.walk_packages(jgi_stager.__path__, "jgi_stager."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from datetime import timedelta
from jgi_stager.cli.common import Page
from jgi_stager.cli.status import bar, status_lines
from jgi_stager.lifecycle import LIFECYCLES, State, check_move
from jgi_stager.reporting import eta, explain, summary
from jgi_stager.reporting.time_breakdown import Blocked, time_breakdown
from jgi_stager.steps import STEPS, digest
from views import GIGA, NOW, facts, file, project, request, task
import diagrams

for one in LIFECYCLES.values():
    new = next(state for state in one.moves if state == "checked")
    (old,) = one.moves[new]
    check_move(one, old, new)
    check_move(one, new, old)
    assert [step.name for step in STEPS if new in getattr(step, f"{one.document}s")] == ["heartbeat"]
    assert f"{old} --> {new}" in diagrams.diagram(one)
    assert "| `checked` | Looked at. | `heartbeat` |" in diagrams.section(one)

ours = project(counts={"checked": (3, 3 * GIGA)})
world = facts(projects=(ours,), requests=(request(state="checked"),), tasks=(task(state="checked"),))
said = explain.project(world, ours).waits
assert [(one.state, one.files) for one in said] == [("checked", 3)], said
assert "checked" in said[0].sentence, said
(told,) = explain.file(world, file("checked")).waits
assert "does not know" not in told.sentence and "checked" in told.sentence, told
assert digest.where(ours) == ["3 pending"], digest.where(ours)
eta.estimate(world)
assert time_breakdown([[(NOW, "checked"), (NOW + timedelta(hours=1), "done")]], Blocked(), Blocked())
assert "|" not in bar(ours, Page()).plain and len(bar(ours, Page()).plain) == 34
other = project("clay", state="checked")
for subject in (ours, other):
    shown = status_lines(summary.status(facts(projects=(subject,))), Page(), None)
    assert any(subject.name in line.plain for line in shown), shown
(told,) = explain.project(facts(projects=(other,)), other).waits
assert told.sentence.startswith("checked: "), told
listed = summary.status(facts(projects=(other, ours))).lines
assert [one.project.name for one in listed] == ["soil", "clay"], "what is over goes last"
"""


def with_a_new_state(lifecycle: str) -> str:
    """The source of ``lifecycle.py`` with a state ``checked`` in each enum."""
    for enum, (table, old) in KINDS.items():
        end = f"\n\n\n{table}: Mapping" if enum != "ProjectState" else "\n\n\nPAUSABLE ="
        assert lifecycle.count(end) == 1
        lifecycle = lifecycle.replace(end, f'\n    CHECKED = "checked"\n    """Looked at."""{end}')
        head, tail = lifecycle.split(f"\n{table}: Mapping")
        tail = re.sub(rf"({enum}\.{old}: frozenset\(\s*\{{)", rf"\1{enum}.CHECKED, ", tail, count=1)
        tail = tail.replace("\n}\n", f"\n    {enum}.CHECKED: frozenset({{{enum}.{old}}}),\n}}\n", 1)
        lifecycle = f"{head}\n{table}: Mapping{tail}"
    phase = "    State.DONE: Phase.DONE,\n"
    complete = "COMPLETE_PROJECTS = ("
    assert complete in lifecycle
    lifecycle = lifecycle.replace(complete, f"{complete}ProjectState.CHECKED, ")
    return lifecycle.replace(phase, f"{phase}    State.CHECKED: Phase.PENDING,\n")


def test_a_new_state_needs_three_files_beside_docs_and_tests(tmp_path: Path) -> None:
    source = tmp_path / "src" / "jgi_stager"
    shutil.copytree(ROOT / "src" / "jgi_stager", source, ignore=shutil.ignore_patterns("__pycache__"))
    lifecycle, steps = source / "lifecycle.py", source / "steps" / "__init__.py"
    lifecycle.write_text(with_a_new_state(lifecycle.read_text(encoding="utf-8")), encoding="utf-8")
    row = "".join(
        f", {kind}={{{enum}.CHECKED}}"
        for kind, enum in zip(("files", "projects", "requests", "tasks", "notices"), KINDS, strict=True)
    )
    table = steps.read_text(encoding="utf-8")
    old = 'Step("heartbeat", status_report.run'
    assert old in table
    steps.write_text(table.replace(old, old + row), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(ROOT / "tests")])}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
