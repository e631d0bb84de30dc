"""The NMDC client against a scripted server; and any JSON at all, for NMDC and JDP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client_support import KINDS, SESSION, Script, edge_to, failure, outcome, secrets_in
from http_server import Answer, Request, local_server, reply, reset
from jgi_stager.clients.jdp import Jdp
from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.failures import Rejected, Service, ServiceError, Transient
from jgi_stager.settings import JdpSettings
from patterns import recorded

A, B, C = "a" * 24, "b" * 24, "c" * 24
JDP = JdpSettings(globus_user_name="someone@nersc.gov")


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
            "id": f"nmdc:sty-11-{'b' if token else 'a'}",
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
        error = failure(lambda: nmdc.study_of_proposal("503"))
    assert "several studies (nmdc:sty-11-a, nmdc:sty-11-b)" in str(error), "both pages were read"
    assert len({request.query["filter"] for request in requests}) == 1, "the filter is sent again"
    assert [request.query.get("page_token") for request in requests] == [None, "t0", None, "t0"]


def test_nmdc_gives_up_in_the_end() -> None:
    with nmdc_with(nmdc_pages(lose={1, 3, 5})) as (nmdc, requests):
        assert type(failure(lambda: nmdc.study_of_proposal("503"))) is Transient
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
def test_nmdc_answers_wrongly(answer: bytes, kind: type[ServiceError]) -> None:
    with nmdc_with(answer) as (nmdc, requests):
        assert type(failure(lambda: nmdc.study_of_proposal("503"))) is kind
    assert len(requests) == 1


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["organisms", "files", "id", "_id", "next_page", "resources", "status", "request_id"]),
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
            calls += [lambda: nmdc.study_of_proposal("1")]
            outcomes = [outcome(call) for call in calls]
    assert all(kind in (None, *KINDS) for kind in outcomes)


def test_nmdc_sequencing_projects_are_those_that_jgi_sequenced_and_that_are_staged() -> None:
    key = "gold_sequencing_project_identifiers"
    rows: list[Any] = [
        {key: ["gold:Gp1"], "analyte_category": "metagenome", "processing_institution": "JGI"},
        {key: "Gp2"},
        {key: ["gold:Gp3"], "analyte_category": "amplicon_sequencing_assay"},
        {key: ["gold:Gp4"], "processing_institution": "UCSD"},
        {key: ["gold:../x", 7]},
        {key: None},
        "strange",
    ]
    with nmdc_with(reply(200, {"resources": rows})) as (nmdc, _):
        assert nmdc.sequencing_projects("nmdc:sty-11-a") == {"Gp1", "Gp2"}
    named = {"jgi_portal_study_identifiers": ["jgi.proposal:503", "jgi.proposal:504", "other:1"]}
    with nmdc_with(reply(200, {"resources": [named]})) as (nmdc, _):
        assert nmdc.proposals("nmdc:sty-11-a") == {"503", "504"}


def test_each_sequencing_project_has_the_names_that_nmdc_gives_its_data_generations() -> None:
    key = "gold_sequencing_project_identifiers"
    rows: list[Any] = [
        {"id": "nmdc:omprc-11-b", key: ["gold:Gp1"]},
        {"id": "nmdc:dgns-11-a", key: ["gold:Gp1", "gold:Gp2"]},
        {"id": "nmdc:omprc-11-c", key: ["gold:Gp3"], "processing_institution": "UCSD"},
        {"id": "=cmd|\t../x", key: ["gold:Gp4"]},
        {"id": 7, key: "Gp4"},
        5,
    ]
    with nmdc_with(reply(200, {"resources": rows})) as (nmdc, _):
        assert nmdc.data_generations("nmdc:sty-11-a") == {
            "Gp1": ("nmdc:dgns-11-a", "nmdc:omprc-11-b"),
            "Gp2": ("nmdc:dgns-11-a",),
            "Gp4": (),
        }


def test_the_recorded_data_generations_have_one_name_each() -> None:
    document = json.loads(recorded("nmdc/data_generation_set_318_rows.json").read_text(encoding="utf-8"))
    with nmdc_with(reply(200, document)) as (nmdc, _):
        names = nmdc.data_generations("nmdc:sty-11-r2h77870")
    assert len(names) == 318
    assert {len(found) for found in names.values()} == {1}
    assert names["Gp0566640"] == ("nmdc:omprc-11-2eh5g273",)
