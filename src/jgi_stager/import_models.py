"""What another database, or a staged tree, said of an imported project, typed: the documents in ``imports``.

They are written before the record of the project (`jgi_stager.store.imports`), and say to its discovery what else
is wanted, where it may lie, and what may still be writing there.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from jgi_stager.models import Name
from jgi_stager.stored import Bytes, Count, Instant, JdpFileId, Stored, StoredDocument

MOST_FILES = 10_000
"""Of one analysis project: a hundred times as many as any has."""
MOST_TASKS = 100
"""Globus runs three of a user at a time, and keeps a hundred waiting."""


class ImportedFile(Stored):
    """A file that the other database wanted."""

    jdp_file_id: JdpFileId
    file_name: str
    size: Bytes | None = None
    md5: str | None = None


class ForeignTask(Stored):
    """A Globus task of the other database, of which nobody knows what it brings where."""

    task_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    ended_at: Instant | None = None
    """When it was seen to have ended; None while it may still write."""


class ImportedProject(StoredDocument):
    """What holds for an imported project as a whole."""

    collection = "imports"
    key: str = Field(alias="_id")
    project_name: Name
    source: str
    """Where it is from, for people."""
    imported_at: Instant
    tasks: Annotated[list[ForeignTask], Field(max_length=MOST_TASKS)] = []

    @property
    def running(self) -> list[str]:
        """The tasks that may still write at the destination."""
        return [one.task_id for one in self.tasks if one.ended_at is None]


class ImportedAnalysisProject(StoredDocument):
    """What is known of one analysis project of it."""

    collection = "imports"
    key: str = Field(alias="_id")
    project_name: Name
    ap_gold_id: Annotated[str, StringConstraints(pattern=r"^Ga[0-9]{1,12}$")]
    its_ap_id: Count | None = None
    gold_study_id: str | None = None
    gold_biosample_id: str | None = None
    gold_seq_id: str | None = None
    directories: list[str] = []
    """Where its files may lie, besides the place that the layout says."""
    sent_to: str | None = None
    """Which of these the other database sent them to; None: to the place that the layout says, or nobody knows."""
    files: Annotated[list[ImportedFile], Field(max_length=MOST_FILES)] = []
    """Those that the other database wanted; none where only the tree is known."""
