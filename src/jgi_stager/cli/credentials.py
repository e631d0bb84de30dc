"""``login`` and ``token set``: credentials go from a person into files that only the daemon's user reads."""

from __future__ import annotations

import getpass
import os
import re
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager.cli.commands import Commands
from jgi_stager.cli.common import ConfigOption, Mistake, Page, handled, settings_or_exit
from jgi_stager.client_factory import clients_for_command
from jgi_stager.clients.globus_login import CLIENT_SECRET, REFRESH_TOKEN
from jgi_stager.clients.gold import OFFLINE_TOKEN
from jgi_stager.clients.jdp_session import TOKEN
from jgi_stager.failures import NeedsPerson, Rejected, ServiceError
from jgi_stager.opening import open_secrets
from jgi_stager.secrets import LARGEST_SECRET_BYTES, Secrets
from jgi_stager.settings import Settings
from jgi_stager.store.processes import private_directory

token_app = Commands(no_args_is_help=True, help="Store the tokens of GOLD and JDP.")
_COLLECTION = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Tokens(StrEnum):
    """The tokens that a person copies from a web page."""

    GOLD = "gold"
    JDP = "jdp"


NAMES = {Tokens.GOLD: OFFLINE_TOKEN, Tokens.JDP: TOKEN}
WHERE = {
    Tokens.GOLD: "the offline token from your account page at https://gold.jgi.doe.gov",
    Tokens.JDP: "the session token from the account menu at https://data.jgi.doe.gov (Copy My Session Token)",
}


@token_app.command("set")
def set_token(
    which: Annotated[Tokens, typer.Argument(metavar="SERVICE", help="Whose token it is: gold or jdp.")],
    probe: Annotated[bool, typer.Option(help="Try it before it replaces the one that is stored.")] = True,
    config: ConfigOption = None,
) -> None:
    """Store a token, read from standard input or a hidden prompt, never from the command line.

    It is tried first: one that is refused does not replace the one that is stored.
    """
    settings = settings_or_exit(config)
    with handled():
        token = plausible(which, _read(f"Paste {WHERE[which]}; it is not shown: "))
        page = Page()
        said = _try(settings, which, token) if probe else "not tried"
        path = store_secret(open_secrets(settings), NAMES[which], token)
        page.say(f"{path} is written (0600); {said}. The daemon uses it at once.")


def _read(prompt: str) -> str:
    """A line from a hidden prompt, or everything from standard input where that is no terminal."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.read(LARGEST_SECRET_BYTES + 1)


def plausible(which: Tokens, text: str) -> str:
    """The token without what copying adds. Raises `Mistake` for what cannot be one; never quotes it."""
    token = text.strip().strip("\"'").strip()
    if not token:
        raise Mistake("nothing was given; copy the token again and paste it, or pipe it into this command", code=2)
    if len(token) > LARGEST_SECRET_BYTES or not token.isascii() or not token.isprintable():
        raise Mistake(
            "this is not a token: it has line breaks or characters that no token has; copy it again", code=2
        )
    bare = token[7:].strip() if token[:7].lower() == "bearer " else token
    if len(bare) < 8 or " " in bare or bare.startswith("<"):
        raise Mistake(f"this does not look like a token of {which.upper()}; copy {WHERE[which]}", code=2)
    return bare if which == Tokens.GOLD else token


def _try(settings: Settings, which: Tokens, token: str) -> str:
    """Try the token from a private directory of its own. Raises `Mistake` if it is refused."""
    with tempfile.TemporaryDirectory(prefix="jgi-stager-") as directory:
        candidate = Secrets(Path(directory))
        store_secret(candidate, NAMES[which], token)
        with clients_for_command(settings, candidate) as services:
            try:
                if which == Tokens.GOLD:
                    services.gold.probe()
                else:
                    services.jdp.request_status(1)
            except NeedsPerson as error:
                # It names the private directory where the token was; a person knows another one.
                said = str(error).replace(directory, str(settings.secrets.directory))
                raise Mistake(
                    f"{which.upper()} refuses it, so it was not stored: {said}; copy {WHERE[which]}"
                ) from None
            except Rejected:
                return f"{which.upper()} takes it"  # JDP knows no such request, but it listened.
            except ServiceError as error:
                return f"it could not be tried now ({error})"
    return f"{which.upper()} takes it"


def store_secret(secrets: Secrets, name: str, value: str) -> Path:
    """Write a secret so that a reader sees the old or the new one, and nobody else any. Raises OSError."""
    private_directory(secrets.directory)
    path = secrets.path(name)
    descriptor, temporary = tempfile.mkstemp(dir=secrets.directory, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


# --- Globus --------------------------------------------------------------------------------------------------


def login(
    data_access: Annotated[
        list[str] | None,
        typer.Option(metavar="COLLECTION", help="Also consent to data access there (mapped collections)."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Log in to Globus: open the address that is shown, agree, and paste the code. Stores the refresh token."""
    settings = settings_or_exit(config)
    with handled():
        if not settings.globus.client_id:
            raise Mistake(
                "set client_id in [globus] first: register a native app at https://app.globus.org/settings/developers"
            )
        secrets, page = open_secrets(settings), Page()
        if secrets.exists(CLIENT_SECRET):
            page.say(
                f"{secrets.path(CLIENT_SECRET)} is there and goes before a login; remove it to use this one.",
                style="yellow",
            )
        token = _flow(settings, [_collection(one) for one in data_access or ()], page)
        path = store_secret(secrets, REFRESH_TOKEN, token)
        page.say(f"{path} is written (0600). The daemon uses it at once; it lasts as long as it is used.")


def _collection(text: str) -> str:
    if not _COLLECTION.match(text.lower()):
        raise Mistake(
            f"--data-access {text}: not a collection id such as 65fa2422-e080-11ec-990f-3b4cfda38030", code=2
        )
    return text.lower()


def _flow(settings: Settings, collections: list[str], page: Page) -> str:
    """The native app flow of Globus Auth; the refresh token. Raises `Mistake`."""
    import globus_sdk
    from globus_sdk.scopes import GCSCollectionScopes, TransferScopes

    scope = TransferScopes.all
    for collection in collections:
        scope = scope.with_dependency(GCSCollectionScopes(collection).data_access.with_optional(optional=True))
    client = globus_sdk.NativeAppAuthClient(
        settings.globus.client_id or "", base_url=settings.globus.auth_url, app_name="jgi-stager"
    )
    client.oauth2_start_flow(requested_scopes=scope, refresh_tokens=True)
    try:
        page.say("Open this address, log in, agree, and copy the code:")
        page.say()
        # Not wrapped: a line break inside an address would break it.
        typer.echo(client.oauth2_get_authorize_url())
        page.say()
        code = _read("Paste the code here: ").strip()
        if not code:
            raise Mistake("no code was given; nothing was changed", code=2)
        answer = client.oauth2_exchange_code_for_tokens(code)
    except globus_sdk.GlobusAPIError as error:
        raise Mistake(
            f"Globus refuses the code (HTTP {error.http_status}): it works once and for a short time; "
            "give the command again. Nothing was changed"
        ) from None
    except globus_sdk.GlobusError as error:
        raise Mistake(f"Globus cannot be reached ({type(error).__name__}); nothing was changed") from None
    finally:
        client.transport.close()
    given = answer.by_resource_server.get("transfer.api.globus.org", {})
    token = given.get("refresh_token")
    if not isinstance(token, str) or not token:
        raise Mistake("Globus gave no refresh token; is client_id that of a native app?")
    return token


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(login)
    app.add_typer(token_app, name="token")
