"""The JGI Data Portal: asking for files and how a request stands. The search is in `jdp_search`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .jdp_search import by_file_ids, search
from .restores import Breach, Request
from .web import Context, answer, route
from .world import World

LOGIN_PAGE = """<!DOCTYPE html><html><head><title>Sign in to JGI Single Sign-On</title></head><body>
<form id="kc-form-login" action="https://signon.jgi.doe.gov/realms/jgi/login-actions/authenticate" method="post">
<a href="https://orcid.org/oauth/authorize">Sign in with ORCID</a></form></body></html>"""
"""What a portal shows whom it does not know."""
_PACIFIC = timezone(timedelta(hours=-7))


def routes(world: World, clock: Clock) -> list[Route]:
    """The calls of JDP. The trailing slash matters: without it a POST is redirected, and arrives as a GET."""
    post = ("POST",)
    return [
        route("/search/", "jdp.search", search, world, clock),
        route("/search/by_file_ids/", "jdp.by_file_ids", by_file_ids, world, clock, post),
        route("/download_files/", "jdp.download_files", _download_files, world, clock, post),
        route("/request_archived_files/", "jdp.restore", _restore, world, clock, post),
        route(
            "/request_archived_files/requests/{request_id}",
            "jdp.request_status",
            _request_status,
            world,
            clock,
        ),
        *(
            route(path, f"jdp.no_slash{path.replace('/', '.')}", _to_slash, world, clock, ("GET", "POST"))
            for path in ("/search", "/search/by_file_ids", "/download_files", "/request_archived_files")
        ),
    ]


def _to_slash(call: Context) -> Response:
    return RedirectResponse(str(call.request.url.replace(path=call.request.url.path + "/")), 301)


def unauthorized(call: Context) -> Response | None:
    """401 unless the session token arrives in the form that counts, with exactly one ``Bearer``."""
    switches = call.world.switches
    wanted = switches.jdp_token or call.world.settings.credentials.jdp_token
    ended = switches.jdp_token_ends_at is not None and call.now >= switches.jdp_token_ends_at.timestamp()
    bearer = call.header("authorization") == f"Bearer {wanted}"
    cookie = call.request.cookies.get("kc_session") == wanted
    accepted = {"bearer": bearer, "cookie": cookie, "either": bearer or cookie}[switches.jdp_credential]
    if switches.jdp_token_calls_left is not None and accepted:
        ended = ended or switches.jdp_token_calls_left <= 0
        switches.jdp_token_calls_left = max(0, switches.jdp_token_calls_left - 1)
    if accepted and not ended and not switches.jdp_token_revoked:
        return None
    if switches.jdp_login_page:
        return HTMLResponse(LOGIN_PAGE)
    return answer({"detail": "Authentication credentials were not provided."}, 401)


def _ids(body: Any) -> list[str] | None:
    """The file ids of a body: a list, or lists by dataset."""
    ids = body.get("ids") if isinstance(body, dict) else None
    if isinstance(ids, dict):
        parts = [part.get("file_ids") if isinstance(part, dict) else part for part in ids.values()]
        ids = [one for part in parts if isinstance(part, list) for one in part]
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
        return None
    return ids


def _download_files(call: Context) -> Response:
    return _ask(call, deliver=True)


def _restore(call: Context) -> Response:
    return _ask(call, deliver=False)


def _ask(call: Context, *, deliver: bool) -> Response:
    if refused := unauthorized(call):
        return refused
    body = call.json()
    ids = _ids(body)
    if ids is None:
        return answer({"detail": "ids must be a list of file ids"}, 400)
    if deliver and not body.get("globus_user_name"):
        return answer({"detail": "globus_user_name is missing"}, 400)
    archive, switches = call.world.archive, call.world.switches
    if switches.unknown_ids == "404" and any(one not in call.world.catalogue.files for one in ids):
        return answer({"detail": "Not found."}, 404)
    if refused := _over_limit(call, ids):
        return refused
    user = str(body.get("globus_user_name") or "")
    request = archive.submit(ids, call.now, user, deliver=deliver, skips=switches.jdp_skips_updated)
    return answer(_accepted(call, request))


def _over_limit(call: Context, ids: list[str]) -> Response | None:
    """The refusal of what is over a limit, if it is not let through and booked as a breach."""
    if lower := _lower_limit(call, ids):
        return lower
    word = call.world.switches.over_limit
    breach = call.world.archive.over_limit(ids, call.now, accepted=word == "accept")
    return _refusal(breach, int(word)) if breach and word != "accept" else None


def _lower_limit(call: Context, ids: list[str]) -> Response | None:
    """The refusal of what is within the limits that are known, and over those that hold: no breach."""
    archive, switches, limits = call.world.archive, call.world.switches, call.world.settings
    status, named = (429 if switches.over_limit == "accept" else int(switches.over_limit)), switches.limit_texts
    most = switches.jdp_max_ids
    if most is not None and len(ids) > most:
        detail = f"Too many ids: ensure this field has no more than {most} elements."
        return answer({"ids": [detail if named == "named" else "Too many ids."]}, status)
    allowed = limits.max_window_bytes if switches.jdp_window_bytes is None else switches.jdp_window_bytes
    if switches.jdp_window_bytes is None and not switches.jdp_counted_bytes:
        return None
    total = archive.window_bytes(call.now) + switches.jdp_counted_bytes + archive.size_of(ids)
    if total <= allowed:
        return None
    shown = f"Restore quota exceeded: {total} bytes in 24 hours, at most {allowed} bytes."
    return answer({"detail": shown if named == "named" else "Restore quota exceeded, try again later."}, status)


def _refusal(breach: Breach, status: int) -> Response:
    if breach.kind == "ids":
        detail = f"Too many files in one request: {breach.value}, at most {breach.limit}."
    else:
        detail = f"Restore limit exceeded: {breach.value} bytes in 24 hours, at most {breach.limit}."
    return answer({"detail": detail}, status)


def _accepted(call: Context, request: Request) -> dict[str, Any]:
    form = call.world.switches.request_id_form
    text = form == "text" or (form == "mixed" and request.id % 2 == 0)
    where = call.world.switches.jdp_request_id
    number = call.world.settings.first_request_id if where == "repeated" else request.id
    url = f"https://files.jgi.doe.gov/request_archived_files/requests/{number}"
    counts = {"updated_count": request.updated_count, "restored_count": request.restored_count}
    if where == "none":
        return {**counts, "message": "Your files are being restored. You will be notified by mail."}
    if where == "url":
        return {**counts, "request_status_url": url}
    return {**counts, "request_id": str(number) if text else number, "request_status_url": url}


def _request_status(call: Context) -> Response:
    if refused := unauthorized(call):
        return refused
    number = call.path("request_id").strip("/")
    request = call.world.archive.requests.get(int(number)) if number.isdecimal() else None
    if request is None:
        return answer({"detail": "Not found."}, 404)
    status = request.status
    mishaps = call.world.mishaps
    if hit := mishaps.take("request_status_word", call.now, request.ids, request.id):
        status = hit.fault.word
    form = call.world.switches.status_case
    if form == "upper" or (form == "mixed" and request.id % 3 == 0):
        status = status.upper()
    expires = datetime.fromtimestamp(request.expires_at, UTC).astimezone(_PACIFIC)
    return answer(
        {
            "file_ids": [one.upper() if call.world.switches.ids_in_capitals else one for one in request.ids],
            "status": status,
            "expiration_date": expires.isoformat(timespec="microseconds"),
        }
    )
