"""Mails: rendering a notice, and handing it to the mail server."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jgi_stager.failures import NeedsPerson, Rejected, Service, Transient
from jgi_stager.meters import outside_call
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import NotificationSettings
from jgi_stager.text import human_bytes


@lru_cache(maxsize=1)
def _templates() -> Environment:
    # Plain text: nothing is escaped, and what comes from outside is cleaned of control characters instead.
    environment = Environment(
        loader=PackageLoader("jgi_stager", "templates"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["size"] = human_bytes
    environment.filters["instant"] = lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return environment


def _clean(value: Any) -> Any:
    """Text from outside without control characters other than line ends, at any depth."""
    if isinstance(value, str):
        return "".join(
            char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in value
        )
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def render(notice: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of a notice: the first line of its template, and the rest."""
    data = {"project": notice.get("project"), **_clean(notice["data"])}
    whole = _templates().get_template(f"{notice['kind']}.txt").render(data)
    subject, _, text = whole.partition("\n")
    return f"[jgi-stager] {' '.join(subject.split())[:180]}", text.strip("\n") + "\n"


def message(notice: Mapping[str, Any], sender: str, to: Sequence[str], at: datetime) -> EmailMessage:
    """The mail for a notice. The same notice always has the same Message-ID, so a repeat can be told."""
    subject, text = render(notice)
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = notice["message_id"]
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    return mail


def send(mail: EmailMessage, settings: NotificationSettings, secrets: Secrets) -> None:
    """Hand a mail to the server. Raises `Transient` (try later), `Rejected` (never) or `NeedsPerson`."""
    with outside_call(Service.SMTP) as counted:
        _hand_over(mail, settings, secrets)
        counted.result = "ok"


def _hand_over(mail: EmailMessage, settings: NotificationSettings, secrets: Secrets) -> None:
    try:
        with _connect(settings) as server:
            if settings.smtp_user:
                password = secrets.read("smtp_password").get_secret_value()
                server.login(settings.smtp_user, password)
            refused = server.send_message(mail)
    except SecretProblem as error:
        raise NeedsPerson(Service.SMTP, str(error), "put the password into the file named above") from None
    except smtplib.SMTPAuthenticationError as error:
        cure = "correct notifications.smtp_user or the secret smtp_password"
        raise NeedsPerson(Service.SMTP, f"the mail server refuses the login ({error.smtp_code})", cure) from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        kind = Rejected if codes and min(codes) >= 500 else Transient
        raise kind(Service.SMTP, f"the mail server refuses {', '.join(error.recipients)}") from None
    except smtplib.SMTPResponseException as error:
        kind = Rejected if error.smtp_code >= 500 else Transient
        raise kind(Service.SMTP, f"the mail server answers {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Transient(Service.SMTP, f"the mail server cannot be used: {type(error).__name__}: {error}") from None
    if refused:
        raise Rejected(Service.SMTP, f"the mail server refuses {', '.join(refused)}; the others got the mail")


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
