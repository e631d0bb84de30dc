"""Mailing the outbox: each notice once. An outage of the mail server delays mails and loses none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from jgi_stager import mail
from jgi_stager.failures import NeedsPerson, Rejected, Service, Transient, retry_delay
from jgi_stager.pulse import unbroken
from jgi_stager.steps.tools import Tools
from jgi_stager.store import notices

log = structlog.get_logger()


def run(tools: Tools) -> int:
    """Send what is due, oldest first. Returns how many mails left."""
    for notice in notices.interrupted_notices(tools.store):
        # The daemon died while the server may or may not have taken it. The Message-ID stays the same, so a
        # second copy is recognised by mail programs; losing the mail would be worse.
        notices.mark_waiting(tools.store, notice["_id"], tools.clock.now(), "cut off while being sent")
    sent = 0
    for notice in notices.due_notices(tools.store, tools.clock.now()):
        if not tools.may_ask(Service.SMTP):
            break
        sent += _send(tools, notice)
    return sent


def message_id(key: str, sender: str) -> str:
    """The same for every try of the same notice."""
    domain = sender.rpartition("@")[2] or "localhost"
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"


@unbroken()
def _send(tools: Tools, notice: Mapping[str, Any]) -> int:
    settings, now = tools.settings.notifications, tools.clock.now()
    to = notice["to"] or settings.mailto
    key, attempts = notice["_id"], int(notice["attempts"]) + 1
    if not to:
        return 0
    identity = message_id(key, settings.mail_from)
    if not notices.mark_sending(tools.store, key, attempts, identity):
        return 0
    try:
        mail.send(
            mail.message({**notice, "message_id": identity}, settings.mail_from, to, now),
            settings,
            tools.secrets,
        )
    except Rejected as error:
        notices.mark_refused(tools.store, key, str(error))
        log.warning("mail_refused", notice=key, error=str(error))
        return 0
    except (Transient, NeedsPerson) as error:
        tools.gates.failed(error, now, tools.credential(Service.SMTP))
        next_try = now + timedelta(seconds=retry_delay(attempts))
        notices.mark_waiting(tools.store, key, next_try, str(error))
        log.warning("mail_postponed", notice=key, error=str(error))
        return 0
    tools.gates.succeeded(Service.SMTP)
    notices.mark_sent(tools.store, key)
    log.info("mail_sent", notice=key, kind=notice["kind"])
    return 1
