"""The NMDC API: the study of a proposal, which sequencing projects NMDC knows of it, and under which names.

No credential.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from jgi_stager.clients.http import Headers, HttpEdge, RefusedError
from jgi_stager.clients.parsing import excerpt, plain, strings
from jgi_stager.failures import NeedsPerson, Rejected, Service, Transient

PAGE_SIZE = 1000
MOST_PAGES = 1000
STAGING = "/wf_file_staging"
"""Where the scripts of the third generation keep what they know; a login is needed."""
ATTEMPTS = 3
"""How often a listing is begun: a page token works once, so a page that is lost cannot be asked for again."""
_SEQUENCING_PROJECT = re.compile(r"(?:gold:)?(Gp[0-9]{1,12})", re.ASCII)
_GENERATION = re.compile(r"nmdc:[a-z]{1,20}-[A-Za-z0-9._-]{1,80}", re.ASCII)
_PROPOSAL = re.compile(r"jgi\.proposal:([0-9]{1,12})", re.ASCII)
_STAGED = (None, "metagenome", "metatranscriptome")
"""What data generations of NMDC sequence (``analyte_category``) that have an analysis project of a staged type."""
_JGI = (None, "JGI")


class Nmdc:
    """Questions to the NMDC API."""

    def __init__(self, edge: HttpEdge) -> None:
        self._edge = edge

    def close(self) -> None:
        """Close the connections."""
        self._edge.close()

    def study_of_proposal(self, proposal_id: str) -> str | None:
        """The id of the NMDC study of a JGI proposal, None if NMDC has none.

        Raises `Rejected` if there are several, `Transient` if NMDC cannot be asked.
        """
        documents = self._all(
            "/nmdcschema/study_set", {"jgi_portal_study_identifiers": f"jgi.proposal:{proposal_id}"}
        )
        ids = {plain(str(document.get("id", ""))) for document in documents if isinstance(document, dict)}
        if not documents:
            return None
        if len(ids) != 1 or not all(ids):
            listed = excerpt(", ".join(sorted(ids)))
            raise Rejected(
                Service.NMDC,
                f"nmdc: proposal {excerpt(proposal_id)} has several studies ({listed}); "
                "name the right one in nmdc_study_id",
            )
        return ids.pop()

    def sequencing_projects(self, study_id: str) -> frozenset[str]:
        """The GOLD ids (``Gp...``) of the metagenomes and metatranscriptomes that JGI sequenced for a study.

        What cannot be read is left out: this is compared with, and nothing is staged by it. Raises `Rejected` or
        `Transient`.
        """
        return frozenset(self.data_generations(study_id))

    def data_generations(self, study_id: str) -> dict[str, tuple[str, ...]]:
        """Those sequencing projects, and what NMDC calls the sequencing of each (``nmdc:omprc-...``), sorted.

        Usually that is one name; none where NMDC's own cannot be used. Raises as above.
        """
        wanted = {"associated_studies": study_id, "gold_sequencing_project_identifiers": {"$exists": True}}
        names: dict[str, set[str]] = {}
        for one in self._all("/nmdcschema/data_generation_set", wanted):
            if not _is_staged(one):
                continue
            name = one.get("id")
            usable = {name} if isinstance(name, str) and _GENERATION.fullmatch(name) else set()
            for project in _numbers([one], "gold_sequencing_project_identifiers", _SEQUENCING_PROJECT):
                names.setdefault(project, set()).update(usable)
        return {project: tuple(sorted(found)) for project, found in names.items()}

    def proposals(self, study_id: str) -> frozenset[str]:
        """The numbers of the JGI proposals that a study names; none of one that NMDC does not know. Raises as
        above."""
        return frozenset(
            _numbers(
                self._all("/nmdcschema/study_set", {"id": study_id}), "jgi_portal_study_identifiers", _PROPOSAL
            )
        )

    def staging_documents(
        self, collection: str, wanted: Mapping[str, Any], token: SecretStr | None
    ) -> list[dict[str, Any]]:
        """The documents of a collection that the scripts kept behind this API (``/wf_file_staging``); some users
        alone may read them. Raises `NeedsPerson` or `Transient`.
        """
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token is not None else {}
        try:
            found = self._all(f"{STAGING}/{collection}", wanted, headers)
        except Rejected as error:
            cure = "write an access token of a user who may use /wf_file_staging into the secret nmdc_token"
            raise NeedsPerson(Service.NMDC, str(error), cure) from None
        return [one for one in found if isinstance(one, dict)]

    def probe(self) -> None:
        """Ask for one study. Returns if NMDC answers; raises `Transient` or `Rejected`."""
        self._page("/nmdcschema/study_set", {}, None, {}, page_size=1)

    def _all(self, path: str, wanted: Mapping[str, Any], headers: Headers | None = None) -> list[Any]:
        """All pages. Starts over where a page after the first is lost, at most `ATTEMPTS` times in all."""
        lost: Transient | None = None
        for _ in range(ATTEMPTS):
            documents: list[Any] = []
            token: str | None = None
            for _page in range(MOST_PAGES):
                found = self._page_or_loss(path, wanted, token, headers or {})
                if isinstance(found, Transient):
                    lost = found
                    break
                page, token = found
                documents += page
                if token is None:
                    return documents
            else:
                raise self._edge.unexpected(path, f"complete after {MOST_PAGES} pages")
        raise lost or self._edge.unexpected(path, "complete")

    def _page_or_loss(
        self, path: str, wanted: Mapping[str, Any], token: str | None, headers: Headers
    ) -> tuple[list[Any], str | None] | Transient:
        if token is None:
            return self._page(path, wanted, None, headers)
        try:
            return self._page(path, wanted, token, headers)
        except Transient as error:
            return error
        except Rejected as error:  # a token that was used already: 400 "page_token not found"
            return Transient(Service.NMDC, str(error))

    def _page(
        self,
        path: str,
        wanted: Mapping[str, Any],
        token: str | None,
        headers: Headers,
        page_size: int = PAGE_SIZE,
    ) -> tuple[list[Any], str | None]:
        params: dict[str, str | int] = {"filter": json.dumps(wanted), "max_page_size": page_size}
        if token is not None:
            params["page_token"] = token
        refusal: RefusedError | None = None
        try:
            document = self._edge.get_json(path, params, headers)
        except RefusedError as error:
            refusal = error
        if refusal is not None:
            kind = Transient if refusal.status == 401 and not path.startswith(STAGING) else Rejected
            raise kind(Service.NMDC, str(refusal))
        resources = document.get("resources") if isinstance(document, dict) else None
        following = document.get("next_page_token") if isinstance(document, dict) else None
        if not isinstance(resources, list) or not isinstance(following, str | None):
            raise self._edge.unexpected(path, "a page with resources and perhaps a next_page_token")
        return resources, following or None


def _is_staged(generation: Any) -> bool:
    """Whether GOLD can be expected to have an analysis project of a data generation."""
    if not isinstance(generation, dict):
        return False
    kind, where = generation.get("analyte_category"), generation.get("processing_institution")
    return kind in _STAGED and where in _JGI


def _numbers(documents: list[Any], key: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """The identifiers of a kind that documents have under ``key``, without their prefix."""
    for document in documents:
        found = strings(document.get(key)) if isinstance(document, dict) else None
        for identifier in found or ():
            if match := pattern.fullmatch(identifier):
                yield match.group(1)
