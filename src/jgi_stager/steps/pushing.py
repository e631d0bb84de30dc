"""The second channel: what cannot wait also goes there, once, independent of the mail. At most a help."""

from __future__ import annotations

from datetime import timedelta

import structlog

from jgi_stager import mail
from jgi_stager.failures import OutsideError
from jgi_stager.mail.push import SECRET, push
from jgi_stager.notices import FORMS, Kind
from jgi_stager.steps.tools import Tools
from jgi_stager.store import StoreError, notices

log = structlog.get_logger()

OF_USE_FOR = timedelta(hours=12)
"""What could not be pushed for so long is told by mail alone."""

TRY_AGAIN_AFTER = timedelta(minutes=10)


def run(tools: Tools) -> int:
    """Push what is new. Returns how many left. Without the secret nothing happens, and nothing is kept for it."""
    if not tools.secrets.exists(SECRET):
        return 0
    pushed = 0
    kinds = [kind.value for kind in Kind if FORMS[kind].pushed]
    now = tools.clock.now()
    for notice in notices.unpushed(tools.store, kinds, now - OF_USE_FOR):
        if tools.stop.is_set():
            break
        if (notice.get("push_after") or now) > now:
            if notice.get("push_bug"):
                continue
            break  # the channel failed, and would for the next one, too
        try:
            push(mail.render(notice, now), tools.secrets)
        except OutsideError as error:
            log.warning("push_failed", notice=notice["_id"], error=str(error))
            notices.push_later(tools.store, notice["_id"], now + TRY_AGAIN_AFTER)
            break
        except StoreError:
            raise
        except Exception as error:
            # A notice that cannot be written holds up nobody else.
            log.exception("step_bug", document=notice["_id"])
            bug = f"{type(error).__name__}: {error}"[:500]
            notices.push_later(tools.store, notice["_id"], now + TRY_AGAIN_AFTER, bug)
            continue
        notices.mark_pushed(tools.store, notice["_id"])
        pushed += 1
    return pushed
