"""The GOLD web service: which analysis projects and biosamples belong to a proposal."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jgi_stager.clients.http import Answer, HttpEdge, RefusedError
from jgi_stager.clients.pages import Page, UnknownFormError, linked, read_page, words_for
from jgi_stager.clients.parsing import Count, Listing, OptionalText, Texts, excerpt, rows_of
from jgi_stager.failures import NeedsPerson, Rejected, Service, Transient
from jgi_stager.secrets import SecretProblem, Secrets

OFFLINE_TOKEN = "gold_offline_token"  # noqa: S105 - the name of a secret
CURE = "copy a new offline token from the GOLD site and run: jgi-stager token set gold"
_NOTHING_FOR_YOU = (403, 404)
"""GOLD's way to say that there is nothing, or nothing that this account may see."""

MOST_PAGES = 1000
MOST_ROWS = 200_000
"""Of one list; the largest proposal known has 379 analysis projects."""

Row = TypeVar("Row")


class AnalysisProject(BaseModel):
    """One analysis project as GOLD lists it; fields that nobody here uses are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    ap_gold_id: Annotated[str, Field(alias="apGoldId", pattern=r"^Ga[0-9]{1,12}$")]
    ap_type: Annotated[OptionalText, Field(alias="apType")] = None
    study_id: Annotated[OptionalText, Field(alias="studyId")] = None
    its_ap_id: Annotated[Count | None, Field(alias="itsApId")] = None
    """The number under which JDP knows it (``agg_id``); an integer or a numeric string."""
    projects: Annotated[Texts, Field(alias="projects")] = ()
    """The sequencing projects (``Gp...``) it was made from."""
    reference_ap_gold_id: Annotated[OptionalText, Field(alias="referenceApGoldId")] = None
    """For a mapping: the analysis project that was mapped to."""
    ap_name: Annotated[OptionalText, Field(alias="apName")] = None


class _Biosample(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    biosample_id: Annotated[str, Field(alias="biosampleGoldId", pattern=r"^Gb[0-9]{1,12}$")]


class Gold:
    """Questions to GOLD. The access token (about 12 hours) is kept in memory, renewed once if refused."""

    def __init__(self, edge: HttpEdge, secrets: Secrets) -> None:
        self._edge = edge
        self._secrets = secrets
        self._lock = threading.Lock()
        self._token: tuple[object, str] | None = None
        """The fingerprint of the offline token it was exchanged for, and the access token."""

    def close(self) -> None:
        """Close the connections."""
        self._edge.close()

    def analysis_projects_of_proposal(self, proposal_id: str) -> Listing[AnalysisProject]:
        """The analysis projects of a JGI proposal. Raises `Transient`, `Rejected` or `NeedsPerson`."""
        return self._list("analysis_projects", "itsProposalId", proposal_id, AnalysisProject.model_validate)

    def analysis_projects_of_biosample(self, biosample_id: str) -> Listing[AnalysisProject]:
        """The analysis projects of a biosample (``Gb...``). Raises as above."""
        return self._list("analysis_projects", "biosampleGoldId", biosample_id, AnalysisProject.model_validate)

    def biosamples_of_proposal(self, proposal_id: str) -> Listing[str]:
        """The biosamples (``Gb...``) of a JGI proposal. Raises as above."""
        return self._list(
            "biosamples",
            "itsProposalId",
            proposal_id,
            lambda row: _Biosample.model_validate(row).biosample_id,
        )

    def probe(self) -> None:
        """The cheapest question that needs a working token. Returns if GOLD answers; raises as above."""
        self._ask("/api/v1/projects", {"biosampleGoldId": "Gb0000000"})

    def _list(self, what: str, key: str, value: str, make: Callable[[Any], Row]) -> Listing[Row]:
        """All pages of a list. A list that is known to go on and cannot be followed is `Transient`, never cut."""
        path, params = f"/api/v1/{what}", {key: value}
        asked: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        rows: list[Any] = []
        page: Page | None = None
        while len(asked) < MOST_PAGES and len(rows) <= MOST_ROWS:
            asked.add((path, tuple(sorted(params.items()))))
            answer = self._ask(path, params)
            if answer.status in _NOTHING_FOR_YOU:
                if page is None:
                    return Listing((), withheld=answer.status)
                raise _not_whole(what, rows, f"page {len(asked)} answered HTTP {answer.status}")
            page = self._page(what, answer, make, page)
            rows += page.rows
            if page.next is None:
                return _listing(what, rows, page, len(asked), make)
            following = linked(self._edge.base_url, path, page.next)
            if following is None:
                raise _not_whole(what, rows, "the next page is said to be at another address than GOLD's")
            path, params = following
            if (path, tuple(sorted(params.items()))) in asked:
                raise _not_whole(what, rows, "the pages lead in a circle")
        raise _not_whole(what, rows, f"there is no end after {len(asked):,} pages")

    def _page(self, what: str, answer: Answer, make: Callable[[Any], Row], before: Page | None) -> Page:
        document, key = self._edge.readable(answer), None if before is None else before.key
        try:
            return read_page(document, answer.headers, lambda row: _fits(row, make), key)
        except UnknownFormError as error:
            found = str(error)
        raise _answered(f"GET /api/v1/{what}: expected {_expected(what)}, found {found}")

    def _ask(self, path: str, params: dict[str, str]) -> Answer:
        """GET with the access token; one renewal. Returns 2xx, 403 or 404."""
        token = self._access_token(refused=None)
        answer = self._get(path, params, token)
        if answer.status == 401:
            answer = self._get(path, params, self._access_token(refused=token))
        if answer.status in _NOTHING_FOR_YOU and not answer.is_markup():
            return answer
        try:
            self._edge.check(answer)
        except RefusedError as error:
            refusal = error
        else:
            return answer
        if refusal.status == 401:
            raise NeedsPerson(Service.GOLD, "gold: refuses a fresh access token (HTTP 401)", CURE)
        raise Rejected(Service.GOLD, str(refusal))

    def _get(self, path: str, params: dict[str, str], token: str) -> Answer:
        return self._edge.get(path, params, {"Authorization": f"Bearer {token}"})

    def _access_token(self, refused: str | None) -> str:
        """The access token, exchanged anew if there is none, the secret changed, or GOLD refused it."""
        with self._lock:
            fingerprint = self._secrets.fingerprint(OFFLINE_TOKEN)
            if self._token is None or self._token[0] != fingerprint or self._token[1] == refused:
                self._token = None
                self._token = (fingerprint, self._exchange())
            return self._token[1]

    def _exchange(self) -> str:
        offline, problem = self._read_offline_token()
        if problem:
            raise NeedsPerson(Service.GOLD, f"gold: no offline token: {problem}", CURE)
        answer = self._edge.get("/exchange", {"offlineToken": offline}, {"Accept": "text/plain, */*"})
        if answer.status in (400, 401, 403) or (answer.status >= 400 and b"invalid_grant" in answer.body):
            # A revoked session answers 500 with invalid_grant.
            raise NeedsPerson(Service.GOLD, f"gold: the offline token is refused (HTTP {answer.status})", CURE)
        if not 200 <= answer.status < 300 or answer.is_markup():
            raise Transient(Service.GOLD, f"gold: GET /exchange answered HTTP {answer.status} without a token")
        token = _token_in(answer.body)
        if token is None:
            raise Transient(Service.GOLD, "gold: GET /exchange answered with something that is not a token")
        return token

    def _read_offline_token(self) -> tuple[str, str]:
        try:
            return self._secrets.read(OFFLINE_TOKEN).get_secret_value(), ""
        except SecretProblem as error:
            return "", str(error)


def _listing(what: str, rows: list[Any], page: Page, pages: int, make: Callable[[Any], Row]) -> Listing[Row]:
    """The rows of all pages, with what is strange about them."""
    found, notes = rows_of(rows, make, what), []
    if page.key is not None:
        key = excerpt(page.key, limit=40)
        notes.append(f"GOLD answered with an object instead of {_expected(what)}; the rows in '{key}' are used")
    if page.total is not None and page.total > len(rows):
        notes.append(
            f"GOLD counts {page.total:,} {_words(what)} and lists {len(rows):,}, so some may be missing; ask JGI"
        )
    problems = found.problems
    if rows and not found.rows:
        problems = (f"expected {_expected(what)}, found {words_for(rows)}", *problems)
    return Listing(found.rows, problems, notes=tuple(notes), in_object=page.key is not None, pages=pages)


def _fits(row: Any, make: Callable[[Any], Row]) -> bool:
    try:
        make(row)
    except ValidationError:
        return False
    return True


def _words(what: str) -> str:
    return what.replace("_", " ")


def _expected(what: str) -> str:
    return f"a list of {_words(what)}"


def _answered(said: str) -> Transient:
    """GOLD works, but what it says cannot be used: no outage, and told as what it is."""
    return Transient(Service.GOLD, f"gold: {said}", answered=True)


def _not_whole(what: str, rows: list[Any], why: str) -> Transient:
    return _answered(
        f"GET /api/v1/{what}: expected the whole list of {_words(what)}, found {len(rows):,} rows and no way to "
        f"the others: {why}"
    )


def _token_in(body: bytes) -> str | None:
    """The access token: bare text, quoted by some versions of the service. None if it is neither."""
    try:
        text = body.decode("ascii").strip()
        found = json.loads(text) if text.startswith('"') else text
    except ValueError:
        return None
    if not isinstance(found, str) or not 8 <= len(found) <= 16_384 or quote(found, safe="-._~+/=") != found:
        return None
    return found
