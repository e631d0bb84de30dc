"""The mail for a letter: both parts, attachments, and headers by which mail programs thread and tell repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from jgi_stager.mail.letters import Letter
from jgi_stager.records import is_mail_address

POLICY = SMTP.clone(max_line_length=500)
"""A folded subject begins with a line break, which some programs show as a blank."""


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a mail. ``media_type`` such as ``text/tab-separated-values``."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Envelope:
    """Who a mail is from and for, and its place in a thread.

    ``message_id`` is the same for every try of a notice; ``thread`` is that of the first mail of the thread.
    """

    sender: str
    to: Sequence[str]
    message_id: str
    at: datetime
    thread: str | None = None


def make_mail(letter: Letter, envelope: Envelope, attachments: Sequence[Attachment] = ()) -> EmailMessage:
    """The mail as it is handed to the server."""
    mail = EmailMessage(policy=POLICY)
    mail["Subject"] = letter.subject
    mail["From"] = envelope.sender
    # An address stored before such ones were refused could not be written here; it is asked for all the same.
    mail["To"] = ", ".join(filter(is_mail_address, envelope.to)) or "undisclosed-recipients:;"
    mail["Date"] = format_datetime(envelope.at)
    mail["Message-ID"] = envelope.message_id
    if envelope.thread and envelope.thread != envelope.message_id:
        mail["In-Reply-To"] = envelope.thread
        mail["References"] = envelope.thread
    # RFC 3834: no out-of-office answers, no loops.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(letter.text, cte="quoted-printable")
    mail.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    for one in attachments:
        main, _, sub = one.media_type.partition("/")
        mail.add_attachment(one.content, maintype=main, subtype=sub, filename=one.name)
    return mail
