"""Mailing the outbox: each notice once. An outage of the mail server delays mails and loses none.

Notices of one thread leave in the order in which they were stored: one that must wait holds up those behind it,
one that is refused does not. What one address refuses, the others still get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from jgi_stager import mail
from jgi_stager.failures import NeedsPerson, Service, Transient, retry_delay
from jgi_stager.notices import Kind, message_id
from jgi_stager.pulse import unbroken
from jgi_stager.records import NoticeState
from jgi_stager.steps import credentials, folding, pushing
from jgi_stager.steps.report import report_of
from jgi_stager.steps.tools import Tools
from jgi_stager.store import StoreError, notices
from jgi_stager.store.documents import is_due

log = structlog.get_logger()

ADDRESS_PATIENCE = timedelta(days=5)
"""How long an address may answer "not now" before it counts as refused: what mail servers do among themselves.
Counted from its first answer: how long the mail waited for our own server says nothing about the address."""

MOST_BUGS = 12
"""After so many tries, about half a day, a notice that we cannot write is given up."""


def run(tools: Tools) -> int:
    """Send what is due, oldest first. Returns how many mails left."""
    for notice in notices.interrupted_notices(tools.store):
        # The daemon died while the server may or may not have taken it. The Message-ID stays the same, so a
        # second copy is recognised by mail programs; losing the mail would be worse.
        notices.mark_waiting(tools.store, notice["_id"], tools.clock.now(), "cut off while being sent")
    pushing.run(tools)
    folding.run(tools)
    sent, held_up = 0, set[str]()
    for notice in notices.waiting_notices(tools.store):
        if not tools.may_ask(Service.SMTP):
            break
        thread = notice.get("thread")
        if thread in held_up:
            continue
        left = is_due(notice, "next_try_at", tools.clock.now()) and _send(tools, notice)
        sent += left
        if thread is not None and not left and _holds_up(tools, notice):
            held_up.add(thread)
    return sent


def _holds_up(tools: Tools, notice: Mapping[str, Any]) -> bool:
    """Whether it waits for everybody. One that only some address postpones holds up nothing for the others."""
    fresh = notices.get_notice(tools.store, notice["_id"])
    return fresh is not None and fresh["state"] == NoticeState.WAITING and not fresh.get("delivered")


@unbroken()
def _send(tools: Tools, notice: Mapping[str, Any]) -> bool:
    """Hand one notice over. Whether the server took it for anybody."""
    key, attempts = notice["_id"], int(notice["attempts"]) + 1
    to = _addresses(tools, notice)
    if not to and not notice.get("delivered") and not notice.get("refused"):
        return False
    identity = message_id(key, tools.settings.notifications.mail_from)
    if not notices.mark_sending(tools.store, key, attempts, identity):
        return False
    try:
        letter = mail.render(notice, tools.clock.now())
        # Nobody is left to be told if the daemon died between writing that down and calling it sent.
        outcome = _hand_over(tools, notice, letter, to) if to else mail.Handover()
    except StoreError:
        raise  # the books are out: that says nothing about the notice
    except (Transient, NeedsPerson) as error:
        _server_trouble(tools, notice, attempts, error)
        return False
    except mail.ContentRefused as error:
        notices.mark_refused(tools.store, key, str(error))
        log.warning("mail_refused", notice=key, error=str(error))
        return False
    except Exception as error:
        # A notice that cannot be written must not end those behind it, and is not given up for one bad hour.
        log.exception("step_bug", document=key)
        said = f"bug: {type(error).__name__}: {error}"[:500]
        if attempts >= MOST_BUGS:
            notices.mark_refused(tools.store, key, said)
        else:
            later = tools.clock.now() + timedelta(seconds=retry_delay(attempts))
            notices.mark_waiting(tools.store, key, later, said)
        return False
    # First what became of it: who dies in between sends it again.
    left = _note(tools, notice, letter.subject, outcome, attempts)
    if to:
        credentials.worked(tools, Service.SMTP, proof=tools.gates.succeeded(Service.SMTP))
    return left


def _addresses(tools: Tools, notice: Mapping[str, Any]) -> list[str]:
    """Who is still to be told. A notice stored before anybody was named goes to the site's people."""
    wanted = notice["to"] or tools.settings.notifications.mailto
    settled = {*notice.get("delivered", ()), *(one["address"] for one in notice.get("refused", ()))}
    return [address for address in wanted if address not in settled]


def _hand_over(tools: Tools, notice: Mapping[str, Any], letter: mail.Letter, to: Sequence[str]) -> mail.Handover:
    settings = tools.settings.notifications
    envelope = mail.Envelope(
        sender=settings.mail_from,
        to=notice["to"] or settings.mailto,
        message_id=message_id(notice["_id"], settings.mail_from),
        at=tools.clock.now(),
        thread=_first_of(tools, notice),
    )
    attachments = report_of(tools.store, notice["project"]) if notice["kind"] == Kind.DONE else []
    try:
        whole = mail.make_mail(letter, envelope, attachments)
        outcome = mail.send(whole, to, settings, tools.secrets)
    except mail.ContentRefused:
        if not attachments:
            raise
        log.warning("mail_without_attachment", notice=notice["_id"])
        outcome = mail.send(mail.make_mail(letter, envelope), to, settings, tools.secrets)
    return outcome


def _first_of(tools: Tools, notice: Mapping[str, Any]) -> str | None:
    """The Message-ID of the mail that the thread of this one begins with."""
    first = notices.first_of_thread(tools.store, notice["thread"]) if notice.get("thread") else None
    if first is None:
        return None
    return first["message_id"] or message_id(first["_id"], tools.settings.notifications.mail_from)


def _server_trouble(
    tools: Tools, notice: Mapping[str, Any], attempts: int, error: Transient | NeedsPerson
) -> None:
    now = tools.clock.now()
    later = now + timedelta(seconds=retry_delay(attempts))
    notices.mark_waiting(tools.store, notice["_id"], later, str(error), _not_taken(notice, now))
    tools.failed(error)
    log.warning("mail_postponed", notice=notice["_id"], error=str(error))


def _note(tools: Tools, notice: Mapping[str, Any], subject: str, outcome: mail.Handover, attempts: int) -> bool:
    """Write down what became of every address; the notice is sent when nobody is left to be told."""
    key, now = notice["_id"], tools.clock.now()
    before = {one["address"]: one["since"] for one in notice.get("postponed") or ()}
    since = {address: before.get(address, now) for address in outcome.postponed}
    too_long = {address for address, at in since.items() if now - at > ADDRESS_PATIENCE}
    refused = {**outcome.refused, **{address: outcome.postponed[address] for address in too_long}}
    postponed = {address: said for address, said in outcome.postponed.items() if address not in too_long}
    still = {address: since[address] for address in postponed}
    notices.note_addresses(tools.store, key, outcome.taken, refused, still)
    for address, reason in refused.items():
        log.warning("mail_address_refused", notice=key, address=address, reason=reason)
    if postponed:
        wait = timedelta(seconds=retry_delay(attempts))
        said = f"not yet: {_list(postponed)}"
        notices.mark_waiting(tools.store, key, now + wait, said, _not_taken(notice, now))
        return bool(outcome.taken)
    if not outcome.taken and not notice.get("delivered"):
        earlier = {one["address"]: one["reason"] for one in notice.get("refused") or ()}
        notices.mark_refused(tools.store, key, f"refused: {_list(earlier | refused)}")
        return False
    notices.mark_sent(tools.store, key, subject)
    log.info("mail_sent", notice=key, kind=notice["kind"])
    return True


def _not_taken(notice: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The tries in which the mail server did not take it, this one counted: the mail says so if it leaves late."""
    before = notice.get("not_taken") or {"times": 0, "first": now}
    return {"times": before["times"] + 1, "first": before["first"], "last": now}


def _list(answers: Mapping[str, str]) -> str:
    return "; ".join(f"{address} ({reason})" for address, reason in answers.items())[:500]
