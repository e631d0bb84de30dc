"""The Globus client: the real SDK, over real sockets, against a scripted Auth and Transfer service."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client_support import KINDS, Script, failure, outcome, secrets_in
from http_server import Answer, Request, hang, local_server, reply, reset, unused_url
from jgi_stager.clients.globus import Globus, TransferItem, transfer_body
from jgi_stager.failures import NeedsPerson, OutsideError, Rejected, Transient
from jgi_stager.settings import GlobusSettings

SECRET = "client-secret-xyz"
REFRESH = "refresh-token-xyz"
TOKEN = "globus-access-token-xyz"
SETTINGS = GlobusSettings(jgi_collection_id="jgi", nersc_collection_id="nersc", client_id="cid", timeout_seconds=5)
BODY = transfer_body("sub-1", "jgi", "nersc", "p1", [TransferItem("/a", "/b")])
TASK = {"task_id": "t-1", "status": "ACTIVE", "label": "p1"}
Seen = list[Request]


def token(access: str = TOKEN, **more: Any) -> bytes:
    return reply(
        200,
        {
            "access_token": access, "scope": "urn:globus:auth:scope:transfer.api.globus.org:all",
            "resource_server": "transfer.api.globus.org", "expires_in": 172_800, "token_type": "Bearer",
            "other_tokens": [], **more,
        },
    )  # fmt: skip


def transfer(answer: Answer) -> Script:
    return lambda request: token() if request.path.startswith("/auth/") else answer


def refusal(status: int, code: str, message: str = "why", **more: Any) -> bytes:
    return reply(status, {"code": code, "message": message, "request_id": "r", "resource": "/x", **more})


@contextmanager
def globus_with(
    script: Script,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: GlobusSettings = SETTINGS,
    **values: str,
) -> Iterator[tuple[Globus, Seen]]:
    secrets = secrets_in(directory, **(values or {"globus_client_secret": SECRET}))
    with local_server(script) as server:
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", f"{server.url}/auth/")
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", f"{server.url}/transfer/")
        globus = Globus(config, secrets)
        try:
            yield globus, server.requests
        finally:
            globus.close()


def test_confidential_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = transfer(reply(200, {"value": "sub-9"}))
    with globus_with(script, tmp_path, monkeypatch) as (globus, seen):
        assert globus.submission_id() == "sub-9"
        assert globus.submission_id() == "sub-9"
    assert [request.path for request in seen] == ["/auth/v2/oauth2/token"] + 2 * ["/transfer/v0.10/submission_id"]
    assert b"grant_type=client_credentials" in seen[0].body
    assert seen[1].headers["authorization"] == f"Bearer {TOKEN}"
    assert "jgi-stager/" in seen[1].headers["user-agent"]


def test_refresh_token_outlives_answers_that_do_not_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [refusal(401, "AuthenticationFailed")] * 2 + [reply(200, {"value": "sub-9"})]

    def script(request: Request) -> bytes:
        return token() if request.path.startswith("/auth/") else answers.pop(0)

    with globus_with(script, tmp_path, monkeypatch, globus_refresh_token=REFRESH) as (globus, seen):
        assert isinstance(failure(globus.submission_id, REFRESH, TOKEN), NeedsPerson)
        assert globus.submission_id() == "sub-9"
    renewals = [request.body for request in seen if request.path.startswith("/auth/")]
    assert len(renewals) == 2
    assert all(REFRESH.encode() in body for body in renewals)


def test_a_new_secret_is_a_new_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with globus_with(transfer(reply(200, {"value": "s"})), tmp_path, monkeypatch, other="x") as (
        globus,
        seen,
    ):
        error = failure(globus.submission_id)
        assert isinstance(error, NeedsPerson)
        assert "jgi-stager login" in error.cure
        secrets_in(tmp_path, globus_refresh_token=REFRESH)
        globus.submission_id()
        secrets_in(tmp_path, globus_client_secret=SECRET)
        globus.submission_id()
    logins = [request.body for request in seen if request.path.startswith("/auth/")]
    assert [b"refresh_token" in body for body in logins] == [True, False]


def test_no_client_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SETTINGS.model_copy(update={"client_id": None})
    with globus_with(transfer(reset), tmp_path, monkeypatch, config) as (globus, seen):
        assert "client_id" in getattr(failure(globus.probe), "cure", "")
    assert seen == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(400, {"error": "invalid_grant", "error_description": REFRESH}), NeedsPerson),
        (reply(401, {"error": "invalid_client"}), NeedsPerson),
        (reply(400, {"error": "unknown_scope"}), NeedsPerson),
        (reply(503, b"<html>", "text/html"), Transient),
        (reply(400, b"<html>", "text/html"), Transient),
        (reply(200, b"<html>", "text/html"), Transient),
        (reply(200, {"access_token": TOKEN}), Transient),
        (reply(200, ["x"]), Transient),
        (reset, Transient),
    ],
)
def test_login_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[OutsideError]
) -> None:
    with globus_with(lambda _: answer, tmp_path, monkeypatch, globus_refresh_token=REFRESH) as (globus, _):
        assert type(failure(globus.probe, SECRET, REFRESH, TOKEN)) is kind


@pytest.mark.parametrize("code", ["Accepted", "Duplicate"])
def test_submission_is_sent_as_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    answer = reply(202, {"code": code, "task_id": "t-1", "submission_id": "sub-1", "message": "m"})
    with globus_with(transfer(answer), tmp_path, monkeypatch) as (globus, seen):
        assert [globus.submit(BODY), globus.submit(json.loads(json.dumps(BODY)))] == ["t-1", "t-1"]
        with pytest.raises(ValueError, match="submission id"):
            globus.submit({"DATA": []})
    assert seen[1].path == "/transfer/v0.10/transfer"
    assert seen[1].json() == BODY
    assert seen[1].body == seen[2].body
    assert len(seen) == 3


PLAIN = [
    (refusal(400, "ClientError.BadRequest.NoTransferItems"), Rejected),
    (refusal(401, "AuthenticationFailed"), NeedsPerson),
    (refusal(403, "EndpointPermissionDenied"), NeedsPerson),
    (refusal(403, "ConsentRequired", required_scopes=["x[*y]"]), NeedsPerson),
    (refusal(404, "EndpointNotFound"), NeedsPerson),
    (refusal(404, "ClientError.NotFound", "no such task"), Rejected),
    (refusal(409, "TooManyPendingJobs"), Transient),
    (refusal(429, "RateLimitExceeded"), Transient),
    (refusal(500, "InternalError"), Transient),
    (refusal(502, "EndpointError"), Transient),
    (refusal(502, "ExternalError.DirListingFailed.LoginFailed"), NeedsPerson),
    (refusal(502, "EndpointError", "530 session_required_single_domain"), NeedsPerson),
    (refusal(503, "ServiceUnavailable"), Transient),
    (reply(403, b"<html>", "text/html"), Transient),
    (reply(404, b"<html>", "text/html"), Transient),
    (reply(200, b"<html>maintenance</html>", "text/html"), Transient),
    (reply(200, {"unexpected": 1}), Transient),
    (reply(200, ["x"]), Transient),
    (reply(200, b'{"code": "Acc', length=900), Transient),
    (reply(302, b"", Location="http://127.0.0.1:9/"), Transient),
    (reset, Transient),
]


@pytest.mark.parametrize(("answer", "kind"), PLAIN)
def test_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[OutsideError]
) -> None:
    script = transfer(answer)
    with globus_with(script, tmp_path, monkeypatch, globus_refresh_token=REFRESH) as (globus, _):
        for call in (lambda: globus.submit(BODY), lambda: globus.task("t-1"), globus.probe):
            assert type(failure(call, REFRESH, TOKEN)) is kind


def test_failures_say_what_and_when_but_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"code": "Busy", "message": f"slow\n{TOKEN} " + "x" * 400}
    with globus_with(transfer(reply(429, body, Retry_After="9")), tmp_path, monkeypatch) as (globus, _):
        error = failure(globus.probe, TOKEN, SECRET)
    assert isinstance(error, Transient)
    assert error.retry_after == 9.0
    assert str(error).startswith("globus: the task list answered HTTP 429 Busy: slow *** x")
    assert len(str(error)) < 300


def test_no_connection_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = SETTINGS.model_copy(update={"timeout_seconds": 0.2})
    with globus_with(transfer(hang), tmp_path, monkeypatch, quick) as (globus, _):
        assert type(failure(globus.probe)) is Transient
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", unused_url())
    again = Globus(SETTINGS, secrets_in(tmp_path))
    assert type(failure(again.probe)) is Transient
    again.close()


SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/{}/data_access]"
COLLECTION = "65fa2422-e080-11ec-990f-3b4cfda38030"


def test_consent_is_given_by_a_confidential_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = refusal(403, "ConsentRequired", required_scopes=[SCOPE.format(COLLECTION)])

    def script(request: Request) -> bytes:
        if request.path.startswith("/auth/"):
            return token("with-consent" if b"data_access" in request.body else TOKEN)
        return reply(200, {"value": "s"}) if "with-consent" in request.headers["authorization"] else missing

    with globus_with(script, tmp_path, monkeypatch) as (globus, seen):
        assert globus.submission_id() == "s"
        assert globus.submission_id() == "s"
    assert len(seen) == 5
    with globus_with(transfer(missing), tmp_path, monkeypatch) as (globus, seen):
        error = failure(globus.submission_id)
        assert isinstance(error, NeedsPerson)
        assert f"consent is missing for collection {COLLECTION}" in str(error)
    assert len(seen) == 4, "asked for once, not for ever"


def test_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"name": "m.csv", "type": "file", "size": 4, "last_modified": "2023-12-18 16:52:50+00:00"}]
    answer = reply(200, {"DATA": rows, "DATA_TYPE": "file_list", "total": 1})
    with globus_with(transfer(answer), tmp_path, monkeypatch) as (globus, seen):
        found = globus.ls("jgi", "/90125/R1/")
        assert found is not None
        assert [(entry.name, entry.type, entry.size) for entry in found] == [("m.csv", "file", 4)]
    assert seen[1].path == "/transfer/v0.10/operation/endpoint/jgi/ls"
    assert seen[1].query == {"path": "/90125/R1/"}


@pytest.mark.parametrize(
    ("collection", "answer", "expected"),
    [
        ("jgi", refusal(404, "ClientError.NotFound"), None),
        ("nersc", refusal(404, "NotFound"), None),
        ("jgi", refusal(404, "EndpointNotFound"), NeedsPerson),
        ("jgi", reply(404, b"<html>", "text/html"), Transient),
        ("jgi", refusal(403, "EndpointPermissionDenied"), Transient),
        ("jgi", refusal(403, "ConsentRequired"), NeedsPerson),
        ("nersc", refusal(403, "EndpointPermissionDenied"), NeedsPerson),
        ("nersc", refusal(502, "ExternalError.DirListingFailed.PermissionDenied"), NeedsPerson),
        ("nersc", refusal(400, "ExternalError.DirListingFailed.NotDirectory"), Rejected),
        ("nersc", reply(200, {"DATA": [], "total": 5}), Transient),
        ("nersc", reply(200, {"DATA": [{"type": "file"}]}), Transient),
        ("nersc", reply(200, {}), Transient),
    ],
)
def test_listings_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collection: str, answer: bytes, expected: object
) -> None:
    with globus_with(transfer(answer), tmp_path, monkeypatch) as (globus, _):
        assert outcome(lambda: globus.ls(collection, "/x/")) is expected
        if expected is None:
            assert globus.ls(collection, "/x/") is None


def test_task_and_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with globus_with(transfer(reply(200, TASK)), tmp_path, monkeypatch) as (globus, seen):
        assert globus.task("t-1").status == "ACTIVE"
        globus.cancel("t-1")
        for call in (globus.task, globus.cancel, globus.skipped_errors):
            with pytest.raises(ValueError, match="task id"):
                call("../x")
    assert [request.method for request in seen[1:]] == ["GET", "POST"]
    with globus_with(transfer(refusal(409, "TaskComplete")), tmp_path, monkeypatch) as (globus, seen):
        globus.cancel("t-1")
    assert len(seen) == 2


def test_lists_are_read_to_the_last_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(request: Request) -> bytes:
        if request.path.startswith("/auth/"):
            return token()
        at = int(request.query.get("marker", "0"))
        row = {"source_path": f"/s{at}", "destination_path": f"/d{at}", "error_code": "FILE_NOT_FOUND"}
        return reply(200, {"DATA": [row], "marker": at, "next_marker": at + 1 if at < 2 else None})

    with globus_with(script, tmp_path, monkeypatch) as (globus, seen):
        skipped, moved = globus.skipped_errors("t-1"), globus.successful_transfers("t-1")
    assert [(row.source_path, row.error_code) for row in skipped] == [
        (f"/s{at}", "FILE_NOT_FOUND") for at in range(3)
    ]
    assert [row.destination_path for row in moved] == ["/d0", "/d1", "/d2"]
    assert {request.path.rsplit("/", 1)[1] for request in seen[1:]} == {
        "skipped_errors",
        "successful_transfers",
    }


def test_lists_that_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with globus_with(transfer(reply(200, {"DATA": [], "next_marker": 5})), tmp_path, monkeypatch) as (
        globus,
        seen,
    ):
        assert "do not end" in str(failure(lambda: globus.skipped_errors("t-1")))
    assert len(seen) == 3


def test_tasks_by_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = reply(200, {"DATA": [TASK, {**TASK, "label": "p10"}, {**TASK, "label": None}], "total": 3})
    with globus_with(transfer(answer), tmp_path, monkeypatch) as (globus, seen):
        assert [task.label for task in globus.find_tasks_by_label("p1")] == ["p1"]
        with pytest.raises(ValueError, match="label"):
            globus.find_tasks_by_label("a/status:ACTIVE")
    assert seen[1].query["filter"] == "label:p1"


def test_nothing_secret_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = transfer(reply(200, {"value": "s"}))
    with globus_with(script, tmp_path, monkeypatch, globus_refresh_token=REFRESH) as (globus, _):
        globus.submission_id()
    assert "globus_sdk" in {record.name.split(".")[0] for record in caplog.records}
    assert REFRESH not in caplog.text
    assert TOKEN not in caplog.text


documents = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["DATA", "code", "message", "errors", "value", "task_id"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents, status=st.sampled_from([200, 200, 400, 403, 404, 409, 502]))
def test_no_answer_raises_anything_unknown(tmp_path: Path, document: Any, status: int) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        globus_with(transfer(reply(status, document)), tmp_path, patch) as (globus, _),
    ):
        for call in (
            globus.probe,
            lambda: globus.submit(BODY),
            lambda: globus.ls("jgi", "/"),
            lambda: globus.successful_transfers("t"),
        ):
            assert outcome(call) in (None, *KINDS)
