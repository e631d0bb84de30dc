"""Mails: a notice as a letter in two parts, the mail around it, and handing it to the server.

``letters`` (with ``words`` and ``templates/``) says it, ``message`` wraps it, ``smtp`` hands it over, ``push``
sends its gist over a second channel. Nothing here knows of the outbox: that is `jgi_stager.steps.outbox`.
"""

from jgi_stager.mail.render import PREFIX, Attachment, Envelope, Letter, make_mail, render
from jgi_stager.mail.smtp import ContentRefused, DeliveryResult, send

__all__ = [
    "PREFIX",
    "Attachment",
    "ContentRefused",
    "DeliveryResult",
    "Envelope",
    "Letter",
    "make_mail",
    "render",
    "send",
]
