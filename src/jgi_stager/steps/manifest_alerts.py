"""What people are told of deliveries and manifests that are not as expected: expected, found, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.formatting import bullets, clean, count
from jgi_stager.manifests import HEADER, Delivery, Manifest, manifest_name
from jgi_stager.models import RestoreRequest
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, alert
from jgi_stager.store import files

log = structlog.get_logger()

MOST_LINES = 20
"""Of each list in a mail."""


def _until_the_end(request: RestoreRequest) -> str:
    expires = request.expiration_date
    end = f"ends at {expires:%Y-%m-%d %H:%M} UTC" if expires else "is gone"
    return (
        "It is looked at again every hour, and nothing is asked from tape again for it: if it cannot be used "
        f"until the delivery {end}, its files wait for you."
    )


def _said(request: RestoreRequest) -> str:
    """What JDP calls the request."""
    word = request.status_word or "ready"
    if word == "ready":
        return f"JDP has called the request ready since {request.ready_at:%Y-%m-%d %H:%M} UTC"
    return f"The delivery is there since {request.ready_at:%Y-%m-%d %H:%M} UTC (JDP calls it {word[:40]!r})"


def alert_format(ctx: StepContext, request: RestoreRequest, why: str, header: str, place: str) -> None:
    """A manifest, expected at ``place``, has a ``header`` that does not name what is needed."""
    alert(
        ctx,
        f"manifest-format:{request.number}",
        f"the manifest of request {request.number} has an unknown format",
        f"{len(request.file_ids)} files wait for it, but {why}. They are delivered; only where each lies cannot "
        f"be read.\n\nexpected: {','.join(HEADER)}\nfound: {header}\n\nIt was read from "
        f"{place}, or what lies there in its place.",
        you="ask JGI whether the format of the manifests was changed, and report both lines to whoever maintains "
        f"this program. {_until_the_end(request)}",
        lasts=Lasts(Cause.FORMAT, About(request_id=request.number, request_key=request.key), request.projects),
    )


def alert_delay(
    ctx: StepContext,
    request: RestoreRequest,
    why: str,
    cure: str,
    found: str,
    place: str,
    until: datetime,
    cause: Cause,
) -> None:
    """A manifest, expected at ``place``, is not there or not whole. ``cure``: what to do, if not to ask JGI. It is
    waited for as a whole ``until`` then."""
    request_id, is_early = request.number, ctx.clock.now() < until
    written_anew = f"ask JGI to write {manifest_name(request_id)} of the delivery R{request_id} anew"
    listed = f"a manifest of {len(request.file_ids)} files"
    alert(
        ctx,
        f"manifest:{request_id}",
        f"the manifest of request {request_id} does not become complete",
        f"{_said(request)}, and {len(request.file_ids)} files wait for its manifest, but: {why}."
        f"\n\nexpected: {listed} at {place}\nfound: {found or why}",
        you=f"nothing before {until:%Y-%m-%d %H:%M} UTC: until then it may become whole by itself, and is looked "
        "at again every hour. From then on what it lists is used, and what it does not list is looked for in the "
        f"delivery. If nothing can be used then: {written_anew}."
        if is_early and not cure
        else f"{cure or written_anew}. {_until_the_end(request)}",
        lasts=Lasts(cause, About(request_id=request_id, request_key=request.key), request.projects),
    )


def alert_directory(ctx: StepContext, request: RestoreRequest, held: int, expected: str, found: str) -> None:
    """A delivery lies elsewhere and holds so many of the ids. Once a day: all may be so from now on."""
    number = request.number
    alert(
        ctx,
        f"other-directory:{ctx.clock.now():%Y-%m-%d}",
        f"the delivery of request {number} lies in a directory with another name",
        f"Its manifest there lists {held} of the {len(request.file_ids)} files that were asked for, so it is used."
        f"\n\nexpected: {expected}\nfound: {clean(found)}",
        you="nothing to do, it goes on by itself. If all deliveries are called so from now on, tell whoever "
        "maintains this program: it looks for the usual name first. You hear of it once a day.",
        lasts=None,
    )


def alert_updated(ctx: StepContext, request: RestoreRequest, missing: int) -> None:
    """A delivery lacks as many files as JDP counted as on disk already."""
    of, number = len(request.file_ids), request.updated_count
    project = min(request.projects, default="PROJECT")
    alert(
        ctx,
        f"updated:{request.number}",
        f"JDP did not deliver {count(number or 0, 'file')} of request {request.number} that it had on disk",
        f"Expected: all {of} files of the request in its delivery. Found: {of - missing} of them, and as many "
        f"missing as JDP counted as on disk already (updated_count {number}). They are not asked for again: it "
        "would be the same. All others go on.",
        you=f"ask JGI to deliver these files of restore request {request.number}, or when they leave the disk. "
        "Then let them be asked for once more; the command says first what it spends.",
        command=f"jgi-stager retry {project} --reason 'on disk already'",
        lasts=None,
    )


_AGAIN = "Not delivered, and asked for again, once:"
_NOT_AGAIN = "Not delivered, and not asked for again without your word:"


def _what_becomes(is_missing: bool, held: str | None, *, waits: bool) -> str:
    if (is_missing and held) or waits:
        return (
            "see the files that failed, with their reasons (jgi-stager files PROJECT --state failed); what nobody "
            "asked for is left alone."
        )
    again = (
        "what is missing is asked for again by itself, once; what another delivery lacked before fails and waits "
        "for you, and "
        if is_missing
        else ""
    )
    return f"nothing to do: {again}what nobody asked for is left alone. You hear of a file that fails in the end."


def alert_differences(
    ctx: StepContext,
    request: RestoreRequest,
    manifest: Manifest,
    delivery: Delivery,
    missing: Sequence[str],
    where: str,
    tables: str,
    *,
    held: str | None = None,
) -> None:
    """A manifest that is used differs from what was asked for. ``where`` shows it, ``tables`` lie beside it, and
    ``held`` says why nothing is asked for again."""
    unlisted = len(delivery.unlisted) + len(delivery.unclear)
    if not (manifest.problems or delivery.extra or missing or delivery.doubt or unlisted):
        return
    request_id = request.number
    some = [*missing[:MOST_LINES], *list(delivery.unclear)[:MOST_LINES]]
    names = files.names_of_sources(ctx.store, some)
    parts: tuple[tuple[str, list[str]], ...] = (
        ("Used as far as it goes:", [delivery.doubt] if delivery.doubt else []),
        ("Not listed, but there under its name and with its size, and used:", [*delivery.unlisted.values()]),
        (
            "Not listed, and waiting for you:",
            [f"{names.get(one, one)}: {why}" for one, why in delivery.unclear.items()],
        ),
        (_NOT_AGAIN if held else _AGAIN, [names.get(file_id, file_id) for file_id in missing]),
        ("Delivered, but not asked for:", [*delivery.extra]),
        ("Cannot be used:", [*manifest.problems]),
    )
    counts = f"{len(missing)} missing, {len(delivery.extra)} extra, {len(manifest.problems)} unusable"
    counts += f", {unlisted} not listed" if unlisted else ""
    log.warning("manifest_differs", request_id=request_id, missing=len(missing), extra=len(delivery.extra))
    if tables:
        parts += (("Not read:", [tables]),)
    lists = [f"{title}\n{bullets(lines, MOST_LINES, where)}" for title, lines in parts if lines]
    alert(
        ctx,
        f"manifest-differs:{request_id}",
        f"the manifest of request {request_id} differs from what was asked ({counts})",
        "\n\n".join([f"It is the manifest of {', '.join(sorted(request.projects))}.", *lists]),
        you=_what_becomes(bool(missing), held, waits=bool(delivery.unclear)),
        lasts=None,
    )
