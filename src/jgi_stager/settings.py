"""Every setting, with unit and default. TOML file < environment < command line; unknown keys are refused."""

from __future__ import annotations

import os
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jgi_stager.config_sources import (
    CONFIG_VARIABLE,
    ENV_PREFIX,
    AbsolutePath,
    Addresses,
    ConfigError,
    HttpUrl,
    Paths,
    Sender,
    Strings,
    default_config_file,
    explain,
    is_loopback,
    read_toml,
    refuse_open_addresses,
    refuse_open_file,
    refuse_unknown_variables,
    verified_uri,
)

__all__ = ["CONFIG_VARIABLE", "ENV_PREFIX", "ConfigError", "Settings", "default_config_file", "load_settings"]


class Section(BaseModel):
    """A section of the settings file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MongoSettings(Section):
    """Where the database is kept. Without a uri the daemon starts a private mongod in its state directory."""

    uri: Annotated[str, AfterValidator(verified_uri)] | None = Field(None, repr=False)
    database: str = Field("jgi_stager", pattern=r"^[A-Za-z0-9_-]{1,60}$")


class HttpSettings(Section):
    """What a service that is asked over HTTP needs. Network timeouts are real seconds."""

    base_url: HttpUrl
    timeout_seconds: float = Field(60.0, gt=0)
    pool_size: int = Field(4, ge=1, le=32)
    requests_per_second: float = Field(20.0, gt=0)
    """So many calls begin in a second at most: others use the service, too."""


class GoldSettings(HttpSettings):
    """The GOLD web service."""

    base_url: HttpUrl = "https://gold-ws.jgi.doe.gov"


class NmdcSettings(HttpSettings):
    """The NMDC API."""

    base_url: HttpUrl = "https://api.microbiomedata.org"


class NerscSettings(Section):
    """What NERSC says of itself: which outages it plans. Nothing waits for it; with an empty address it is off."""

    status_url: HttpUrl | Literal[""] = "https://api.nersc.gov/api/v1.2/status/outages/planned/"
    timeout_seconds: float = Field(10.0, gt=0)


class JdpSettings(HttpSettings):
    """The JGI Data Portal and its limits. ``max_restore_bytes`` holds in any ``quota_window_hours``."""

    base_url: HttpUrl = "https://files.jgi.doe.gov"
    download_url: HttpUrl = "https://files-download.jgi.doe.gov"
    """Where JDP gives out single files, for ``staging.method = "https"``. It gets the session token, too."""
    max_restore_bytes: int = Field(10_000_000_000_000, gt=0)
    quota_window_hours: float = Field(24.0, gt=0)
    restore_batch_size: int = Field(750, ge=1, le=750)
    remove_files: Strings = ["img_nr.last.blasttab", "domtblout"]
    globus_user_name: str = ""
    credential: Literal["bearer", "cookie"] = "bearer"
    cookie_name: str = Field("kc_session", pattern=r"^[A-Za-z0-9_-]+$")
    manifest_patience_hours: float = Field(24.0, ge=0)
    """How long a manifest may stay incomplete before it is used as far as it goes; people are told much earlier.
    The files it lacks are used where they lie in the delivery, and else asked for again, once. One that says
    nothing at all costs no tape."""
    unknown_patience_hours: float | None = Field(None, gt=0)
    """How long to look for evidence of a request whose answer was lost; without a value the quota window."""
    trial_patience_hours: float = Field(6.0, gt=0)
    """How long the small request that goes first is waited for before one of normal size may go beside it."""


class GlobusSettings(Section):
    """Globus collections and limits. ``globus_root_dir`` is the delivery folder of the Globus user at JGI."""

    jgi_collection_id: str = "65fa2422-e080-11ec-990f-3b4cfda38030"
    nersc_collection_id: str = "ae777bc6-bf84-11ed-9917-cb2cff506ca5"
    globus_root_dir: str = ""
    client_id: str | None = None
    transfer_url: HttpUrl | None = None
    """Of the Transfer API. None, also for the next one: as the Globus SDK has it."""
    auth_url: HttpUrl | None = None
    """Of Globus Auth, which renews the login."""
    max_active_tasks: int = Field(3, ge=1, le=100)
    max_files_per_task: int = Field(1500, ge=1, le=20_000)
    timeout_seconds: float = Field(60.0, gt=0)

    @field_validator("globus_root_dir", mode="before")
    @classmethod
    def _strip_slashes(cls, value: Any) -> Any:
        return str(value).strip("/") if isinstance(value, str | int) and not isinstance(value, bool) else value

    @property
    def delivery_root(self) -> str:
        """The directory on the JGI collection in which all deliveries lie, without a slash at its end."""
        return f"/{self.globus_root_dir}".rstrip("/")


class StagingSettings(Section):
    """Where files arrive and how they are checked there."""

    stage_dir: AbsolutePath | None = None
    method: Literal["globus", "https"] = "globus"
    """How files come from JGI: by Globus, or each by a download from JDP, which needs no Globus at all."""
    download_workers: int = Field(2, ge=1, le=8)
    """Files that are downloaded at a time; JDP is a shared service."""
    md5_max_bytes: int | None = Field(None, ge=0)
    """Files larger than this are verified by size only; without a value every file is read back."""
    watch_space: bool = True
    """Whether a project waits while what is to come for it is more than is free at its destination."""
    destination_quota_bytes: int | None = Field(None, gt=0)
    """What all projects together may fill below ``stage_dir``; without a value what the file system has free."""
    verify_workers: int | None = Field(None, ge=1, le=64)
    """Files that are read back at a time; without a value the cores of the machine, at most 4."""
    verify_by: Literal["daemon", "workers"] = "daemon"
    """Who reads files back: the daemon, or ``jgi-stager verify-worker`` processes where the data is."""
    worker_patience_minutes: float = Field(60.0, gt=0)
    """After so long without a sign of life of any worker the daemon reads what waits for them itself."""
    share: bool = True
    """Whether a file that another project has already is copied from there, where this machine sees both; none
    that is larger than ``md5_max_bytes``: it is not to be read."""
    max_setbacks: int = Field(5, ge=1)
    """How often a file may go back on its way before it is held as failed."""


class ImporterSettings(Section):
    """What takes over after staging, so that people hear which analysis projects it can take."""

    patterns: Paths = []
    """Its own settings files, such as ``import.yaml`` and ``import-mt.yaml``: one for metagenomes, one for
    metatranscriptomes. Without one nobody judges what is ready to import."""
    optional_types: Strings = [
        "Metagenome Raw Reads",
        "Metatranscriptome Raw Reads",
        "Read Filtering Info File",
        "Assembly Scaffolds",
        "Assembly AGP",
        "GOTTCHA2 Report Full",
        "GOTTCHA2 Classification Report",
        "GOTTCHA2 Krona Plot",
        "Centrifuge Taxonomic Classification",
        "Centrifuge output report file",
        "Centrifuge Krona Plot",
        "Kraken2 Classification Report",
        "Kraken2 Taxonomic Classification",
        "Kraken2 Krona Plot",
        "Metagenome HQMQ Bins Compression File",
        "Scaffold Lineage tsv",
        "BAI File",
        "Metatranscriptome Expression",
        "Metatranscriptome Expression Intergenic",
        "metatranscriptome: Assembly Coverage BAM",
        "metatranscriptome: Assembly Info File",
    ]
    """Types without which an analysis project is complete all the same: real ones never have them
    (docs/decisions/1001-ready-to-import.md)."""
    foreign: Strings = ["*.md5", "*_minted_ids.json"]
    """Names of files that others write into the directory of an analysis project: none is called surplus."""


class NotificationSettings(Section):
    """Who gets mails and how they leave. Without ``mailto`` notices are kept and not sent."""

    mailto: Addresses = []
    mail_from: Sender = "jgi-stager@localhost"
    smtp_host: str = "localhost"
    smtp_port: int = Field(25, ge=1, le=65535)
    smtp_tls: Literal["none", "starttls", "tls"] = "none"
    smtp_user: str | None = None
    smtp_timeout_seconds: float = Field(30.0, gt=0)
    digest: bool = True
    """Whether a mail a day says what moved."""
    digest_hour: int = Field(6, ge=0, le=23)
    """When it goes, UTC."""
    failures_hours: float = Field(12.0, gt=0)
    """Between two mails about new failed files of a project that still moves."""

    @field_validator("smtp_user")
    @classmethod
    def _encrypted(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Where one of the two is wrong itself, it is not there.
        host, tls = info.data.get("smtp_host", "localhost"), info.data.get("smtp_tls")
        if value and tls == "none" and not is_loopback(host):
            raise ValueError(
                'its password would go over the network unencrypted; set notifications.smtp_tls to "starttls" '
                '(port 587) or "tls" (port 465), or leave smtp_user out if the server asks for no login'
            )
        return value


class ScheduleSettings(Section):
    """How often each step looks, and how often one request or task is polled (simulated seconds)."""

    accept_seconds: float = Field(30.0, gt=0)
    discover_seconds: float = Field(60.0, gt=0)
    share_seconds: float = Field(60.0, gt=0)
    watch_room_seconds: float = Field(300.0, gt=0)
    adopt_seconds: float = Field(60.0, gt=0)
    request_restores_seconds: float = Field(120.0, gt=0)
    poll_requests_seconds: float = Field(60.0, gt=0)
    fetch_manifests_seconds: float = Field(60.0, gt=0)
    submit_transfers_seconds: float = Field(60.0, gt=0)
    download_seconds: float = Field(60.0, gt=0)
    poll_tasks_seconds: float = Field(60.0, gt=0)
    read_ahead_seconds: float = Field(120.0, gt=0)
    verify_seconds: float = Field(60.0, gt=0)
    finish_seconds: float = Field(60.0, gt=0)
    reconcile_seconds: float = Field(300.0, gt=0)
    cancel_seconds: float = Field(60.0, gt=0)
    audit_seconds: float = Field(3600.0, gt=0)
    send_notices_seconds: float = Field(30.0, gt=0)
    watch_credentials_seconds: float = Field(60.0, gt=0)
    probe_credentials_seconds: float = Field(3600.0, gt=0)
    """How often a credential is tried that nothing else used meanwhile."""
    watch_documents_seconds: float = Field(60.0, gt=0)
    watch_failures_seconds: float = Field(300.0, gt=0)
    watch_stalls_seconds: float = Field(1800.0, gt=0)
    close_alarms_seconds: float = Field(300.0, gt=0)
    watch_outages_seconds: float = Field(3600.0, gt=0)
    digest_seconds: float = Field(600.0, gt=0)
    keep_history_seconds: float = Field(60.0, gt=0)
    publish_page_seconds: float = Field(300.0, gt=0)
    heartbeat_seconds: float = Field(30.0, gt=0)
    request_poll_seconds: float = Field(300.0, gt=0)
    request_poll_longest_seconds: float = Field(900.0, gt=0)
    task_poll_seconds: float = Field(60.0, gt=0)
    task_poll_longest_seconds: float = Field(300.0, gt=0)
    person_retry_seconds: float = Field(3600.0, gt=0)
    """How often a service that waits for a person is tried anyway."""
    lease_seconds: float = Field(60.0, gt=0)
    """Real. After so long another daemon on the same database takes over from one that is dead or cut off, and
    another ``verify-worker`` from one."""


class WebSettings(Section):
    """Where the page, /healthz and /metrics are served. Nobody needs to log in: keep it on this machine, or behind
    a proxy. ``port`` 0 switches it off."""

    host: Annotated[str, AfterValidator(lambda value: str(ip_address(value)))] = "127.0.0.1"
    port: int = Field(9741, ge=0, le=65535)
    socket: AbsolutePath | None = None
    """A socket in the file system beside the port, for a proxy on this machine."""
    socket_mode: str = Field("0660", pattern=r"^0?[0-7]{3}$")
    """Its rights, octal: who may write to it may read the page."""


class PageSettings(Section):
    """The page with the plots, where anybody may look at it."""

    url: HttpUrl | None = None
    """Its address where people reach it, to which mails link; None: they link nowhere."""
    publish_dir: AbsolutePath | None = None
    """Where a copy of it is written for a web server that serves files; None: nowhere."""

    def address(self, project: str | None = None) -> str | None:
        """Where people see the page, or that of a project; None without ``url``."""
        base = None if self.url is None else self.url.rstrip("/")
        return base if base is None or project is None else f"{base}/p/{quote(project, safe='')}"


def _default_state_directory() -> Path:
    if value := os.environ.get("STATE_DIRECTORY"):
        return Path(value.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "jgi-stager"


class StateSettings(Section):
    """Where the daemon keeps what it must not lose: the embedded database and its socket."""

    directory: Path = Field(default_factory=_default_state_directory)


class ClockSettings(Section):
    """A scaled clock for demos and tests; ``scale`` 1 is real time. ``start`` is an instant with its zone."""

    start: AwareDatetime | None = None
    scale: float = Field(1.0, gt=0)


class SecretSettings(Section):
    """The directory with one file per secret; default ``$CREDENTIALS_DIRECTORY``, else ``secrets/`` beside
    the settings file."""

    directory: Path | None = None


class Settings(BaseSettings):
    """All settings. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    mongodb: MongoSettings = MongoSettings()
    gold: GoldSettings = GoldSettings()
    jdp: JdpSettings = JdpSettings()
    nmdc: NmdcSettings = NmdcSettings()
    nersc: NerscSettings = NerscSettings()
    globus: GlobusSettings = GlobusSettings()
    staging: StagingSettings = StagingSettings()
    importer: ImporterSettings = ImporterSettings()
    notifications: NotificationSettings = NotificationSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    web: WebSettings = WebSettings()
    page: PageSettings = PageSettings()
    state: StateSettings = Field(default_factory=StateSettings)
    clock: ClockSettings = ClockSettings()
    secrets: SecretSettings = SecretSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which arrives as init values; nothing else is read."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_settings(config_file: Path | None = None) -> Settings:
    """Read the settings. ``config_file`` None means `CONFIG_VARIABLE` or `default_config_file`.

    Raises `ConfigError` for a file that cannot be read, an unknown key or a bad value.
    """
    named = config_file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    path = named or default_config_file()
    known = {name: getattr(field.annotation, "model_fields", {}) for name, field in Settings.model_fields.items()}
    values = read_toml(path, known) if path else {}
    if path:
        refuse_open_file(path, values)
    refuse_unknown_variables(known)
    refuse_open_addresses()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise ConfigError(explain(error, path)) from None
    return _with_secret_directory(settings, path)


def _with_secret_directory(settings: Settings, path: Path | None) -> Settings:
    if settings.secrets.directory is not None:
        return settings
    beside = (path.absolute().parent if path else settings.state.directory) / "secrets"
    directory = Path(os.environ["CREDENTIALS_DIRECTORY"]) if os.environ.get("CREDENTIALS_DIRECTORY") else beside
    return settings.model_copy(update={"secrets": SecretSettings(directory=directory)})


def parse_instant(text: str) -> datetime:
    """Parse an ISO 8601 instant with a zone. Raises ValueError otherwise."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; append 'Z' or an offset")
    return instant
