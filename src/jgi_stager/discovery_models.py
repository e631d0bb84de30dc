"""What a discovery finds out, typed: the documents in ``discoveries``, and what they are made of."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from jgi_stager.stored import Bytes, Count, Instant, Stored, StoredDocument, wrong

NAMED_PROJECTS = 20
"""So many of the sequencing projects that are missing are named to people."""


class NotInGold(Stored):
    """Sequencing projects that NMDC knows of the study of a proposal, and GOLD does not show of the proposal."""

    study: str
    """The NMDC study."""
    known: Count
    """How many NMDC knows, and how many of them are missing at GOLD."""
    missing: Count
    named: list[str]
    """The first of the missing ones (``Gp...``), at most `NAMED_PROJECTS`."""

    @property
    def sentence(self) -> str:
        """What is expected and what was found, for people."""
        more = f" and {self.missing - len(self.named):,} more" if self.missing > len(self.named) else ""
        return (
            f"{self.missing:,} of {self.known:,} sequencing projects that NMDC knows of study {self.study} "
            f"are not in GOLD's answer: {', '.join(self.named)}{more}"
        )


class Discovery(Stored):
    """How far a discovery of a project is."""

    number: Count = 0
    """Which one it is: 0 the first, and one more with each rescan."""
    analysis_projects: Count | None = None
    """How many there are; what was found of each is in ``discoveries``."""
    biosamples: list[str] | None = None
    biosamples_asked: list[str] = []


class Rescan(Discovery):
    """A discovery of a project whose files are on their way already, or there."""

    by: str
    """Who asked for it: a person, or ``rescan_days``."""
    begun_at: Instant
    error: str | None = None
    """What it met last, and since when, how often, and when it goes on: as those of a project."""
    error_since: Instant | None = None
    attempts: Count | None = None
    next_try_at: Instant | None = None


class WarningGroup(Stored):
    """Warnings that differ only in ids and numbers (`jgi_stager.warning_groups`)."""

    kind: str
    """The text with ids and numbers left out: what the warnings have in common."""
    count: Count
    examples: list[str]
    """The first of them, as they are."""


class DiscoveryEntry(StoredDocument):
    """What a discovery found out about one thing that it asked: the document in ``discoveries``."""

    collection = "discoveries"
    key: str = Field(alias="_id")
    discovery: str
    """Of which acceptance of which record (`jgi_stager.store.discoveries.key_of`)."""
    about: str
    warnings: list[WarningGroup] = []
    sequencing_projects: list[str] | None = None
    """Those (``Gp...``) that GOLD names of the proposal, with analysis projects of whatever type; on the entry of
    that question."""


class DroppedFiles(Stored):
    """How many files a rule leaves out."""

    rule: str
    files: Count


class ListedFiles(Stored):
    """What JDP's list of an analysis project has for its project."""

    files: Count
    """Wanted ones that can be asked for."""
    bytes: Bytes
    ids: Count
    """Distinct JDP ids to ask for, and the bytes that this takes."""
    restore_bytes: Bytes
    unusable: Count
    dropped: list[DroppedFiles]
    dropped_bytes: Bytes
    not_chosen: list[DroppedFiles] = []
    """What the person's choice leaves out of the rest."""
    not_chosen_bytes: Bytes = 0


class NamedFile(Stored):
    """A file of a project that JDP does not list any more."""

    jdp_file_id: str
    file_name: str


class ChangedFile(NamedFile):
    """A file of which JDP says something else than when it was entered. Bytes."""

    was: Bytes | None
    size: Bytes | None
    md5sum: str | None


class DiscoveredProject(DiscoveryEntry):
    """An analysis project that a discovery found. The document in ``discoveries`` whose matter it is."""

    ap_gold_id: str
    its_ap_id: Count
    """Under which JDP lists its files."""
    gold_study_id: str | None
    gold_seq_id: str | None
    ap_type: str | None = None
    """What GOLD calls it, such as "Metagenome Analysis"; None in a database of an older release."""
    self_mappings: list[str] = []
    """The analysis projects (``Ga...``) that map the reads of this one, a metatranscriptome, to it."""
    gold_biosample_id: str | None = None
    named: list[str] = []
    """What of the person's list of files JDP lists here."""
    directory: str | None = None
    """Where its files go, if that is not where the layout says: an imported project keeps its own."""
    listed: ListedFiles | None = None
    """None until JDP has listed it."""
    added: list[str] = []
    """The files that a rescan entered, by id; noted before they are."""
    changed: list[ChangedFile] = []
    gone: list[NamedFile] = []
    """What a rescan met of files that were known: it changes nothing of them."""
    attempts: Count = 0
    """To list it once more, since it was last listed."""
    next_try_at: Instant | None = None
    update_date: Instant | None = None

    @model_validator(mode="after")
    def _one_id(self) -> Self:
        if self.read is None and self.key != f"{self.discovery}:{self.ap_gold_id}":
            raise wrong(
                f"discovery and ap_gold_id are {self.discovery!r} and {self.ap_gold_id!r}, its _id differs"
            )
        return self
