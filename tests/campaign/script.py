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

    effect: int = Field(ge=1)
    """Counted from the start of that life of the daemon."""
    moment: Moment
    life: int = Field(0, ge=0)
    """0 is the first process, 1 the one started after the first kill, ..."""


class Event(Part):
    """Something that happens at the beginning of a tick."""

    tick: int = Field(ge=0)
    control: dict[str, Any] | None = None
    """Sent to the simulator's control."""
    clock_hours: float | None = None
    """From now on the daemon's clock is that far ahead (negative: behind) of everybody else's."""
    mongod: Literal["kill"] | None = None
    mail_out_hours: float | None = None
    """The mail server answers 451 for so long."""
    token: str | None = None
    """The person stores this JDP session token."""


class Scenario(Part):
    """The project: analysis projects with files of 1000 bytes; the first file belongs to all of them."""

    analysis_projects: int = 2
    files: int = 4
    window_files: int = 5
    """The quota, in files."""
    batch: int = 2
    records: int = 1
    """How many project records share the analysis projects."""
    retention_days: int = 14
    """How long a delivery lives."""


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
    faults: int = 0
    """How many faults really hit."""
    lives: int = 1
    seconds: float = 0.0
    hours: float = 0.0
    """Simulated."""
