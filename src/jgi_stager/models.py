"""The stored documents, typed: every field with its type, its bounds and its meaning.

The store reads each document through its model (`jgi_stager.store.validation`). What does not fit was edited by
hand, or written by something else: it is set aside with its reason, and nobody acts on it (docs/decisions/0502). A
field with a default may be missing, as in a database of an older release; one that no model names is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from jgi_stager.choosing import FileChoice
from jgi_stager.discovery_models import Discovery, NotInGold, Rescan
from jgi_stager.failures import LimitKind
from jgi_stager.lifecycle import (
    AT_JGI,
    HOLDING_REQUESTS,
    IN_DOUBT,
    NoticeState,
    ProjectState,
    RequestState,
    State,
    TaskState,
)
from jgi_stager.manifests import ListedManifest
from jgi_stager.records import MAIL_ADDRESS, MOST_RESCAN_DAYS, PROJECT_NAME, PROPOSAL_ID, TaskKind, absolute_path
from jgi_stager.room import NoRoom
from jgi_stager.stored import (
    Bytes,
    Component,
    Count,
    Download,
    History,
    Instant,
    JdpFileId,
    ObjectIdOrNone,
    ObjectIds,
    RequestNumber,
    Stored,
    StoredDocument,
    Verified,
    needs,
    wrong,
)

Name = Annotated[str, StringConstraints(pattern=PROJECT_NAME)]
"""The name of an accepted project: it becomes a directory."""


class Project(StoredDocument):
    """An accepted project: the document in ``projects``. What a person inserts is `records.ProjectRecord`."""

    collection = "projects"
    project_name: Name
    accepted_name: Name
    """The same; unique among all projects."""
    accepted_at: Instant
    proposal_id: Annotated[str, StringConstraints(pattern=PROPOSAL_ID)]
    nmdc_study_id: str | None = None
    analysis_projects_dir: Annotated[str, AfterValidator(absolute_path)]
    """Its own directory goes into this one."""
    biosample_ids: list[str] | None = None
    files: FileChoice | None = None
    rescan_days: Annotated[int, Field(ge=1, le=MOST_RESCAN_DAYS)] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    notify: list[Annotated[str, StringConstraints(pattern=MAIL_ADDRESS)]] | None = None
    state: Annotated[ProjectState, Field(strict=False)]
    since: Instant
    update_date: Instant
    history: History
    discovery: Discovery
    rescan: Rescan | None = None
    """The discovery that is under way beside what was found before; None if none is."""
    rescanned_at: Instant | None = None
    """When the last one ended."""
    reason: str | None = None
    error: str | None = None
    """What its discovery met last, and since when, how often, and when it goes on."""
    error_since: Instant | None = None
    attempts: Count | None = None
    next_try_at: Instant | None = None
    study_looked_up: bool | None = None
    study_error: str | None = None
    study_attempts: Count | None = None
    study_next_try_at: Instant | None = None
    study_compared: bool | None = None
    """Whether GOLD's answer was compared with what NMDC knows of the study."""
    not_in_gold: NotInGold | None = None
    """What that showed; None if nothing is missing, or nothing can be compared."""
    no_room: NoRoom | None = None
    failures_seen_at: Instant | None = None
    failures_told_at: Instant | None = None
    failures_mails: Count | None = None
    resumes_to: Annotated[ProjectState, Field(strict=False)] | None = None
    """The state that it goes back to when a person resumes it."""
    stopped_at: Instant | None = None
    """When nothing was under way any more for a cancelled project."""
    dismissed_at: Instant | None = None
    done_at: Instant | None = None
    report_due_at: Instant | None = None
    """When its reports are tried again, where not all of them could be written."""
    report_attempts: Count | None = None
    report_error: str | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.read is None and self.project_name != self.accepted_name:
            raise wrong(f"project_name is {self.project_name!r}, but it was accepted as {self.accepted_name!r}")
        return self


class DeliveryFault(Stored):
    """What was wrong with a file in a delivery."""

    request_id: RequestNumber
    what: str
    spoilt: bool = False
    """It arrived and was not what JDP says of it."""
    asked_at: Instant | None = None
    """When the request was made."""


class File(StoredDocument):
    """One wanted file: one JDP file id at one destination. The document in ``files``."""

    collection = "files"
    project_name: str
    """That of its project, or what is left of one whose record was removed."""
    jdp_file_id: JdpFileId
    source_file_id: JdpFileId
    """The id that is asked for."""
    file_name: str
    ap_gold_id: str
    its_ap_id: Count
    gold_study_id: str | None = None
    gold_biosample_id: str | None = None
    gold_seq_id: str | None = None
    jgi_ap_id: str | None = None
    jdp_file_status: str | None = None
    jdp_file_size: Bytes | None
    """As JDP says."""
    md5sum: str | None
    request_id: RequestNumber | None
    globus_task_id: str | None
    source_path: str | None
    """On the JGI collection."""
    destination_path: str | None
    state: Annotated[State, Field(strict=False)]
    setbacks: Count
    """How often it went back on its way since a person last released it."""
    delivery_faults: list[DeliveryFault] = []
    to_list_again: bool = False
    """Whether JDP lists it once more before it is asked for."""
    copy_from: ObjectIdOrNone = None
    """The file whose copy at another destination it is made from, when that is done."""
    not_from: ObjectIds = []
    """Those of which that failed."""
    kept_to: RequestNumber | None = None
    """The delivery that a person sent it back to: what that does not bring is not asked from tape in its stead."""
    verified: Verified | None = None
    download: Download | None = None
    look_first: bool = False
    """Whether it may lie at its destination already: that is looked at before it is asked for."""
    failed_from: Annotated[State, Field(strict=False)] | None
    reason: str | None
    since: Instant
    create_date: Instant
    update_date: Instant
    history: History

    @model_validator(mode="after")
    def _of_its_state(self) -> Self:
        moving = self.state == State.TRANSFERRING
        needed = {"request_id": self.state in AT_JGI, "globus_task_id": moving and self.download is None}
        needed["source_path"] = moving or self.state == State.MANIFEST_READY
        needed["destination_path"] = self.state != State.FAILED
        return needs(self, self.state, needed)


V = TypeVar("V")


def _there(value: V | None, name: str, document: StoredDocument) -> V:
    if value is None:
        raise ValueError(f"{document.collection} {document.key} has no {name}")
    return value


class Vouched(Stored):
    """A copy of what only the daemon may say of a request, written together with it: an edit of one shows."""

    bytes: Bytes
    ids: Count
    submitted_at: Instant | None = None
    request_id: RequestNumber | None = None


class RestoreRequest(StoredDocument):
    """One POST to JDP: the document in ``restore_requests``. All of them together are the quota ledger."""

    collection = "restore_requests"
    key: str = Field(alias="_id")
    state: Annotated[RequestState, Field(strict=False)]
    since: Instant
    file_ids: Annotated[list[JdpFileId], Field(min_length=1)]
    """The distinct JDP ids that were asked for."""
    projects: list[str]
    files: Count
    """How many files they serve."""
    bytes: Bytes
    """What it counts against the quota."""
    reserved_at: Instant
    submitted_at: Instant | None
    """When it was answered, by JDP's clock: from then on its bytes count for one window."""
    request_id: RequestNumber | None
    vouched: Vouched | None = None
    """None in a database of an older release."""
    restored_count: Count | None = None
    updated_count: Count | None = None
    status_word: str | None = None
    download: bool = False
    """Whether it was asked for without a delivery to Globus: its files are downloaded."""
    expiration_date: datetime | None
    """JDP's word, whatever it is."""
    next_poll_at: Instant | None
    polls: Count = 0
    attempts: Count
    error: str | None = None
    manifest: dict[str, Any] = {}
    manifest_read_at: Instant | None = None
    delivery_directory: Component | None = None
    """The name of its delivery directory, where that is another one than ``R<number>``."""
    manifests: list[ListedManifest] = []
    """Its manifests, as they were listed when they were fetched last."""
    manifests_fetched_at: Instant | None = None
    """When that was; None until they have arrived."""
    ready_at: Instant | None = None
    expired_at: Instant | None = None
    vanished_at: Instant | None = None
    """Since when JDP does not know it."""
    looked_at: Instant | None = None
    working_at: Instant | None = None
    """When JDP last said that tape works on its files."""
    stalled_told_at: Instant | None = None
    transfer_after: Instant | None = None
    unread_since: Instant | None = None
    """Since when, and until when it rests, of whose delivery nothing could be read."""
    dropped: list[str] | None = None
    """Ids that JDP did not take."""
    lost: list[str] | None = None
    """Ids that the delivery does not bring."""
    useless: str | None = None
    """Why its manifest was of no use when it was read last."""
    compared: list[RequestNumber] | None = None
    """Deliveries that are not of this request, while it is in doubt."""
    undecided: dict[str, Instant] | None = None
    found: bool | None = None
    """A delivery that was met at JGI: nobody here asked for it."""
    answer: str | None = None
    """What JDP answered without a number to follow it by. It counts as received, is not released by time, and
    nothing else is asked for, until it is explained."""
    over_limit: Annotated[LimitKind, Field(strict=False)] | None = None
    """Refused for how much was asked: its ids are not to blame."""
    held_until: Instant | None = None
    """Nothing is asked for before then: JDP refused the amount."""
    update_date: Instant
    history: History

    @property
    def number(self) -> int:
        """The number that JDP gave it. Raises ValueError if it has none: it was never accepted."""
        return _there(self.request_id, "request_id", self)

    @property
    def asked_at(self) -> datetime:
        """When it was answered, by JDP's clock. Raises ValueError if it never was."""
        return _there(self.submitted_at, "submitted_at", self)

    @property
    def due_at(self) -> datetime:
        """When it is to be looked at next, or was last where that is over. Raises ValueError if never."""
        return _there(self.next_poll_at, "next_poll_at", self)

    @property
    def ready_since(self) -> datetime:
        """When JDP said that it is delivered. Raises ValueError if it never did."""
        return _there(self.ready_at, "ready_at", self)

    @property
    def not_brought(self) -> frozenset[str]:
        """The ids that it does not bring: lost on the way, or unknown to JDP, which drops them."""
        return frozenset((*(self.lost or ()), *(self.dropped or ())))

    @model_validator(mode="after")
    def _of_its_state(self) -> Self:
        held = self.state in HOLDING_REQUESTS
        needed = {
            "submitted_at": held or self.state == RequestState.UNKNOWN,
            "request_id": held,
            "ready_at": self.state == RequestState.READY,
            "next_poll_at": held or self.state in IN_DOUBT,
            "unread_since": self.transfer_after is not None,
        }
        return needs(self, self.state, needed)

    @model_validator(mode="after")
    def _as_vouched(self) -> Self:
        if self.read is None and self.vouched is not None:
            has = {**self.model_dump(include={"bytes", "submitted_at", "request_id"}), "ids": len(self.file_ids)}
            for name, vouched in self.vouched:
                if has[name] != vouched:
                    field = "file_ids" if name == "ids" else name
                    raise wrong(f"{field} was changed: there were {vouched} {name}, now {has[name]}")
        return self


class TransferItem(Stored):
    """One file in the body of a transfer."""

    source_path: str
    destination_path: str


class TransferBody(Stored):
    """The document that is sent to Globus, as far as anybody here reads it."""

    submission_id: str
    DATA: list[TransferItem]


class TransferTask(StoredDocument):
    """One Globus transfer: the document in ``globus_tasks``."""

    collection = "globus_tasks"
    key: str = Field(alias="_id")
    kind: Annotated[TaskKind, Field(strict=False)]
    state: Annotated[TaskState, Field(strict=False)]
    since: Instant
    submission_id: str
    label: str
    body: TransferBody
    task_id: str | None
    """What Globus calls it."""
    file_oids: ObjectIds
    request_ids: list[RequestNumber]
    """The deliveries that its files are from."""
    files: Count
    bytes: Bytes
    status: str | None = None
    nice_status: str | None = None
    faults: Count | None = None
    sent_at: Instant | None = None
    issued_at: Instant | None = None
    """When its submission id was renewed."""
    submitted_at: Instant | None
    ended_at: Instant | None = None
    vanished_at: Instant | None = None
    """Since when Globus does not know it."""
    held_since: Instant | None = None
    """Since when what it brought cannot be looked at."""
    cancelled_at: Instant | None = None
    cancel_after: Instant | None = None
    cancel_error: str | None = None
    bytes_transferred: Bytes | None = None
    moved_at: Instant | None = None
    moved_bytes: Bytes | None = None
    stalled_told_at: Instant | None = None
    arrived: Count | None = None
    reached: list[str] | None = None
    not_reached: list[str] | None = None
    """Projects to whose directories it brought something, or failed to."""
    next_poll_at: Instant | None
    attempts: Count
    error: str | None = None
    update_date: Instant
    history: Annotated[History, Field(min_length=1)]

    @property
    def globus_id(self) -> str:
        """What Globus calls it. Raises ValueError if Globus never answered."""
        return _there(self.task_id, "task_id", self)

    @property
    def due_at(self) -> datetime:
        """When it is to be looked at next, or was last where that is over. Raises ValueError if never."""
        return _there(self.next_poll_at, "next_poll_at", self)

    @property
    def begun_at(self) -> datetime:
        """When Globus took it. Raises ValueError if it never did."""
        return _there(self.submitted_at, "submitted_at", self)

    @model_validator(mode="after")
    def _of_its_state(self) -> Self:
        sent = self.state in (TaskState.SUBMITTED, TaskState.ACTIVE, TaskState.ENDED)
        needed = {
            "task_id": sent,
            "submitted_at": sent,
            "next_poll_at": sent or self.state == TaskState.SUBMITTING,
        }
        whole = self.read is None or {"file_oids", "files", "kind"} <= self.read
        if whole and self.kind == TaskKind.FILES and len(self.file_oids) != self.files:
            raise wrong(f"file_oids was changed: there were {self.files}, now {len(self.file_oids)}")
        return needs(self, self.state, needed)


class RefusedAddress(Stored):
    """An address that a mail server refused."""

    address: str
    reason: str
    at: Instant


class PostponedAddress(Stored):
    """An address of which a mail server said "not now"."""

    address: str
    since: Instant


class TriesNotTaken(Stored):
    """The tries of a mail that the server did not take."""

    times: Count
    first: Instant
    last: Instant


class Notice(StoredDocument):
    """One notice to people: the document in ``notices``."""

    collection = "notices"
    key: str = Field(alias="_id")
    project: str | None = None
    thread: str | None = None
    order: Any = None
    """An ``_id`` of MongoDB: which of a thread was stored first. None in the database of older releases."""
    kind: str
    """One of `jgi_stager.notices.Kind`, or a word of another release."""
    data: dict[str, Any]
    to: list[str]
    subject: str | None = None
    delivered: list[str] = []
    refused: list[RefusedAddress] = []
    postponed: list[PostponedAddress] = []
    not_taken: TriesNotTaken | None = None
    created: Instant
    state: Annotated[NoticeState, Field(strict=False)]
    since: Instant
    next_try_at: Instant
    attempts: Count
    message_id: str | None
    sent_at: Instant | None = None
    pushed_at: Instant | None = None
    push_after: Instant | None = None
    push_bug: str | None = None
    folded_into: str | None = None
    error: str | None = None
    update_date: Instant
    history: History


DOCUMENTS: Mapping[str, type[StoredDocument]] = {
    model.collection: model for model in (Project, File, RestoreRequest, TransferTask, Notice)
}
"""The model of each collection but ``discoveries``, which has two, ``control``, where each document has its own
(`jgi_stager.control_models`), and ``alarms`` (`jgi_stager.alarm_models`), where none is set aside."""
