"""Floods: many notices of one kind become one mail, and none is lost.

Up to `FLOOD` mails of a kind leave by themselves within an hour; what comes beyond waits for the end of that
hour and goes as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from jgi_stager import mail
from jgi_stager.notices import Kind, folds
from jgi_stager.steps.tools import Tools
from jgi_stager.store import notices

log = structlog.get_logger()

FLOOD = 5
WINDOW = timedelta(hours=1)
MOST_SUBJECTS = 40
WORDS: Mapping[Kind, tuple[str, str, str | None]] = {
    Kind.ACCEPTED: (
        "projects accepted",
        "nothing to do; you hear of each when it is done or needs you.",
        "jgi-stager project list",
    ),
    Kind.INVALID: (
        "records cannot be used",
        "remove each record, and insert it again with the correction; the command shows the reason of one.",
        "jgi-stager project show NAME",
    ),
    Kind.DONE: ("projects done", "nothing to do.", "jgi-stager project list"),
    Kind.HELD: (
        "projects held by failed files",
        "decide for each: see the reasons with the command, and when they are gone: jgi-stager retry PROJECT",
        "jgi-stager files PROJECT --state failed",
    ),
    Kind.FAILED: (
        "projects with new failed files",
        "see the reasons with the command, and when they are gone: jgi-stager retry PROJECT",
        "jgi-stager files PROJECT --state failed",
    ),
    Kind.STALLED: (
        "things take longer than usual",
        "ask JGI or look at Globus where one of them lasts; the daemon keeps waiting. How they stand:",
        "jgi-stager status",
    ),
    Kind.ALARM: (
        "things to look at",
        "see the first of them below, which says what to do; how everything stands:",
        "jgi-stager status",
    ),
}
"""What they are, what the reader does, and the command for it."""


def run(tools: Tools) -> int:
    """Fold what is too much. Returns how many notices were folded."""
    waiting = notices.waiting_notices(tools.store)
    folded = _finish(tools, waiting)
    groups: dict[tuple[str, tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for notice in waiting:
        if notice["_id"] not in folded and folds(notice["kind"]) and notice["attempts"] == 0:
            groups.setdefault((notice["kind"], tuple(notice["to"])), []).append(notice)
    for (kind, to), group in groups.items():
        if _is_flood(tools, Kind(kind), group):
            folded |= _fold(tools, Kind(kind), to, group)
    return len(folded)


def _is_flood(tools: Tools, kind: Kind, group: Sequence[Mapping[str, Any]]) -> bool:
    """Whether to fold now. Notices of a kind of which many left lately are put off, to be folded later."""
    now = tools.clock.now()
    end = _full_until(tools, kind)
    if end is None or end <= now:
        return len(group) > FLOOD
    held = [one["_id"] for one in group if one["next_try_at"] < end]
    notices.put_off(tools.store, held, end, "many of this kind left within the hour: they go as one mail")
    return False


def _full_until(tools: Tools, kind: Kind) -> datetime | None:
    """Until when notices of this kind wait for each other; None if few left lately."""
    since = tools.clock.now() - WINDOW
    if (folded_at := notices.last_fold(tools.store, kind.value, since)) is not None:
        return folded_at + WINDOW
    lately = notices.sent_since(tools.store, kind.value, since)
    return lately[-FLOOD] + WINDOW if len(lately) >= FLOOD else None


def _fold(tools: Tools, kind: Kind, to: Sequence[str], group: Sequence[Mapping[str, Any]]) -> set[str]:
    """One notice for all of them; their keys. The group is in it, so that a crash in between is finished later."""
    letters, unwritable = _letters(group)
    keys = [one["_id"] for one in group if one["_id"] not in unwritable]
    if len(keys) <= FLOOD:
        return set()
    items = [{"subject": letter.subject.removeprefix(mail.PREFIX).strip()} for letter in letters]
    what, you, command = WORDS.get(kind, (f"notices ({kind.value})", "see how it stands:", "jgi-stager status"))
    data = {
        "count": len(keys),
        "what": what,
        "you": you,
        "command": command,
        "items": items,
        "first": letters[0].text.split("\n--\n")[0].split("\n\n", 1)[-1][:2000] if kind is Kind.ALARM else "",
        "keys": keys,
        "of": kind.value,
    }
    name = f"{kind.value}:{hashlib.sha256('|'.join(keys).encode('utf-8', 'replace')).hexdigest()[:16]}"
    notices.put_notice(tools.store, f"{Kind.FOLDED.value}:{name}", kind=Kind.FOLDED.value, data=data, to=list(to))
    for key in keys:
        notices.fold(tools.store, key, f"{Kind.FOLDED.value}:{name}")
    log.info("notices_folded", kind=kind.value, notices=len(keys))
    return set(keys)


def _letters(group: Sequence[Mapping[str, Any]]) -> tuple[list[mail.Letter], set[str]]:
    """The letters that are named in the one mail, and the keys of notices that cannot be written.

    Those stay by themselves: whoever sends them writes down why they cannot be, and gives them up in the end.
    """
    letters, unwritable = list[mail.Letter](), set[str]()
    for notice in group:
        if len(letters) == MOST_SUBJECTS:
            break
        try:
            letters.append(mail.render(notice))
        except Exception:
            # One that an older or a newer version stored must not end all mail.
            log.exception("notice_not_folded", notice=notice["_id"])
            unwritable.add(notice["_id"])
    return letters, unwritable


def _finish(tools: Tools, waiting: Sequence[Mapping[str, Any]]) -> set[str]:
    """Finish what a crash left half folded."""
    there = {one["_id"] for one in waiting}
    done: set[str] = set()
    for notice in waiting:
        if notice["kind"] == Kind.FOLDED:
            for key in there.intersection(notice["data"].get("keys") or ()):
                notices.fold(tools.store, key, notice["_id"])
                done.add(key)
    return done
