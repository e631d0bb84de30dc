"""What people would be told at some instants of a run, held against what the database itself shows of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from jgi_stager.lifecycle import OPEN_REQUESTS, ProjectState, State
from jgi_stager.reporting import snapshot, summary
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.steps.context import StepContext
from jgi_stager.store import tallies

EVERY = 8
"""So many ticks between two looks: each costs a snapshot."""
LONG = timedelta(days=1)
TAPE = timedelta(days=3)
"""As long as tape may work where nothing is known of it."""


def wrong(ctx: StepContext) -> list[str]:
    """What is wrong with "nothing to do" now; nothing where something is to do."""
    facts = snapshot.take_snapshot(SnapshotSource(ctx.store, ctx.settings, ctx.clock))
    # It runs: this is its process. Nothing else shows that where the database is private.
    facts = replace(facts, daemon=replace(facts.daemon, alive=True))
    if summary.status(facts).todos:
        return []
    return [*_alarms(ctx), *_standing(ctx, facts.now)]


def tallies_told(ctx: StepContext) -> Iterator[str]:
    """Where the tally of a project differs from its files, though nothing says that it is in doubt. Nothing moves
    while this is looked at."""
    for document in ctx.store.tallies.find({"known": True}):
        name = document["_id"]
        if document.get("doubt"):
            continue  # a move was cut off, or failed half way: it is counted anew
        told, there = tallies.of_project(ctx.store, name), tallies.counted(ctx.store, name)
        if told != there:
            yield f"the tally of {name} says {_some(told)}, and there are {_some(there)}"


def _some(counts: Mapping[str, tallies.Tally]) -> dict[str, tuple[int, int]]:
    return {str(state): (one.files, one.bytes) for state, one in counts.items() if one.files}


def _alarms(ctx: StepContext) -> Iterator[str]:
    for one in ctx.store.alarms.find({"ended_at": None}):
        yield f"nothing to do, it says, and an alarm is open: {one['_id']}"


def _standing(ctx: StepContext, now: datetime) -> Iterator[str]:
    """By the histories of the files alone: nothing of the project moved for a day, and nothing shows why."""
    for project in ctx.store.projects.find({"state": str(ProjectState.ACTIVE)}):
        name = project["project_name"]
        moving = {"project_name": name, "state": {"$nin": [State.DONE, State.FAILED]}}
        files: list[dict[str, Any]] = list(ctx.store.files.find({"project_name": name}, {"since": 1, "state": 1}))
        if not files or max(one["since"] for one in files) > now - LONG or not ctx.store.files.find_one(moving):
            continue
        # Quota: something waits to be asked for. Tape: something was asked for, not too long ago.
        states = {one["state"] for one in files}
        asked = {"projects": name, "state": {"$in": list(OPEN_REQUESTS)}, "reserved_at": {"$gt": now - TAPE}}
        if State.PENDING in states or ctx.store.restore_requests.find_one(asked):
            continue
        if ctx.store.globus_tasks.find_one({"state": "active"}):
            continue  # a transfer may move bytes for days without a file
        yield f"nothing to do, it says, and {name} has not moved for a day: {sorted(states)}"
