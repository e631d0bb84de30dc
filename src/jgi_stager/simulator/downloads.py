"""The host from which JDP gives out single files: one GET for each, with parts, and 409 for what is on tape."""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from jgi_stager.clock import Clock

from .content import Content
from .delivery import wrong_content
from .jdp import unauthorized
from .restores import ON_DISK, FileState
from .web import Context, answer, route
from .world import World

PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})?", re.ASCII)


def routes(world: World, clock: Clock) -> list[Route]:
    """The one call of it."""
    return [route("/download_files/{file_id}/", "files.download", _download, world, clock)]


def _download(call: Context) -> Response:
    if refused := unauthorized(call):
        return refused
    world, file_id = call.world, call.path("file_id")
    file = world.catalogue.files.get(file_id)
    if file is None:
        return answer({"detail": "Not found."}, 404)
    state = world.archive.state(file_id)
    if state.status not in ON_DISK:
        return answer({"detail": f"File is not available for download: {state.status}"}, 409)
    content = file.content
    if world.mishaps.take("download_wrong_content", call.now, [file_id]):
        content = wrong_content(content)
    whole = content.size
    if world.mishaps.take("download_wrong_size", call.now, [file_id]):
        whole //= 2
    cut = world.mishaps.take("download_cut", call.now, [file_id]) is not None
    return _file(call, file_id, content, whole, _etag(call, state, whole), cut=cut)


def _etag(call: Context, state: FileState, size: int) -> str | None:
    """As of a web server: by the time of the file on disk and its size, so another one after each restore."""
    form = call.world.switches.download_etag
    strong = f'"{int(state.changed_at):x}-{size:x}"'
    return None if form == "none" else f"W/{strong}" if form == "weak" else strong


def _file(call: Context, file_id: str, content: Content, whole: int, etag: str | None, *, cut: bool) -> Response:
    headers = {"Content-Disposition": "attachment", **({"ETag": etag} if etag else {})}
    first, last, status = 0, whole - 1, 200
    match = _RANGE.fullmatch(call.header("range")) if call.world.switches.download_parts else None
    condition = call.header("if-range")
    if match and (not condition or (condition == etag and not condition.startswith("W/"))):
        first = int(match[1])
        last = min(last, int(match[2])) if match[2] else last
        if first >= whole or last < first:
            return Response(b"", 416, {"Content-Range": f"bytes */{whole}"})
        status = 206
        headers["Content-Range"] = f"bytes {first}-{last}/{whole}"
    length = last - first + 1
    if status == 206 or call.world.switches.download_length:
        headers["Content-Length"] = str(length)
    body = _body(call.world, file_id, content, first, length, cut=cut)
    return StreamingResponse(body, status, headers, media_type="application/octet-stream")


def _body(world: World, file_id: str, content: Content, first: int, length: int, *, cut: bool) -> Iterator[bytes]:
    """So many bytes from the first one on; with ``cut`` half of them, and then the connection breaks."""
    small = content.read() if content.key else b""
    sent, end = 0, length // 2 if cut else length
    while sent < end:
        size = min(PIECE, end - sent)
        at = first + sent
        piece = small[at : at + size] if content.key else bytes(size)
        with world.lock:
            world.sent[file_id] += size
        sent += size
        yield piece
    if cut:
        raise ConnectionAbortedError
