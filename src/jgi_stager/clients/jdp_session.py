"""The session token of JDP: how it is sent, and what a refusal says about it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jgi_stager.clients.http import RefusedError
from jgi_stager.failures import NeedsPerson, Rejected, Service, ServiceError
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import JdpSettings

TOKEN = "jdp_token"  # noqa: S105 - the name of a secret
CURE = "log in to the JGI Data Portal, copy the session token (account menu) and run: jgi-stager token set jdp"
_ABOUT_LOGIN = re.compile(
    r"authentication|credential|not logged in|log in|(token|session).{0,40}(invalid|expired)|"
    r"invalid.{0,20}(token|session)",
    re.IGNORECASE,
)
"""In the body of a 403: the portal's framework answers 403, not 401, to some ended sessions."""


def credential(secrets: Secrets, settings: JdpSettings) -> Mapping[str, str]:
    """The header with the session token, read anew so that a renewed one counts. Raises `SecretProblem`."""
    text = secrets.read(TOKEN).get_secret_value()
    if not text.isascii():
        raise SecretProblem(f"{secrets.path(TOKEN)}: has characters that no token has; copy it again")
    if settings.credential == "cookie":
        name = settings.cookie_name
        return {"Cookie": f"{name}={text.removeprefix(f'{name}=')}"}
    # What the portal copies starts with "Bearer " already; doubled it answers 401.
    bare = text[7:].strip() if text[:7].lower() == "bearer " else text
    return {"Authorization": f"Bearer {bare}"}


def no_session(error: SecretProblem) -> NeedsPerson:
    """There is no token that can be sent."""
    return NeedsPerson(Service.JDP, f"jdp: no session token: {error}", CURE)


def meaning(error: RefusedError) -> ServiceError:
    """What a refusal means: the session has ended, or the thing that was asked for is refused."""
    if error.status == 401 or (error.status == 403 and _ABOUT_LOGIN.search(str(error))):
        return NeedsPerson(Service.JDP, f"{error}; the session token is missing, wrong or has ended", CURE)
    refused = Rejected(error.service, str(error))
    refused.status = error.status
    return refused
