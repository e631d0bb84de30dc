"""What the errors of the Globus SDK mean to the daemon. The codes are those that public clients handle."""

from __future__ import annotations

import re
from collections.abc import Iterable

import globus_sdk

from jgi_stager.clients.parsing import excerpt, retry_after
from jgi_stager.failures import Lack, NeedsPerson, Rejected, Service, ServiceError, Transient

CURE_LOGIN = "run: jgi-stager login (or renew the secret globus_client_secret)"
NOT_FOUND = frozenset({"ClientError.NotFound", "NotFound", "ExternalError.DirListingFailed.NotFound"})
"""The directory or task does not exist. Not ``EndpointNotFound``, which says that the collection does not."""
MOST_NAMED = 4
"""Collections that are named in a cure."""
PERMISSION = ("PermissionDenied", "Forbidden")
_COLLECTION = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NEEDS_LOGIN = (
    "AuthenticationFailed",
    "ActivationRequired",
    "LoginFailed",
    "CredentialsMissing",
    "NoCredException",
)
_SAYS_LOGIN = re.compile(r"session_required|LOGIN_DENIED|authorization_parameters", re.IGNORECASE)


def is_permission_problem(error: globus_sdk.GlobusAPIError) -> bool:
    """Whether the collection denied access to a path."""
    return _code(error).endswith(PERMISSION)


def denies_path(error: globus_sdk.GlobusAPIError) -> bool:
    """Whether a collection denied one path to a login that is good otherwise."""
    return is_permission_problem(error) and error.http_status != 401 and not _lacks_login(error)


def _lacks_login(error: globus_sdk.GlobusAPIError) -> bool:
    return bool(error.info.consent_required or _SAYS_LOGIN.search(error.text[:65_536]))


def required_scopes(error: globus_sdk.GlobusAPIError) -> tuple[str, ...]:
    """The scopes whose consent Globus misses; empty if that is not the problem."""
    return tuple(error.info.consent_required.required_scopes or ()) if error.info.consent_required else ()


def meaning(what: str, error: globus_sdk.GlobusAPIError, hide: Iterable[str]) -> ServiceError:
    """The kind of failure that an answer of Globus stands for. ``what`` names the call."""
    if isinstance(error, globus_sdk.AuthAPIError):
        return _of_auth(error)
    code, status = _code(error), error.http_status
    text = f"globus: {what} answered HTTP {status}{' ' + code if code else ''}{_said(error, hide)}"
    cure = _cure(code, status, error)
    if cure:
        return NeedsPerson(Service.GLOBUS, text + _missing_consents(error), cure, _lack(code, status, error))
    if status >= 500 or status in (408, 409, 425, 429) or "TooMany" in code or not code:
        # 409 TooManyPendingJobs and the like; without a code it was no answer of Transfer, but of a gateway.
        return Transient(Service.GLOBUS, text, retry_after(error.headers))
    return Rejected(Service.GLOBUS, text)


def _cure(code: str, status: int, error: globus_sdk.GlobusAPIError) -> str | None:
    """What a person must do, None if it is nothing for a person."""
    if code == "ConsentRequired" or error.info.consent_required:
        named = "".join(f" --data-access {one}" for one in _collections(error)[:MOST_NAMED])
        return f"run: jgi-stager login{named}, and agree to the data access"
    if status == 401 or code.endswith(_NEEDS_LOGIN) or _SAYS_LOGIN.search(error.text[:65_536]):
        return CURE_LOGIN
    if code == "EndpointNotFound":
        return "check the collection ids in [globus] of the settings"
    if is_permission_problem(error) or (status == 403 and code):
        return "give the Globus identity of the daemon access there, or log in as one that has it"
    return None


def _lack(code: str, status: int, error: globus_sdk.GlobusAPIError) -> Lack | None:
    """What is missing of a login that Globus knows; None if it is the login itself, or a wrong setting."""
    if code == "ConsentRequired" or error.info.consent_required:
        return Lack("data_access", _collections(error))
    if status == 401 or _lacks_login(error) or not is_permission_problem(error):
        return None
    return Lack("access")


def lost(what: str, error: Exception) -> Transient:
    """There was no answer, or one that the SDK could not take apart."""
    if isinstance(error, globus_sdk.NetworkError):
        return Transient(Service.GLOBUS, f"globus: {what} failed: {_network(error)}")
    return Transient(
        Service.GLOBUS, f"globus: {what} was answered with something unexpected ({type(error).__name__})"
    )


def _network(error: globus_sdk.NetworkError) -> str:
    if isinstance(error, globus_sdk.GlobusConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, globus_sdk.GlobusTimeoutError):
        return "no answer in time"
    return "no connection, or it broke"


def _of_auth(error: globus_sdk.GlobusAPIError) -> ServiceError:
    """An answer of Globus Auth, which is asked for access tokens."""
    said = error.text[:4096]
    text = f"globus: Globus Auth refuses the credential (HTTP {error.http_status})"
    if "invalid_grant" in said:
        return NeedsPerson(Service.GLOBUS, f"{text}: the login has lapsed or was revoked", CURE_LOGIN)
    if "invalid_client" in said or error.http_status in (401, 403):
        cure = "check client_id in [globus] and the secret globus_client_secret or globus_refresh_token"
        return NeedsPerson(Service.GLOBUS, f"{text}: the client id or secret is wrong", cure)
    if error.http_status == 400 and error.raw_json is not None:
        return NeedsPerson(Service.GLOBUS, text, CURE_LOGIN)
    return Transient(
        Service.GLOBUS, f"globus: Globus Auth answered HTTP {error.http_status}", retry_after(error.headers)
    )


def _collections(error: globus_sdk.GlobusAPIError) -> tuple[str, ...]:
    """The collections whose consent is missing, as far as the scopes name them."""
    return tuple(sorted({name.lower() for scope in required_scopes(error) for name in _COLLECTION.findall(scope)}))


def _missing_consents(error: globus_sdk.GlobusAPIError) -> str:
    collections = _collections(error)
    return f"; consent is missing for collection {', '.join(collections)[:200]}" if collections else ""


def _code(error: globus_sdk.GlobusAPIError) -> str:
    return excerpt(error.code, limit=80) if isinstance(error.code, str) else ""


def _said(error: globus_sdk.GlobusAPIError, hide: Iterable[str]) -> str:
    said = excerpt("; ".join(str(message) for message in error.messages), hide)
    return f": {said}" if said else ""
