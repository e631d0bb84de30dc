"""Real answers of the services, read where they lie beside the project; a test without them is skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.selection import Listed

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "recorded"


def recorded_file(name: str) -> Path:
    """A recorded file; the test is skipped where it is missing."""
    path = RECORDED / name
    if not path.is_file():
        pytest.skip(f"the recorded data is not here: {path}")
    return path


def recorded() -> list[Listed]:
    """The real listing of one analysis project, read as the client reads it."""

    def strings(value: Any) -> tuple[str, ...]:
        return () if value is None else (value,) if isinstance(value, str) else tuple(value)

    (organism,) = json.loads(recorded_file("jdp_search_its_ap_1323348.json").read_text(encoding="utf-8"))[
        "organisms"
    ]
    return [
        Listed(
            file["_id"],
            file["file_name"],
            int(file["file_size"]),
            file["file_status"],
            file["md5sum"],
            strings(file["file_type"]),
            strings(file["metadata"].get("seq_unit_name")),
        )
        for file in organism["files"]
    ]
