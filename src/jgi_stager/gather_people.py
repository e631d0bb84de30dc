"""From the books to what only a person can help: the credentials, and mails that somebody refuses. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from jgi_stager.failures import Service
from jgi_stager.insight.facts import Login, RefusedAddress, SetAside
from jgi_stager.models import Project
from jgi_stager.records import ProjectState
from jgi_stager.secrets import Secrets
from jgi_stager.settings import Settings
from jgi_stager.steps.watch_credentials import is_soon, likely_end
from jgi_stager.store import Store, control, credentials, inspection, notices
from jgi_stager.store.credentials import Credential
from jgi_stager.store.edge import shown
from jgi_stager.stored import misfit

SHOWN_FOR = timedelta(days=7)
"""What ended and can no longer be helped by the next mail is shown for so long."""
_OVER = (ProjectState.DONE, ProjectState.CANCELLED)
_READ = frozenset({"accepted_name", "notify"})


def logins(store: Store, settings: Settings, now: datetime) -> dict[str, Login]:
    """What the books know of each credential, by service."""
    directory = settings.secrets.directory
    confidential = directory is not None and Secrets(directory).exists("globus_client_secret")
    return {one.service: _login(one, now, confidential=confidential) for one in credentials.everything(store)}


def _login(known: Credential, now: datetime, *, confidential: bool) -> Login:
    watched = known.service in set(Service) and known.service != Service.SMTP
    end = likely_end(Service(known.service), known, confidential=confidential) if watched else None
    return Login(
        service=known.service,
        since=known.since,
        last_success=known.last_success,
        last_probe=known.last_probe,
        dead_since=known.dead_since,
        problem=known.problem,
        cure=known.cure,
        ends_at=None if end is None else end[0],
        ends_why=None if end is None else end[1],
        ends_soon=end is not None and is_soon(known, end[0], now),
    )


def refused_addresses(
    store: Store, settings: Settings, records: Iterable[Mapping[str, Any]], now: datetime
) -> tuple[RefusedAddress, ...]:
    """The refused addresses that still are on a list: that of the site, or of a project that may send a mail.

    A project that is over sends none any more, so nothing would ever solve it: its people count for a week.
    """
    site = set(settings.notifications.mailto)
    lists = [(one["accepted_name"], one.get("notify") or ()) for one in records if _mails(one, now)]
    found = []
    for one in notices.refusals(store):
        address = one["address"]
        projects = tuple(name for name, notify in lists if address in notify)
        if projects or address in site:
            found.append(
                RefusedAddress(address, one["reason"], one["since"], one["at"], address in site, projects)
            )
    return tuple(found)


def set_aside(store: Store) -> tuple[SetAside, ...]:
    """The documents that do not fit, as the step ``watch_documents`` noted them: what this process met is less."""
    return tuple(
        SetAside(
            collection=one["collection"],
            document=shown(one["key"]),
            reason=one["reason"],
            since=one["since"],
            projects=tuple(inspection.concerned(store, one["collection"], one["key"], one.get("project"))),
        )
        for one in control.documents_set_aside(store)
    )


def given_up(store: Store, now: datetime) -> tuple[str, ...]:
    """What was said of the mails that were given up lately, though their addresses are good."""
    return tuple(f"{one['kind']}: {one.get('error')}" for one in notices.given_up(store, now - SHOWN_FOR))


def _mails(record: Mapping[str, Any], now: datetime) -> bool:
    """Whether mails of this record go to those whom it names: it was accepted, and they can be read."""
    if misfit(Project, record, _READ) is not None:
        return False
    since = record.get("since")
    return record.get("state") not in _OVER or (isinstance(since, datetime) and now - since < SHOWN_FOR)
