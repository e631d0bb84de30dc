"""The documents of Globus Transfer: the one sent, and those that come back (jgi-apis, section 3). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jgi_stager.clients.shapes import Count, OptionalText, Text
from jgi_stager.clients.text import instant, plain
from jgi_stager.records import LONGEST_PATH_BYTES

_LABEL = re.compile(r"[A-Za-z0-9 _-]{1,128}", re.ASCII)
"""What Globus allows in a label, less the comma, which separates values in a filter."""
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ITEM_OVERHEAD_BYTES = 128


def checked_label(label: str) -> str:
    """``label`` as it is. Raises ValueError if Globus would not take it, or not find it again."""
    if not _LABEL.fullmatch(label):
        raise ValueError(f"a label has letters, digits, spaces, '_' and '-', at most 128: {label!r:.200}")
    return label


@dataclass(frozen=True)
class TransferItem:
    """One file to move. ``md5`` (32 lower-case hex digits) is checked by Globus at both ends if it is given.

    A file that does not match fails the *whole task* (SDK documentation of ``external_checksum``).
    """

    source: str
    destination: str
    md5: str | None = None


def transfer_body(
    submission_id: str,
    source_collection: str,
    destination_collection: str,
    label: str,
    items: Sequence[TransferItem],
    deadline: datetime | None = None,
) -> dict[str, Any]:
    """The complete transfer document, ready to be stored and sent as it is. Pure.

    Data are encrypted and verified, a file that is at the destination already is not sent again (compared
    by checksum), sources that cannot be read are skipped and listed, a full destination ends the task, and
    Globus sends no mail. ``deadline`` (default: Globus's own) is when Globus gives up.

    Raises ValueError for a label or an item that Globus would not take: a bug of the caller.
    """
    if not items or not submission_id:
        raise ValueError("a transfer needs a submission id and at least one item")
    body: dict[str, Any] = {
        "DATA_TYPE": "transfer",
        "submission_id": submission_id,
        "source_endpoint": source_collection,
        "destination_endpoint": destination_collection,
        "label": checked_label(label),
        "verify_checksum": True,
        "encrypt_data": True,
        "sync_level": 3,
        "skip_source_errors": True,
        "fail_on_quota_errors": True,
        "notify_on_succeeded": False,
        "notify_on_failed": False,
        "notify_on_inactive": False,
        "DATA": [_item(item) for item in items],
    }
    return body if deadline is None else {**body, "deadline": deadline.isoformat()}


def unusable_path(path: str | None) -> str | None:
    """Why Globus would not take ``path`` in an item, or None if it would."""
    if not path:
        return "is missing"
    if len(path.encode("utf-8", "replace")) > LONGEST_PATH_BYTES:
        return f"is longer than {LONGEST_PATH_BYTES} bytes"
    if not path.startswith("/") or ".." in path.split("/") or any(ord(char) < 32 for char in path):
        return "is not a plain absolute path"
    return None


def item_bytes(item: TransferItem) -> int:
    """About how many bytes an item takes in a transfer document, and its file in the record of the task."""
    return len(item.source.encode()) + len(item.destination.encode()) + _ITEM_OVERHEAD_BYTES


def _item(item: TransferItem) -> dict[str, Any]:
    for path in (item.source, item.destination):
        if why := unusable_path(path):
            raise ValueError(f"a path {why}: {path!r:.200}")
    document = {
        "DATA_TYPE": "transfer_item", "source_path": item.source, "destination_path": item.destination
    }  # fmt: skip
    if item.md5 is None:
        return document
    if not _MD5.fullmatch(item.md5):
        raise ValueError(f"not an md5: {item.md5!r:.80}")
    return {**document, "external_checksum": item.md5, "checksum_algorithm": "MD5"}


def _fatal_error(value: Any) -> Any:
    if isinstance(value, dict):
        return ": ".join(plain(str(value[key])) for key in ("code", "description") if value.get(key)) or "unknown"
    return value


def _count_or_zero(value: Any) -> Any:
    return 0 if value is None else value


Counter = Annotated[Count, BeforeValidator(_count_or_zero)]
Instant = Annotated[datetime | None, BeforeValidator(instant)]
_Shape = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class TaskStatus(BaseModel):
    """Where a task is, as Globus says."""

    model_config = _Shape

    task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    status: Annotated[Text, Field(min_length=1, max_length=60)]
    """ACTIVE (also while it retries faults), INACTIVE (paused: credentials or collection), SUCCEEDED, FAILED,
    or a word yet unknown."""
    label: OptionalText = None
    nice_status: OptionalText = None
    """Why it does not get on, in a word, such as PERMISSION_DENIED; None or OK while it does."""
    nice_details: Annotated[OptionalText, Field(alias="nice_status_details")] = None
    faults: Counter = 0
    bytes_transferred: Counter = 0
    files: Counter = 0
    files_skipped: Counter = 0
    """Files that were at the destination already (``sync_level``)."""
    skipped_errors: Annotated[Counter, Field(alias="subtasks_skipped_errors")] = 0
    """Files left out because their source could not be read."""
    fatal_error: Annotated[OptionalText, BeforeValidator(_fatal_error)] = None
    request_time: Instant = None
    completion_time: Instant = None
    """UTC."""


class SkippedError(BaseModel):
    """A file that a task left out because its source could not be read."""

    model_config = _Shape

    source_path: str
    destination_path: str
    error_code: OptionalText = None
    """Such as FILE_NOT_FOUND or PERMISSION_DENIED."""
    details: Annotated[OptionalText, Field(alias="error_details")] = None


class Transferred(BaseModel):
    """A file that a task did move. Files that were at the destination already are not listed by Globus."""

    model_config = _Shape

    source_path: str
    destination_path: str


class Entry(BaseModel):
    """One entry of a directory. ``name`` is raw: check it before it becomes part of a path."""

    model_config = _Shape

    name: str
    type: Text
    """file, dir, or another word."""
    size: Count | None = None
    """Bytes."""
    last_modified: Instant = None
    """UTC."""


class Page(BaseModel):
    """One page of a list of rows; ``next_marker`` leads to the next, ``total`` counts all if given."""

    model_config = _Shape

    rows: Annotated[list[Any], Field(alias="DATA")]
    next_marker: str | int | None = None
    total: Count | None = None


class SubmissionId(BaseModel):
    """A fresh submission id."""

    model_config = _Shape

    value: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class Submitted(BaseModel):
    """The answer to a submission. Duplicate: it had arrived before, and this is its task."""

    model_config = _Shape

    code: Annotated[str, Field(pattern=r"^(Accepted|Duplicate)$")]
    task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
