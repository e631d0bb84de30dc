"""A second channel for what cannot wait: the subject and the first lines, through Apprise (extra ``apprise``).

Where it goes is a secret (the addresses hold tokens): the file ``apprise_urls``, on one line, with blanks between.
"""

from __future__ import annotations

import logging

from jgi_stager.failures import NeedsPerson, Service, Transient
from jgi_stager.mail.render import RenderedMail
from jgi_stager.secrets import SecretProblem, Secrets

SECRET = "apprise_urls"  # noqa: S105 - the name of a secret
LONGEST_BODY = 600


def push(rendered: RenderedMail, secrets: Secrets) -> None:
    """Send the gist of a mail. Raises `Transient` (not everybody got it) or `NeedsPerson`."""
    try:
        import apprise
    except ImportError:
        said = f"there is a secret {SECRET}, but Apprise is not installed"
        raise NeedsPerson(Service.SMTP, said, "pip install apprise, in the environment of the daemon") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses, which hold tokens
    channel = apprise.Apprise()
    try:
        addresses = secrets.read(SECRET).get_secret_value().split()
    except SecretProblem as error:
        raise NeedsPerson(Service.SMTP, str(error), "correct the file named above") from None
    if not all(channel.add(address) for address in addresses):
        cure = "correct it: https://github.com/caronc/apprise/wiki says what the addresses look like"
        raise NeedsPerson(Service.SMTP, f"an address in the secret {SECRET} is none that Apprise knows", cure)
    if not channel.notify(title=rendered.subject, body=gist(rendered)):
        raise Transient(Service.SMTP, "the second channel did not take the notice")


def gist(rendered: RenderedMail) -> str:
    """The text after the heading, up to `LONGEST_BODY` characters."""
    body = rendered.text.split("\n--\n")[0].split("\n\n", 1)[-1].strip()
    return body if len(body) <= LONGEST_BODY else body[:LONGEST_BODY].rsplit("\n", 1)[0] + "\n..."
