"""GOLD, JDP and NMDC clients against a scripted server: what is asked, what is made of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_server import Answer, Request, assert_silent, local_server, reply, reset
from jgi_stager.clients.gold import Gold
from jgi_stager.clients.http import HttpEdge
from jgi_stager.clients.jdp import Jdp
from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.failures import NeedsPerson, OutcomeUnknown, OutsideError, Rejected, Service, Transient
from jgi_stager.secrets import Secrets
from jgi_stager.settings import JdpSettings

OFFLINE = "offline-Token.abcdefgh"
ACCESS = "access.Token-1"
SESSION = "/api/sessions/0123456789abcdef"
A, B, C = "a" * 24, "b" * 24, "c" * 24
JDP = JdpSettings(globus_user_name="someone@nersc.gov")
Script = Callable[[Request], Answer]


def secrets_in(directory: Path, **values: str) -> Secrets:
    for name, value in values.items():
        path = directory / name
        path.write_text(value + "\n", encoding="utf-8")
        path.chmod(0o600)
    return Secrets(directory)


@contextmanager
def edge_to(url: str, service: Service) -> Iterator[HttpEdge]:
    edge = HttpEdge(service, url, 5.0)
    try:
        yield edge
    finally:
        edge.close()


def failure(call: Callable[[], object]) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        call()
    assert_silent(caught.value, OFFLINE, ACCESS, SESSION)
    assert type(caught.value) in (Transient, Rejected, NeedsPerson, OutcomeUnknown), "nothing else leaves"
    return caught.value


# GOLD


@contextmanager
def gold_with(script: Script, directory: Path, **values: str) -> Iterator[tuple[Gold, list[Request]]]:
    secrets = secrets_in(directory, **(values or {"gold_offline_token": OFFLINE}))
    with local_server(script) as server, edge_to(server.url, Service.GOLD) as edge:
        yield Gold(edge, secrets), server.requests


def gold_script(rows: Answer, token: str = ACCESS) -> Script:
    return lambda request: reply(200, token.encode(), "text/plain") if request.path == "/exchange" else rows


def test_gold_lists(tmp_path: Path) -> None:
    rows = [{"apGoldId": "Ga1", "apType": "Metagenome Analysis", "itsApId": "7", "projects": None}, {"x": 1}]
    with gold_with(gold_script(reply(200, rows), f'"{ACCESS}"'), tmp_path) as (gold, requests):
        listing = gold.analysis_projects_of_proposal("503")
        assert len(gold.analysis_projects_of_biosample("Gb1")) == 1
        assert len(gold.analysis_projects_of_project("Gp1")) == 1
        gold.probe()
    assert [(row.ap_gold_id, row.its_ap_id, row.projects) for row in listing] == [("Ga1", 7, ())]
    assert len(listing.problems) == 1
    assert [request.query for request in requests] == [
        {"offlineToken": OFFLINE},
        {"itsProposalId": "503"},
        {"biosampleGoldId": "Gb1"},
        {"projectGoldId": "Gp1"},
        {"biosampleGoldId": "Gb0000000"},
    ]
    assert requests[1].headers["authorization"] == f"Bearer {ACCESS}"


def test_gold_biosamples(tmp_path: Path) -> None:
    rows = [{"biosampleGoldId": "Gb1"}, {"biosampleGoldId": "../x"}, 5, {"biosampleGoldId": "Gb2", "y": 1}]
    with gold_with(gold_script(reply(200, rows)), tmp_path) as (gold, requests):
        listing = gold.biosamples_of_proposal("503")
    assert listing.rows == ("Gb1", "Gb2")
    assert len(listing.problems) == 2
    assert requests[1].path == "/api/v1/biosamples"


@pytest.mark.parametrize("status", [403, 404])
def test_gold_has_nothing_for_you(tmp_path: Path, status: int) -> None:
    with gold_with(gold_script(reply(status, {"message": "no"})), tmp_path) as (gold, _):
        listing = gold.biosamples_of_proposal("503")
    assert (listing.rows, listing.withheld) == ((), status)


def test_gold_pages_of_a_gateway_are_not_nothing(tmp_path: Path) -> None:
    with gold_with(gold_script(reply(404, b"<html>", "text/html")), tmp_path) as (gold, _):
        assert type(failure(lambda: gold.biosamples_of_proposal("503"))) is Transient


def test_gold_renews_its_token_once(tmp_path: Path) -> None:
    exchanged: list[str] = []

    def script(request: Request) -> bytes:
        if request.path == "/exchange":
            exchanged.append(f"fresh-token-{len(exchanged)}")
            return reply(200, exchanged[-1].encode(), None)
        if request.headers["authorization"] == "Bearer fresh-token-0":
            return reply(401, {"message": "expired"})
        return reply(200, [])

    with gold_with(script, tmp_path) as (gold, requests):
        assert gold.biosamples_of_proposal("503").rows == ()
        assert gold.biosamples_of_proposal("503").rows == ()
    assert len(exchanged) == 2
    assert len(requests) == 5


def test_gold_refuses_fresh_tokens(tmp_path: Path) -> None:
    with gold_with(gold_script(reply(401, {"m": ACCESS})), tmp_path) as (gold, requests):
        error = failure(gold.probe)
    assert isinstance(error, NeedsPerson)
    assert len(requests) == 4, "exchange, ask, exchange, ask"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(500, f"x {OFFLINE} invalid_grant: Session not active".encode(), "text/plain"), NeedsPerson),
        (reply(401, b"bad token"), NeedsPerson),
        (reply(500, OFFLINE.encode()), Transient),
        (reply(404, b"<html>", "text/html"), Transient),
        (reply(200, b"<html>maintenance</html>", "text/html"), Transient),
        (reply(200, b"the token service is busy", "text/plain"), Transient),
        (reply(200, b"", "text/plain"), Transient),
        (reply(200, b"\xff" * 20, "text/plain"), Transient),
        (reset, Transient),
    ],
)
def test_gold_exchange_fails(tmp_path: Path, answer: Answer, kind: type[OutsideError]) -> None:
    with gold_with(lambda _: answer, tmp_path) as (gold, requests):
        error = failure(gold.probe)
    assert type(error) is kind
    assert len(requests) == 1
    if isinstance(error, NeedsPerson):
        assert "jgi-stager token set gold" in error.cure


def test_gold_without_a_token_and_with_a_new_one(tmp_path: Path) -> None:
    with gold_with(gold_script(reply(200, [])), tmp_path, other="x") as (gold, requests):
        assert isinstance(failure(gold.probe), NeedsPerson)
        assert requests == []
        secrets_in(tmp_path, gold_offline_token=OFFLINE)
        gold.probe()
        (tmp_path / "gold_offline_token").unlink()
        secrets_in(tmp_path, gold_offline_token="another-token-longer")
        gold.probe()
    exchanges = [request.query["offlineToken"] for request in requests if request.path == "/exchange"]
    assert exchanges == [OFFLINE, "another-token-longer"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(reply(200, {"rows": []}), Transient), (reply(400, {"m": "bad id"}), Rejected), (reply(503), Transient)],
)
def test_gold_answers_wrongly(tmp_path: Path, answer: bytes, kind: type[OutsideError]) -> None:
    with gold_with(gold_script(answer), tmp_path) as (gold, _):
        assert type(failure(lambda: gold.biosamples_of_proposal("503"))) is kind


# JDP


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
    with jdp_with(reply(403, {"detail": SESSION}), tmp_path) as (jdp, _):
        assert type(failure(jdp.probe)) is Transient
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
        (reply(400, {"detail": "over 10 TB"}), Rejected),
        (reply(403, {"detail": "quota exceeded"}), Rejected),
        (reply(403, {"detail": "Authentication credentials were not provided."}), NeedsPerson),
        (reply(403, {"detail": "Your session has expired"}), NeedsPerson),
        (reply(401, {"detail": f"Authentication credentials {SESSION}"}), NeedsPerson),
        (reply(429, {"detail": "later"}), Transient),
        (reply(503, {"detail": "down"}), OutcomeUnknown),
        (reply(200, b"<html>", "text/html"), OutcomeUnknown),
        (reply(200, {"request_id": None}), OutcomeUnknown),
        (reply(200, {"request_id": "x1"}), OutcomeUnknown),
        (reply(200, ["ok"]), OutcomeUnknown),
        (reply(204, b""), OutcomeUnknown),
        (reply(301, b"", Location="/download_files"), OutcomeUnknown),
        (reset, OutcomeUnknown),
    ],
)
def test_jdp_requests_that_go_wrong(tmp_path: Path, answer: Answer, kind: type[OutsideError]) -> None:
    with jdp_with(lambda _: answer, tmp_path) as (jdp, requests):
        assert type(failure(lambda: jdp.request_files([A, B]))) is kind
    assert len(requests) == 1, "a request is never repeated"


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
def test_jdp_request_status_fails(tmp_path: Path, answer: bytes, kind: type[OutsideError]) -> None:
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


# NMDC


@contextmanager
def nmdc_with(script: Script | bytes) -> Iterator[tuple[Nmdc, list[Request]]]:
    with local_server(script) as server, edge_to(server.url, Service.NMDC) as edge:
        yield Nmdc(edge), server.requests


def studies(*ids: str) -> bytes:
    return reply(200, {"resources": [{"id": study} for study in ids]})


def test_nmdc_study() -> None:
    with nmdc_with(studies("nmdc:sty-11-a", "nmdc:sty-11-a")) as (nmdc, requests):
        assert nmdc.study_of_proposal("503") == "nmdc:sty-11-a"
        nmdc.probe()
    assert requests[0].path == "/nmdcschema/study_set"
    assert json.loads(requests[0].query["filter"]) == {"jgi_portal_study_identifiers": "jgi.proposal:503"}
    with nmdc_with(studies()) as (nmdc, _):
        assert nmdc.study_of_proposal("503") is None
    with nmdc_with(studies("nmdc:sty-11-a", "nmdc:sty-11-b")) as (nmdc, _):
        error = failure(lambda: nmdc.study_of_proposal("503"))
    assert type(error) is Rejected
    assert "nmdc:sty-11-a, nmdc:sty-11-b" in str(error)


def nmdc_pages(lose: set[int]) -> Script:
    """Two pages; the token works once. ``lose`` are the calls (from 0) whose answers are lost."""
    tokens: list[str] = []
    calls: list[int] = []

    def script(request: Request) -> Answer:
        calls.append(1)
        lost = len(calls) - 1 in lose
        token = request.query.get("page_token")
        row = {
            "id": f"nmdc:omprc-11-{'b' if token else 'a'}",
            "gold_sequencing_project_identifiers": ["gold:Gp1"],
        }
        if token is None:
            tokens.append(f"t{len(tokens)}")
            return reply(200, {"resources": [row], "next_page_token": tokens[-1]})
        if token not in tokens:
            return reply(400, {"detail": "`page_token` not found"})
        tokens.remove(token)
        return reset if lost else reply(200, {"resources": [row]})

    return script


def test_nmdc_starts_over_where_a_page_is_lost() -> None:
    with nmdc_with(nmdc_pages(lose={1})) as (nmdc, requests):
        listing = nmdc.data_generations_of_study("nmdc:sty-11-a")
    assert [row.id for row in listing] == ["nmdc:omprc-11-a", "nmdc:omprc-11-b"]
    assert listing.rows[0].gold_project_ids == ("Gp1",)
    assert len({request.query["filter"] for request in requests}) == 1, "the filter is sent again"
    assert [request.query.get("page_token") for request in requests] == [None, "t0", None, "t0"]


def test_nmdc_gives_up_in_the_end() -> None:
    with nmdc_with(nmdc_pages(lose={1, 3, 5})) as (nmdc, requests):
        assert type(failure(lambda: nmdc.data_generations_of_study("x"))) is Transient
    assert len(requests) == 6


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(422, {"detail": "bad filter"}), Rejected),
        (reply(401, {}), Transient),
        (reply(500), Transient),
        (reply(200, []), Transient),
        (reply(200, {"resources": {}}), Transient),
        (reply(200, {"resources": [], "next_page_token": 5}), Transient),
    ],
)
def test_nmdc_answers_wrongly(answer: bytes, kind: type[OutsideError]) -> None:
    with nmdc_with(answer) as (nmdc, requests):
        assert type(failure(lambda: nmdc.study_of_proposal("503"))) is kind
    assert len(requests) == 1


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["organisms", "files", "id", "_id", "next_page", "resources", "status", "request_id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents, status=st.sampled_from([200, 200, 200, 201, 400, 403, 404, 500]))
def test_no_answer_raises_anything_unknown(tmp_path: Path, document: Any, status: int) -> None:
    """Whatever JSON arrives: a value, or one of the four kinds of failure."""
    calls: list[Callable[[], object]] = []
    with local_server(reply(status, document)) as server:
        secrets = secrets_in(tmp_path, jdp_token=SESSION)
        with edge_to(server.url, Service.JDP) as edge:
            jdp, nmdc = Jdp(edge, secrets, JDP), Nmdc(edge)
            calls += [lambda: jdp.files_of_analysis_project(7), lambda: jdp.request_files([A])]
            calls += [lambda: jdp.request_status(1), lambda: jdp.file_status([A])]
            calls += [lambda: nmdc.study_of_proposal("1"), lambda: nmdc.data_generations_of_study("1")]
            outcomes = [outcome(call) for call in calls]
    assert all(kind in ("value", *KINDS) for kind in outcomes)


KINDS = {kind.__name__ for kind in (Transient, Rejected, NeedsPerson, OutcomeUnknown)}


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it is, is what the test looks at
        return type(error).__name__
    return "value"
