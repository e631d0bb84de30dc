"""Mails the notices of the outbox, each once. An outage of the mail server delays mails and loses none.

Notices of one thread leave in the order in which they were stored: one that must wait holds up those behind it,
one that is refused does not. What one address refuses, the others still get.

Many of one kind become one mail: up to `FLOOD` leave by themselves within an hour; what comes beyond waits for the
end of that hour and goes as one. What cannot wait also goes to the second channel, once, whatever becomes of the
mail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from jgi_stager import mail
from jgi_stager.failures import NeedsPerson, Service, ServiceError, Transient
from jgi_stager.lifecycle import NoticeState
from jgi_stager.liveness import uninterruptible
from jgi_stager.mail.plot import LARGEST, plot
from jgi_stager.mail.push import SECRET, push
from jgi_stager.models import Notice, TriesNotTaken
from jgi_stager.notices import BATCHES, FORMS, Kind, folds, message_id
from jgi_stager.reporting.project_report import report_of
from jgi_stager.retry import retry_delay
from jgi_stager.steps import credential_notices
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.services import may_ask, record_failure
from jgi_stager.store import StoreError, history, notices
from jgi_stager.store.documents import is_due

log = structlog.get_logger()


# --- many notices of one kind -------------------------------------------------------------------------------


FLOOD = 5
WINDOW = timedelta(hours=1)
MOST_SUBJECTS = 40


def batch_notices(ctx: StepContext, waiting: Sequence[Notice]) -> Sequence[Notice]:
    """Fold what is too much. Returns the notices that still wait, in the order in which they were stored."""
    folded = _finish(ctx, waiting)
    groups: dict[tuple[str, tuple[str, ...]], list[Notice]] = {}
    for notice in waiting:
        if notice.key not in folded and folds(notice.kind) and notice.attempts == 0:
            groups.setdefault((notice.kind, tuple(notice.to)), []).append(notice)
    for (kind, to), group in groups.items():
        if _is_flood(ctx, Kind(kind), group):
            folded |= _fold(ctx, Kind(kind), to, group)
    return notices.waiting_notices(ctx.store) if folded or groups else waiting


def _is_flood(ctx: StepContext, kind: Kind, group: Sequence[Notice]) -> bool:
    """Whether to fold now. Notices of a kind of which many left lately are put off, to be folded later."""
    now = ctx.clock.now()
    end = _full_until(ctx, kind)
    if end is None or end <= now:
        return len(group) > FLOOD
    if held := [one.key for one in group if one.next_try_at < end]:
        notices.put_off(ctx.store, held, end, "many of this kind left within the hour: they go as one mail")
    return False


def _full_until(ctx: StepContext, kind: Kind) -> datetime | None:
    """Until when notices of this kind wait for each other; None if few left lately."""
    since = ctx.clock.now() - WINDOW
    if (folded_at := notices.last_fold(ctx.store, kind.value, since)) is not None:
        return folded_at + WINDOW
    lately = notices.sent_since(ctx.store, kind.value, since)
    return lately[-FLOOD] + WINDOW if len(lately) >= FLOOD else None


def _fold(ctx: StepContext, kind: Kind, to: Sequence[str], group: Sequence[Notice]) -> set[str]:
    """One notice for all of them; their keys. The group is in it, so that a crash in between is finished later."""
    mails, unwritable = _all_rendered(group)
    keys = [one.key for one in group if one.key not in unwritable]
    if len(keys) <= FLOOD:
        return set()
    items = [{"subject": rendered.subject.removeprefix(mail.PREFIX).strip()} for rendered in mails]
    what, you, command = BATCHES[kind]
    data = {
        "count": len(keys),
        "what": what,
        "you": you,
        "command": command,
        "items": items,
        "first": mails[0].text.split("\n--\n")[0].split("\n\n", 1)[-1][:2000] if kind is Kind.ALARM else "",
        "keys": keys,
        "of": kind.value,
    }
    name = f"{kind.value}:{hashlib.sha256('|'.join(keys).encode('utf-8', 'replace')).hexdigest()[:16]}"
    notices.put_notice(ctx.store, f"{Kind.FOLDED.value}:{name}", kind=Kind.FOLDED.value, data=data, to=list(to))
    for key in keys:
        notices.fold(ctx.store, key, f"{Kind.FOLDED.value}:{name}")
    log.info("notices_folded", kind=kind.value, notices=len(keys))
    return set(keys)


def _all_rendered(group: Sequence[Notice]) -> tuple[list[mail.RenderedMail], set[str]]:
    """The mails that are named in the one mail, and the keys of notices that cannot be written.

    Those stay by themselves: whoever sends them writes down why they cannot be, and gives them up in the end.
    """
    mails, unwritable = list[mail.RenderedMail](), set[str]()
    for notice in group:
        if len(mails) == MOST_SUBJECTS:
            break
        try:
            mails.append(mail.render(notice))
        except Exception:
            # One that an older or a newer version stored must not end all mail.
            log.exception("notice_not_folded", notice=notice.key)
            unwritable.add(notice.key)
    return mails, unwritable


def _finish(ctx: StepContext, waiting: Sequence[Notice]) -> set[str]:
    """Finish what a crash left half folded."""
    there = {one.key for one in waiting}
    done: set[str] = set()
    for notice in waiting:
        if notice.kind == Kind.FOLDED:
            for key in there.intersection(notice.data.get("keys") or ()):
                notices.fold(ctx.store, key, notice.key)
                done.add(key)
    return done


# --- the second channel -------------------------------------------------------------------------------------


OF_USE_FOR = timedelta(hours=12)
"""What could not be pushed for so long is told by mail alone."""

TRY_AGAIN_AFTER = timedelta(minutes=10)


def push_notifications(ctx: StepContext) -> int:
    """Push what is new. Returns how many left. Without the secret nothing happens, and nothing is kept for it."""
    if not ctx.secrets.exists(SECRET):
        return 0
    pushed = 0
    kinds = [kind.value for kind in Kind if FORMS[kind].pushed]
    now = ctx.clock.now()
    for notice in notices.unpushed(ctx.store, kinds, now - OF_USE_FOR):
        if ctx.stop.is_set():
            break
        if (notice.push_after or now) > now:
            if notice.push_bug:
                continue
            break  # the channel failed, and would for the next one, too
        try:
            push(mail.render(notice, now), ctx.secrets)
        except ServiceError as error:
            log.warning("push_failed", notice=notice.key, error=str(error))
            notices.reschedule_push(ctx.store, notice.key, now + TRY_AGAIN_AFTER)
            break
        except StoreError:
            raise
        except Exception as error:
            # A notice that cannot be written holds up nobody else.
            log.exception("step_bug", document=notice.key)
            bug = f"{type(error).__name__}: {error}"[:500]
            notices.reschedule_push(ctx.store, notice.key, now + TRY_AGAIN_AFTER, bug)
            continue
        notices.mark_pushed(ctx.store, notice.key)
        pushed += 1
    return pushed


# --- mails --------------------------------------------------------------------------------------------------


ADDRESS_GRACE = timedelta(days=5)
"""How long an address may answer "not now" before it counts as refused: what mail servers do among themselves.
Counted from its first answer: how long the mail waited for our own server says nothing about the address."""

MOST_PLOTS = 5
"""Of one mail: half a megabyte at most."""

MOST_BUGS = 12
"""After so many tries, about half a day, a notice that we cannot write is given up."""


def run(ctx: StepContext) -> int:
    """Send what is due, oldest first. Returns how many mails left."""
    known = notices.open_notices(ctx.store)
    cut_off = [one for one in known if one.state == NoticeState.SENDING]
    for notice in cut_off:
        # The daemon died while the server may or may not have taken it. The Message-ID stays the same, so a
        # second copy is recognised by mail programs; losing the mail would be worse.
        notices.mark_waiting(ctx.store, notice.key, ctx.clock.now(), "cut off while being sent")
    push_notifications(ctx)
    waiting = notices.waiting_notices(ctx.store) if cut_off else known
    if not any(_is_due(ctx, one) for one in waiting):
        return 0
    sent, held_up = 0, set[str]()
    for notice in batch_notices(ctx, waiting):
        if not may_ask(ctx, Service.SMTP):
            break
        thread = notice.thread
        if thread in held_up:
            continue
        due = _is_due(ctx, notice)
        left = due and _send(ctx, notice)
        sent += left
        if left or thread is None:
            continue
        if _holds_up(notices.get_notice(ctx.store, notice.key) if due else notice):
            held_up.add(thread)
    return sent


def _is_due(ctx: StepContext, notice: Notice) -> bool:
    """Whether its time has come, and anybody is named who is, or was, to be told."""
    named = _addresses(ctx, notice) or notice.delivered or notice.refused
    return bool(named) and is_due(notice.next_try_at, notice.update_date, ctx.clock.now())


def _holds_up(notice: Notice | None) -> bool:
    """Whether it waits for everybody. One that only some address postpones holds up nothing for the others."""
    return notice is not None and notice.state == NoticeState.WAITING and not notice.delivered


@uninterruptible()
def _send(ctx: StepContext, notice: Notice) -> bool:
    """Hand one notice over. Whether the server took it for anybody."""
    key, attempts = notice.key, notice.attempts + 1
    to = _addresses(ctx, notice)
    identity = message_id(key, ctx.settings.notifications.mail_from)
    if not notices.mark_sending(ctx.store, key, attempts, identity):
        return False
    try:
        page = ctx.settings.page.address(notice.project)
        rendered = mail.render(notice, ctx.clock.now(), pictures=_pictures(ctx, notice), page=page)
        # Nobody is left to be told if the daemon died between writing that down and calling it sent.
        outcome = _hand_over(ctx, notice, rendered, to) if to else mail.DeliveryResult()
    except StoreError:
        raise  # the database is out: that says nothing about the notice
    except (Transient, NeedsPerson) as error:
        _server_failed(ctx, notice, attempts, error)
        return False
    except mail.ContentRefused as error:
        notices.mark_refused(ctx.store, key, str(error))
        log.warning("mail_refused", notice=key, error=str(error))
        return False
    except Exception as error:
        if isinstance(error, mail.UnknownKindError):
            log.warning("notice_unknown", notice=key, error=str(error))
        else:
            log.exception("step_bug", document=key)
        _cannot_be_written(ctx, key, attempts, f"{type(error).__name__}: {error}"[:500])
        return False
    # First what became of it: who dies in between sends it again.
    left = _note(ctx, notice, rendered.subject, outcome, attempts)
    if to:
        credential_notices.record_success(ctx, Service.SMTP, proof=ctx.circuit_breaker.succeeded(Service.SMTP))
    return left


def _cannot_be_written(ctx: StepContext, key: str, attempts: int, why: str) -> None:
    """A notice that cannot be written must not end those behind it, and is not given up for one bad hour."""
    why = f"bug: {why}"
    if attempts >= MOST_BUGS:
        notices.mark_refused(ctx.store, key, why)
    else:
        later = ctx.clock.now() + timedelta(seconds=retry_delay(attempts))
        notices.mark_waiting(ctx.store, key, later, why)


def _addresses(ctx: StepContext, notice: Notice) -> list[str]:
    """Who is still to be told. A notice stored before anybody was named goes to the site's people."""
    wanted = notice.to or ctx.settings.notifications.mailto
    settled = {*notice.delivered, *(one.address for one in notice.refused)}
    return [address for address in wanted if address not in settled]


def _pictures(ctx: StepContext, notice: Notice) -> dict[str, mail.Picture]:
    """The plot of each project of which the mail tells how it went, up to then; of the first `MOST_PLOTS` alone.

    A mail whose plot cannot be drawn goes without it.
    """
    if notice.kind == Kind.DONE:
        told = [(notice.project, notice.data.get("went"))]
    elif notice.kind == Kind.DIGEST:
        told = [(one.get("name"), one.get("went")) for one in notice.data.get("projects") or ()]
    else:
        return {}
    found = {}
    for name, went in [(name, went) for name, went in told if name and went][:MOST_PLOTS]:
        try:
            points = history.points(ctx.store, name)
            content = plot([one for one in points if one.at <= notice.created])
        except StoreError:
            raise
        except Exception:
            log.exception("plot_not_drawn", notice=notice.key, project=name)
            continue
        if content is not None and len(content) <= LARGEST:
            found[name] = mail.Picture(content, f"{name}: bytes by state over time. {went['sentence']}.")
    return found


def _hand_over(
    ctx: StepContext, notice: Notice, rendered: mail.RenderedMail, to: Sequence[str]
) -> mail.DeliveryResult:
    settings = ctx.settings.notifications
    envelope = mail.Envelope(
        sender=settings.mail_from,
        to=notice.to or settings.mailto,
        message_id=message_id(notice.key, settings.mail_from),
        at=ctx.clock.now(),
        thread=_first_of(ctx, notice),
    )
    done = notice.project if notice.kind == Kind.DONE else None
    attachments = report_of(ctx.store, done) if done is not None else []
    try:
        whole = mail.make_mail(rendered, envelope, attachments)
        outcome = mail.send(whole, to, settings, ctx.secrets)
    except mail.ContentRefused:
        if not attachments and not rendered.pictures:
            raise
        log.warning("mail_without_attachment", notice=notice.key)
        plain = mail.render(notice, envelope.at, page=ctx.settings.page.address(notice.project))
        outcome = mail.send(mail.make_mail(plain, envelope), to, settings, ctx.secrets)
    return outcome


def _first_of(ctx: StepContext, notice: Notice) -> str | None:
    """The Message-ID of the mail that the thread of this one begins with."""
    first = notices.first_of_thread(ctx.store, notice.thread) if notice.thread else None
    if first is None:
        return None
    return first.message_id or message_id(first.key, ctx.settings.notifications.mail_from)


def _server_failed(ctx: StepContext, notice: Notice, attempts: int, error: Transient | NeedsPerson) -> None:
    now = ctx.clock.now()
    later = now + timedelta(seconds=retry_delay(attempts))
    notices.mark_waiting(ctx.store, notice.key, later, str(error), _not_taken(notice, now))
    record_failure(ctx, error)
    log.warning("mail_postponed", notice=notice.key, error=str(error))


def _note(ctx: StepContext, notice: Notice, subject: str, outcome: mail.DeliveryResult, attempts: int) -> bool:
    """Write down what became of every address; the notice is sent when nobody is left to be told."""
    key, now = notice.key, ctx.clock.now()
    before = {one.address: one.since for one in notice.postponed}
    since = {address: before.get(address, now) for address in outcome.postponed}
    too_long = {address for address, at in since.items() if now - at > ADDRESS_GRACE}
    refused = {**outcome.refused, **{address: outcome.postponed[address] for address in too_long}}
    postponed = {address: said for address, said in outcome.postponed.items() if address not in too_long}
    still = {address: since[address] for address in postponed}
    notices.note_addresses(ctx.store, key, outcome.taken, refused, still)
    for address, reason in refused.items():
        log.warning("mail_address_refused", notice=key, address=address, reason=reason)
    if postponed:
        wait = timedelta(seconds=retry_delay(attempts))
        said = f"not yet: {_list(postponed)}"
        notices.mark_waiting(ctx.store, key, now + wait, said, _not_taken(notice, now))
        return bool(outcome.taken)
    if not outcome.taken and not notice.delivered:
        earlier = {one.address: one.reason for one in notice.refused}
        notices.mark_refused(ctx.store, key, f"refused: {_list(earlier | refused)}")
        return False
    notices.mark_sent(ctx.store, key, subject)
    log.info("mail_sent", notice=key, kind=notice.kind)
    return True


def _not_taken(notice: Notice, now: datetime) -> TriesNotTaken:
    """The tries in which the mail server did not take it, this one counted: the mail says so if it leaves late."""
    before = notice.not_taken
    if before is None:
        return TriesNotTaken(times=1, first=now, last=now)
    return TriesNotTaken(times=before.times + 1, first=before.first, last=now)


def _list(answers: Mapping[str, str]) -> str:
    return "; ".join(f"{address} ({reason})" for address, reason in answers.items())[:500]
