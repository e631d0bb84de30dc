"""Putting notices into the outbox of a stage and mailing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from factories import add_files
from jgi_stager.lifecycle import State
from jgi_stager.models import Notice
from jgi_stager.notices import Kind
from jgi_stager.reporting import project_report
from jgi_stager.store import moves, notices
from mail_samples import SAMPLES
from smtp_server import Mailbox, mail_server
from stage import Stage, stage

SITE, OTHER = "site@example.org", "other@example.org"
HOUR = 3600.0


def settings(port: int, **changes: object) -> dict[str, object]:
    values = {"mailto": [SITE], "mail_from": "stager@example.org", "smtp_host": "127.0.0.1", "smtp_port": port}
    return {**values, "smtp_timeout_seconds": 5.0, **changes}


def put(
    daemon: Stage, key: str, kind: Kind = Kind.ALARM, project: str | None = "soil", to: tuple[str, ...] = (SITE,)
) -> str:
    """A notice of a project, as a step stores it."""
    data = {**SAMPLES[kind], **({"subject": key, "text": key} if kind is Kind.ALARM else {})}
    assert notices.put_notice(daemon.store, key, kind=kind.value, data=data, to=to, project=project)
    return key


def send(daemon: Stage, *, hours: float = 0) -> int:
    daemon.out.clock.advance(hours * HOUR)
    return daemon.run("send_notices")


def state(daemon: Stage, key: str) -> Notice:
    found = notices.get_notice(daemon.store, key)
    assert found is not None
    return found


def add_done(daemon: Stage, count: int, project: str = "soil") -> None:
    """Files that are done, through every state."""
    oids = add_files(daemon.store, count, project_name=project)
    path = [State.PENDING, State.RESTORE_REQUESTED, State.RESTORED, State.MANIFEST_READY, State.TRANSFERRING]
    for old, new in zip(path, [*path[1:], State.DONE], strict=True):
        why = f"{project_report.VERIFIED}size and md5" if new is State.DONE else "on its way"
        moves.move(daemon.store, moves.by_oids(oids), old, new, why)
    for number, oid in enumerate(oids):
        daemon.store.files.update_one(
            {"_id": oid}, {"$set": {"destination_path": f"/n/{project}/{number:06d}.faa"}}
        )


@contextmanager
def mailing_site(directory: Path, uri: str, mailbox: Mailbox) -> Iterator[Stage]:
    """A daemon that mails `SITE` through a server without TLS."""
    with mail_server(mailbox) as port, stage(directory, uri, sections={"notifications": settings(port)}) as made:
        yield made
