"""Mails: a notice as a letter in two parts, the mail around it, and handing it to the server.

``letters`` (with ``words`` and ``templates/``) says it, ``message`` wraps it, ``smtp`` hands it over, ``push``
sends its gist over a second channel. Nothing here knows of the outbox: that is `jgi_stager.steps.send_notices`.
"""

from jgi_stager.mail.letters import PREFIX, Letter, render
from jgi_stager.mail.message import Attachment, Envelope, make_mail
from jgi_stager.mail.smtp import ContentRefused, Handover, send

__all__ = [
    "PREFIX",
    "Attachment",
    "ContentRefused",
    "Envelope",
    "Handover",
    "Letter",
    "make_mail",
    "render",
    "send",
]
