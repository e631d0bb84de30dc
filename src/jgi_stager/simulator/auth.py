"""Globus Auth: the token call of the two ways in that need no browser."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qs, unquote

from starlette.responses import Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .web import Context, answer, route
from .world import World

TRANSFER_SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
RESOURCE_SERVER = "transfer.api.globus.org"


def routes(world: World, clock: Clock) -> list[Route]:
    """The calls of Globus Auth."""
    return [
        route("/v2/oauth2/token", "auth.token", _token, world, clock, ("POST",)),
        route("/v2/oauth2/userinfo", "auth.userinfo", _userinfo, world, clock),
    ]


def _token(call: Context) -> Response:
    form = {key: values[0] for key, values in parse_qs(call.body.decode("utf-8", "replace")).items()}
    client_id, secret = _client(call, form)
    credentials = call.world.settings.credentials
    confidential = secret == credentials.globus_client_secret and not call.world.switches.globus_secret_revoked
    if client_id != credentials.globus_client_id or (secret is not None and not confidential):
        return answer({"error": "invalid_client", "error_description": "Invalid client authentication"}, 401)
    match form.get("grant_type"):
        case "client_credentials" if confidential:
            return _issue(call, form.get("scope") or TRANSFER_SCOPE, None)
        case "client_credentials":
            return answer({"error": "unauthorized_client"}, 401)
        case "refresh_token":
            revoked = call.world.switches.globus_secret_revoked
            if revoked or form.get("refresh_token") != credentials.globus_refresh_token:
                return answer({"error": "invalid_grant", "error_description": "refresh token"}, 400)
            return _issue(call, _consented(call), credentials.globus_refresh_token)
        case _:
            return answer({"error": "unsupported_grant_type"}, 400)


def _client(call: Context, form: dict[str, str]) -> tuple[str, str | None]:
    """The client of the call, with its secret if it has one."""
    scheme, _, value = call.header("authorization").partition(" ")
    if scheme == "Basic":
        try:
            client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return unquote(client_id), unquote(secret)
    return form.get("client_id", ""), form.get("client_secret")


def _consented(call: Context) -> str:
    """What the person at the login consented to: both collections."""
    settings = call.world.settings
    scopes = (data_access_scope(one) for one in (settings.jgi_collection_id, settings.nersc_collection_id))
    return f"{TRANSFER_SCOPE}[{' '.join(f'*{scope}' for scope in scopes)}]"


def data_access_scope(collection_id: str) -> str:
    """The scope a mapped collection wants to see."""
    return f"https://auth.globus.org/scopes/{collection_id}/data_access"


def _issue(call: Context, scope: str, refresh_token: str | None) -> Response:
    if TRANSFER_SCOPE not in scope:
        return answer({"error": "invalid_scope"}, 400)
    token = call.world.globus_tokens.issue(call.now, scope)
    body = {
        "access_token": token.value,
        "scope": TRANSFER_SCOPE,
        "expires_in": int(call.world.settings.globus_token_hours * 3600),
        "token_type": "Bearer",
        "resource_server": RESOURCE_SERVER,
        "other_tokens": [],
    }
    return answer(body | ({"refresh_token": refresh_token} if refresh_token else {}))


def _userinfo(call: Context) -> Response:
    if not call.world.globus_tokens.find(call.header("authorization"), call.now):
        return answer({"error": "unauthorized"}, 401)
    client_id = call.world.settings.credentials.globus_client_id
    return answer({"sub": client_id, "preferred_username": f"{client_id}@clients.auth.globus.org"})
