"""Builds a catalogue from recorded answers: JDP searches and GOLD analysis project lists."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .catalogue import (
    DEFAULT_NMDC_STUDY,
    DEFAULT_PROPOSAL,
    AnalysisProject,
    Catalogue,
    CatalogueFile,
    FileShape,
)
from .content import Content
from .generator import METAGENOME_TYPE, data_generations, gold_row


class CatalogueError(ValueError):
    """A file is neither a JDP search answer nor a GOLD analysis project list. The message names it."""


def load_recorded(
    paths: Iterable[Path], proposal_id: int = DEFAULT_PROPOSAL, nmdc_study_id: str = DEFAULT_NMDC_STUDY
) -> Catalogue:
    """A catalogue with the analysis projects of the GOLD lists, and the files of the JDP answers among them.

    What a file is follows from its shape. An analysis project without files in any JDP answer has none.
    Without a GOLD list each organism gets a row made from it. Biosamples are made up, one for each GOLD
    project. Raises `CatalogueError`.
    """
    organisms: dict[int, Mapping[str, Any]] = {}
    rows: list[Mapping[str, Any]] = []
    for path in paths:
        answer = _read(path)
        if isinstance(answer, dict) and isinstance(answer.get("organisms"), list):
            organisms.update(_organisms(path, answer["organisms"]))
        elif isinstance(answer, list) and all(isinstance(row, dict) and "apGoldId" in row for row in answer):
            rows.extend(answer)
        else:
            raise CatalogueError(f"{path}: neither a JDP search answer nor a GOLD analysis project list")
    known = {row.get("itsApId") for row in rows}
    rows += [_row_of(its_ap_id, one) for its_ap_id, one in organisms.items() if its_ap_id not in known]
    projects = [_project(row, organisms.get(row.get("itsApId") or -1)) for row in rows]
    generations = tuple(data_generations(projects, nmdc_study_id))
    return Catalogue(tuple(projects), proposal_id, nmdc_study_id, generations)


def _organisms(path: Path, listed: list[Any]) -> dict[int, Mapping[str, Any]]:
    try:
        return {int(one["agg_id"]): one for one in listed if isinstance(one["files"], list)}
    except (TypeError, KeyError, ValueError):
        raise CatalogueError(f"{path}: an organism without agg_id or files; not a JDP search answer") from None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}: {error}") from None


def _row_of(its_ap_id: int, organism: Mapping[str, Any]) -> Mapping[str, Any]:
    golds = (file.get("metadata", {}).get("img", {}).get("gold_id") for file in organism["files"])
    row = gold_row(its_ap_id - 1_300_000, METAGENOME_TYPE, str(organism.get("name")), [f"Gp{its_ap_id:07d}"])
    gold_id = next((gold for gold in golds if gold), f"Ga{its_ap_id:07d}")
    return {**row, "apGoldId": gold_id, "itsApId": its_ap_id}


def _project(row: Mapping[str, Any], organism: Mapping[str, Any] | None) -> AnalysisProject:
    gold_project = next(iter(row.get("projects") or ()), str(row["apGoldId"]))
    name = str((organism or row).get("name") or row.get("apName") or "")
    files = tuple(_file(row["itsApId"], file) for file in organism["files"]) if organism else ()
    numbers = {number for file in files for number in _numbers(file.recorded, "sequencing_project_id")}
    head = {key: value for key, value in organism.items() if key != "files"} if organism else None
    return AnalysisProject(
        gold_row=row,
        biosample_id=f"Gb{gold_project[2:]}",
        sp_ids=tuple(sorted(numbers)),
        organism_name=name,
        short_name="".join(char for char in name.rpartition(" - ")[2] if char.isalnum())[:24] or "Organism",
        files=files,
        organism=head,
    )


def _file(its_ap_id: int, descriptor: Mapping[str, Any]) -> CatalogueFile:
    metadata = descriptor.get("metadata") or {}
    places = (metadata.get("portal") or {}).get("display_location") or ["Other"]
    unit = metadata.get("seq_unit_name") or ""
    return CatalogueFile(
        id=str(descriptor["_id"]),
        name=str(descriptor["file_name"]),
        content=Content(int(descriptor["file_size"]), str(descriptor.get("md5sum") or ""), claimed=True),
        shape=FileShape(tuple(places), "", "recorded"),
        ap_ids=(its_ap_id,),
        number=int(descriptor.get("file_id") or 0),
        seq_unit=unit[0] if isinstance(unit, list) and unit else str(unit or ""),
        recorded=descriptor,
    )


def _numbers(descriptor: Mapping[str, Any] | None, key: str) -> list[int]:
    found = (descriptor or {}).get("metadata", {}).get(key)
    return [int(one) for one in found] if isinstance(found, list) else [int(found)] if found else []
