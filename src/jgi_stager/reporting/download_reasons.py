"""How downloads from JDP stand, and why files that come by them wait. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from jgi_stager.formatting import count, human_bytes, when
from jgi_stager.lifecycle import Phase, State, states_in
from jgi_stager.reporting.blocked_reasons import BlockedReason, ReasonCode, expires, service_wait
from jgi_stager.reporting.snapshot_types import Count, File, Project, Request, Snapshot

FETCHED = states_in(Phase.DELIVERED, Phase.IN_TRANSFER)
"""The states that a file leaves by a download."""


def is_downloaded(snapshot: Snapshot, requests: Sequence[Request]) -> bool:
    """Whether files of these requests are downloaded from JDP, and no Globus task brings them."""
    return snapshot.download_slots is not None or (bool(requests) and all(one.download for one in requests))


def download(
    snapshot: Snapshot,
    requests: Sequence[Request],
    project: Project,
    file: File | None = None,
    *,
    begun: bool = False,
) -> BlockedReason:
    """Why files that can be downloaded are not done; ``begun``: JDP gives them out."""
    if project.state == "paused" and not begun:
        sentence = f"ready to be downloaded, but the project is paused{expires(snapshot, requests)}"
        return BlockedReason(ReasonCode.PAUSED, sentence, do=f"jgi-stager project resume {project.name}")
    if trouble := service_wait(snapshot, "jdp", "downloads"):
        return trouble
    if file is not None and file.download_error:
        again = f"; tried again at {when(file.next_try_at, snapshot.now)}" if file.next_try_at else ""
        sentence = f"its download failed: {file.download_error}{again}{expires(snapshot, requests)}"
        return BlockedReason(ReasonCode.TRANSFER, sentence, since=file.since, until=file.next_try_at)
    most = count(snapshot.download_slots or 1, "file")
    if begun:
        return BlockedReason(ReasonCode.TRANSFER, f"being downloaded from JDP, {most} at a time")
    sentence = f"waiting for its turn to be downloaded from JDP, {most} at a time{expires(snapshot, requests)}"
    return BlockedReason(ReasonCode.SLOT, sentence)


def told(snapshot: Snapshot) -> str:
    """What is being downloaded, and what can be, of all projects."""
    begun, ready = Count(), Count()
    for project in snapshot.projects:
        begun = begun.plus(project.of(State.TRANSFERRING))
        ready = ready.plus(project.of(*states_in(Phase.DELIVERED)))
    if not begun.files and not ready.files:
        return "nothing to download"
    parts = [f"{count(begun.files, 'file')} begun ({human_bytes(begun.bytes)})"] if begun.files else []
    parts += [f"{count(ready.files, 'file')} ready ({human_bytes(ready.bytes)})"] if ready.files else []
    return f"{', '.join(parts)}; {snapshot.download_slots} at a time"
