"""The mail that goes out when systemd has given the daemon up. It needs neither the daemon nor the database."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from jgi_stager.settings import Settings

_REASONS = {
    "exit-code": "it ended with an error",
    "signal": "it was killed by a signal",
    "core-dump": "it crashed",
    "watchdog": "it did not move any more (watchdog)",
    "timeout": "it did not start or stop in time",
    "oom-kill": "the machine ran out of memory",
    "start-limit-hit": "it was started too often",
    "resources": "the machine could not start it (files, memory)",
}
_TEXT = """\
The JGI stager on {host} has stopped, and systemd no longer starts it again: {reason}.

Nothing is lost: what it knows is in its database, and it goes on from there when it is started. Until then
nothing is asked for, transferred or verified; a delivery that waits at JGI may expire.

You: see what happened (jgi-stager check names a setting that cannot be used), and when that is solved, start
it again:

    journalctl -u jgi-stager -n 100
    systemctl reset-failed jgi-stager && systemctl start jgi-stager
"""


def failure_mail(settings: Settings, at: datetime) -> EmailMessage:
    """The mail, from what systemd tells in the environment (``$MONITOR_SERVICE_RESULT``, since version 251)."""
    told = os.environ.get("MONITOR_SERVICE_RESULT", "")
    reason = _REASONS.get(told, "see the journal")
    if told == "exit-code" and os.environ.get("MONITOR_EXIT_STATUS") == "2":
        reason = "its settings cannot be used"
    host = socket.gethostname()
    mail = EmailMessage()
    mail["Subject"] = f"[jgi-stager] the service on {host} has given up"
    mail["From"] = settings.notifications.mail_from
    mail["To"] = ", ".join(settings.notifications.mailto)
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = make_msgid(domain=settings.notifications.mail_from.rpartition("@")[2] or "localhost")
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(_TEXT.format(host=host, reason=reason))
    return mail
