"""One run as a value: what is staged, who dies when, and what else goes wrong. A script repeats its run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Moment = Literal["before", "during", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "during", "after")


class Part(BaseModel):
    """Unknown fields are refused: a script that was mistyped must not pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Kill(Part):
    """SIGKILL of the daemon at an effect: just before it, after it was sent and before the answer, or just after
    the answer."""

    effect: int = Field(1, ge=1)
    """Counted from the start of that life of the daemon."""
    site: str | None = None
    """Only the effects with this in their name are counted."""
    moment: Moment
    life: int = Field(0, ge=0)
    """0 is the first process, 1 the one started after the first kill, ..."""
    stand_still: bool = False
    """Not killed: the first process stands still, as a suspended machine does, while another takes over and works
    to the end. Then it wakes and goes on."""


class Wait(Part):
    """The event waits until a document of this kind is in the database; an edit changes that document."""

    collection: str
    where: dict[str, Any] = Field(default_factory=dict)
    alone: str | None = None
    """Only a request or task that holds files of this project and of no other."""


class Event(Part):
    """Something that happens at the beginning of a tick."""

    tick: int = Field(0, ge=0)
    wait: Wait | None = None
    """It happens at the first tick from ``tick`` on at which this document is there."""
    edit: dict[str, Any] | None = None
    """A person sets these fields of the document that was waited for, past the daemon (extended JSON)."""
    unset: tuple[str, ...] = ()
    """A person removes these fields of it."""
    insert: dict[str, dict[str, Any]] | None = None
    """A person inserts these documents, by collection (extended JSON)."""
    cancel: str | None = None
    """A person cancels this project with the command."""
    control: dict[str, Any] | None = None
    """Sent to the simulator's control."""
    clock_hours: float | None = None
    """From now on the daemon's clock is that far ahead (negative: behind) of everybody else's."""
    mongod: Literal["kill"] | None = None
    mail_out_hours: float | None = None
    """The mail server answers 451 for so long."""
    token: str | None = None
    """The person stores this JDP session token."""

    def changes(self, collection: str) -> bool:
        """Whether a person changes documents of this collection past the daemon."""
        edited = self.wait is not None and self.wait.collection == collection and (self.edit or self.unset)
        return bool(edited) or collection in (self.insert or {})


class Beside(Part):
    """Steps run side by side: just before an effect is sent, another step runs, in a thread of its own."""

    site: str
    """A part of the name of the effect."""
    nth: int = Field(1, ge=1)
    """Of the effects with that name in the first life."""
    step: str | None = None
    cancel: str | None = None
    """Before that a person cancels this project."""


class Scenario(Part):
    """The project: analysis projects with files of 1000 bytes; the first file belongs to all of them.

    With a neighbour there are two projects that share no file: ``soil``, which must arrive whole, and ``odd``.
    """

    analysis_projects: int = 2
    files: int = 4
    window_files: int = 5
    """The quota, in files."""
    batch: int = 2
    records: int = 1
    """How many project records share the analysis projects."""
    retention_days: int = 14
    """How long a delivery lives."""
    without_md5: bool = False
    """Of every second file JDP gives no md5."""
    proven: bool = True
    """A delivery was used before: no trial goes first."""
    share: bool = True
    """What lies here for another project is copied; else it is asked for, or joins what is open."""
    neighbour: str | None = None
    """What is bad about ``odd`` (`campaign.neighbours`); ``late``: it is well, and ``soil`` comes by an event."""


class Script(Part):
    """A whole run."""

    kind: str
    """Which part of the campaign it belongs to, for the report."""
    seed: int = 1
    scenario: Scenario = Scenario()
    kills: tuple[Kill, ...] = ()
    down_minutes: float = 5.0
    """Between the death of the daemon and its next start."""
    faults: tuple[dict[str, Any], ...] = ()
    """Rules of faults on the wire, from the start."""
    switches: dict[str, Any] = Field(default_factory=dict)
    """Switches of the simulator, from the start."""
    events: tuple[Event, ...] = ()
    clean: bool = True
    """Nothing in it gives a reason to ask for a file or to transfer it again."""
    live: tuple[float, ...] | None = None
    """Not tick by tick, but the whole daemon with its scheduler and its threads on a fast clock, and SIGKILL so
    many real seconds after each start. ``kills`` and ``events`` do not apply."""
    beside: tuple[Beside, ...] = ()
    ticks: int = 900
    """Who is not done by then will never be."""
    hours: float | None = None
    """Simulated: so long the projects that are well may take, from their first known file to their last."""
    retries: bool = False
    """A person does what the mails say of files that wait for one: ``jgi-stager retry``."""
    mutation: str | None = None
    """The daemon is broken on purpose (`campaign.mutations`)."""


class Hit(Part):
    """A kill that took place."""

    site: str
    moment: Moment
    life: int


class Outcome(BaseModel):
    """What came of a script."""

    model_config = ConfigDict(extra="forbid")

    script: Script
    violations: list[str] = Field(default_factory=list)
    hits: list[Hit] = Field(default_factory=list)
    sites: list[list[str]] = Field(default_factory=list)
    """The effects of each life, in order."""
    calls: list[str] = Field(default_factory=list)
    """The endpoints of the simulator that were called."""
    edited: list[tuple[str, str]] = Field(default_factory=list)
    """The documents that a person changed past the daemon: collection and id."""
    faults: int = 0
    """How many faults really hit."""
    lives: int = 1
    seconds: float = 0.0
    hours: float = 0.0
    """Simulated."""
