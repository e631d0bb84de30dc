"""``backup`` and ``restore``: the database in one file, and an empty database filled from it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager import opening
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    require_database,
    settings_or_exit,
)
from jgi_stager.formatting import count, human_bytes, instant
from jgi_stager.settings import Settings
from jgi_stager.store import Store, backup, processes
from jgi_stager.store.backup import Contents
from jgi_stager.store.connection import as_they_are
from jgi_stager.store.processes import private_directory
from jgi_stager.version import RELEASE


def make(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes; it must not be there yet.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write the whole database into one file, as it is at one instant. The daemon may run."""
    settings = settings_or_exit(config)
    with handled(), _opened(settings) as database:
        if file.exists() or file.is_symlink():
            raise Mistake(f"{file} is there already, and was left as it is; name another file")
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.absolute().parent)  # 0600
        try:
            with os.fdopen(descriptor, "w+b") as out:
                found = backup.write_backup(database, out, RELEASE)
                out.flush()
                os.fsync(out.fileno())
                size = os.fstat(out.fileno()).st_size
            try:
                os.link(name, file)  # fails where a file appeared meanwhile
            except FileExistsError:
                raise Mistake(
                    f"{file} appeared at this moment, and was left as it is; name another file"
                ) from None
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
        if as_json:
            emit({"file": str(file), "bytes": size, **_document(found)})
        else:
            Page().say(f"{file}: {_told(found)}, {human_bytes(size)}.")


@contextmanager
def _opened(settings: Settings) -> Iterator[Store]:
    """The database as it is: a release that is about to be installed copies that of the one before it."""
    require_database(settings)
    with (
        opening.open_server(settings) as (uri, password, _),
        as_they_are(uri, settings.mongodb.database, opening.make_clock(settings), password) as found,
    ):
        yield found


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What jgi-stager backup wrote.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Fill the empty database of the settings from a backup. No daemon may run on it meanwhile."""
    settings = settings_or_exit(config)
    with handled(), file.open("rb") as source:
        home = private_directory(settings.state.directory)
        with (
            processes.alone(home / "daemon.lock", "a daemon with this state directory"),
            opening.open_server(settings) as (uri, password, _),
        ):
            # Two windows, whatever our clock says: the daemon knows JDP's, and makes it one.
            until = opening.make_clock(settings).now() + timedelta(hours=2 * settings.jdp.quota_window_hours)
            found = backup.restore_backup(source, uri, settings.mongodb.database, password, until)
        if as_json:
            emit({"file": str(file), "database": settings.mongodb.database, **_document(found)})
            return
        page = Page()
        page.say(f"{_told(found)} are in the database {settings.mongodb.database}.")
        page.say(
            "What was asked from JDP since the backup was made is not in it, so nothing is asked for one quota "
            "window after the daemon starts; everything else goes on. If nothing was asked since: "
            "jgi-stager limits release"
        )


def _document(found: Contents) -> dict[str, object]:
    head = found.head
    return {
        "made_at": head.made_at,
        "program": head.program,
        "schema_version": head.schema_version,
        "consistent": head.consistent,
        "documents": found.documents,
    }


def _told(found: Contents) -> str:
    number = sum(found.documents.values())
    return f"{count(number, 'document')} of {instant(found.head.made_at)} (release {found.head.program})"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup")(make)
    app.command("restore")(restore)
