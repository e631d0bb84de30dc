"""What was seen of the contract, row by row, for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jgi_stager.contract import CONTRACT
from jgi_stager.control_models import ContractEvidence


class Standing(StrEnum):
    """What is known of an assumption."""

    SEEN = "seen"
    NOT_YET = "not yet"
    OTHERWISE = "otherwise"
    """It was seen to be wrong, also if it held at another time."""


@dataclass(frozen=True)
class ContractRow:
    """One assumption, and what this installation has seen of it."""

    id: str
    service: str
    assumed: str
    standing: Standing
    evidence: str = ""
    at: datetime | None = None


def contract_rows(known: ContractEvidence) -> list[ContractRow]:
    """Every assumption in its order; of one that was wrong the newest way."""
    rows = []
    for one in CONTRACT:
        found = known.row(one.id)
        standing, evidence, at = Standing.NOT_YET, "", None
        if found.bent:
            standing, evidence, at = Standing.OTHERWISE, found.bent[-1].evidence, found.bent[-1].at
        elif found.seen is not None:
            standing, evidence, at = Standing.SEEN, found.seen.evidence, found.seen.at
        rows.append(ContractRow(one.id, one.service.value, one.assumed, standing, evidence, at))
    return rows
