"""Where settings come from, the file and the environment, and what is wrong with them in plain words.

Also the types of settings that need more than pydantic has: lists from the environment, addresses.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from email.utils import parseaddr
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from jgi_stager.records import is_mail_address

# --- types of settings --------------------------------------------------------------------------------------


def _as_list(value: Any) -> Any:
    """From the environment a list comes as text: names with commas between them, or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


# No empty text: as a part of file names to remove it would remove every file.
Strings = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list)]


def _absolute(value: Path) -> Path:
    if not value.is_absolute() or ".." in value.parts:
        raise ValueError(f"must be an absolute path without '..', not {value}")
    return value


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A path that means the same wherever a command is given."""
Paths = Annotated[list[AbsolutePath], BeforeValidator(_as_list)]


def _address(value: str) -> str:
    if not is_mail_address(value):
        raise ValueError(f"must be a plain mail address such as stager@example.org, not {value!r}")
    return value


def _sender(value: str) -> str:
    """An address, or a name with one: ``JGI stager <stager@example.org>``."""
    if not value.isprintable() or not is_mail_address(parseaddr(value)[1]):
        raise ValueError(f"must be a mail address, perhaps with a name before it in < >, not {value!r}")
    return value


Sender = Annotated[str, AfterValidator(_sender)]
Addresses = Annotated[list[Annotated[str, AfterValidator(_address)]], BeforeValidator(_as_list)]


def is_loopback(host: str) -> bool:
    """Whether what is sent to ``host`` stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def private_url(url: str) -> str:
    """An address to which a token may be sent: encrypted, or on this machine. Raises ValueError."""
    if url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
        raise ValueError(
            "must begin with https://: http:// would carry tokens unencrypted, and is for this machine alone "
            "(127.0.0.1, ::1 or localhost)"
        )
    return url


HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/\\]+(/\S*)?$"), AfterValidator(private_url)]


# --- the file and the environment ---------------------------------------------------------------------------


ENV_PREFIX = "JGI_STAGER_"
CONFIG_VARIABLE = "JGI_STAGER_CONFIG"
"""Names the TOML file; the one environment variable that is not a setting."""

GLOBUS_ADDRESSES = "GLOBUS_SDK_SERVICE_URL_"
"""Variables that begin so replace the addresses of Globus; the SDK reads them itself."""

_UNVERIFIED = re.compile(r"[?&](tlsInsecure|tlsAllowInvalid\w+)=(?!false)|[?&]ssl_cert_reqs=", re.IGNORECASE)
WITH_PASSWORD = re.compile(r"^[a-z+]+://[^/@]*:[^/@]+@")

Known = Mapping[str, Collection[str]]
"""The keys of every section."""


class ConfigError(Exception):
    """The settings cannot be used. The message names the file, the key and the cure."""


def default_config_file() -> Path | None:
    """The settings file that is used when none is named: the first that exists of
    ``$CONFIGURATION_DIRECTORY``, ``$XDG_CONFIG_HOME/jgi-stager`` and ``/etc/jgi-stager``."""
    xdg = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    # systemd separates several directories by colons.
    directories = [
        *os.environ.get("CONFIGURATION_DIRECTORY", "").split(":"),
        f"{xdg}/jgi-stager",
        "/etc/jgi-stager",
    ]
    candidates = (Path(directory) / "jgi-stager.toml" for directory in directories if directory)
    return next((path for path in candidates if path.is_file()), None)


def require_configuration(config_file: Path | None) -> None:
    """Raises `ConfigError` where nothing is configured at all: no settings file, no variable.

    The defaults alone name no place to stage to, and a database of their own that no daemon looks at.
    """
    given = config_file or os.environ.get(CONFIG_VARIABLE) or default_config_file()
    if not given and not any(name.upper().startswith(ENV_PREFIX) for name in os.environ):
        raise ConfigError(
            "nothing is configured: there is no settings file; write one with: jgi-stager init, "
            "or name the one of your daemon with --config"
        )


def read_toml(path: Path, known: Known) -> dict[str, Any]:
    """The sections of the file. Raises `ConfigError` if it cannot be read or holds what is no setting."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; name a readable file with --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for section, keys in values.items():
        # Checked here and not left to the model: its constructor takes options of its own beside the sections.
        if section not in known:
            raise ConfigError(f"{path}: {section}: no such section; {_instead(section, known)}")
        if not isinstance(keys, dict):
            raise ConfigError(
                f"{path}: {section}: must be a section with keys; write [{section}] on a line of its own"
            )
        for key in keys:
            if key not in known[section]:
                raise ConfigError(f"{path}: {section}.{key}: no such setting; {_instead(key, known[section])}")
    return values


def refuse_open_file(path: Path, values: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for a file that strangers may change, or one with a password that they may read.

    Whoever can change the addresses in it gets the credentials sent to them.
    """
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o002:
        raise ConfigError(f"{path}: everybody may change it; run: chmod o-w {path}")
    uri = values.get("mongodb", {}).get("uri")
    if not isinstance(uri, str) or not WITH_PASSWORD.match(uri):
        return
    # root's file, and readable for nobody but the group of the service: as install-service leaves it
    of_the_service = found.st_uid == 0 and found.st_gid == os.getegid() and not mode & 0o037
    if mode & 0o077 and not of_the_service:
        raise ConfigError(
            f"{path}: mongodb.uri holds a password, and others may read the file; leave the password out of the "
            f"uri and put it into the secret mongodb_password, or run: chmod 600 {path}"
        )


def verified_uri(uri: str) -> str:
    """The uri of a MongoDB, unless it switches off the verification of the server, which is then forgotten."""
    if _UNVERIFIED.search(uri):
        raise ValueError("must not switch off the verification of the server; name its CA with tlsCAFile=/path")
    return uri


def refuse_unknown_variables(known: Known) -> None:
    """Raises `ConfigError` for an environment variable with our prefix that is no setting."""
    for name in os.environ:
        if not name.upper().startswith(ENV_PREFIX) or name == CONFIG_VARIABLE:
            continue
        section, _, key = name[len(ENV_PREFIX) :].lower().partition("__")
        if key not in known.get(section, ()):
            instead = _instead(key, known[section]) if section in known and key else _instead(section, known)
            raise ConfigError(
                f"environment variable {name}: no such setting; it must be {ENV_PREFIX}<SECTION>__<KEY>; {instead}"
            )


def refuse_open_addresses() -> None:
    """Raises `ConfigError` for a Globus address from the environment to which tokens would go unencrypted."""
    for name, url in os.environ.items():
        if name.startswith(GLOBUS_ADDRESSES):
            try:
                private_url(url)
            except ValueError as error:
                raise ConfigError(f"environment variable {name}: {error}") from None


def explain(error: ValidationError, path: Path | None) -> str:
    """What is wrong, a line for each setting, and where it was set. Never quotes a value."""
    variables = {name.upper(): name for name in os.environ}
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        parts = [str(part) for part in problem["loc"]]
        variable = variables.get(ENV_PREFIX + "__".join(parts[:2]).upper())
        where = f"environment variable {variable}" if variable else str(path or "settings")
        lines.append(f"{where}: {'.'.join(parts)}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _instead(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name.lower()[:100], known, n=1)
    return f"did you mean {close[0]}?" if close else f"remove it, or use one of: {', '.join(known)}"
