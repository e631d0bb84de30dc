"""The Globus client, login and failures: the real SDK, over real sockets, against a scripted service."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from client_support import failure, secrets_in
from globus_support import (
    BODY,
    COLLECTION,
    REFRESH,
    SCOPE,
    SECRET,
    SETTINGS,
    TOKEN,
    globus_with,
    refusal,
    token,
    transfer,
)
from http_server import Answer, Request, hang, reply, reset, unused_url
from jgi_stager.clients.globus import Globus
from jgi_stager.failures import NeedsPerson, Rejected, ServiceError, Transient


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[ServiceError]
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[ServiceError]
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
