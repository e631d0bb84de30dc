"""The Globus Transfer API, version 0.10, as far as `globus_sdk.TransferClient` needs it here."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .auth import data_access_scope
from .filesystem import Forbidden, NoSuchPath, UnknownCollection
from .listing import list_directory, stat_path
from .tasks import Refused, Task
from .transfer_documents import (
    event_document,
    skipped_document,
    successful_document,
    task_document,
)
from .web import Context, Handler, answer, route
from .world import World

PAGE = 1000
VERSION = "/v0.10"


def routes(world: World, clock: Clock) -> list[Route]:
    """The calls of Globus Transfer."""
    calls: list[tuple[str, str, Handler, str]] = [
        ("/submission_id", "submission_id", _submission_id, "GET"),
        ("/transfer", "submit", _submit, "POST"),
        ("/task_list", "task_list", _task_list, "GET"),
        ("/task/{task_id}", "task", _with_task(_task), "GET"),
        ("/task/{task_id}/cancel", "cancel", _with_task(_cancel), "POST"),
        ("/task/{task_id}/event_list", "event_list", _with_task(_events), "GET"),
        ("/task/{task_id}/skipped_errors", "skipped_errors", _with_task(_skipped), "GET"),
        ("/task/{task_id}/successful_transfers", "successful_transfers", _with_task(_successful), "GET"),
        ("/operation/endpoint/{endpoint_id}/ls", "ls", _ls, "GET"),
        ("/operation/endpoint/{endpoint_id}/stat", "stat", _stat, "GET"),
        ("/endpoint/{endpoint_id}", "endpoint", _endpoint, "GET"),
    ]
    return [
        route(VERSION + path, f"transfer.{name}", _guarded(handler), world, clock, (method,))
        for path, name, handler, method in calls
    ]


def error(call: Context, status: int, code: str, message: str, **more: Any) -> Response:
    """An error as the Transfer API writes it."""
    request_id = f"sim{call.world.calls.total():06d}"
    resource = call.request.url.path.partition(VERSION)[2]
    body = {"code": code, "message": message, "request_id": request_id, "resource": resource}
    return answer(body | more, status)


def _guarded(handler: Handler) -> Handler:
    """Check the token first, and turn what the world refuses into answers."""

    def checked(call: Context) -> Response:
        if not call.world.globus_tokens.find(call.header("authorization"), call.now):
            return error(call, 401, "AuthenticationFailed", "Token is not active")
        try:
            return handler(call)
        except UnknownCollection as unknown:
            return error(call, 404, "EndpointNotFound", f"No such endpoint '{unknown}'")
        except NoSuchPath as missing:
            where = f"Directory '{missing}' not found on endpoint"
            return error(call, 404, "ClientError.NotFound", f"{where} '{call.path('endpoint_id')}'")
        except Forbidden as hidden:
            return error(call, 403, "EndpointPermissionDenied", f"Denied by endpoint: path not allowed: {hidden}")
        except Refused as refused:
            return error(call, refused.status, refused.code, refused.message)

    return checked


def _consent_lacks(call: Context, kind: str, *collections: Any) -> Response | None:
    switches, settings = call.world.switches, call.world.settings
    if not switches.require_data_access or switches.data_access_calls not in ("both", kind):
        return None
    named = {"jgi": settings.jgi_collection_id, "nersc": settings.nersc_collection_id}
    only = named.get(switches.data_access_of)
    wanted = [one for one in collections if only in (None, one)]
    token = call.world.globus_tokens.find(call.header("authorization"), call.now)
    scopes = [data_access_scope(str(one)) for one in wanted]
    granted = token.scope if token is not None and switches.data_access_granted else ""
    lacking = [scope for scope in scopes if scope not in granted]
    if not lacking:
        return None
    scope = f"urn:globus:auth:scope:transfer.api.globus.org:all[{' '.join('*' + one for one in lacking)}]"
    return error(call, 403, "ConsentRequired", "Missing required data_access consent", required_scopes=[scope])


def _submission_id(call: Context) -> Response:
    return answer({"DATA_TYPE": "submission_id", "value": call.world.transfers.submission_id()})


def _submit(call: Context) -> Response:
    body = call.json()
    if not isinstance(body, dict):
        return error(call, 400, "ClientError.BadRequest", "not JSON")
    if lacking := _consent_lacks(call, "submit", body.get("source_endpoint"), body.get("destination_endpoint")):
        return lacking
    code, task = call.world.transfers.submit(body, call.now)
    message = "The transfer has been accepted and a task has been created and queued for execution"
    if code == "Duplicate":
        message = "A transfer with id_submission has already been accepted"
    return answer(
        {
            "DATA_TYPE": "transfer_result",
            "code": code,
            "message": message,
            "request_id": f"sim{call.world.calls.total():06d}",
            "resource": "/transfer",
            "submission_id": body["submission_id"],
            "task_id": task.id,
            "task_link": {
                "DATA_TYPE": "link",
                "href": f"task/{task.id}?format=json",
                "rel": "related",
                "resource": "task",
                "title": "related task",
            },
        },
        202 if code == "Accepted" else 200,
    )


def _with_task(handler: Callable[[Context, Task], Response]) -> Handler:
    def found(call: Context) -> Response:
        task = call.world.transfers.tasks.get(call.path("task_id"))
        if task is None:
            return error(call, 404, "ClientError.NotFound", f"No task with id {call.path('task_id')}")
        return handler(call, task)

    return found


def _task(call: Context, task: Task) -> Response:
    document = task_document(task, call.now)
    if task.completed_at is None and (hit := call.world.mishaps.take("task_status_word", call.now)):
        document["status"] = hit.fault.word
    return answer(document)


def _cancel(call: Context, task: Task) -> Response:
    code = call.world.transfers.cancel(task, call.now)
    message = "The task has been cancelled successfully."
    if code != "Canceled":
        message = "The task completed before the cancel request was processed."
    return answer(
        {
            "DATA_TYPE": "result",
            "code": code,
            "message": message,
            "resource": f"/task/{task.id}/cancel",
            "request_id": f"sim{call.world.calls.total():06d}",
        }
    )


def _number(call: Context, name: str, default: int, least: int = 0) -> int:
    text = call.query(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise Refused(400, "ClientError.BadRequest", f"{name} is not a valid number: {text}")
    return int(text)


def _offset_page(call: Context, data_type: str, documents: list[dict[str, Any]], largest: int = PAGE) -> Response:
    offset, limit = _number(call, "offset", 0), min(_number(call, "limit", 10, 1), largest)
    page = documents[offset : offset + limit]
    head = {"DATA_TYPE": data_type, "length": len(page), "limit": limit, "offset": offset}
    return answer({**head, "total": len(documents), "DATA": page})


def _task_list(call: Context) -> Response:
    wanted = dict(
        part.partition(":")[::2]
        for text in call.request.query_params.getlist("filter")
        for part in text.split("/")
    )
    statuses = set(wanted["status"].split(",")) if "status" in wanted else None
    labels = wanted["label"].split(",") if "label" in wanted else None
    ids = set(wanted["task_id"].split(",")) if "task_id" in wanted else None
    tasks = [
        task_document(task, call.now)
        for task in reversed(call.world.transfers.tasks.values())
        if (statuses is None or task.status in statuses)
        and (labels is None or any(_is_labelled(task, one) for one in labels))
        and (ids is None or task.id in ids)
    ]
    return _offset_page(call, "task_list", tasks)


def _is_labelled(task: Task, wanted: str) -> bool:
    """``~`` begins a pattern with ``*``, without regard to case; ``=`` or nothing an exact label."""
    label = str(task.body.get("label") or "")
    if wanted.startswith("~"):
        return fnmatch.fnmatchcase(label.lower(), wanted[1:].lower())
    return label == wanted.removeprefix("=")


def _events(call: Context, task: Task) -> Response:
    only_errors = re.search(r"is_error:1", call.query("filter")) is not None
    events = [event_document(one) for one in reversed(task.events) if one["is_error"] or not only_errors]
    return _offset_page(call, "event_list", events)


def _marker_page(call: Context, data_type: str, documents: list[dict[str, Any]]) -> Response:
    start = _number(call, "marker", 0)
    page = documents[start : start + PAGE]
    more = start + PAGE if start + PAGE < len(documents) else None
    return answer({"DATA_TYPE": data_type, "marker": start, "next_marker": more, "DATA": page})


def _skipped(call: Context, task: Task) -> Response:
    return _marker_page(call, "skipped_errors", [skipped_document(*one) for one in task.skipped])


def _successful(call: Context, task: Task) -> Response:
    return _marker_page(call, "successful_transfers", [successful_document(job) for job in task.moved])


def _ls(call: Context) -> Response:
    endpoint = call.path("endpoint_id")
    if lacking := _consent_lacks(call, "ls", endpoint):
        return lacking
    path = call.query("path", "/")
    local = call.world.collections.resolve(endpoint, path)
    entries = list_directory(local, path, call.query("filter"), call.query("orderby"))
    offset, limit = _number(call, "offset", 0), min(_number(call, "limit", 100_000, 1), 100_000)
    page = entries[offset : offset + limit]
    return answer(
        {
            "DATA_TYPE": "file_list",
            "DATA": page,
            "endpoint": endpoint,
            "path": path if path.endswith("/") else f"{path}/",
            "absolute_path": path,
            "length": len(page),
            "total": len(entries),
            "limit": limit,
            "offset": offset,
            "has_next_page": offset + limit < len(entries),
            "rename_supported": True,
        }
    )


def _stat(call: Context) -> Response:
    endpoint = call.path("endpoint_id")
    if lacking := _consent_lacks(call, "ls", endpoint):
        return lacking
    path = call.query("path", "/")
    found = stat_path(call.world.collections.resolve(endpoint, path))
    if found is None:
        return error(call, 404, "NotFound", f"Path not found, Error (list): {path}: No such file or directory")
    return answer(found)


def _endpoint(call: Context) -> Response:
    endpoint, settings = call.path("endpoint_id"), call.world.settings
    names = {settings.jgi_collection_id: "JGI Data Repository", settings.nersc_collection_id: "NERSC DTN"}
    if endpoint not in names:
        raise UnknownCollection(endpoint)
    return answer(
        {
            "DATA_TYPE": "endpoint",
            "id": endpoint,
            "display_name": names[endpoint],
            "canonical_name": endpoint,
            "entity_type": "GCSv5_mapped_collection",
            "high_assurance": False,
            "non_functional": False,
            "activated": True,
            "default_directory": None,
            "force_verify": False,
            "disable_verify": False,
            "DATA": [],
        }
    )
