"""How long a credential will probably work, from what was seen of it and of those before it. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from jgi_stager.failures import Service
from jgi_stager.formatting import in_days
from jgi_stager.notices import usual_life, warn_before
from jgi_stager.store.credentials import Credential

GLOBUS_IDLE = timedelta(days=182)
"""A refresh token that was not used for six months ends (docs.globus.org, Globus Auth developer guide)."""


def likely_end(service: Service, known: Credential, *, confidential: bool) -> tuple[datetime, str] | None:
    """When a credential will probably end, and why that is believed; None if nothing is known.

    ``confidential``: Globus is used with a client secret.
    """
    if known.identity is None or known.since is None:
        return None
    if service is Service.GLOBUS and not confidential:
        used = known.last_success or known.since
        return used + GLOBUS_IDLE, "Globus ends a login that was not used for six months"
    life = usual_life([one.length for one in known.lives])
    if life is None:
        return None
    return known.since + life, f"the {len(known.lives)} before it lived {in_days(life)} (median)"


def is_soon(known: Credential, end: datetime, now: datetime) -> bool:
    """Whether it is time for a word about the expected end of a credential that still works."""
    if known.since is None or known.dead_since is not None:
        return False
    return now >= end - warn_before(end - known.since)
