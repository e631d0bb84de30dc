"""The GOLD client against a scripted server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client_support import ACCESS, OFFLINE, Script, edge_to, failure, secrets_in
from http_server import Answer, Request, local_server, reply, reset
from jgi_stager.clients.gold import Gold
from jgi_stager.failures import NeedsPerson, Rejected, Service, ServiceError, Transient


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
        gold.probe()
    assert [(row.ap_gold_id, row.its_ap_id, row.projects) for row in listing] == [("Ga1", 7, ())]
    assert len(listing.problems) == 1
    assert [request.query for request in requests] == [
        {"offlineToken": OFFLINE},
        {"itsProposalId": "503"},
        {"biosampleGoldId": "Gb1"},
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
def test_gold_exchange_fails(tmp_path: Path, answer: Answer, kind: type[ServiceError]) -> None:
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
def test_gold_answers_wrongly(tmp_path: Path, answer: bytes, kind: type[ServiceError]) -> None:
    with gold_with(gold_script(answer), tmp_path) as (gold, _):
        assert type(failure(lambda: gold.biosamples_of_proposal("503"))) is kind
