"""Mails: a notice written as text and HTML, put into a message, and handed to the mail server.

``render`` (with ``templates/``) writes and wraps it, ``smtp`` hands it over, ``push`` sends its gist over a second
channel. Nothing here knows of the outbox: that is `jgi_stager.steps.outbox`.
"""

from jgi_stager.mail.render import (
    PREFIX,
    Attachment,
    Envelope,
    Picture,
    RenderedMail,
    UnknownKindError,
    make_mail,
    render,
)
from jgi_stager.mail.smtp import ContentRefused, DeliveryResult, send

__all__ = [
    "PREFIX",
    "Attachment",
    "ContentRefused",
    "DeliveryResult",
    "Envelope",
    "Picture",
    "RenderedMail",
    "UnknownKindError",
    "make_mail",
    "render",
    "send",
]
