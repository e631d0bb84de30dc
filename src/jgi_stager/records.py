"""The records: what a person inserts and what the daemon keeps. Every field with its meaning and unit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails

from jgi_stager.choosing import FileChoice
from jgi_stager.id_lists import biosample_ids
from jgi_stager.lifecycle import State

# \Z, because $ also matches before a final line break.
GOLD_AP_ID = re.compile(r"^Ga[0-9]{1,12}\Z")
_MD5 = re.compile(r"^[0-9a-f]{32}\Z")
_ATOM, _LABEL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", r"[A-Za-z0-9-]+"
MAIL_ADDRESS = re.compile(rf"^(?!.*=\?)(?=.{{1,64}}@.{{1,253}}\Z){_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})*\Z")
"""Plain ASCII, no quoting, no "=?" (mail programs decode it): nothing breaks a header or needs SMTPUTF8."""
PROJECT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
PROPOSAL_ID = r"^[0-9]{1,12}$"
LONGEST_NAME_BYTES = 255
"""What ext4, GPFS and Lustre allow for one path component."""
LONGEST_PATH_BYTES = 4096
"""What Linux allows for a whole path (PATH_MAX)."""

LARGEST_FILE_BYTES = 10**15
"""A hundred days of the whole quota. What is larger is a mistake, and would spoil every sum that it is part of."""


def unsafe_name(name: str) -> str | None:
    """Why ``name`` must not become one component of a path, or None if it may."""
    if name in ("", ".", ".."):
        return "is empty or a directory"
    if "/" in name or "\\" in name:
        return "contains a slash"
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        return "contains control characters"
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not valid Unicode"
    return f"is longer than {LONGEST_NAME_BYTES} bytes" if size > LONGEST_NAME_BYTES else None


def without_invisible(name: str) -> str:
    """``name`` with "_" in the place of every character that cannot be seen, or looks like a space and is none.

    Those of the categories Cf (direction marks and overrides, joiners, soft hyphens) and Zs: with them a name
    looks like another one, or like one with another ending.
    """
    return "".join("_" if char != " " and unicodedata.category(char) in ("Cf", "Zs") else char for char in name)


def unsafe_relative_path(path: str) -> str | None:
    """Why ``path`` from outside must not be appended to a directory of ours, or None if it may."""
    if path.startswith("/"):
        return "is absolute"
    parts = ((part, unsafe_name(part)) for part in path.split("/"))
    return next((f"component {part[:60]!r} {why}" for part, why in parts if why), None)


def usable_size(size: int | None) -> int | None:
    """The bytes of a file, or None if it is unknown or no file has so many."""
    return size if size is not None and 0 <= size <= LARGEST_FILE_BYTES else None


def usable_md5(text: str | None) -> str | None:
    """The checksum in lower case, or None if it is missing or none: then nothing can be compared with it."""
    found = (text or "").strip().lower()
    return found if _MD5.match(found) else None


def is_mail_address(text: str) -> bool:
    """Whether ``text`` is one plain address, safe in the header of a mail."""
    return MAIL_ADDRESS.match(text) is not None


def _digits(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(int(value)) if whole and abs(value) < 10**12 else value


def absolute_path(value: str) -> str:
    """The path without a slash at its end. Raises ValueError if it is none that files may be staged under."""
    if not value.startswith("/") or unsafe_relative_path(value.strip("/")) or len(value.encode()) > 1000:
        raise ValueError(
            "must be an absolute path without '..', '.' or control characters, not longer than 1000 bytes"
        )
    return "/" + value.strip("/")


def _biosamples(value: Any) -> Any:
    """Accept the text of a CSV as well as a list."""
    return biosample_ids(value) if isinstance(value, str) else value


def _some_biosamples(value: list[str]) -> list[str]:
    if not value:
        raise ValueError("the list is empty: name at least one biosample, or leave the field out for all")
    return list(dict.fromkeys(value))


TASK_LABEL = "jgi-stager"
"""Every task of ours begins its label with this, so that it can be told from others of the same user; it ends with
the id of the database, so that it can be told from those of other installations."""


MOST_RESCAN_DAYS = 365


class ProjectRecord(BaseModel):
    """What a person inserts into ``projects``. Anything else in the record makes it invalid."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    project_name: Annotated[str, StringConstraints(pattern=PROJECT_NAME)]
    proposal_id: Annotated[str, BeforeValidator(_digits), StringConstraints(pattern=PROPOSAL_ID)]
    nmdc_study_id: Annotated[str, StringConstraints(pattern=r"^nmdc:sty-[A-Za-z0-9.-]{1,60}$")] | None = None
    analysis_projects_dir: Annotated[str, AfterValidator(absolute_path)] | None = None
    biosample_ids: (
        Annotated[
            list[Annotated[str, StringConstraints(pattern=r"^Gb[0-9]{1,12}$")]],
            BeforeValidator(_biosamples),
            AfterValidator(_some_biosamples),
        ]
        | None
    ) = None
    files: FileChoice | None = None
    """What of the files is staged; all that the rules of the site leave where it is missing."""
    rescan_days: Annotated[int, Field(ge=1, le=MOST_RESCAN_DAYS)] | None = None
    """So many days after one look at GOLD and JDP the next one follows; never by itself where it is missing."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    notify: list[Annotated[str, StringConstraints(pattern=MAIL_ADDRESS)]] | None = None


_CURES = {
    "project_name": "use letters, digits, '.', '_' and '-' (at most 100, starting with a letter or digit); "
    "it becomes a directory name",
    "proposal_id": "give the JGI proposal number, as text or a whole number, such as '503125'",
    "nmdc_study_id": "give it as nmdc:sty-..., or leave it out and it is looked up",
    "biosample_ids": "give a list such as ['Gb0258377'], or leave it out for all biosamples",
    "analysis_projects_dir": "give the absolute path of a directory, or leave it out for the configured stage_dir",
    "files": "give one or several of patterns, types, importer_only and csv, or leave it out for all files",
    "rescan_days": "give a whole number of days from 1 to 365, or leave it out",
    "priority": "give a whole number from -1000 to 1000 (larger goes first), or leave it out",
    "notify": "give a list of mail addresses, or leave it out",
    "record": "insert a document with the fields project_name and proposal_id",
}
_PLAIN_WORDS = {
    "string_type": "must be text",
    "string_unicode": "must be valid text",
    "string_pattern_mismatch": "does not have the right form",
    "int_type": "must be a whole number",
    "less_than_equal": "is too large",
    "greater_than_equal": "is too small",
    "list_type": "must be a list",
    "bool_type": "must be true or false",
    "too_short": "is empty",
    "too_long": "is too long",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "model_type": "is not a document",
}
_MOST_PROBLEMS = 8
"""A record with thousands of wrong fields still gives a reason that a person reads."""


def explain_invalid(error: ValidationError) -> str:
    """Why a project record cannot be used, with the cure, for a person. Never quotes the values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    parts = list(dict.fromkeys(_explain(problem) for problem in problems))
    more = len(parts) - _MOST_PROBLEMS
    return ". ".join(parts[:_MOST_PROBLEMS]) + (f". And {more} more problems" if more > 0 else "")


def _explain(problem: ErrorDetails) -> str:
    field = str(problem["loc"][0]) if problem["loc"] else "record"
    if problem["type"] == "extra_forbidden":
        known = ProjectRecord.model_fields if len(problem["loc"]) == 1 else FileChoice.model_fields
        name, of = str(problem["loc"][-1]), "a project record" if len(problem["loc"]) == 1 else field
        meant = get_close_matches(name[:100].lower(), known, n=1, cutoff=0.75)
        cure = f"did you mean {meant[0]}?" if meant else "remove it"
        return f"{name[:60]!r} is not a field of {of}; {cure}"
    if problem["type"] == "missing":
        return f"{field} is missing; {_CURES[field]}"
    position = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in problem["loc"][1:])
    message = _PLAIN_WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{field}{position} {message}; {_CURES[field]}"


DISCOVERY_GRACE = timedelta(hours=3)
"""A discovery that gets no further for so long though the services answer needs a person."""


class TaskKind(StrEnum):
    """What a task carries."""

    FILES = "files"
    MANIFESTS = "manifests"


class FileRecord(BaseModel):
    """One wanted file: one JDP file id at one destination. The document in ``files``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project_name: str
    jdp_file_id: str
    source_file_id: str
    """The id that is asked for; another one where two ids have one destination and the same content."""
    file_name: str
    ap_gold_id: str
    gold_study_id: str | None = None
    its_ap_id: int
    gold_biosample_id: str | None = None
    gold_seq_id: str | None = None
    jgi_ap_id: str | None = None
    """JDP's grouping id, such as ``IMG_AP-1323348``."""
    jdp_file_status: str | None = None
    jdp_file_size: int | None = None
    """Bytes, as JDP says."""
    md5sum: str | None = None
    request_id: int | None = None
    globus_task_id: str | None = None
    source_path: str | None = None
    """On the JGI collection, from the manifest."""
    destination_path: str | None = None
    state: State = State.PENDING
    setbacks: int = 0
    """How often it went back on its way since a person last released it."""
    delivery_faults: list[dict[str, Any]] = Field(default_factory=list)
    """What was wrong with it in which delivery since then: ``request_id``, ``what``, and ``spoilt`` if it arrived
    and was not what JDP says of it."""
    to_list_again: bool = False
    """A person let it start again: JDP is asked what it says of it now, before it is asked for."""
    copy_from: Any = None
    """The document id of the file from whose destination it is copied."""
    kept_to: int | None = None
    """The request to whose delivery a person sent it back."""
    verified: dict[str, Any] | None = None
    """What was found right of it at its destination, as in `jgi_stager.stored.Verified`."""
    download: dict[str, Any] | None = None
    """How far its download is, as in `jgi_stager.stored.Download`."""
    look_first: bool = False
    """It may lie at its destination already, from before: that is looked at before it is asked for."""
    failed_from: State | None = None
    reason: str | None = None
    since: datetime
    """When it entered its state."""
    history: list[dict[str, Any]]
    create_date: datetime
    update_date: datetime


STORY_MOVES = 20
"""The newest moves that an error message tells of."""


def story(document: Mapping[str, Any]) -> str:
    """The recorded moves of a file in one line, for an error message."""
    name = f"{document.get('project_name')}/{document.get('file_name')} ({document.get('jdp_file_id')})"
    return f"{name}: {moves_told(document.get('history', []))}"


def moves_told(history: object) -> str:
    """The newest moves of a history in one line, whatever somebody made of it."""
    entries = history if isinstance(history, list) else []
    told = [str(entry.get("to")) for entry in entries if isinstance(entry, Mapping)]
    return " -> ".join([*(["..."] if len(told) > STORY_MOVES else []), *told[-STORY_MOVES:]])


def destination_directory(base: str, project_name: str, ap_gold_id: str) -> PurePosixPath:
    """Where the files of one analysis project go: ``<base>/<project>/analysis_files/<apGoldId>``."""
    return PurePosixPath(base) / project_name / "analysis_files" / ap_gold_id


def analysis_directory(destination: str) -> PurePosixPath:
    """The directory of the analysis project that a destination is in, however deep; without one, its directory."""
    above = PurePosixPath(destination).parents
    return next((parent for parent in above if GOLD_AP_ID.match(parent.name)), above[0])


def manifest_directory(base: str, project_name: str) -> PurePosixPath:
    """Where the manifests of a project are kept: ``<base>/<project>/globus_manifests``."""
    return PurePosixPath(base) / project_name / "globus_manifests"


def download_path(jdp_file_id: str) -> str:
    """Where JDP's download host has a file."""
    return f"/download_files/{jdp_file_id}/"
