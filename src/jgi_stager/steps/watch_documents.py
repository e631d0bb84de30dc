"""Documents that do not fit their models: told once each, and forgotten when somebody set them right.

They are set aside where they are read (`jgi_stager.store.edge`). What is noted in ``control`` changes only when
one is met, told or corrected. docs/decisions/0012.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from jgi_stager.steps.tools import Tools
from jgi_stager.store import control, inspection
from jgi_stager.store.edge import Misfit, identity, shown

log = structlog.get_logger()

SHOWN = 20
MEANS: Mapping[str, str] = {
    "projects": "The project stands still as if it were paused: what is under way for it goes on to its end, and "
    "nothing new begins.",
    "files": "These files stand still, and their project does not end without them.",
    "restore_requests": "The files of the request stand still. Its bytes count against the quota as before, and "
    "its files are not asked for a second time. If not even that can be read, nothing is asked from tape until it "
    "is corrected.",
    "globus_tasks": "The task is not followed here, whatever Globus does with it; its files stand still and go "
    "into no other task.",
    "notices": "It is not mailed.",
    "control": "What cannot be used of it does not hold; the settings do.",
}


def run(tools: Tools) -> int:
    """Look at what no step meets, and again at what did not fit. Returns how many were told."""
    inspection.inspect(tools.store)
    before = control.documents_set_aside(tools.store)
    items = _now(tools, before)
    if items != before:
        control.note_set_aside(tools.store, items)
    new = [item for item in items if not item["told"]]
    for group in _groups(new):
        _tell(tools, group)
    if new:
        control.note_set_aside(tools.store, [{**item, "told": True} for item in items])
    return len(new)


def _now(tools: Tools, before: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that do not fit now, with since when that is known. One that is wrong in another way is a new one."""
    at = tools.clock.now()
    known = {(item["collection"], identity(item["key"]), item["reason"]): item for item in before}
    noted = [Misfit(item["collection"], item["key"], item["reason"], item.get("project")) for item in before]
    met = {(one.collection, identity(one.key)): one for one in [*noted, *tools.store.misfits.all()]}
    items = []
    for place, one in met.items():
        still = inspection.look_again(tools.store, one.collection, one.key)
        if still is None:
            tools.store.misfits.forget(one)
            continue
        tools.store.misfits.add(still)
        new = {
            "collection": still.collection,
            "key": still.key,
            "project": still.project,
            "reason": still.reason,
            "since": at,
            "told": False,
        }
        items.append(dict(known.get((*place, still.reason), new)))
    return items


def _groups(items: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """What is wrong in the same way is told together."""
    groups: dict[tuple[str, str | None, str], list[Mapping[str, Any]]] = {}
    for item in items:
        groups.setdefault((item["collection"], item.get("project"), item["reason"]), []).append(item)
    return list(groups.values())


def _tell(tools: Tools, group: Sequence[Mapping[str, Any]]) -> None:
    first = group[0]
    collection, project, reason = first["collection"], first.get("project"), first["reason"]
    keys = [shown(item["key"]) for item in group]
    said = "|".join([collection, reason, *sorted(keys)]).encode("utf-8", "replace")
    event = f"{collection}:{hashlib.sha256(said).hexdigest()[:16]}:{first['since']:%Y-%m-%dT%H:%M:%S}"
    number = f"{len(group)} documents" if len(group) > 1 else "a document"
    of = f" of {project}" if project else ""
    lines = [f"  {collection}: {{_id: {key}}}" for key in keys[:SHOWN]]
    lines += [f"  and {len(keys) - SHOWN} more"] if len(keys) > SHOWN else []
    tools.alarm(
        f"set-aside:{event}",
        f"{number} in {collection}{of} cannot be used: {reason}"[:200],
        f"{reason}. Somebody edited it, or something else wrote it. {MEANS[collection]} Everything else goes on."
        "\n\n" + "\n".join(lines),
        project,
        you="set the field right in the database (in mongosh: updateOne with $set); it is read again within a "
        "minute, and goes on by itself",
        command=f"db.{collection}.findOne({{_id: {keys[0]}}})",
    )
    log.warning("documents_told", collection=collection, documents=len(group), reason=reason)
