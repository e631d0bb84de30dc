"""The JDP client against a scripted server: what is asked, what is made of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client_support import SESSION, Script, edge_to, failure, secrets_in
from http_server import Answer, Request, local_server, reply, reset
from jgi_stager.clients.jdp import Jdp
from jgi_stager.failures import (
    NeedsPerson,
    OutcomeUnknown,
    OverLimit,
    Rejected,
    Service,
    ServiceError,
    Transient,
    Unnumbered,
)
from jgi_stager.settings import JdpSettings

A, B, C = "a" * 24, "b" * 24, "c" * 24
JDP = JdpSettings(globus_user_name="someone@nersc.gov")


@contextmanager
def jdp_with(
    script: Script | bytes,
    directory: Path,
    config: JdpSettings = JDP,
    token: str | None = f"Bearer {SESSION}",
) -> Iterator[tuple[Jdp, list[Request]]]:
    secrets = secrets_in(directory, **({"jdp_token": token} if token else {}))
    with local_server(script) as server, edge_to(server.url, Service.JDP) as edge:
        yield Jdp(edge, secrets, config), server.requests


def organism(agg_id: int, *ids: str) -> dict[str, Any]:
    files = [{"_id": file_id, "file_name": f"{file_id[0]}.txt", "file_size": 3} for file_id in ids]
    return {"id": f"IMG_AP-{agg_id}", "agg_id": agg_id, "files": files}


def test_jdp_reads_all_pages(tmp_path: Path) -> None:
    pages = {
        "1": {"organisms": [organism(7, A), organism(8, C)], "next_page": 2, "unique_file_total": 3},
        "2": {"organisms": [organism(7, A, B)], "next_page": False, "unique_file_total": 3},
    }
    with jdp_with(lambda request: reply(200, pages[request.query["p"]]), tmp_path) as (jdp, requests):
        listing = jdp.files_of_analysis_project(7)
    assert [file.jdp_file_id for file in listing.files] == [A, B]
    assert listing.organism_id == "IMG_AP-7"
    assert requests[0].path == "/search/"
    assert requests[0].query == {
        "q": "7", "f": "project_id", "a": "false", "h": "false", "d": "asc", "p": "1", "x": "50",
        "api_version": "2",
    }  # fmt: skip
    assert requests[0].headers["authorization"] == f"Bearer {SESSION}"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"organisms": [organism(7, A)], "unique_file_total": 85}, "JDP says 85 files but listed 1"),
        ({"organisms": [], "unique_file_total": 85}, "JDP says 85 files but listed 0"),
        ({"organisms": [organism(7, A)], "next_page": 1}, "next_page is a number above 1"),
        ({"error": "index down"}, "index down"),
        ({"organisms": "none"}, "not a search result"),
        ([], "not a search result"),
    ],
)
def test_jdp_never_accepts_less_than_all(tmp_path: Path, document: Any, said: str) -> None:
    with jdp_with(reply(200, document), tmp_path) as (jdp, _):
        error = failure(lambda: jdp.files_of_analysis_project(7))
    assert type(error) is Transient
    assert said in str(error)


def test_jdp_lists_that_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jgi_stager.clients.jdp.MOST_PAGES", 5)
    with jdp_with(lambda r: reply(200, {"next_page": int(r.query["p"]) + 1}), tmp_path) as (jdp, requests):
        assert "no end after 5 pages" in str(failure(lambda: jdp.files_of_analysis_project(7)))
    assert len(requests) == 5


def test_jdp_searches_without_a_credential_that_is_refused(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        return reply(401, {"detail": "ended"}) if "authorization" in request.headers else reply(200, {})

    with jdp_with(script, tmp_path) as (jdp, requests):
        assert jdp.files_of_analysis_project(7).files == ()
        assert jdp.file_status([A]) == {}
        jdp.probe()
    assert len(requests) == 6


def test_jdp_search_that_is_refused_either_way(tmp_path: Path) -> None:
    with jdp_with(reply(403, {"detail": "members only"}), tmp_path) as (jdp, _):
        assert type(failure(jdp.probe)) is Transient
    (tmp_path / "jdp_token").unlink()
    with jdp_with(reply(400, {"detail": "x > 50"}), tmp_path, token=None) as (jdp, requests):
        assert type(failure(jdp.probe)) is Rejected
    assert "authorization" not in requests[0].headers


ACCEPTED = reply(200, {"request_id": "220699", "restored_count": 1, "updated_count": 1, "more": 1})


def test_jdp_request(tmp_path: Path) -> None:
    with jdp_with(ACCEPTED, tmp_path) as (jdp, requests):
        found = jdp.request_files([A, B], "someone@lab.gov")
    assert (found.request_id, found.answered) == (220699, 2)
    assert requests[0].path == "/download_files/"
    assert requests[0].headers["authorization"] == f"Bearer {SESSION}"
    assert requests[0].json() == {
        "ids": [A, B],
        "restore_related_ap_data": "false",
        "api_version": "2",
        "globus_user_name": "someone@nersc.gov",
        "href": "mailto: someone@lab.gov",
        "send_mail": "true",
    }


@pytest.mark.parametrize(
    ("token", "config", "header"),
    [
        (SESSION, JDP, ("authorization", f"Bearer {SESSION}")),
        (f"bearer  {SESSION}", JDP, ("authorization", f"Bearer {SESSION}")),
        (SESSION, JDP.model_copy(update={"credential": "cookie"}), ("cookie", f"kc_session={SESSION}")),
        (
            f"kc_session={SESSION}",
            JDP.model_copy(update={"credential": "cookie"}),
            ("cookie", f"kc_session={SESSION}"),
        ),
    ],
)
def test_jdp_credentials(tmp_path: Path, token: str, config: JdpSettings, header: tuple[str, str]) -> None:
    with jdp_with(ACCEPTED, tmp_path, config, token) as (jdp, requests):
        jdp.request_files([A])
    assert requests[0].headers[header[0]] == header[1]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(400, {"detail": "no"}), Rejected),
        (reply(400, {"detail": "over 10 TB"}), OverLimit),
        (reply(403, {"detail": "quota exceeded"}), OverLimit),
        (reply(413, {"detail": "too large"}), OverLimit),
        (reply(429, {"detail": "quota exceeded"}), OverLimit),
        (reply(403, {"detail": "Authentication credentials were not provided."}), NeedsPerson),
        (reply(403, {"detail": "Your session has expired"}), NeedsPerson),
        (reply(401, {"detail": f"Authentication credentials {SESSION}"}), NeedsPerson),
        (reply(429, {"detail": "later"}), Transient),
        (reply(503, {"detail": "down"}), OutcomeUnknown),
        (reply(200, b"<html>", "text/html"), OutcomeUnknown),
        (reply(200, b"<html><title>Log in</title>", "text/html"), NeedsPerson),
        (reply(403, b"<html><title>Log in</title>", "text/html"), NeedsPerson),
        (reply(503, b"<html><title>Log in</title>", "text/html"), OutcomeUnknown),
        (reply(302, b"", Location="https://signon.jgi.doe.gov/"), NeedsPerson),
        (reply(200, {"request_id": None}), Unnumbered),
        (reply(200, {"request_id": "x1"}), Unnumbered),
        (reply(200, {"request_status_url": "https://files.jgi.doe.gov/requests/x1"}), Unnumbered),
        (reply(200, ["ok"]), Unnumbered),
        (reply(204, b""), OutcomeUnknown),
        (reply(301, b"", Location="/download_files"), OutcomeUnknown),
        (reset, OutcomeUnknown),
    ],
)
def test_jdp_requests_that_go_wrong(tmp_path: Path, answer: Answer, kind: type[ServiceError]) -> None:
    with jdp_with(lambda _: answer, tmp_path) as (jdp, requests):
        assert type(failure(lambda: jdp.request_files([A, B]))) is kind
    assert len(requests) == 1, "a request is never repeated"


def test_an_answer_without_a_number_is_kept_without_the_credential(tmp_path: Path) -> None:
    with jdp_with(reply(200, {"message": f"thanks, {SESSION}", "more": "x" * 9000}), tmp_path) as (jdp, _):
        error = failure(lambda: jdp.request_files([A]))
    assert isinstance(error, Unnumbered)
    assert SESSION not in error.answer
    assert error.answer.startswith('{"message": "thanks, ***"')
    assert len(error.answer) <= 500


def test_the_number_of_a_request_in_the_address_of_its_status(tmp_path: Path) -> None:
    url = "https://files.jgi.doe.gov/request_archived_files/requests/220699?x=1"
    with jdp_with(reply(200, {"request_status_url": url}), tmp_path) as (jdp, _):
        assert jdp.request_files([A]).request_id == 220699


@pytest.mark.parametrize(
    ("page", "search", "kind"),
    [
        (b"<html><title>Log in</title>", 503, NeedsPerson),
        (b"<html><title>JGI Data Portal</title>", 200, NeedsPerson),
        (b"<html><title>JGI Data Portal</title>", 503, Transient),
        (b"<html><h1>Maintenance</h1>", 200, Transient),
    ],
)
def test_a_web_page_to_a_question_with_the_token(
    tmp_path: Path, page: bytes, search: int, kind: type[ServiceError]
) -> None:
    def script(request: Request) -> bytes:
        return reply(search, {}) if request.path == "/search/" else reply(200, page, "text/html")

    with jdp_with(script, tmp_path) as (jdp, requests):
        assert type(failure(lambda: jdp.request_status(1))) is kind
    assert all("authorization" not in one.headers for one in requests if one.path == "/search/")


def test_jdp_requests_that_are_never_sent(tmp_path: Path) -> None:
    small = JDP.model_copy(update={"restore_batch_size": 2})
    with jdp_with(ACCEPTED, tmp_path, small) as (jdp, requests):
        for ids in ([], [A, A], [A, B, C], ["A" * 24], ["../" + "a" * 21]):
            with pytest.raises(ValueError, match="id"):
                jdp.request_files(ids)
        (tmp_path / "jdp_token").unlink()
        assert isinstance(failure(lambda: jdp.request_files([A])), NeedsPerson)
        secrets_in(tmp_path, jdp_token="tökén")
        assert isinstance(failure(lambda: jdp.request_files([A])), NeedsPerson)
    with jdp_with(ACCEPTED, tmp_path, JdpSettings()) as (jdp, more):
        assert "globus_user_name" in getattr(failure(lambda: jdp.request_files([A])), "cure", "")
    assert requests == more == []


def test_jdp_request_status(tmp_path: Path) -> None:
    body = {"file_ids": [A], "status": "Pending", "expiration_date": "2023-05-18T14:55:41-07:00"}
    with jdp_with(reply(200, body), tmp_path) as (jdp, requests):
        found = jdp.request_status(220699)
    assert (found.status, found.file_ids) == ("pending", (A,))
    assert found.expiration_date is not None
    assert found.expiration_date.isoformat() == "2023-05-18T21:55:41+00:00"
    assert requests[0].target == "/request_archived_files/requests/220699?api_version=1"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(401, {"detail": "no"}), NeedsPerson),
        (reply(404, {"detail": "no such request"}), Rejected),
        (reply(404, b"<html>", "text/html"), Transient),
        (reply(200, {"detail": "maintenance"}), Transient),
        (reply(502), Transient),
    ],
)
def test_jdp_request_status_fails(tmp_path: Path, answer: bytes, kind: type[ServiceError]) -> None:
    with jdp_with(answer, tmp_path) as (jdp, _):
        assert type(failure(lambda: jdp.request_status(1))) is kind


def test_jdp_file_status_asks_in_chunks(tmp_path: Path) -> None:
    ids = [f"{number:024x}" for number in range(120)]

    def script(request: Request) -> bytes:
        known = [{"_id": i, "file_name": "x", "file_status": "PURGED"} for i in request.json()["ids"][:-1]]
        return reply(200, {"organisms": [{"id": "one", "files": known}, {"id": "two", "files": known[:3]}]})

    with jdp_with(script, tmp_path) as (jdp, requests):
        found = jdp.file_status(ids)
    assert [len(request.json()["ids"]) for request in requests] == [50, 50, 20]
    assert len(found) == 117
    assert found[ids[0]].status == "PURGED"
    with jdp_with(lambda _: reset, tmp_path) as (jdp, _):
        assert type(failure(lambda: jdp.file_status(ids))) is Transient
