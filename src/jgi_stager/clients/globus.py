"""Globus Transfer: submit tasks, follow them, and list directories; and the documents that this takes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeVar

import globus_sdk
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from jgi_stager.clients.globus_errors import NOT_FOUND, denies_path, lost, meaning, required_scopes
from jgi_stager.clients.globus_login import can_consent, fingerprint, log_in, log_out
from jgi_stager.clients.parsing import Count, OptionalText, Text, explain, instant, plain
from jgi_stager.failures import CallKind, Lack, NeedsPerson, Rejected, Service, ServiceError, Transient
from jgi_stager.metrics import result_of, service_call
from jgi_stager.records import LONGEST_PATH_BYTES
from jgi_stager.secrets import Secrets
from jgi_stager.settings import GlobusSettings

# --- the documents: the one sent, and those that come back --------------------------------------------------


_LABEL = re.compile(r"[A-Za-z0-9 _-]{1,128}", re.ASCII)
"""What Globus allows in a label, less the comma, which separates values in a filter."""
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ITEM_OVERHEAD_BYTES = 128


def checked_label(label: str) -> str:
    """``label`` as it is. Raises ValueError if Globus would not take it, or not find it again."""
    if not _LABEL.fullmatch(label):
        raise ValueError(f"a label has letters, digits, spaces, '_' and '-', at most 128: {label!r:.200}")
    return label


ENDED = frozenset({"SUCCEEDED", "FAILED"})
"""The words of Globus for a task that is over. Every other one means that it still moves, or may."""


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
_Schema = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class TaskStatus(BaseModel):
    """Where a task is, as Globus says."""

    model_config = _Schema

    task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    status: Annotated[Text, Field(min_length=1, max_length=60)]
    """ACTIVE (also while it retries faults), INACTIVE (paused: credentials or collection), SUCCEEDED, FAILED,
    or a word yet unknown."""
    label: OptionalText = None
    nice_status: OptionalText = None
    """Why it does not get on, in a word, such as PERMISSION_DENIED; None or OK while it does."""
    nice_details: Annotated[OptionalText, Field(alias="nice_status_details")] = None
    is_paused: Annotated[bool, BeforeValidator(lambda value: value is True)] = False
    """Whether somebody paused it, such as the administrator of a collection."""
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

    model_config = _Schema

    source_path: str
    destination_path: str
    error_code: OptionalText = None
    """Such as FILE_NOT_FOUND or PERMISSION_DENIED."""
    details: Annotated[OptionalText, Field(alias="error_details")] = None


class Transferred(BaseModel):
    """A file that a task did move. Files that were at the destination already are not listed by Globus."""

    model_config = _Schema

    source_path: str
    destination_path: str


class Entry(BaseModel):
    """One entry of a directory. ``name`` is raw: check it before it becomes part of a path."""

    model_config = _Schema

    name: str
    type: Text
    """file, dir, or another word."""
    size: Count | None = None
    """Bytes."""
    last_modified: Instant = None
    """UTC."""


class Page(BaseModel):
    """One page of a list of rows; ``next_marker`` leads to the next, ``total`` counts all if given."""

    model_config = _Schema

    rows: Annotated[list[Any], Field(alias="DATA")]
    next_marker: str | int | None = None
    total: Count | None = None


class SubmissionId(BaseModel):
    """A fresh submission id."""

    model_config = _Schema

    value: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class Submitted(BaseModel):
    """The answer to a submission. Duplicate: it had arrived before, and this is its task."""

    model_config = _Schema

    code: Annotated[str, Field(pattern=r"^(Accepted|Duplicate)$")]
    task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


__all__ = [
    "Entry",
    "Globus",
    "SkippedError",
    "TaskStatus",
    "TransferItem",
    "Transferred",
    "item_bytes",
    "transfer_body",
    "unusable_path",
]

MOST_PAGES = 10_000
TASKS_PER_PAGE = 100
MOST_TASKS = 1000
"""How far back Globus lets a task list be paged."""
UNREADABLE = (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError)
"""What the SDK lets through where an answer is not what it expects (it does not validate shapes)."""

Result = TypeVar("Result")
Model = TypeVar("Model", bound=BaseModel)


class Globus:
    """Calls to Globus Transfer. Logs in when first used, and anew when a secret changes.

    Every call raises `Transient`, `Rejected` or `NeedsPerson`; never `OutcomeUnknown`, because a submission
    may be repeated as it is.
    """

    def __init__(self, settings: GlobusSettings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._lock = threading.Lock()
        self._client: globus_sdk.TransferClient | None = None
        self._made_from: object = None
        self._scopes: tuple[str, ...] = ()
        """Consents that a collection asked for and a confidential client may give itself."""
        self._allowed: dict[tuple[CallKind, str], bool] = {}
        """Whether a collection took the last call of a kind; nothing of what was not asked since the start."""

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._drop()

    def submission_id(self) -> str:
        """A fresh submission id. Store it, with the whole body, before `submit`."""
        return self._one(SubmissionId, "a submission id", lambda client: client.get_submission_id()).value

    def submit(self, body: Mapping[str, Any]) -> str:
        """Submit a stored document of `transfer_body` and return the task id.

        Repeat it with the same document, as often as needed, until it returns or raises `Rejected`:
        Globus answers a repetition with the task that it made the first time.
        """
        if not body.get("submission_id"):
            raise ValueError("a transfer without a submission id must never be sent")
        document = dict(body)
        collections = [str(document.get(name)) for name in ("source_endpoint", "destination_endpoint")]
        send = partial(self._one, Submitted, "the submission", lambda client: client.submit_transfer(document))
        return self._noted(CallKind.SUBMIT, collections, send).task_id

    def task(self, task_id: str) -> TaskStatus:
        """Where a task is. `Rejected` if Globus does not know it."""
        known = _id(task_id)
        return self._one(TaskStatus, "the task", lambda client: client.get_task(known))

    def cancel(self, task_id: str) -> None:
        """Ask Globus to end a task. Returns also if it has ended before."""
        known = _id(task_id)
        _, error = self._attempt(lambda client: client.cancel_task(known))
        if error and getattr(error, "code", None) != "TaskComplete":
            raise self._failure("the cancellation", error)

    def skipped_errors(self, task_id: str) -> tuple[SkippedError, ...]:
        """The files that an ended task left out because their source could not be read. All pages."""
        path = f"/v0.10/task/{_id(task_id)}/skipped_errors"
        return self._marked(SkippedError, "the skipped errors", path)

    def successful_transfers(self, task_id: str) -> tuple[Transferred, ...]:
        """The files that an ended task moved; not those that were at the destination already. All pages."""
        path = f"/v0.10/task/{_id(task_id)}/successful_transfers"
        return self._marked(Transferred, "the successful transfers", path)

    def find_tasks_by_label(self, label: str) -> tuple[TaskStatus, ...]:
        """The tasks of this login with exactly this label, newest first; at most `TASKS_PER_PAGE`."""
        query: dict[str, str | list[str]] = {"label": checked_label(label)}
        page = self._one(Page, "the task list", partial(_list_tasks, offset=0, query=query))
        tasks = self._rows(TaskStatus, "the task list", page.rows)
        return tuple(task for task in tasks if task.label == label)

    def tasks_labelled(self, prefix: str, since: datetime) -> tuple[TaskStatus, ...]:
        """The tasks of this login whose label begins with ``prefix`` and that were made after ``since``, newest
        first; at most `MOST_TASKS`."""
        query: dict[str, str | list[str]] = {"label": f"~{checked_label(prefix)}*"}
        found: list[TaskStatus] = []
        for offset in range(0, MOST_TASKS, TASKS_PER_PAGE):
            page = self._one(Page, "the task list", partial(_list_tasks, offset=offset, query=query))
            rows = self._rows(TaskStatus, "the task list", page.rows)
            found += [row for row in rows if row.request_time is None or row.request_time > since]
            if len(rows) < TASKS_PER_PAGE or (rows[-1].request_time or since) < since:
                break
        return tuple(task for task in found if (task.label or "").startswith(prefix))

    def ls(self, collection_id: str, path: str) -> tuple[Entry, ...] | None:
        """The entries of a directory, None if there is no such directory.

        A directory that may not be read is `Rejected`, for it concerns those files alone: one at JGI has not been
        shared yet. A login or consent that is missing is `NeedsPerson`.
        """
        return self._noted(CallKind.LIST, [collection_id], lambda: self._listing(collection_id, path))

    def allowed(self, call: CallKind, collection_id: str) -> bool | None:
        """Whether a collection took the last call of that kind; None if there was none since the start."""
        return self._allowed.get((call, collection_id.lower()))

    def consents_by_itself(self) -> bool:
        """Whether the login is a client's, which gives a missing consent by itself."""
        return can_consent(self._secrets)

    def _noted(self, call: CallKind, collections: Sequence[str], ask: Callable[[], Result]) -> Result:
        """What ``ask`` returns; whether these collections take calls of that kind is noted."""
        try:
            result = ask()
        except NeedsPerson as error:
            lack = error.lack
            refusal = NeedsPerson(error.service, str(error), error.cure, lack and lack.on(call, collections))
        else:
            self._allowed |= {(call, one.lower()): True for one in collections}
            return result
        self._allowed |= {(call, one.lower()): False for one in (refusal.lack or Lack("")).collections}
        raise refusal

    def _listing(self, collection_id: str, path: str) -> tuple[Entry, ...] | None:
        what = f"the listing of {path!r:.200}"
        found, error = self._attempt(lambda client: client.operation_ls(collection_id, path=path))
        if isinstance(error, globus_sdk.GlobusAPIError):
            if error.http_status == 404 and error.code in NOT_FOUND:
                return None
            if denies_path(error):
                raise Rejected(Service.GLOBUS, f"globus: {self._denied(collection_id)} {path!r:.200}")
        if error:
            raise self._failure(what, error)
        page = self._parsed(Page, what, found)
        if page.total is not None and page.total > len(page.rows):
            text = f"globus: {what} has {len(page.rows)} of {page.total} entries: not complete"
            raise Transient(Service.GLOBUS, text)
        return self._rows(Entry, what, page.rows)

    def _denied(self, collection_id: str) -> str:
        if collection_id == self._settings.jgi_collection_id:
            return "JGI does not share with this login, or not any more:"
        return "the collection does not let this login read"

    def probe(self) -> None:
        """The cheapest call that needs a working login. Returns if Globus answers."""
        self._one(Page, "the task list", lambda client: client.task_list(limit=1))

    def _marked(self, model: type[Model], what: str, path: str) -> tuple[Model, ...]:
        """All rows of a list whose pages are chained by markers."""
        rows: list[Any] = []
        marker: str | int | None = None
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            page = self._one(Page, what, partial(_get, path=path, marker=marker))
            rows += page.rows
            marker = page.next_marker
            if marker is None:
                return self._rows(model, what, rows)
            if str(marker) in seen:
                break
            seen.add(str(marker))
        raise Transient(Service.GLOBUS, f"globus: {what} do not end: a marker is repeated, or too many pages")

    def _one(self, model: type[Model], what: str, call: Callable[[globus_sdk.TransferClient], Any]) -> Model:
        return self._parsed(model, what, self._call(what, call))

    def _rows(self, model: type[Model], what: str, rows: list[Any]) -> tuple[Model, ...]:
        return tuple(self._parsed(model, what, row) for row in rows)

    def _parsed(self, model: type[Model], what: str, document: Any) -> Model:
        try:
            return model.model_validate(document)
        except ValidationError as error:
            problem = explain(error)
        raise Transient(Service.GLOBUS, f"globus: {what} is not what was expected: {problem:.200}")

    def _call(self, what: str, call: Callable[[globus_sdk.TransferClient], Any]) -> Any:
        """The JSON document that ``call`` is answered with."""
        document, error = self._attempt(call)
        if error:
            raise self._failure(what, error)
        return document

    def _attempt(self, call: Callable[[globus_sdk.TransferClient], Any]) -> tuple[Any, Exception | None]:
        """The document, or the SDK's error as a value, so that no exception of ours carries it along."""
        error: Exception
        try:
            return self._counted(call), None
        except globus_sdk.GlobusAPIError as found:
            error = found
        except (globus_sdk.GlobusError, *UNREADABLE) as found:
            error = found
        if not isinstance(error, globus_sdk.GlobusAPIError) or not self._agree(error):
            return None, error
        try:
            return self._counted(call), None
        except (globus_sdk.GlobusError, *UNREADABLE) as found:
            return None, found

    def _counted(self, call: Callable[[globus_sdk.TransferClient], Any]) -> Any:
        with service_call(Service.GLOBUS) as counted:
            try:
                document = call(self._logged_in()).data
            except globus_sdk.GlobusAPIError as error:
                counted.result = result_of(error.http_status)
                raise
            counted.result = "ok"
            return document

    def _failure(self, what: str, error: Exception) -> ServiceError:
        if not isinstance(error, globus_sdk.GlobusAPIError):
            return lost(what, error)
        with self._lock:
            if isinstance(error, globus_sdk.AuthAPIError):
                self._scopes = ()  # should it be these that Globus Auth refuses
            hide = (getattr(self._client and self._client.authorizer, "access_token", None) or "",)
        return meaning(what, error, hide)

    def _agree(self, error: globus_sdk.GlobusAPIError) -> bool:
        """Give a consent that is missing, if this login can: a confidential client asks for the scopes."""
        scopes = required_scopes(error)
        with self._lock:
            if not scopes or not can_consent(self._secrets) or set(scopes) <= set(self._scopes):
                return False
            self._scopes = tuple(dict.fromkeys((*self._scopes, *scopes)))
            self._drop()
            return True

    def _logged_in(self) -> globus_sdk.TransferClient:
        with self._lock:
            made_from = fingerprint(self._secrets)
            if self._client is None or self._made_from != made_from:
                self._drop()
                self._client = log_in(self._settings, self._secrets, self._scopes)
                self._made_from = made_from
            return self._client

    def _drop(self) -> None:
        if self._client is not None:
            log_out(self._client)
            self._client = None


def _list_tasks(client: globus_sdk.TransferClient, offset: int, query: dict[str, str | list[str]]) -> Any:
    """A page of the task list, newest first."""
    return client.task_list(limit=TASKS_PER_PAGE, offset=offset, orderby="request_time DESC", filter=query)


def _get(client: globus_sdk.TransferClient, path: str, marker: str | int | None) -> Any:
    return client.get(path, query_params=None if marker is None else {"marker": str(marker)})


def _id(task_id: str) -> str:
    """A task id as it may stand in a path. Raises ValueError otherwise: a bug of the caller."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", task_id):
        raise ValueError(f"not a task id: {task_id!r:.80}")
    return task_id
