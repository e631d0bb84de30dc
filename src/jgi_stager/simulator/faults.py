"""Faults on the wire, scripted and seeded, in front of every call except those of ``/_sim``."""

from __future__ import annotations

import fnmatch
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAINTENANCE = (
    "<!DOCTYPE html><html><body><h1>Scheduled maintenance</h1><p>Please come back later.</p></body></html>"
)


class FaultRule(BaseModel):
    """Which calls go wrong, and how.

    ``match`` is a pattern of endpoint names such as ``jdp.download_files`` or ``transfer.*``. ``nth`` counts
    the matching calls from 1 since the rule was set; ``probability`` draws from the simulator's seed; with
    neither every matching call is hit. ``count`` ends the rule after that many hits. ``seconds`` are real.
    """

    model_config = ConfigDict(extra="forbid")

    match: str
    kind: Literal[
        "reset_before",
        "reset_after_effect",
        "timeout_after_effect",
        "status",
        "status_after_effect",
        "html200",
        "html_after_effect",
        "truncated",
        "garbage_json",
        "slow",
    ]
    nth: list[int] | None = None
    probability: float | None = Field(None, ge=0, le=1)
    count: int | None = None
    seconds: float = 1.0
    status: int = 503
    retry_after: int | None = None
    body: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        """``status:503`` for kind and status, one number for ``nth``, ``refuse`` for the nearest there is."""
        if not isinstance(value, dict):
            return value
        value = dict(value)
        kind = str(value.get("kind"))
        if kind == "refuse":
            value["kind"] = "reset_before"
        if ":" in kind:
            value["kind"], _, value["status"] = kind.partition(":")
        if isinstance(value.get("nth"), int):
            value["nth"] = [value["nth"]]
        return value


@dataclass
class FaultBoard:
    """The rules in force, in order; the first that hits a call decides."""

    seed: int
    rules: list[FaultRule] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    """How often each ``match kind`` has hit."""
    _seen: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(f"faults {self.seed}")  # noqa: S311 - a script, not a secret

    def set(self, rules: list[FaultRule]) -> None:
        """Replace all rules, and count calls afresh."""
        self.rules = rules
        self._seen.clear()

    def pick(self, endpoint: str) -> FaultRule | None:
        """The rule that hits this call, if any; uses it up."""
        for number, rule in enumerate(self.rules):
            if rule.count == 0 or not fnmatch.fnmatchcase(endpoint, rule.match):
                continue
            self._seen[number] += 1
            if rule.nth is not None and self._seen[number] not in rule.nth:
                continue
            if rule.probability is not None and self._random.random() >= rule.probability:
                continue
            if rule.count is not None:
                rule.count -= 1
            self.hits[f"{rule.match} {rule.kind}"] += 1
            return rule
        return None
