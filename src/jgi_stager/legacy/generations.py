"""The three generations of the scripts' database: what each document says, as one typed value. Pure.

1. ``samples`` with a field ``project``, and ``globus``.
2. ``samples`` with ``project_name``, ``sequencing_projects`` and ``globus``.
3. ``jgi_samples``, ``jgi_sequencing_projects`` and ``globus_tasks``, in MongoDB with the prefix
``wf_file_staging.``.

A document says by its fields which it is: one database may hold the first two. Values went through pandas, so
that a number may be text or a float, and what is missing may be the text "nan" or "None".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from jgi_stager.id_lists import jdp_file_id
from jgi_stager.records import GOLD_AP_ID, unsafe_name, usable_md5, usable_size


class Generation(IntEnum):
    """Which scripts wrote a document."""

    FIRST = 1
    SECOND = 2
    THIRD = 3


class Kind(StrEnum):
    """What a document is about."""

    FILE = "file"
    PROJECT = "project"
    TASK = "task"


PREFIX = "wf_file_staging."
COLLECTIONS: Mapping[str, Kind] = {
    "samples": Kind.FILE,
    "sequencing_projects": Kind.PROJECT,
    "globus": Kind.TASK,
    "jgi_samples": Kind.FILE,
    "jgi_sequencing_projects": Kind.PROJECT,
    "globus_tasks": Kind.TASK,
}
"""The collections of all generations."""
RUNTIME_COLLECTIONS = ("jgi_sequencing_projects", "jgi_samples", "globus_tasks")
"""Those of the third, as the NMDC runtime API calls them."""


class Stage(StrEnum):
    """How far a file is by what its document says. What holds is looked at; this is for the report."""

    PENDING = "not asked for"
    ASKED = "asked for"
    DELIVERED = "delivered at JGI"
    IN_TRANSFER = "in transfer"
    TRANSFERRED = "transferred"
    EXPIRED = "expired at JGI"
    UNKNOWN = "a word that is not known"


_WORDS: Mapping[str, Stage] = {
    "new": Stage.ASKED,
    "pending": Stage.ASKED,
    "staging": Stage.ASKED,
    "ready": Stage.DELIVERED,
    "expired": Stage.EXPIRED,
    "transferring": Stage.IN_TRANSFER,
    "in transit": Stage.IN_TRANSFER,
    "transferred": Stage.TRANSFERRED,
    "done": Stage.TRANSFERRED,
}
"""The words of the scripts, and of JDP for a request. Any other in capitals is JDP's for a file: not asked for
yet."""

OVER_TASKS = frozenset({"SUCCEEDED", "FAILED"})
"""The words of Globus that the scripts copied when a task had ended. ``submitted`` and ``IN_PROGRESS`` stayed
until somebody looked."""
MOST_TEXT = 300


@dataclass(frozen=True)
class Problem:
    """What could not be used, and why. ``what`` names it for a person."""

    what: str
    reason: str


@dataclass(frozen=True)
class LegacyFile:
    """A file that the scripts wanted."""

    generation: Generation
    project: str
    jdp_file_id: str
    file_name: str
    ap_gold_id: str
    its_ap_id: int | None = None
    gold_study_id: str | None = None
    gold_biosample_id: str | None = None
    gold_seq_id: str | None = None
    size: int | None = None
    md5: str | None = None
    word: str = ""
    stage: Stage = Stage.PENDING
    request_id: int | None = None
    updated: datetime | None = None
    """In the local time of whoever ran the scripts, taken for UTC."""


@dataclass(frozen=True)
class LegacyProject:
    """A project of the second or third generation."""

    generation: Generation
    name: str
    proposal_id: str | None = None
    nmdc_study_id: str | None = None
    directory: str | None = None


@dataclass(frozen=True)
class LegacyTask:
    """A Globus task. Nothing says which files it brings."""

    task_id: str
    word: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the scripts saw that it ended."""
        return self.word.upper() in OVER_TASKS


Legacy = LegacyFile | LegacyProject | LegacyTask


def kind_of(collection: str) -> Kind | None:
    """What a collection of the scripts holds; None if it is none of theirs."""
    return COLLECTIONS.get(collection.removeprefix(PREFIX))


def read(collection: str, document: Mapping[str, Any]) -> Legacy | Problem:
    """A document as a value, or why it is of no use."""
    kind = kind_of(collection)
    if kind is Kind.FILE:
        return _file(document)
    return _project(collection, document) if kind is Kind.PROJECT else _task(document)


# --- files ---------------------------------------------------------------------------------------------------

_SHARED = ("jdp_file_id", "file_name", "md5sum", "request_id", "update_date")
_EARLIER = {
    "ap_gold_id": "apGoldId",
    "gold_study_id": "studyId",
    "its_ap_id": "itsApId",
    "gold_biosample_id": "biosample_id",
    "gold_seq_id": "seq_id",
    "jdp_file_size": "file_size",
    "jdp_file_status": "file_status",
    "jgi_ap_id": "analysis_project_id",
}
"""What the first two generations call the fields of the third."""


def _file(document: Mapping[str, Any]) -> LegacyFile | Problem:
    third = "ap_gold_id" in document or "sequencing_project_name" in document
    names = {name: name for name in _EARLIER} if third else _EARLIER
    found = {name: document.get(old) for name, old in names.items()} | {
        name: document.get(name) for name in _SHARED
    }
    generation, project = _owner(document, third=third)
    file_id, name = jdp_file_id(text(found["jdp_file_id"])), text(found["file_name"])
    what = f"file {shown(found['jdp_file_id'])} ({shown(name)})"
    ap_gold_id = text(found["ap_gold_id"])
    if project is None:
        return Problem(what, "it names no project")
    if file_id is None:
        return Problem(what, "its jdp_file_id is not 24 hexadecimal digits")
    if ap_gold_id is None or not GOLD_AP_ID.match(ap_gold_id):
        return Problem(what, f"its analysis project is {shown(ap_gold_id)}, which is not Ga and digits")
    if name is None or (why := unsafe_name(name)):
        return Problem(what, f"its file name {'is missing' if name is None else why}")
    word, request_id = text(found["jdp_file_status"]) or "", _number(found["request_id"])
    its_ap_id = _number(found["its_ap_id"])
    updated = found["update_date"]
    return LegacyFile(
        generation=generation,
        project=project,
        jdp_file_id=file_id,
        file_name=name,
        ap_gold_id=ap_gold_id,
        its_ap_id=_number(found["jgi_ap_id"]) if its_ap_id is None else its_ap_id,
        gold_study_id=text(found["gold_study_id"]),
        gold_biosample_id=text(found["gold_biosample_id"]),
        gold_seq_id=text(found["gold_seq_id"]),
        size=usable_size(_number(found["jdp_file_size"])),
        md5=usable_md5(text(found["md5sum"])),
        word=word[:MOST_TEXT],
        stage=stage_of(word, request_id),
        request_id=request_id,
        updated=instant(updated),
    )


def _owner(document: Mapping[str, Any], *, third: bool) -> tuple[Generation, str | None]:
    if third:
        return Generation.THIRD, text(document.get("sequencing_project_name"))
    if "project_name" in document:
        return Generation.SECOND, text(document["project_name"])
    return Generation.FIRST, text(document.get("project"))


def stage_of(word: str, request_id: int | None) -> Stage:
    """How far a file is, by the word for it."""
    known = _WORDS.get(word.strip().lower())
    if known is not None:
        return known
    if not word or word == word.upper():
        # The status of the file in the archive, such as PURGED or RESTORE_IN_PROGRESS.
        return Stage.PENDING if request_id is None else Stage.ASKED
    return Stage.UNKNOWN


# --- projects and tasks ---------------------------------------------------------------------------------------


def _project(collection: str, document: Mapping[str, Any]) -> LegacyProject | Problem:
    third = collection.removeprefix(PREFIX) == "jgi_sequencing_projects"
    name = text(document.get("sequencing_project_name" if third else "project_name"))
    if name is None:
        return Problem(f"project {shown(document.get('_id'))}", "it has no name")
    number = _number(document.get("jgi_proposal_id" if third else "proposal_id"))
    directory = text(document.get("analysis_projects_dir"))
    return LegacyProject(
        generation=Generation.THIRD if third else Generation.SECOND,
        name=name,
        proposal_id=None if number is None else str(number),
        nmdc_study_id=text(document.get("nmdc_study_id")),
        directory=directory,
    )


_TASK_ID = re.compile(r"[0-9A-Fa-f-]{8,64}", re.ASCII)


def _task(document: Mapping[str, Any]) -> LegacyTask | Problem:
    # The scripts cut it out of "Task ID: 1f6e...": it begins with a blank.
    task_id = text(document.get("task_id"))
    if task_id is None or not _TASK_ID.fullmatch(task_id):
        return Problem(f"Globus task {shown(task_id)}", "its task_id is no id of a task")
    return LegacyTask(task_id.lower(), (text(document.get("task_status")) or "")[:MOST_TEXT])


# --- values that went through pandas --------------------------------------------------------------------------

_NOTHING = frozenset({"", "nan", "none", "null", "nat", "<na>"})
_NUMBER = re.compile(r"[0-9]{1,18}(\.0{1,18})?", re.ASCII)
_LARGEST = 2**53
"""Above that a float does not hold every whole number."""


def text(value: object) -> str | None:
    """Text without blanks around it; numbers as text; None for what stands for nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    said = value.strip() if isinstance(value, str) else str(_number(value) if _number(value) is not None else "")
    return None if said.lower() in _NOTHING else said


def _number(value: object) -> int | None:
    """A whole number that is not negative, from a number, or from text such as "1196479.0"; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float):
        whole = math.isfinite(value) and value == int(value) and 0 <= value <= _LARGEST
        return int(value) if whole else None
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


def instant(value: object) -> datetime | None:
    """An instant from a date, or from its text; None if it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def shown(value: object) -> str:
    """A value from outside for a message."""
    return "nothing" if value is None else ascii(str(value)[:80])
