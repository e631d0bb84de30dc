"""The types of settings that need more than pydantic has: lists from the environment, addresses."""

from __future__ import annotations

import json
from email.utils import parseaddr
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from jgi_stager.records import is_mail_address


def _as_list(value: Any) -> Any:
    """From the environment a list comes as text: names with commas between them, or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


# No empty text: as a part of file names to remove it would remove every file.
Strings = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list)]


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
