"""A notice to people: stored here, and mailed by the step ``send_notices``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jgi_stager.notices import Kind
from jgi_stager.steps.context import StepContext
from jgi_stager.store import projects
from jgi_stager.store.notices import put_notice


def notify(
    ctx: StepContext,
    kind: Kind,
    key: str,
    data: Mapping[str, Any],
    project: str | None = None,
    also: Iterable[str] = (),
    thread: str | None = None,
) -> None:
    """Store a notice once for the site's people, those of the accepted project, and ``also``.

    ``key`` names the event. Notices of one ``thread``, by default those of a project, leave in order.
    """
    to = list(ctx.settings.notifications.mailto)
    known = projects.known(ctx.store, project, "notify") if project is not None else None
    to += [address for address in dict.fromkeys([*(known or ()), *also]) if address not in to]
    name = f"{kind.value}:{key}"
    put_notice(ctx.store, name, kind=kind.value, data=dict(data), to=to, project=project, thread=thread)


def alert(
    ctx: StepContext,
    key: str,
    subject: str,
    text: str,
    project: str | None = None,
    *,
    you: str,
    command: str | None = None,
) -> None:
    """Tell once of something that a person should look at, though the daemon goes on.

    ``text`` says what happened in its first paragraph; further ones follow after ``you``, which says what the
    reader does now: a clause in lower case, such as "ask JGI about request 7"; where that is nothing, how it
    goes on by itself and when they hear of it again. ``command`` is shown below it, to be copied.
    """
    data = {"subject": subject, "text": text, "you": you, "command": command}
    notify(ctx, Kind.ALARM, key, data, project)
