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

    The kinds, and whether the service acts on the call:

    - ``reset_before`` (no), ``reset_after_effect`` (yes): the connection ends with a RST
    - ``refuse`` (no): the call is reset before the service reads it, and the port is shut for ``seconds``;
      ``refuse_next`` (yes): the call is answered, and the port is shut before the answer leaves, so that
      whatever comes next, from anybody, is really refused. Which call a connection will carry cannot be known
      before it is accepted, so the scripted call itself can be reset, but only a later one be refused
    - ``timeout_after_effect`` (yes): the answer comes ``seconds`` late; ``slow`` (yes): so does the effect
    - ``trickle`` (yes): the true answer, one byte every ``seconds``; ``trickle_headers`` (yes): headers that
      never end, at that pace
    - ``endless`` (yes): an answer that begins well and never ends, as fast as it is read
    - ``truncated`` (yes): half of the true answer
    - ``status`` (no), ``status_after_effect`` (yes): HTTP ``status``, with ``retry_after`` and ``body``
    - ``html200`` (no), ``html_after_effect`` (yes): a maintenance page with status 200
    - ``garbage_json`` (no): status 200 and a torn document
    """

    model_config = ConfigDict(extra="forbid")

    match: str
    kind: Literal[
        "reset_before",
        "reset_after_effect",
        "refuse",
        "refuse_next",
        "timeout_after_effect",
        "status",
        "status_after_effect",
        "html200",
        "html_after_effect",
        "truncated",
        "garbage_json",
        "slow",
        "trickle",
        "trickle_headers",
        "endless",
    ]
    nth: list[int] | None = None
    probability: float | None = Field(None, ge=0, le=1)
    count: int | None = None
    seconds: float = 1.0
    status: int = 503
    retry_after: int | str | None = None
    """Seconds, or whatever else a service may write there."""
    body: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        """``status:503`` for kind and status, one number for ``nth``."""
        if not isinstance(value, dict):
            return value
        value = dict(value)
        kind = str(value.get("kind"))
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
