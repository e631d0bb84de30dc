"""What became of a delivery of which Globus says that it could not read it: gone, or only out of reach for now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import structlog

from jgi_stager.failures import Rejected
from jgi_stager.records import RequestState
from jgi_stager.steps.deliveries import has_manifest
from jgi_stager.steps.tools import Tools
from jgi_stager.store import requests
from jgi_stager.store.files import FileRow

log = structlog.get_logger()

SHORTEST, LONGEST = timedelta(minutes=30), timedelta(hours=6)
"""How long a delivery rests of which nothing could be read: as long as it has been so."""
FORGOTTEN = timedelta(days=1)
TOLD_AFTER = timedelta(hours=3)


def gone(tools: Tools) -> Callable[[FileRow], bool]:
    """A function that tells whether a file has truly left its delivery: that is there, with its manifest, and the
    file is not. Of a file system that is not mounted Globus says the same. Each directory is listed once."""
    collection = tools.settings.globus.jgi_collection_id

    @cache
    def is_there(request_id: int) -> bool:
        return bool(has_manifest(tools, request_id))

    @cache
    def names(directory: str) -> frozenset[str]:
        return frozenset(entry.name for entry in tools.globus.ls(collection, directory) or ())

    def is_gone(file: FileRow) -> bool:
        path = PurePosixPath(file.source_path or "/")
        try:
            return is_there(file.request_id or 0) and path.name not in names(str(path.parent))
        except Rejected as error:
            log.warning("source_not_listed", path=str(path), error=str(error))
            return False

    return is_gone


def out_of_reach(left: Iterable[FileRow], arrived: Iterable[FileRow], skipped: Mapping[str, str]) -> set[int]:
    """Requests of whose delivery a task could read nothing: that says nothing about any one file. Pure."""
    brought = {file.request_id for file in arrived}
    read = {file.request_id for file in left if (file.source_path or "") not in skipped}
    return {file.request_id for file in left if file.request_id is not None} - brought - read


def rest(tools: Tools, request_id: int) -> None:
    """Let a delivery of which nothing could be read rest a while; tell people when that lasts."""
    request, now = requests.request_by_id(tools.store, request_id), tools.clock.now()
    if request is None or request["state"] != RequestState.READY:
        return
    last: datetime | None = request.get("transfer_after")
    since = request["unread_since"] if last is not None and abs(now - last) < FORGOTTEN else now
    after = now + min(LONGEST, max(SHORTEST, now - since))
    requests.update_request(
        tools.store, request["_id"], RequestState.READY, transfer_after=after, unread_since=since
    )
    log.warning("delivery_out_of_reach", request_id=request_id, since=since, until=after)
    if now - since >= TOLD_AFTER:
        tools.alarm(
            f"unread:{request_id}:{now:%Y-%m-%d}",
            f"Globus cannot read the delivery R{request_id} at JGI",
            f"Since {since:%Y-%m-%d %H:%M} UTC it leaves out every file of the delivery of request {request_id}. "
            "They are tried again, at least every six hours, until the delivery expires; no file counts as failed "
            "for it.",
            you="if this lasts, ask JGI whether the directory can be read with our Globus login. You hear of it "
            "once a day while it lasts.",
        )


def rests(request: Mapping[str, Any], now: datetime) -> bool:
    """Whether a delivery is left alone for now. A date too far ahead is one of a clock that was set back."""
    after: datetime | None = request.get("transfer_after")
    return after is not None and now < after <= now + LONGEST
