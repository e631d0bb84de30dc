"""What JDP's search shows of a file and of an analysis project, with the quirks of the real answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .catalogue import AnalysisProject, CatalogueFile
from .restores import STATUS_IDS, FileState
from .world import iso

_PERSON = {
    "name": "Example Person",
    "first_name": "Example",
    "middle_name": "",
    "last_name": "Person",
    "email_address": "person@example.org",
    "institution": "Example University",
    "country": "United States",
}
_OWNERS = {"img": "img", "rqc": "qc_user", "sdm": "sdm"}


def describe(
    file: CatalogueFile, project: AnalysisProject, state: FileState, status: str, *, quirks: bool
) -> dict[str, Any]:
    """The descriptor of one file as it stands now. ``quirks`` off gives tidy types and no nulls."""
    if file.recorded is not None:
        shown = dict(file.recorded)
    else:
        shown = _made_up(file, project)
        if quirks:
            _distort(shown, int(file.id[-6:], 16) + file.number)
    shown["file_status"] = status
    shown["file_status_id"] = STATUS_IDS.get(status, 99)
    shown["modified_date"] = iso(state.changed_at)
    if state.purge_at:
        shown["dt_to_purge"] = iso(state.purge_at)[:19]
    return shown


def _made_up(file: CatalogueFile, project: AnalysisProject) -> dict[str, Any]:
    shape = file.shape
    img = shape.origin == "img"
    types: Any = shape.file_type if img else shape.file_type.split(",")
    return {
        "_id": file.id,
        "_highlight": None,
        "file_path": f"/global/dna/dm_archive/{shape.origin}/{file.number % 1000}",
        "metadata": _metadata(file, project),
        "added_date": "2021-12-03T00:35:57.990000",
        "file_name": file.name,
        "file_owner": _OWNERS.get(shape.origin, "img"),
        "dt_to_purge": "2023-03-15T00:00:00",
        "file_size": file.size,
        "file_date": "2021-12-03T00:34:34",
        "file_type": types,
        "md5sum": file.content.md5,
        "file_id": file.number,
        "file_group": _OWNERS.get(shape.origin, "img"),
        "user": shape.origin,
        "file_permissions": "0100644",
        "data_group": "Sequencing" if shape.origin == "sdm" else "Analysis",
        "portal_detail_id": project.gold_row.get("imgTaxonOid") if img else None,
    }


def _metadata(file: CatalogueFile, project: AnalysisProject) -> dict[str, Any]:
    shape = file.shape
    metadata: dict[str, Any] = {
        "proposal": {"pi": _PERSON, "date_approved": "2019-09-17", "doi": None},
        "data_utilization_status": "Restricted",
        "sequencing_project_id": list(project.sp_ids[:1]),
        "portal": {"display_location": list(shape.locations)},
    }
    if shape.origin == "img":
        metadata["analysis_project_id"] = file.ap_ids[0]
        metadata["img"] = {
            "taxon_oid": project.gold_row.get("imgTaxonOid"),
            "gold_id": project.ap_gold_id,
            "itsApId": project.its_ap_id,
        }
    elif shape.origin == "rqc":
        metadata["analysis_project_id"] = list(file.ap_ids)
        metadata["seq_unit_name"] = [file.seq_unit]
    else:
        # raw reads belong to no analysis project
        metadata["seq_unit_name"] = file.seq_unit
        metadata["sequencing_project_id"] = project.sp_ids[0]
        metadata["ncbi_taxon_id"] = None
    if shape.file_format:
        metadata["file_format"] = shape.file_format
    return metadata


def _distort(shown: dict[str, Any], lot: int) -> None:
    metadata = shown["metadata"]
    if lot % 7 == 0:
        shown["file_size"] = float(shown["file_size"])
    if lot % 41 == 0:
        shown["md5sum"] = None
    elif lot % 43 == 0:
        del shown["md5sum"]
    if lot % 5 == 0 and isinstance(metadata.get("img"), dict):
        metadata["img"]["taxon_oid"] = str(metadata["img"]["taxon_oid"])
    if lot % 13 == 0 and "img" in metadata:
        del metadata["img"]
    if lot % 17 == 0 and isinstance(shown["file_type"], list):
        shown["file_type"] = shown["file_type"][0]
    if lot % 19 == 0:
        metadata.pop("portal")
    if lot % 29 == 0 and "contigs" not in shown["file_type"] and isinstance(metadata.get("seq_unit_name"), list):
        metadata["seq_unit_name"] = metadata["seq_unit_name"][0]
    if lot % 31 == 0:
        shown.pop("dt_to_purge")


def organism(project: AnalysisProject, files: list[dict[str, Any]]) -> Mapping[str, Any]:
    """The head of an analysis project in a search answer, with its files."""
    if project.organism is not None:
        return {**project.organism, "files": files}
    with_ap = sum("analysis_project_id" in file["metadata"] for file in files)
    return {
        "agg": "IMG_AP",
        "agg_id": project.its_ap_id,
        "kingdom": "img",
        "label": "Metagenome",
        "top_hit": {"_id": files[0]["_id"], "_highlight": None, "file_name": files[0]["file_name"]},
        "pi": _PERSON,
        "proposal_acceptance_date": "2019-09-17",
        "work_completion_date": "2021-11-24",
        "status": "Complete",
        "id": f"IMG_AP-{project.its_ap_id}",
        "grouped_by": "metadata.analysis_project_id",
        "score": {"count": with_ap, "min": 7.9, "max": 10.0, "avg": 9.0, "sum": 9.0 * with_ap},
        "grouped_count": with_ap,
        "name": project.organism_name,
        "title": project.organism_name.rpartition(" - ")[2],
        "file_total": len(files),
        "files": files,
        # As the portal shows what is recorded, a size may be anything.
        "fileSize": sum(int(size) for file in files if isinstance(size := file["file_size"], int | float)),
        "highlight": {},
        "portal_detail_id": project.gold_row.get("imgTaxonOid"),
        "award_doi": "10.0000/example",
        "data_utilization_status": "Restricted",
        "product_search_category": "Draft Assembly",
        "proposal_lay_description": "",
        "build_time": 0.049,
    }
