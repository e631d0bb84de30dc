"""Handing a mail to the server, and what its answers mean: taken, refused for ever, or not now.

An answer to DATA is final. What happens after it (a QUIT that fails) changes nothing; where the answer is lost,
the mail may have left or not: it is sent again, with the same Message-ID.
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import parseaddr

from jgi_stager.failures import NeedsPerson, Rejected, Service, ServiceError, Transient
from jgi_stager.metrics import service_call
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import NotificationSettings

_GONE = 421
"""The server closes the connection, at whatever point: that is about the server, not about the address."""
_TOO_LARGE = 552
"""RFC 1870: the answer to MAIL FROM where the mail is larger than the server allows."""


@dataclass(frozen=True)
class DeliveryResult:
    """What became of a mail, by address: ``refused`` for ever, ``postponed`` to be tried again."""

    taken: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    postponed: Mapping[str, str] = field(default_factory=dict)


class ContentRefused(Rejected):
    """The server took the addresses and refused the mail itself; without its attachments it may be taken."""


def send(
    mail: EmailMessage, to: Sequence[str], settings: NotificationSettings, secrets: Secrets
) -> DeliveryResult:
    """Hand a mail over for the addresses ``to``.

    Raises `Transient` (the server is out: try later), `NeedsPerson` (it refuses the login or the sender) or
    `ContentRefused`; then no address got it.
    """
    with service_call(Service.SMTP) as counted, _meanings(settings):
        server = _connect(settings)
        try:
            _log_in(server, settings, secrets)
            handed = _hand_over(server, mail, to, settings)
            counted.result = "ok"
            return handed
        finally:
            _leave(server)


def _hand_over(
    server: smtplib.SMTP, mail: EmailMessage, to: Sequence[str], settings: NotificationSettings
) -> DeliveryResult:
    sender = parseaddr(settings.mail_from)[1] or settings.mail_from
    answers: dict[str, tuple[int, bytes]] = {}
    try:
        answers = server.send_message(mail, from_addr=sender, to_addrs=list(to))
    except smtplib.SMTPRecipientsRefused as error:
        answers = error.recipients
        if any(code == _GONE for code, _ in answers.values()):
            raise Transient(Service.SMTP, "the mail server closes the connection (421)") from None
    except smtplib.SMTPDataError as error:
        if 500 <= error.smtp_code < 600:
            raise ContentRefused(Service.SMTP, f"the mail server refuses the mail ({_said(error)})") from None
        raise
    refused = {one: _answer(code, text) for one, (code, text) in answers.items() if 500 <= code < 600}
    postponed = {one: _answer(code, text) for one, (code, text) in answers.items() if one not in refused}
    return DeliveryResult(tuple(one for one in to if one not in answers), refused, postponed)


@contextlib.contextmanager
def _meanings(settings: NotificationSettings) -> Iterator[None]:
    """Turn what smtplib raises into the three kinds. Nothing here quotes a password."""
    login = "correct notifications.smtp_user or the secret smtp_password"
    security = "correct notifications.smtp_tls and smtp_port, or install the certificate of the server's CA"
    try:
        yield
    except SecretProblem as error:
        raise NeedsPerson(Service.SMTP, str(error), "put the password into the file named above") from None
    except smtplib.SMTPAuthenticationError as error:
        if error.smtp_code < 500:
            raise Transient(Service.SMTP, f"the mail server cannot check logins now ({error.smtp_code})") from None
        raise NeedsPerson(Service.SMTP, f"the mail server refuses the login ({error.smtp_code})", login) from None
    except smtplib.SMTPNotSupportedError as error:
        raise NeedsPerson(Service.SMTP, f"the mail server cannot do what is set: {error}", security) from None
    except ssl.SSLCertVerificationError as error:
        said = f"the certificate of the mail server cannot be verified: {error.verify_message}"
        raise NeedsPerson(Service.SMTP, said, security) from None
    except smtplib.SMTPSenderRefused as error:
        raise _sender_refused(error, settings) from None
    except smtplib.SMTPResponseException as error:
        raise Transient(Service.SMTP, f"the mail server answers {_said(error)}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Transient(Service.SMTP, f"the mail server cannot be used: {type(error).__name__}: {error}") from None


def _sender_refused(error: smtplib.SMTPSenderRefused, settings: NotificationSettings) -> ServiceError:
    if error.smtp_code == _TOO_LARGE:
        return ContentRefused(Service.SMTP, f"the mail server refuses the mail ({_said(error)})")
    if 500 <= error.smtp_code < 600:
        # No mail would leave at all: that is a setting, not this mail, and no mail is given up for it.
        said = f"the mail server refuses the sender {settings.mail_from} ({_said(error)})"
        cure = "correct notifications.mail_from, or set smtp_user if the server wants a login"
        return NeedsPerson(Service.SMTP, said, cure)
    return Transient(Service.SMTP, f"the mail server answers {_said(error)}")


def _connect(settings: NotificationSettings) -> smtplib.SMTP:
    host, port, timeout = settings.smtp_host, settings.smtp_port, settings.smtp_timeout_seconds
    context = ssl.create_default_context()
    if settings.smtp_tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
    server = smtplib.SMTP(host, port, timeout=timeout)
    if settings.smtp_tls == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


def _log_in(server: smtplib.SMTP, settings: NotificationSettings, secrets: Secrets) -> None:
    if settings.smtp_user:
        server.login(settings.smtp_user, secrets.read("smtp_password").get_secret_value())


def _leave(server: smtplib.SMTP) -> None:
    """Say goodbye if anybody listens; the mail is settled by now."""
    with contextlib.suppress(smtplib.SMTPException, OSError):
        server.quit()
    server.close()


def _answer(code: int, text: bytes | str) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return f"{code} {' '.join(said.split())}"[:200].strip()


def _said(error: smtplib.SMTPResponseException) -> str:
    return _answer(error.smtp_code, error.smtp_error)
