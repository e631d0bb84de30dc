"""Directory listings as Globus writes them."""

from __future__ import annotations

import fnmatch
import os
import stat
from datetime import UTC, datetime
from typing import Any

from .filesystem import NoSuchPath


def list_directory(local: str, path: str, filters: str = "", order: str = "") -> list[dict[str, Any]]:
    """What lies in a directory, by name. Raises `NoSuchPath`. ``filters`` knows ``name:`` and ``type:``."""
    try:
        entries = [_document(one.name, one.stat(follow_symlinks=False)) for one in os.scandir(local)]
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchPath(path) from None
    for part in filters.split("/") if filters else ():
        key, _, wanted = part.partition(":")
        entries = [one for one in entries if _matches(str(one.get(key, "")), wanted)]
    key, _, direction = (order or "name").split(",")[0].partition(" ")
    return sorted(entries, key=lambda one: one.get(key) or "", reverse=direction.upper() == "DESC")


def _matches(value: str, wanted: str) -> bool:
    """One of the values, exactly (``=``, or nothing in front) or as a pattern (``~``)."""
    return any(
        fnmatch.fnmatchcase(value, one[1:]) if one.startswith("~") else value == one.removeprefix("=")
        for one in wanted.split(",")
    )


def stat_path(local: str) -> dict[str, Any] | None:
    """One file or directory, or None."""
    try:
        return _document(os.path.basename(local), os.lstat(local))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _document(name: str, found: os.stat_result) -> dict[str, Any]:
    is_dir = stat.S_ISDIR(found.st_mode)
    modified = datetime.fromtimestamp(int(found.st_mtime), UTC)
    return {
        "DATA_TYPE": "file",
        "name": name,
        "type": "dir" if is_dir else "file",
        "size": 4096 if is_dir else found.st_size,
        "last_modified": modified.isoformat(sep=" "),
        "permissions": f"{stat.S_IMODE(found.st_mode):04o}",
        "user": "simulated",
        "group": "simulated",
        "link_target": None,
        "link_user": None,
        "link_group": None,
        "link_size": None,
        "link_last_modified": None,
    }
