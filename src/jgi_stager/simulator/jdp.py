"""The JGI Data Portal: asking for files and how a request stands. The search is in `jdp_search`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .jdp_search import by_file_ids, search
from .restores import Breach, Request
from .web import Context, answer, route
from .world import World

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


def _unauthorized(call: Context) -> Response | None:
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
    if refused := _unauthorized(call):
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
    accept = switches.over_limit == "accept"
    breach = archive.over_limit(ids, call.now, accepted=accept)
    if breach and not accept:
        return _refusal(breach, int(switches.over_limit))
    user = str(body.get("globus_user_name") or "")
    return answer(_accepted(call, archive.submit(ids, call.now, user, deliver=deliver)))


def _refusal(breach: Breach, status: int) -> Response:
    if breach.kind == "ids":
        detail = f"Too many files in one request: {breach.value}, at most {breach.limit}."
    else:
        detail = f"Restore limit exceeded: {breach.value} bytes in 24 hours, at most {breach.limit}."
    return answer({"detail": detail}, status)


def _accepted(call: Context, request: Request) -> dict[str, Any]:
    form = call.world.switches.request_id_form
    text = form == "text" or (form == "mixed" and request.id % 2 == 0)
    url = f"https://files.jgi.doe.gov/request_archived_files/requests/{request.id}"
    return {
        "updated_count": request.updated_count,
        "restored_count": request.restored_count,
        "request_id": str(request.id) if text else request.id,
        "request_status_url": url,
    }


def _request_status(call: Context) -> Response:
    if refused := _unauthorized(call):
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
