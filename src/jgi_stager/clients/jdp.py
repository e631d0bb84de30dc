"""The JGI Data Portal: listing files, asking for them, and following a request (jgi-apis, section 2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jgi_stager.clients.http import HttpEdge, RefusedError
from jgi_stager.clients.jdp_shapes import (
    Accepted,
    ApListing,
    BadShapeError,
    JdpFile,
    RequestStatus,
    SearchPages,
    distinct_ids,
    parse_accepted,
    parse_status,
)
from jgi_stager.clients.their_clock import TheirClock
from jgi_stager.failures import NeedsPerson, OutcomeUnknown, OutsideError, Rejected, Service, Transient
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import JdpSettings

__all__ = ["Accepted", "ApListing", "Jdp", "JdpFile", "RequestStatus"]

TOKEN = "jdp_token"  # noqa: S105 - the name of a secret
CURE = "log in to the JGI Data Portal, copy the session token (account menu) and run: jgi-stager token set jdp"
PAGE_SIZE = 50
"""More answers 400 since 2026-01. Pages count datasets ("organisms"), not files."""
MOST_PAGES = 1000
IDS_PER_QUERY = 50
SEARCH, RESTORE, BY_IDS = "/search/", "/download_files/", "/search/by_file_ids/"
"""The trailing slashes matter: without one a POST is redirected and loses its body."""
_ABOUT_LOGIN = re.compile(
    r"authentication|credential|not logged in|log in|(token|session).{0,40}(invalid|expired)|"
    r"invalid.{0,20}(token|session)",
    re.IGNORECASE,
)
"""In the body of a 403: the portal's framework answers 403, not 401, to some ended sessions."""

Result = TypeVar("Result")


class Jdp:
    """Questions and requests to JDP. The credential is read anew for each call, so a renewed one counts."""

    def __init__(self, edge: HttpEdge, secrets: Secrets, settings: JdpSettings) -> None:
        self._edge = edge
        self._secrets = secrets
        self._settings = settings

    def close(self) -> None:
        """Close the connections."""
        self._edge.close()

    @property
    def clock(self) -> TheirClock:
        """What the answers so far say of JDP's clock."""
        return self._edge.their_clock

    def files_of_analysis_project(self, its_ap_id: int) -> ApListing:
        """All files of an analysis project, read to the last page and compared with JDP's own totals.

        A listing that falls short of the totals, or whose totals change, is `Transient`: never accepted.
        Raises `Transient` or `Rejected`.
        """
        pages = SearchPages()
        page, following = 1, None
        for _ in range(MOST_PAGES):
            following = self._search_page(pages, str(its_ap_id), page)
            if following is None:
                break
            page = following
        missing = pages.shortfall() if following is None else f"no end after {MOST_PAGES} pages"
        if missing:
            said = f"jdp: the file list of analysis project {its_ap_id} is not complete: {missing}"
            raise Transient(Service.JDP, said, answered=True)
        return pages.of(its_ap_id)

    def file_status(self, file_ids: Sequence[str]) -> dict[str, JdpFile]:
        """What JDP knows about these files, by id; ids that it does not know are missing.

        The call behind it is undocumented: take it as evidence, not as truth. Raises `Transient` or
        `Rejected`, and ValueError for a malformed or repeated id.
        """
        ids = distinct_ids(file_ids)
        found: dict[str, JdpFile] = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            pages = SearchPages()
            self._query(pages, ids[start : start + IDS_PER_QUERY])
            found |= {file_id: file for files in pages.files.values() for file_id, file in files.items()}
        return {file_id: found[file_id] for file_id in ids if file_id in found}

    def request_files(self, file_ids: Sequence[str], mailto: str | None = None) -> Accepted:
        """Ask JDP to restore files and deliver them to Globus. Not repeatable: there is no idempotency key.

        Raises `Rejected` (JDP said no: nothing was asked), `Transient` (nothing arrived), `NeedsPerson`
        (nothing was asked), `OutcomeUnknown` (all else), and ValueError for ids that must not be sent.
        """
        ids = distinct_ids(file_ids)
        if not 1 <= len(ids) <= self._settings.restore_batch_size:
            raise ValueError(
                f"{len(ids)} ids in one request; 1 to {self._settings.restore_batch_size} are allowed"
            )
        body = self._request_body(ids, mailto)
        document = self._authorized(lambda headers: self._edge.post_json(RESTORE, body, headers))
        try:
            return parse_accepted(document)
        except BadShapeError as error:
            problem = str(error)
        raise OutcomeUnknown(Service.JDP, f"jdp: POST {RESTORE} was answered, but not with {problem}")

    def request_status(self, request_id: int) -> RequestStatus:
        """Where a request is. Raises `Transient`, `NeedsPerson`, or `Rejected` if JDP does not know it."""
        path = f"/request_archived_files/requests/{int(request_id)}"
        document = self._authorized(lambda headers: self._edge.get_json(path, {"api_version": 1}, headers))
        return self._shaped(path, lambda: parse_status(document))

    def probe(self) -> None:
        """Ask the search for nothing in particular. Returns if JDP answers; the token is not tested."""
        self._search_page(SearchPages(), "0", 1)

    def _search_page(self, pages: SearchPages, q: str, page: int) -> int | None:
        """Read one page into ``pages``. Returns the number of the next one."""
        query: dict[str, str | int] = {"q": q, "f": "project_id", "a": "false", "h": "false", "d": "asc"}
        query |= {"p": page, "x": PAGE_SIZE, "api_version": 2}
        document = self._search(lambda headers: self._edge.get_json(SEARCH, query, headers))
        return self._shaped(SEARCH, lambda: pages.add(document, page))

    def _query(self, pages: SearchPages, ids: Sequence[str]) -> None:
        """Read what JDP knows about at most `IDS_PER_QUERY` ids into ``pages``."""
        body = {"ids": list(ids), "aggregations": True, "include_private_data": 1}
        document = self._search(lambda headers: self._edge.query_json(BY_IDS, body, headers))
        self._shaped(BY_IDS, lambda: pages.add(document, 0))

    def _request_body(self, ids: Sequence[str], mailto: str | None) -> dict[str, Any]:
        user = self._settings.globus_user_name
        if not user:
            raise NeedsPerson(
                Service.JDP,
                "jdp: without a Globus user name nothing would be delivered",
                "set globus_user_name in [jdp] to the Globus identity that reads the deliveries",
            )
        mail = {"href": f"mailto: {mailto}", "send_mail": "true"} if mailto else {"send_mail": "false"}
        return {
            "ids": list(ids),
            "restore_related_ap_data": "false",
            "api_version": "2",
            "globus_user_name": user,
            **mail,
        }

    def _credential(self) -> Mapping[str, str]:
        """The header that carries the credential. Raises `SecretProblem`."""
        text = self._secrets.read(TOKEN).get_secret_value()
        if not text.isascii():
            raise SecretProblem(f"{self._secrets.path(TOKEN)}: has characters that no token has; copy it again")
        if self._settings.credential == "cookie":
            name = self._settings.cookie_name
            return {"Cookie": f"{name}={text.removeprefix(f'{name}=')}"}
        # What the portal copies starts with "Bearer " already; doubled it answers 401 (facts, section 1).
        bare = text[7:].strip() if text[:7].lower() == "bearer " else text
        return {"Authorization": f"Bearer {bare}"}

    def _authorized(self, call: Callable[[Mapping[str, str]], Result]) -> Result:
        """Make ``call`` with the credential. Raises `NeedsPerson` if there is none or it is refused."""
        failure: OutsideError
        try:
            return call(self._credential())
        except SecretProblem as error:
            failure = NeedsPerson(Service.JDP, f"jdp: no session token: {error}", CURE)
        except RefusedError as error:
            failure = _meaning(error)
        raise failure

    def _search(self, call: Callable[[Mapping[str, str] | None], Result]) -> Result:
        """Search with the credential if there is one, and without it where it is refused.

        Public data need none and private data show only with one (jgi-api-facts, section 1); a session
        that has ended must not hide what anybody may see.
        """
        headers: Mapping[str, str] | None = None
        try:
            headers = self._credential() if self._secrets.exists(TOKEN) else None
        except SecretProblem:
            headers = None  # the calls that cannot do without it report this one
        for attempt in (headers, None) if headers else (None,):
            try:
                return call(attempt)
            except RefusedError as error:
                refusal = error
            if refusal.status not in (401, 403):
                break
        kind = Transient if refusal.status in (401, 403) else Rejected
        raise kind(Service.JDP, str(refusal))

    def _shaped(self, path: str, parse: Callable[[], Result]) -> Result:
        try:
            return parse()
        except BadShapeError as error:
            expected = str(error)
        raise self._edge.unexpected(path, expected)


def _meaning(error: RefusedError) -> OutsideError:
    if error.status == 401 or (error.status == 403 and _ABOUT_LOGIN.search(str(error))):
        return NeedsPerson(Service.JDP, f"{error}; the session token is missing, wrong or has ended", CURE)
    return Rejected(Service.JDP, str(error))
