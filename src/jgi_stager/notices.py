"""The notices: which events people hear of. Each is stored with its event and mailed once (see ``mail.py``).

A notice is a row in the outbox ``notices``. Its key is made from the event, so writing it again after a crash
changes nothing. Steps write the notice *before* the move that ends the event: a crash in between repeats both.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from jgi_stager.failures import Service


class Kind(StrEnum):
    """What a notice is about. Each has a template of the same name in ``templates/``."""

    ACCEPTED = "accepted"
    """A project's files are listed and begin to move."""
    INVALID = "invalid"
    """A record cannot be used; reason and cure."""
    NEEDS_PERSON = "needs_person"
    """A credential or consent is missing; what waits, and what to do."""
    SOLVED = "solved"
    """What a person was needed for works again."""
    HELD = "held"
    """Only failed files are left of a project."""
    DONE = "done"
    """Every file of a project is at its destination."""
    ALARM = "alarm"
    """Something lasts or looks unlike anything known: it is waited on, and a person should know."""


def credential_key(service: Service, credential: object) -> str:
    """Names one credential of a service by its fingerprint, so that each dead one is told of once."""
    return f"{service.value}:{hashlib.sha256(repr(credential).encode()).hexdigest()[:16]}"
