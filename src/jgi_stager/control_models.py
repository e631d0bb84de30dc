"""The documents in ``control``, typed: what people set, and what the daemon remembers of itself."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from jgi_stager.models import Name
from jgi_stager.outages import Outage
from jgi_stager.stored import Bytes, Count, Instant, RequestNumber, Stored


class Acceptance(Stored):
    """The mark in ``control`` that the daemon accepted a project. An insert of a project cannot bring it along."""

    name: Name
    at: Instant


class Limits(Stored):
    """``limits`` in ``control``: what people set while the daemon runs."""

    values: dict[str, Annotated[int, Field(ge=1)]] = {}
    history: list[dict[str, Any]] = []


class ServiceReport(Stored):
    """How the daemon sees a service."""

    state: str
    since: Instant | None = None
    problem: str | None = None
    cure: str | None = None


class DaemonReport(Stored):
    """``daemon`` in ``control``: what the daemon says of itself."""

    at: Instant
    services: dict[str, ServiceReport] = {}


class DigestOfProject(Stored):
    """What a digest said of a project."""

    files: Count = 0
    bytes: Bytes = 0
    eta_at: Instant | None = None
    eta_late: Instant | None = None


class DigestMemory(Stored):
    """``digest`` in ``control``: what the last digest said."""

    at: Instant
    projects: dict[str, DigestOfProject] = {}
    active: list[str] = []
    fingerprint: list[Any] | None = None


class Start(Stored):
    """One start of the daemon."""

    at: Instant
    host: str
    pid: Count
    clean: bool


class Starts(Stored):
    """``starts`` in ``control``."""

    starts: list[Start] = []


class LastCheck(Stored):
    """``deliveries`` in ``control``: when something was looked at last."""

    at: Instant


class Interval(Stored):
    """Some time, with both ends."""

    begun: Instant
    ended: Instant


class CredentialLife(Stored):
    """``credential:<service>`` in ``control``: see `jgi_stager.store.credentials.Credential`."""

    identity: str | None = None
    since: Instant | None = None
    last_success: Instant | None = None
    last_probe: Instant | None = None
    dead_since: Instant | None = None
    dead_identity: str | None = None
    problem: str | None = None
    cure: str | None = None
    reminders: Count = 0
    next_reminder_at: Instant | None = None
    healing_since: Instant | None = None
    out_since: Instant | None = None
    out_error: str | None = None
    lives: list[Interval] = []
    gaps: list[Interval] = []
    outages: list[Interval] = []
    warned: str | None = None


class SetAsideEntry(Stored):
    """A document that was set aside."""

    collection: str
    key: Any
    """Its ``_id``, of any type."""
    project: str | None = None
    reason: str
    since: Instant
    told: bool


class SetAside(Stored):
    """``set_aside`` in ``control``: the documents that do not fit, as people were told."""

    items: list[SetAsideEntry] = []


class Seen(Stored):
    """When an assumption was first seen to hold."""

    at: Instant
    evidence: str


class Bent(Stored):
    """When an assumption was first seen to be wrong in this way."""

    at: Instant
    evidence: str
    request_id: RequestNumber | None = None
    """The request whose delivery showed it, if one did."""


class RowEvidence(Stored):
    """What is known of one assumption of `jgi_stager.contract`."""

    seen: Seen | None = None
    bent: list[Bent] = []
    """Each way once, oldest first."""


class Proof(Stored):
    """A delivery that was used end to end: asked, ready, manifest, transferred, verified."""

    at: Instant
    asked_at: Instant
    """When its request was answered, by JDP's clock."""
    request_id: RequestNumber
    evidence: str


class ContractEvidence(Stored):
    """``contract`` in ``control``: what the services were seen to do."""

    rows: dict[str, dict[str, RowEvidence]] = {}
    """By service or matter, and by the rest of the id: ``rows.jdp.date``."""
    proof: Proof | None = None
    """The newest, as far as one was needed."""
    decided_at: Instant | None = None
    """When it was decided whether this database had used a delivery before there was this document."""

    def row(self, assumption: str) -> RowEvidence:
        """What is known of the assumption with this id."""
        matter, _, rest = assumption.partition(".")
        return self.rows.get(matter, {}).get(rest, RowEvidence())


class Hold(Stored):
    """``hold`` in ``control``: that nothing is asked from JDP, because the database lacks work that was done."""

    missing: list[str] = []
    """The requests and tasks that it lacks."""
    why: str = "its reason was removed from the database"
    since: Instant | None = None
    until: Instant | None = None
    """None where somebody damaged it: then nobody knows."""
    ended_at: Instant | None = None
    history: list[dict[str, Any]] = []


class Published(Stored):
    """``published`` in ``control``: when copies of the pages were written last, or that was tried."""

    at: Instant
    event: str
    """What had happened by then, see `jgi_stager.steps.publish`."""
    error: str | None = None


class Share(Stored):
    """``share:<selector>`` in ``control``: a link to the page of a project, see `jgi_stager.page.share`."""

    project: Name
    project_key: str
    """The record that had the name: the link does not open the page of another one."""
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the secret half of the link."""
    at: Instant
    by: str
    revoked_at: Instant | None = None
    """Since when it opens nothing any more."""


class DatabaseIdentity(Stored):
    """``books`` in ``control``: which database this is."""

    books_id: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]


class SiteOutages(Stored):
    """``outages`` in ``control``: what people here announced."""

    outages: list[Outage] = []


class AnnouncedOutages(Stored):
    """``nersc_outages`` in ``control``: what NERSC announced when it was asked last."""

    outages: list[Outage] = []
    problem: str = ""
    """Why the last answer could not be used; then the outages are those of the answer before. Empty: it could."""
    at: Instant | None = None
    """When NERSC answered last with something that could be used."""
