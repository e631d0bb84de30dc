"""Which projects the daemon accepted: a mark for each in ``control``, which an insert cannot bring along.

A record that says of itself that it was accepted, and of which there is no mark, is a new record like any other.
One with a mark is a project of ours: if it does not fit, somebody edited it, and it is set aside as it is.

No mark changes but by somebody's hand. So one that was seen is remembered while it agrees with its record; the
step ``watch_documents`` reads all of them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from jgi_stager.control_models import Acceptance
from jgi_stager.lifecycle import ProjectState
from jgi_stager.models import Project
from jgi_stager.store.database import Document, Store, identity
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import set_aside
from jgi_stager.stored import UnfitError, misfit, parse

_PREFIX = "accepted:"
_OURS = ("accepted_at", "history", "state")
"""What no record has that was just inserted, or whose acceptance was cut off."""


@translated
def vouch(store: Store, key: object, name: str, at: datetime) -> None:
    """Note that the record ``key`` is accepted under this name and at this instant, before it says so itself."""
    store.marks.pop(mark_of(key), None)
    store.control.update_one({"_id": mark_of(key)}, {"$set": {"name": name, "at": at}}, upsert=True)


def is_vouched(store: Store, key: object) -> bool:
    """Whether the record ``key`` is, or is just being, accepted."""
    return store.control.find_one({"_id": mark_of(key)}, {"_id": 1}) is not None


def is_anothers(store: Store, key: object, name: str) -> bool:
    """Whether another record than ``key`` was accepted under this name and still is there, whatever it says now.

    Its files have the name. One that is invalid and says the name no more has none.
    """
    marks = store.control.find({"_id": {"$regex": f"^{_PREFIX}"}, "name": name}, {"_id": 1})
    others = {str(mark["_id"]) for mark in marks} - {mark_of(key)}
    if not others:
        return False
    # A mark does not name its record, only the digest of the record's id.
    heads = store.projects.find({}, dict.fromkeys((*_OURS, "accepted_name"), 1))
    return any(
        mark_of(head["_id"]) in others
        and any(one in head for one in _OURS)
        and (head.get("state") != ProjectState.INVALID or head.get("accepted_name") == name)
        for head in heads
    )


def of_ours(
    store: Store, documents: Iterable[Document], *, read_again: bool = False
) -> list[tuple[Document, Document]]:
    """Those of these records that the daemon accepted, each with its mark. They may hold anything.

    A record in which nothing is left of its acceptance is a new one, whatever its id. ``read_again``: also the
    marks that are remembered.
    """
    known = [(document, mark_of(document["_id"])) for document in documents]
    marks = {} if read_again else {mark: seen for _, mark in known if (seen := store.marks.get(mark)) is not None}
    wanted = [mark for _, mark in known if mark not in marks]
    found = list(store.control.find({"_id": {"$in": wanted}})) if wanted else []
    marks |= {str(mark["_id"]): mark for mark in found}
    if read_again:
        for mark in set(wanted).difference(marks):
            store.marks.pop(mark, None)
    store.marks.update(marks)
    pairs = ((document, marks.get(mark)) for document, mark in known)
    return [
        (document, mark)
        for document, mark in pairs
        if mark is not None and any(name in document for name in _OURS)
    ]


def accepted(store: Store, documents: Iterable[Document], *, read_again: bool = False) -> list[Project]:
    """Those of these records that the daemon accepted and that fit. Those of ours that do not are set aside.
    ``read_again`` as above."""
    whole = []
    for document, mark in of_ours(store, documents, read_again=read_again):
        try:
            whole.append(_project(document, mark))
        except UnfitError as error:
            if not read_again:
                # The mark may be the newer one of the two.
                whole += accepted(store, [document], read_again=True)
            elif document.get("state") != ProjectState.INVALID:
                set_aside(store, "projects", document, str(error))
    return whole


def problem_of(store: Store, document: Document) -> str | None:
    """Why a record that the daemon accepted does not fit; None if it does, or is none of ours."""
    for _, mark in of_ours(store, [document], read_again=True):
        try:
            _project(document, mark)
        except UnfitError as error:
            return str(error)
    return None


def _project(document: Document, mark: Document) -> Project:
    """The project that a record of ours is. Raises `UnfitError` if it does not fit, or its mark says another."""
    project = parse(Project, document)
    if (wrong := misfit(Acceptance, mark)) is not None:
        raise UnfitError(f"its mark in control ({mark['_id']}) was changed: {wrong}")
    if project.accepted_name != mark["name"]:
        raise UnfitError(f"accepted_name is {project.accepted_name!r}, but it was accepted as {mark['name']!r}")
    if project.accepted_at != mark["at"]:
        raise UnfitError(f"accepted_at is {project.accepted_at}, but it was accepted at {mark['at']}")
    return project


def mark_of(key: object) -> str:
    """The ``_id`` of the mark of the record ``key``."""
    # The id of a record is from outside: of any type and any size.
    return _PREFIX + hashlib.sha256(identity(key)).hexdigest()[:32]
