"""Every knob of the simulator: what is fixed at its start, and what can be switched while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

JGI_COLLECTION_ID = "65fa2422-e080-11ec-990f-3b4cfda38030"
NERSC_COLLECTION_ID = "ae777bc6-bf84-11ed-9917-cb2cff506ca5"
MANIFEST_FAULTS = (
    "manifest_short",
    "manifest_extra",
    "manifest_bad_header",
    "manifest_bad_encoding",
    "manifest_torn",
)


class Credentials(BaseModel):
    """What the services accept. `write_secrets` puts them where a daemon reads its secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gold_offline_token: str = "simulated-gold-offline-token"  # noqa: S105 - opens nothing but the simulator
    jdp_token: str = "/api/sessions/0123456789abcdef0123456789abcdef"  # noqa: S105
    globus_client_id: str = "5d1f9c5e-7c1a-4b7e-9e53-0a1b2c3d4e5f"
    globus_client_secret: str = "simulated-globus-client-secret"  # noqa: S105
    globus_refresh_token: str = "simulated-globus-refresh-token"  # noqa: S105


class SimulatorSettings(BaseModel):
    """Fixed at start. Hours and seconds are simulated, bytes are bytes, paths are absolute."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root_dir: Path
    """Where the collections lie: ``<root_dir>/jgi`` is the root of the JGI collection."""
    nersc_prefix: Path
    """The only part of the local file system that the NERSC collection shows, under its own absolute path."""
    seed: int = 1
    globus_root_dir: str = "73709"
    """The delivery folder of the Globus user on the JGI collection."""
    jgi_collection_id: str = JGI_COLLECTION_ID
    nersc_collection_id: str = NERSC_COLLECTION_ID
    credentials: Credentials = Credentials()

    gold_token_hours: float = 12.0
    globus_token_hours: float = 48.0

    max_request_ids: int = 750
    max_window_bytes: int = 10_000_000_000_000
    window_hours: float = 24.0
    retention_days: int = 14
    """A delivery and the files it restored stay that long."""
    registration_seconds: float = 30.0
    """How long a request stays ``new``."""
    delivery_lag_seconds: float = 900.0
    """Between the last file on disk and the request being ``ready``."""
    manifest_seconds: float = 120.0
    """The first half of a manifest is there that long before the request is ``ready``; the second half comes
    with it or, for every third request, that long after it."""
    manifest_form: Literal["quoted", "unquoted", "mixed"] = "mixed"
    """Every value quoted, as recorded in 2023, or only what needs it and no line break at the end, as recorded in
    2025; "mixed": quoted for requests with an odd number."""
    first_request_id: int = 652_401

    tape_drives: int = 4
    tape_mount_seconds: float = 120.0
    tape_bytes_per_second: float = 360e6
    """Of one drive. Four of them need about two hours for 10 TB."""

    max_active_tasks: int = 3
    max_pending_tasks: int = 100
    transfer_bytes_per_second: float = 1.2e9
    """Shared by all active tasks."""
    transfer_file_overhead_bytes: int = 24_000_000
    """What the handling of one file costs, in bytes that could have been moved meanwhile."""
    transfer_deadline_hours: float = 24.0
    fault_period_seconds: float = 600.0
    """A task that cannot go on tries again, and counts a fault, this often."""
    submission_id_must_be_issued: bool = True
    """Refuse a submission id that did not come from the submission_id call."""
    submission_id_hours: float = 48.0
    """So long after its first use a submission id is remembered: the same one then makes a second task."""


class WorldFault(BaseModel):
    """Something that goes wrong inside a service rather than on the wire.

    ``count`` is how many requests, tasks or files it may hit (None: no end), ``seconds`` (simulated) how long
    one hit lasts (None: for ever); ``ids`` restricts it to these file ids and ``request_ids`` to these requests.

    At JDP: ``request_stuck`` stays pending. ``request_expires_early`` expires ``seconds`` after it was asked for
    (None: an hour), whatever it is by then: queued for tape, or delivered while its files wait for a transfer.
    ``request_status_word`` and ``file_status_word`` show ``word``. ``delivery_lacks`` leaves out ``files``, in the
    directory and in the manifest; ``directory_incomplete`` only in the directory, until ``seconds`` have passed
    since the request was ready. ``delivery_wrong_content`` and ``delivery_wrong_size`` spoil ``files``. The
    ``manifest_...`` kinds spoil the manifest while they last; ``manifest_torn`` cuts an unquoted one in the size
    of its last file.

    On the download host: ``download_wrong_content`` and ``download_wrong_size`` spoil an answer, ``download_cut``
    ends one after half of what it should send.

    At Globus: ``task_failed`` ends a task FAILED with ``word``. ``task_faulty`` keeps one ACTIVE, counting a fault
    every `fault_period_seconds` and moving nothing; its deadline moves along, as if it made just enough
    progress. ``tasks_inactive`` stops one for its login, ``tasks_paused`` by the administrator of the JGI
    collection, ``task_status_word`` shows ``word`` for its status, ``task_skips``
    leaves out a file as not found. ``destination_full``. ``arrival_wrong_size`` and ``arrival_wrong_content``.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal[
        "request_stuck",
        "request_expires_early",
        "request_status_word",
        "file_status_word",
        "delivery_lacks",
        "directory_incomplete",
        "delivery_wrong_content",
        "delivery_wrong_size",
        "manifest_short",
        "manifest_extra",
        "manifest_bad_header",
        "manifest_bad_encoding",
        "manifest_torn",
        "download_wrong_content",
        "download_wrong_size",
        "download_cut",
        "task_failed",
        "task_faulty",
        "task_skips",
        "task_status_word",
        "arrival_wrong_size",
        "arrival_wrong_content",
        "destination_full",
        "tasks_inactive",
        "tasks_paused",
    ]
    count: int | None = None
    seconds: float | None = None
    ids: list[str] | None = None
    request_ids: list[int] | None = None
    files: int = 1
    """How many files of one delivery or task are hit, where ``ids`` does not say which."""
    word: str = "QUANTUM_FLUX"
    """The status word that nobody knows, or the code of a failure."""


class Switches(BaseModel):
    """What can be changed while the simulator runs (``POST /_sim/control {"switches": {...}}``)."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    gold_unknown_proposal: Literal["403", "404", "empty"] = "empty"
    gold_form: Literal["list", "data", "keys", "numbers"] = "list"
    """What GOLD's lists come in: an object with the rows in ``data``, one without rows, or numbers for rows."""
    gold_pages: Literal["none", "next", "relative", "link", "elsewhere", "circle"] = "none"
    """How a list leads to its next two rows: an address or a relative one in ``next``, the header ``Link``; or a
    ``next`` that leads to another host, or back to the first page."""
    gold_hides_projects: int = 0
    """Of so many sequencing projects, the last ones, the answer about the proposal has no analysis project."""
    nersc_outages: list[dict[str, Any]] | None = []
    """What NERSC's status API lists, word for word; None: no list at all."""
    nmdc_shared_study: bool = False
    """The NMDC study names another JGI proposal beside ours."""
    gold_session_revoked: bool = False
    gold_token_quoted: bool = False
    jdp_credential: Literal["bearer", "cookie", "either"] = "bearer"
    jdp_token_revoked: bool = False
    jdp_token_ends_at: AwareDatetime | None = None
    jdp_token_calls_left: int | None = None
    """The session token is accepted so many times more, and then never again."""
    jdp_token: str | None = None
    """A renewed session token; the one of the start no longer counts then."""
    dates: bool = True
    """Whether answers have a ``Date``, that of the simulated clock."""
    jdp_date_ahead_hours: float = 0.0
    """How far the ``Date`` of JDP's answers is ahead of the time by which it counts; negative: behind."""
    jdp_date: str | None = Field(None, max_length=100, pattern=r"^[ -~]*$")
    """What JDP's answers have for a ``Date``, word for word."""
    jdp_date_wrong_answers: int | None = None
    """So many answers more have JDP's wrong ``Date``, and then the right one; None: all of them."""
    over_limit: Literal["400", "403", "429", "accept"] = "400"
    unknown_ids: Literal["drop", "404"] = "drop"
    request_id_form: Literal["number", "text", "mixed"] = "mixed"
    status_case: Literal["lower", "upper", "mixed"] = "mixed"
    quirks: bool = True
    """Floats for sizes, strings and lists for the same field, repeated descriptors, missing keys and md5."""
    jdp_repeats_organism: bool = False
    """The search lists its last organism once more, on a page of its own, and counts it again."""
    ids_in_capitals: bool = False
    """JDP and the manifests write file ids in capitals."""
    delivery_directory: Literal["plain", "year"] = "plain"
    """``R<number>``, or that with a year behind it."""
    delivered_names: Literal["same", "underscore"] = "same"
    """The files of a delivery lie there as the manifest says, or with ``_`` for each blank."""
    manifest_columns: Literal["plain", "reordered", "extra", "renamed", "unknown"] = "plain"
    """``renamed``: words that mean the same; ``unknown``: such that nobody can know."""
    manifest_files: Literal["one", "two", "renamed"] = "one"
    """``two``: each has half of the files. ``renamed``: one without the number of the request in its name."""
    jdp_request_id: Literal["plain", "url", "none", "repeated"] = "plain"
    """Where an accepted request has its number: in ``request_id``, only in ``request_status_url``, nowhere; or it
    has that of the first request of all."""
    jdp_skips_updated: bool = False
    """What is on disk already is counted in ``updated_count`` and is not delivered."""
    download_parts: bool = True
    """Whether the download host gives parts of a file; else it sends the whole to whoever asks for one."""
    download_etag: Literal["strong", "weak", "none"] = "strong"
    download_length: bool = True
    """Whether it says how long the whole file is; else it sends it in chunks until it ends."""
    jdp_login_page: bool = False
    """An ended session is answered with a page to log in, status 200, instead of 401."""
    jdp_max_ids: int | None = None
    """Ids in one request, where JDP allows fewer than `SimulatorSettings.max_request_ids`."""
    jdp_window_bytes: int | None = None
    """Bytes in a window, where JDP allows less than `SimulatorSettings.max_window_bytes`."""
    jdp_counted_bytes: int = 0
    """What others asked for with the same account: it counts in every window."""
    limit_texts: Literal["named", "plain"] = "named"
    """Whether a refusal for a limit names it."""
    globus_secret_revoked: bool = False
    globus_tokens_revoked: bool = False
    """Refuses every access token issued so far and goes back to False."""
    require_data_access: bool = False
    """Collections need the data_access consent in the token's scope: both, unless ``data_access_of`` says which,
    and for listing and submitting, unless ``data_access_calls`` says for what. Calls about tasks need none."""
    data_access_of: Literal["both", "jgi", "nersc"] = "both"
    data_access_calls: Literal["both", "ls", "submit"] = "both"
    data_access_granted: bool = True
    """Whether the scope of the token counts; else a collection refuses until somebody agrees there."""
    world_faults: list[WorldFault] = Field(default_factory=list)
