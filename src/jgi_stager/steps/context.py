"""What every step gets: the store, the clients, the settings and the time. That is all the injection there is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog

from jgi_stager.circuit_breaker import CircuitBreaker
from jgi_stager.clients.globus import Globus
from jgi_stager.clients.gold import Gold
from jgi_stager.clients.jdp import Jdp
from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.clock import Clock
from jgi_stager.failures import (
    NeedsPerson,
    OutcomeUnknown,
    OutsideError,
    Rejected,
    Service,
    Transient,
    retry_delay,
)
from jgi_stager.lifecycle import IllegalMoveError
from jgi_stager.liveness import Liveness
from jgi_stager.notices import Kind
from jgi_stager.secrets import Secrets
from jgi_stager.settings import Settings
from jgi_stager.steps import credential_notices
from jgi_stager.steps.daemon_alerts import StoreOutage
from jgi_stager.store import LeaseLost, RecordTooLarge, Store, StoreError, projects
from jgi_stager.store.notices import put_notice

log = structlog.get_logger()


CREDENTIALS: Mapping[Service, tuple[str, ...]] = {
    Service.GOLD: ("gold_offline_token",),
    Service.JDP: ("jdp_token",),
    Service.GLOBUS: ("globus_client_secret", "globus_refresh_token"),
    Service.SMTP: ("smtp_password",),
}
"""The secrets of each service; a change of one of them opens its gate again."""
LONGEST_ERROR = 500
"""Characters of a reason that are kept on a request or task."""


def _no_lease() -> None:
    """Without a lease there is nothing to check."""


def _end_with(error: LeaseLost) -> None:
    raise error


@dataclass(frozen=True)
class StepContext:
    """The hands of a step. Made once, in ``daemon.py``."""

    store: Store
    gold: Gold
    jdp: Jdp
    nmdc: Nmdc
    globus: Globus
    settings: Settings
    secrets: Secrets
    clock: Clock
    circuit_breaker: CircuitBreaker
    stop: threading.Event = field(default_factory=threading.Event)
    liveness: Liveness = field(default_factory=Liveness)
    """Who works on what: the daemon ends when they may, and is taken for hung when they are silent."""
    outage: StoreOutage = field(default_factory=StoreOutage)
    """Whether this process can reach its database."""
    assert_lease_held: Callable[[], None] = _no_lease
    """Called just before an effect outside that must not happen twice. Raises `LeaseLost` if another daemon has
    taken over, and `StoreUnavailable` if that cannot be known now."""
    lose: Callable[[LeaseLost], None] = _end_with
    """Called with the `LeaseLost` that a step met: the daemon ends."""

    def may_ask(self, service: Service, *, anonymous: bool = False) -> bool:
        """Whether ``service`` may be asked now, and the daemon is not about to stop.

        ``anonymous``: for a call that needs no credential, so that a dead one does not hold it up.
        """
        if self.stop.is_set():
            return False
        return self.circuit_breaker.allows(
            service, self.clock.now(), self.credential(service), anonymous=anonymous
        )

    def credential(self, service: Service) -> object:
        """The fingerprint of what ``service`` is asked with."""
        return tuple(self.secrets.fingerprint(name) for name in CREDENTIALS.get(service, ()))

    def identity(self, service: Service) -> str | None:
        """Which credential ``service`` is asked with, as a short digest that survives a copy of the file."""
        names = CREDENTIALS.get(service, ())
        if service is Service.SMTP:
            # A password may be short enough to be guessed from a digest of it.
            there = any(self.secrets.exists(name) for name in names)
            return hashlib.sha256(repr(self.credential(service)).encode()).hexdigest()[:12] if there else None
        found = [self.secrets.identity(name) for name in names]
        return "-".join(one or "none" for one in found) if any(found) else None

    def answered(self, service: Service, *, anonymous: bool = False) -> None:
        """Note that ``service`` answered; if a person had been needed until now, say that it is solved.

        An ``anonymous`` call says nothing about the credential.
        """
        out = self.circuit_breaker.is_out(service)
        proof = self.circuit_breaker.succeeded(service, anonymous=anonymous)
        if service in CREDENTIALS and not anonymous:
            credential_notices.record_success(self, service, proof=proof)
        elif out or self.circuit_breaker.first_word(service):
            credential_notices.record_reachable(self, service)

    def failed(self, error: OutsideError, item: object = None) -> None:
        """Note a failure of a service; if a person is needed, say so by mail, once.

        ``item`` names what was asked about, where the same is asked about again and again.
        """
        if isinstance(error, Transient) and error.answered:
            self.answered(error.service, anonymous=True)
            return
        self.circuit_breaker.failed(error, self.clock.now(), self.credential(error.service), item)
        if isinstance(error, NeedsPerson):
            log.warning("needs_person", service=error.service.value, problem=str(error), cure=error.cure)
            credential_notices.record_rejected(self, error)
        elif isinstance(error, Transient) and self.circuit_breaker.is_out(error.service):
            credential_notices.record_outage(self, error)

    def notify(
        self,
        kind: Kind,
        key: str,
        data: Mapping[str, Any],
        project: str | None = None,
        also: Iterable[str] = (),
        thread: str | None = None,
    ) -> None:
        """Store a notice once for the site's people, those of the accepted project, and ``also``.

        ``key`` names the event. Notices of one ``thread``, by default those of a project, leave in order.
        """
        to = list(self.settings.notifications.mailto)
        known = projects.known(self.store, project, "notify").get("notify") if project is not None else None
        to += [address for address in dict.fromkeys([*(known or ()), *also]) if address not in to]
        name = f"{kind.value}:{key}"
        put_notice(self.store, name, kind=kind.value, data=dict(data), to=to, project=project, thread=thread)

    def alert(
        self,
        key: str,
        subject: str,
        text: str,
        project: str | None = None,
        *,
        you: str,
        command: str | None = None,
    ) -> None:
        """Tell once of something that a person should look at, though the daemon goes on.

        ``text`` says what happened in its first paragraph; further ones follow after ``you``, which says what the
        reader does now: a clause in lower case, such as "ask JGI about request 7"; where that is nothing, how it
        goes on by itself and when they hear of it again. ``command`` is shown below it, to be copied.
        """
        data = {"subject": subject, "text": text, "you": you, "command": command}
        self.notify(Kind.ALARM, key, data, project)


def reschedule_fields(ctx: StepContext, document: Mapping[str, Any], error: str, seconds: float) -> dict[str, Any]:
    """The fields that let a request or task be tried again in ``seconds``, with the reason."""
    at = ctx.clock.now() + timedelta(seconds=seconds)
    attempts = int(document.get("attempts") or 0) + 1
    return {"next_poll_at": at, "attempts": attempts, "error": error[:LONGEST_ERROR]}


def too_large(ctx: StepContext, document: Mapping[str, Any], error: RecordTooLarge) -> None:
    """A document that has no room for what is to be written on it: its own matter, and a person's."""
    key = _key(document)
    log.error("document_too_large", document=key, error=str(error)[:LONGEST_ERROR])
    ctx.alert(
        f"too-large:{key}",
        f"the document {key} is as large as MongoDB allows",
        f"Nothing more can be written on it ({error!s:.{LONGEST_ERROR}}), so what it stands for does not go on. "
        "Everything else does.",
        you="look at it in the database, and take out what somebody put into it; if nobody did, report it. Its "
        f"fields: {', '.join(sorted(map(str, document)))[:LONGEST_ERROR]}",
    )


def isolate_each(
    ctx: StepContext,
    documents: Iterable[Mapping[str, Any]],
    handle: Callable[[StepContext, Mapping[str, Any]], int],
) -> int:
    """Handle every document by itself, where no service is asked: a bug that one causes never stops the others.

    Returns how much changed. Stops early when the daemon stops.
    """
    changed = 0
    for document in documents:
        if ctx.stop.is_set():
            break
        try:
            changed += handle(ctx, document)
        except RecordTooLarge as error:
            too_large(ctx, document, error)
        except StoreError:
            raise
        except Exception as error:
            log.exception("step_bug", document=_key(document), illegal=isinstance(error, IllegalMoveError))
            tell_of_bug(ctx, document, error)
    return changed


def _key(document: Mapping[str, Any]) -> str:
    return str(document["_id"])[:200]


def tell_of_bug(ctx: StepContext, document: Mapping[str, Any], error: Exception) -> None:
    """Tell people of a fault of the daemon that one document brings about: at once, and once."""
    key, name = _key(document), document.get("project_name")
    project = name if isinstance(name, str) and name.isprintable() else None
    said = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
    ctx.alert(
        f"bug:{key}:{type(error).__name__}",
        f"a fault of the daemon holds up {project or key}"[:200],
        f"{said}\n\nIt is met again and again at {key}; everything else goes on.",
        project,
        you="report it with the lines of the log that say step_bug",
        command="journalctl -u jgi-stager -n 200",
    )


def process_each(
    ctx: StepContext,
    service: Service,
    documents: Iterable[Mapping[str, Any]],
    handle: Callable[[StepContext, Mapping[str, Any]], int],
    postpone: Callable[[StepContext, Mapping[str, Any], str, float], None],
    *,
    anonymous: bool = False,
) -> int:
    """Handle every document by itself: one that fails is postponed and never stops the others.

    Returns how much moved. Stops early when ``service`` is out, needs a person, or the daemon stops.
    ``anonymous``: ``handle`` needs no credential.
    """
    moved = 0
    for document in documents:
        if not ctx.may_ask(service, anonymous=anonymous):
            break
        attempts = int(document.get("attempts") or 0) + 1
        try:
            moved += handle(ctx, document)
        except RecordTooLarge as error:
            too_large(ctx, document, error)
            with suppress(RecordTooLarge):
                postpone(ctx, document, str(error), retry_delay(attempts))
        except StoreError:
            raise
        except Transient as error:
            ctx.failed(error, str(document["_id"]))
            postpone(ctx, document, str(error), retry_delay(attempts, error.retry_after))
        except (NeedsPerson, OutcomeUnknown, Rejected) as error:
            ctx.failed(error)
            postpone(ctx, document, str(error), retry_delay(attempts))
        except Exception as error:
            log.exception("step_bug", document=_key(document), illegal=isinstance(error, IllegalMoveError))
            tell_of_bug(ctx, document, error)
            postpone(ctx, document, f"bug: {type(error).__name__}: {error}", retry_delay(attempts))
        else:
            ctx.answered(service, anonymous=anonymous)
    return moved
