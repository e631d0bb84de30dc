"""An authorized Transfer client of the Globus SDK, made from the secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import globus_sdk
import requests
from globus_sdk.scopes import TransferScopes
from globus_sdk.transport import RequestsTransport, RetryConfig

from jgi_stager.clients.transport import BoundedAdapter, silence_queries
from jgi_stager.failures import NeedsPerson, Service
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import GlobusSettings
from jgi_stager.version import RELEASE

CLIENT_SECRET = "globus_client_secret"  # noqa: S105 - the name of a secret
REFRESH_TOKEN = "globus_refresh_token"  # noqa: S105
MAX_BODY_BYTES = 256 * 1024 * 1024
"""A listing of 100,000 entries, the most that Globus gives, is about 40 MB."""
POOL_SIZE = 4
LONGEST_RETRY_SLEEP = 1.0
"""Seconds, real. Longer waits are the daemon's business: here they would hold up a tick."""


class _RefreshTokenAuthorizer(globus_sdk.RefreshTokenAuthorizer):
    """Keeps its refresh token where Globus Auth does not repeat it.

    The SDK (4.9) overwrites it with None then, so that the second renewal, 48 hours later, would fail.
    """

    def _extract_token_data(self, res: globus_sdk.OAuthRefreshTokenResponse) -> dict[str, Any]:
        before = self.refresh_token
        data = super()._extract_token_data(res)
        self.refresh_token = self.refresh_token or before
        return data


def fingerprint(secrets: Secrets) -> tuple[object, object]:
    """Changes whenever one of the secrets behind a login does."""
    return secrets.fingerprint(CLIENT_SECRET), secrets.fingerprint(REFRESH_TOKEN)


def can_consent(secrets: Secrets) -> bool:
    """Whether the login is a confidential client's, which may agree to a data access for itself."""
    return secrets.exists(CLIENT_SECRET)


def log_in(settings: GlobusSettings, secrets: Secrets, scopes: Iterable[str] = ()) -> globus_sdk.TransferClient:
    """A Transfer client with a fresh access token. ``scopes`` default to all of Transfer.

    A client secret (confidential client: no person needed) goes before a refresh token. The addresses of
    Globus are those of the settings; else the SDK's, or ``GLOBUS_SDK_SERVICE_URL_TRANSFER`` and ``_AUTH``.
    Raises `NeedsPerson` if there is no usable secret, and what the SDK raises.
    """
    silence_queries()
    if not settings.client_id:
        cure = "register an application at Globus and set client_id in [globus]"
        raise NeedsPerson(Service.GLOBUS, "globus: no client id", cure)
    wanted = list(scopes) or [str(TransferScopes.all)]
    authorizer: globus_sdk.authorizers.GlobusAuthorizer
    if secrets.exists(CLIENT_SECRET):
        confidential = globus_sdk.ConfidentialAppAuthClient(
            settings.client_id,
            _read(secrets, CLIENT_SECRET),
            base_url=settings.auth_url,
            transport=_transport(settings),
            retry_config=_retries(),
        )
        authorizer = globus_sdk.ClientCredentialsAuthorizer(confidential, wanted)
    else:
        native = globus_sdk.NativeAppAuthClient(
            settings.client_id,
            base_url=settings.auth_url,
            transport=_transport(settings),
            retry_config=_retries(),
        )
        authorizer = _RefreshTokenAuthorizer(_read(secrets, REFRESH_TOKEN), native)
    return globus_sdk.TransferClient(
        base_url=settings.transfer_url,
        authorizer=authorizer,
        transport=_transport(settings),
        retry_config=_retries(),
    )


def log_out(client: globus_sdk.TransferClient) -> None:
    """Close the connections of a client that `log_in` made."""
    client.transport.close()
    for name in ("confidential_client", "auth_client"):
        auth_client = getattr(client.authorizer, name, None)
        if auth_client is not None:
            auth_client.transport.close()


def _read(secrets: Secrets, name: str) -> str:
    try:
        return secrets.read(name).get_secret_value()
    except SecretProblem as error:
        problem = str(error)
    cure = f"run: jgi-stager login, or put the client's secret into {secrets.path(CLIENT_SECRET)} (mode 0600)"
    raise NeedsPerson(Service.GLOBUS, f"globus: no login: {problem}", cure)


def _retries() -> RetryConfig:
    """One more try, after at most a second, for a renewed token or a connection that broke.

    Repeating is safe: reads by nature, a submission by its submission id, a cancellation by its meaning.
    Answers are not retried here: their kind is decided by the daemon.
    """
    return RetryConfig(
        max_retries=1,
        max_sleep=LONGEST_RETRY_SLEEP,
        retry_after_status_codes=(),
        transient_error_status_codes=(),
    )


def _transport(settings: GlobusSettings) -> RequestsTransport:
    transport = RequestsTransport(verify_ssl=_certificates(), http_timeout=settings.timeout_seconds)
    transport.user_agent = f"jgi-stager/{RELEASE}"
    adapter = BoundedAdapter(POOL_SIZE, MAX_BODY_BYTES, 5 * settings.timeout_seconds)
    session: requests.Session = transport.session
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return transport


def _certificates() -> bool | str:
    """Certificates are always verified: the SDK's variable may name a bundle, never switch it off."""
    named = os.environ.get("GLOBUS_SDK_VERIFY_SSL") or os.environ.get("REQUESTS_CA_BUNDLE")
    return named if named and Path(named).is_file() else True
