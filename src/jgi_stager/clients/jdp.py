"""The JGI Data Portal: list files, ask for them, and follow a request; and what its answers look like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from jgi_stager.clients.http import Answer, HttpEdge, RefusedError
from jgi_stager.clients.jdp_session import CURE, TOKEN, credential, meaning, no_session
from jgi_stager.clients.parsing import excerpt, instant, plain, strings, whole
from jgi_stager.clients.remote_clock import RemoteClock
from jgi_stager.clients.wording import limit_in
from jgi_stager.failures import (
    LimitKind,
    NeedsPerson,
    OutcomeUnknown,
    OverLimit,
    Page,
    Rejected,
    Service,
    ServiceError,
    Transient,
    Unnumbered,
)
from jgi_stager.id_lists import JDP_FILE_ID, jdp_file_id
from jgi_stager.records import usable_size
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import JdpSettings

# --- the answers --------------------------------------------------------------------------------------------


_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


@dataclass(frozen=True)
class JdpFile:
    """One file as JDP lists it. ``file_name`` is raw: check it before it becomes part of a path."""

    jdp_file_id: str
    file_name: str
    size: int | None = None
    """Bytes; None where JDP's value is missing or makes no sense."""
    status: str | None = None
    """Such as PURGED or RESTORED; other words are kept as they are."""
    file_type: tuple[str, ...] = ()
    md5: str | None = None
    """32 lower-case hexadecimal digits, None where there are none."""
    seq_unit_names: tuple[str, ...] = ()
    file_format: str | None = None


@dataclass(frozen=True)
class ApListing:
    """The files of one analysis project. ``problems`` has a line for everything that was not understood."""

    organism_id: str | None
    """JDP's grouping id, such as ``IMG_AP-1323348``; None if nothing was found."""
    files: tuple[JdpFile, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accepted:
    """JDP took a request for files."""

    request_id: int
    restored_count: int | None = None
    """How many are queued for tape, now or before."""
    updated_count: int | None = None
    """How many are on disk already and are kept longer."""

    @property
    def answered(self) -> int | None:
        """How many ids JDP knew, None if it did not say. Fewer than asked is the only sign of a bad id."""
        if self.restored_count is None or self.updated_count is None:
            return None
        return self.restored_count + self.updated_count


@dataclass(frozen=True)
class RequestStatus:
    """Where a request is. ``status`` is lower-case: new, pending, ready, expired, or a word yet unknown."""

    status: str
    expiration_date: datetime | None = None
    """When the delivery is removed (UTC)."""
    file_ids: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class BadSchemaError(ValueError):
    """A document is not what it should be; the message says what was expected."""


@dataclass
class SearchPages:
    """The pages of one search, put together. Feed it page by page, then ask."""

    files: dict[str, dict[str, JdpFile]] = field(default_factory=dict)
    """By organism id and file id, over all organisms."""
    agg_ids: dict[str, int | None] = field(default_factory=dict)
    nameless: int = 0
    entries: int = 0
    """Files as they are listed, repeats included."""
    organisms: int = 0
    """Organisms as they are listed, repeats included: JDP may show one on several pages, and counts it so."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Organism id and what about one of its files was not understood."""
    totals: set[tuple[int | None, int | None, int | None]] = field(default_factory=set)

    def add(self, document: Any, page: int) -> int | None:
        """Take in one page. Returns the number of the next one, None at the end. Raises `BadSchemaError`."""
        if not isinstance(document, dict):
            raise BadSchemaError("a search result (an object)")
        organisms = document.get("organisms")
        trouble = next((key for key in ("error", "errors", "detail", "message") if document.get(key)), None)
        if trouble and (organisms is None or trouble.startswith("error")):
            raise BadSchemaError(f"a search result but: {excerpt(str(document[trouble]), limit=120)}")
        if not isinstance(organisms or [], list):
            raise BadSchemaError("a search result with a list of organisms")
        for organism in organisms or []:
            self._add_organism(organism)
        self.totals.add(
            (
                whole(document.get("unique_file_total")),
                whole(document.get("file_total")),
                whole(document.get("total")),
            )
        )
        return _next_page(document.get("next_page"), page)

    def _add_organism(self, organism: Any) -> None:
        files = organism.get("files") if isinstance(organism, dict) else None
        if not isinstance(organism, dict) or not isinstance(files or [], list):
            raise BadSchemaError("a search result whose organisms have lists of files")
        agg_id = whole(organism.get("agg_id"))
        name = organism.get("id")
        key = plain(name)[:200] if isinstance(name, str) and plain(name) else f"agg {agg_id}"
        known = self.files.setdefault(key, {})
        self.agg_ids[key] = agg_id
        self.organisms += 1
        for entry in files or []:
            self.entries += 1
            file, problems = parse_file(entry)
            self.problems += [(key, problem) for problem in problems]
            if file is None:
                self.nameless += 1
            else:
                known.setdefault(file.jdp_file_id, file)

    def shortfall(self) -> str | None:
        """What is missing from what JDP says there is, None if nothing is.

        Each total is held against what it counts: unique files against ids, the others against entries, which
        JDP may repeat. Only where it does not say how many files are unique can a repeated organism stand in the
        place of one that is missing: then organisms count once.
        """
        if len(self.totals) > 1:
            return "the totals changed while the pages were read"
        unique, entries, organisms = next(iter(self.totals), (None, None, None))
        listed = len({file_id for files in self.files.values() for file_id in files}) + self.nameless
        if unique is not None and listed < unique:
            return f"JDP says {unique} files but listed {listed}"
        if entries is not None and self.entries < entries:
            return f"JDP says {entries} files but listed {self.entries}"
        shown = len(self.files) if unique is None else self.organisms
        if organisms is not None and shown < organisms:
            return f"JDP says {organisms} datasets but listed {shown}"
        return None

    def of(self, its_ap_id: int) -> ApListing:
        """The files of one analysis project: organisms with another number were found by chance."""
        mine = [key for key, agg_id in self.agg_ids.items() if agg_id == its_ap_id]
        files = {file_id: file for key in mine for file_id, file in self.files[key].items()}
        problems = tuple(f"{key}: {problem}" for key, problem in self.problems if key in mine)
        organism_id = next((key for key in mine if not key.startswith("agg ")), None)
        return ApListing(organism_id, tuple(files.values()), problems)


def _next_page(value: Any, page: int) -> int | None:
    """The next page number. False, null and absent are all the end."""
    if value is None or value is False or value == "":
        return None
    found = whole(value)
    if found is None or found <= page:
        raise BadSchemaError(f"a search result whose next_page is a number above {page}")
    return found


def parse_file(entry: Any) -> tuple[JdpFile | None, list[str]]:
    """One file of a search result, and what about it was not understood. No id or name: no file."""
    said = entry.get("_id") if isinstance(entry, dict) else None
    file_id = jdp_file_id(said)
    name = entry.get("file_name") if isinstance(entry, dict) else None
    if file_id is None or not isinstance(name, str):
        shown = excerpt(f"{said!r} {name!r}", limit=80)
        return None, [f"a file without an id of 24 hex digits or without a name: {shown}"]
    problems: list[str] = []
    metadata = entry.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}

    def known(value: Any, what: str, parsed: Any) -> Any:
        if parsed is None and value is not None:
            problems.append(f"{file_id}: {what} makes no sense: {excerpt(repr(value), limit=60)}")
        return parsed

    size, md5, kind = entry.get("file_size"), entry.get("md5sum"), entry.get("file_type")
    units, status, form = metadata.get("seq_unit_name"), entry.get("file_status"), metadata.get("file_format")
    file = JdpFile(
        jdp_file_id=file_id,
        file_name=name,
        size=known(size, "file_size", usable_size(whole(size))),
        status=known(status, "file_status", plain(status) if isinstance(status, str) else None),
        file_type=known(kind, "file_type", strings(kind)) or (),
        md5=known(md5 or None, "md5sum", _md5(md5)),
        seq_unit_names=known(units, "seq_unit_name", strings(units)) or (),
        file_format=known(form, "file_format", plain(form) if isinstance(form, str) else None),
    )
    return file, problems


def _md5(value: Any) -> str | None:
    found = value.strip() if isinstance(value, str) else ""
    return found.lower() if _MD5.fullmatch(found) else None


_STATUS_URL = re.compile(r"/requests/([0-9]{1,18})/?(?:[?#].*)?", re.ASCII | re.DOTALL)


def parse_accepted(document: Any) -> Accepted:
    """The answer to a request for files. Where it has no number, the address of its status may end in it.

    Raises `BadSchemaError`.
    """
    request_id = whole(document.get("request_id")) if isinstance(document, dict) else None
    if not request_id:
        request_id = _number_in(document.get("request_status_url")) if isinstance(document, dict) else None
    if not request_id:
        raise BadSchemaError("an object with a request_id (a number)")
    return Accepted(request_id, whole(document.get("restored_count")), whole(document.get("updated_count")))


def _number_in(url: Any) -> int | None:
    """The number of a request in the address of its status. Nothing is ever asked at that address."""
    match = _STATUS_URL.search(url[:2000]) if isinstance(url, str) else None
    return int(match[1]) if match and match.end() == len(url) else None


def parse_status(document: Any) -> RequestStatus:
    """The status of a request. Raises `BadSchemaError`."""
    status = document.get("status") if isinstance(document, dict) else None
    if not isinstance(status, str) or not plain(status):
        raise BadSchemaError("an object with a status (a word)")
    problems = []
    ends, listed = document.get("expiration_date"), strings(document.get("file_ids"))
    ids = listed and tuple(dict.fromkeys(jdp_file_id(one) or one for one in listed))
    if ends is not None and instant(ends) is None:
        problems.append(f"expiration_date makes no sense: {excerpt(repr(ends), limit=60)}")
    if ids is None:
        problems.append("file_ids is not a list of ids")
    return RequestStatus(plain(status).lower()[:60], instant(ends), ids or (), tuple(problems))


def distinct_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids as they are. Raises ValueError if one is malformed or repeated: a bug of the caller."""
    found = tuple(ids)
    bad = next((file_id for file_id in found if not JDP_FILE_ID.fullmatch(file_id)), None)
    if bad is not None:
        raise ValueError(f"not a JDP file id: {excerpt(bad, limit=60)!r}")
    if len(set(found)) != len(found):
        raise ValueError("a file id is repeated")
    return found


__all__ = ["Accepted", "ApListing", "Jdp", "JdpFile", "RequestStatus"]

PAGE_SIZE = 50
"""More answers 400 since 2026-01. Pages count datasets ("organisms"), not files."""
MOST_PAGES = 1000
IDS_PER_QUERY = 50
LONGEST_ANSWER = 500
"""Characters that are kept of an answer that could not be used."""
SEARCH, DELIVER, RESTORE = "/search/", "/download_files/", "/request_archived_files/"
BY_IDS = "/search/by_file_ids/"
"""The trailing slashes matter: without one a POST is redirected and loses its body."""
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
    def clock(self) -> RemoteClock:
        """What the answers so far say of JDP's clock."""
        return self._edge.remote_clock

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

    def request_files(
        self, file_ids: Sequence[str], mailto: str | None = None, *, deliver: bool = True
    ) -> Accepted:
        """Ask JDP to restore files and to ``deliver`` them to Globus. Not repeatable: there is no idempotency key.

        Raises `Rejected` (JDP said no: nothing was asked; `OverLimit` where it names a limit), `Transient`
        (nothing arrived), `NeedsPerson` (nothing was asked), `Unnumbered` (JDP answered, but with no number),
        `OutcomeUnknown` (all else), and ValueError for ids that must not be sent.
        """
        ids = distinct_ids(file_ids)
        if not 1 <= len(ids) <= self._settings.restore_batch_size:
            raise ValueError(
                f"{len(ids)} ids in one request; 1 to {self._settings.restore_batch_size} are allowed"
            )
        path, body = (
            (DELIVER, self._request_body(ids, mailto)) if deliver else (RESTORE, _restore_body(ids, mailto))
        )
        failure: ServiceError
        try:
            document = self._authorized(lambda headers: self._edge.post_json(path, body, headers))
        except (Rejected, Transient) as error:
            failure = _over_limit(error) or error
        else:
            try:
                return parse_accepted(document)
            except BadSchemaError as error:
                problem = f"jdp: POST {path} was answered, but not with {error}"
            failure = Unnumbered(Service.JDP, problem, self._shown(document))
        raise failure

    def request_status(self, request_id: int) -> RequestStatus:
        """Where a request is. Raises `Transient`, `NeedsPerson`, or `Rejected` if JDP does not know it."""
        path = f"/request_archived_files/requests/{int(request_id)}"
        document = self._authorized(lambda headers: self._edge.get_json(path, {"api_version": 1}, headers))
        return self._shaped(path, lambda: parse_status(document))

    def request_answer(self, request_id: int) -> Answer:
        """What JDP answers about a request, as it came and whatever it is: for evidence. Raises `Transient` if
        there is no answer, or `NeedsPerson` without a credential."""
        path = f"/request_archived_files/requests/{int(request_id)}"
        return self._authorized(lambda headers: self._edge.get(path, {"api_version": 1}, headers))

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

    def _shown(self, document: Any) -> str:
        """An answer as it may be kept and mailed: bounded, without the credential."""
        secrets: list[str] = []
        with suppress(SecretProblem):
            secrets = [value.split(" ", 1)[-1].split("=", 1)[-1] for value in self._credential().values()]
        return excerpt(json.dumps(document, ensure_ascii=False), secrets, LONGEST_ANSWER)

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
        return credential(self._secrets, self._settings)

    def _authorized(self, call: Callable[[Mapping[str, str]], Result]) -> Result:
        """Make ``call`` with the credential. Raises `NeedsPerson` if there is none or it is refused."""
        failure: ServiceError
        try:
            return call(self._credential())
        except SecretProblem as error:
            failure = no_session(error)
        except RefusedError as error:
            failure = meaning(error)
        except (Transient, OutcomeUnknown) as error:
            failure = self._without_session(error) or error
        raise failure

    def _without_session(self, error: ServiceError) -> NeedsPerson | None:
        """The failure behind a web page in the place of an answer, if the session has ended: it is a page to log
        in, or, of a question, any but one of maintenance while a call without the credential is answered.

        A page to log in says that nothing was done. Of any other page after a POST that is not known.
        """
        alone = error.page == Page.OTHER and isinstance(error, Transient) and self._answers_anybody()
        if error.page != Page.SIGN_IN and not alone:
            return None
        found = "a page to log in" if error.page == Page.SIGN_IN else "a web page, while the search answers"
        said = f"{error}; expected an answer to the session token, found {found}: the token has probably ended"
        return NeedsPerson(Service.JDP, said, CURE)

    def _answers_anybody(self) -> bool:
        query: dict[str, str | int] = {"q": "0", "f": "project_id", "p": 1, "x": 1, "api_version": 2}
        try:
            self._edge.get_json(SEARCH, query)
        except ServiceError:
            return False
        return True

    def _search(self, call: Callable[[Mapping[str, str] | None], Result]) -> Result:
        """Search with the credential if there is one, and without it where it is refused.

        Public data need none and private data show only with one; a session
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
                refusal: ServiceError = error
            except Transient as error:
                if error.page != Page.SIGN_IN:
                    raise
                refusal = error
            if refusal.status not in (401, 403) and refusal.page != Page.SIGN_IN:
                break
        ended = refusal.status in (401, 403) or refusal.page == Page.SIGN_IN
        kind = Transient if ended else Rejected
        raise kind(Service.JDP, str(refusal))

    def _shaped(self, path: str, parse: Callable[[], Result]) -> Result:
        try:
            return parse()
        except BadSchemaError as error:
            expected = str(error)
        raise self._edge.unexpected(path, expected)


def _restore_body(ids: Sequence[str], mailto: str | None) -> dict[str, Any]:
    """Of a request that delivers nothing: what it restores is downloaded."""
    return {"ids": list(ids), "send_mail": mailto is not None, "api_version": "2"}


def _over_limit(error: ServiceError) -> OverLimit | None:
    """A refusal, or an answer 429, that is about how much was asked. 413 is: the body of a request is its ids."""
    if isinstance(error, Transient) and error.status != 429:
        return None
    limit = limit_in(str(error), may_be_rate=error.status == 429)
    if limit is None and error.status == 413:
        limit = LimitKind.IDS, None
    return OverLimit(Service.JDP, str(error), *limit) if limit is not None else None
