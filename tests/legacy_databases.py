"""Databases of the scripts in each of their three generations, made from what the simulator has and was asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jgi_stager.simulator.catalogue import AnalysisProject, CatalogueFile
from stage import PROPOSAL, Stage


@dataclass(frozen=True)
class Said:
    """What the scripts say of a file."""

    word: str = "PURGED"
    request_id: int | None = None


def first(ap: AnalysisProject, file: CatalogueFile, said: Said, name: str = "soil") -> dict[str, Any]:
    """A sample of the first generation, with what pandas made of it."""
    return {
        "project": name,
        "apGoldId": ap.ap_gold_id,
        "studyId": ap.gold_row["studyId"],
        "itsApId": f"{ap.its_ap_id}.0",
        "biosample_id": ap.biosample_id,
        "seq_id": str(ap.its_ap_id),
        "file_name": file.name,
        "file_status": said.word,
        "file_size": float(file.size),
        "jdp_file_id": file.id,
        "md5sum": "nan",
        "analysis_project_id": ap.its_ap_id,
        "request_id": math.nan if said.request_id is None else float(said.request_id),
    }


def second(ap: AnalysisProject, file: CatalogueFile, said: Said, name: str = "soil") -> dict[str, Any]:
    """A sample of the second generation."""
    document = first(ap, file, said)
    del document["project"]
    number = None if said.request_id is None else str(said.request_id)
    return {
        **document,
        "project_name": name,
        "md5sum": file.content.md5,
        "request_id": number,
        "file_size": file.size,
    }


def third(ap: AnalysisProject, file: CatalogueFile, said: Said, name: str = "soil") -> dict[str, Any]:
    """A sample of the third generation."""
    return {
        "jdp_file_id": file.id,
        "ap_gold_id": ap.ap_gold_id,
        "gold_study_id": ap.gold_row["studyId"],
        "its_ap_id": f"{ap.its_ap_id}.0",
        "sequencing_project_name": name,
        "gold_biosample_id": ap.biosample_id,
        "gold_seq_id": str(ap.its_ap_id),
        "file_name": file.name,
        "jdp_file_status": said.word,
        "globus_file_status": "INACTIVE",
        "jdp_file_size": file.size,
        "md5sum": "None",
        "jgi_ap_id": str(ap.its_ap_id),
        "create_date": "2026-02-20 09:00:00",
        "update_date": "2026-02-28 09:00:00",
        "request_id": said.request_id,
    }


SECOND_PROJECT = {
    "project_name": "soil",
    "proposal_id": str(PROPOSAL),
    "nmdc_study_id": "nmdc:sty-11-abcd1e23",
}
THIRD_PROJECT = {
    "sequencing_project_name": "soil",
    "sequencing_project_description": "Soil",
    "jgi_proposal_id": str(PROPOSAL),
    "nmdc_study_id": "nmdc:sty-11-abcd1e23",
}


@contextmanager
def database(st: Stage, collections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """A database of the scripts on the same server; its name."""
    name = f"{st.database}_scripts"
    books = st.store.client[name]
    for collection, documents in collections.items():
        if documents:
            books[collection].insert_many([dict(one) for one in documents])
    try:
        yield name
    finally:
        st.store.client.drop_database(name)
