"""The directory of a run: everything the demo and its processes write lies in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jgi_stager.store import StoreError, processes
from jgi_stager.store.embedded import in_use

MARKER = ".jgi-stager-demo"
"""The file by which a directory of ours is known. Locked while a demo uses it."""


class Unusable(ValueError):  # noqa: N818 - what it says of the directory
    """The directory cannot be used for a run. The message says why, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where things lie."""

    root: Path

    @property
    def settings(self) -> Path:
        """The settings file of the daemon."""
        return self.root / "settings.toml"

    @property
    def secrets(self) -> Path:
        """The credentials that the simulator accepts, one file each."""
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        """What each process wrote."""
        return self.root / "logs"

    @property
    def mail(self) -> Path:
        """The mails that were sent, one file each."""
        return self.root / "mail"

    @property
    def state(self) -> Path:
        """The daemon's own directory: its database."""
        return self.root / "state"

    @property
    def external_services(self) -> Path:
        """The simulated JGI collection."""
        return self.root / "jgi"

    @property
    def staged(self) -> Path:
        """Where the files arrive: the part of the file system that the NERSC collection shows."""
        return self.root / "nersc"

    @property
    def summary(self) -> Path:
        """How it went, for programs."""
        return self.root / "summary.json"

    def drop_bulk(self) -> bool:
        """Remove the database and both collections; summary, logs, mails and settings stay, and a database that
        another command has open. Whether all of it is gone."""
        used = in_use(self.state)
        for path in (self.external_services, self.staged, *(() if used else (self.state,))):
            shutil.rmtree(path, ignore_errors=True)
        return not used


def has_ended(settings: Path | None) -> bool:
    """Whether a settings file was written by a demo that does not run any more."""
    marker = None if settings is None else settings.parent / MARKER
    return marker is not None and marker.is_file() and not processes.is_locked(marker)


@contextmanager
def open_place(wanted: Path | None, *, replace: bool) -> Iterator[Place]:
    """A directory for one run, ours alone while the block runs; ``wanted`` None makes a fresh one.

    ``replace`` first removes what an earlier demo left there. Raises `Unusable` for a directory with anything
    else in it, one that another demo uses, and one that cannot be written.
    """
    with ExitStack() as stack:
        try:
            root = wanted.absolute() if wanted else Path(tempfile.mkdtemp(prefix="jgi-stager-demo-"))
            place = _prepare(root, stack, replace=replace)
        except StoreError as error:
            raise Unusable(str(error)) from None
        except OSError as error:
            named = wanted or tempfile.gettempdir()
            raise Unusable(f"{named} cannot be used: {error.strerror or error}") from error
        yield place


def _prepare(root: Path, stack: ExitStack, *, replace: bool) -> Place:
    if replace:
        _remove_earlier(root)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise Unusable(_not_empty(root))
    stack.enter_context(processes.alone(root / MARKER, "a demo in this directory"))
    place = Place(root)
    for path in (place.logs, place.mail, place.external_services, place.staged):
        path.mkdir()
    return place


def _not_empty(root: Path) -> str:
    if (root / MARKER).exists():
        return f"{root} holds an earlier demo: add --replace to remove it first, or choose another directory"
    return f"{root} is not empty: choose a directory that is, or one that does not exist yet"


def _remove_earlier(root: Path) -> None:
    marker = root / MARKER
    if not marker.is_file() or root.is_symlink():
        return
    with processes.alone(marker, "a demo in this directory"):
        lock = root / "state" / "daemon.lock"
        if processes.is_locked(lock):
            raise Unusable(f"{root}: the daemon of an earlier demo still runs there; wait until it has ended")
        # The marker goes last: what is left of an interrupted removal can be removed again.
        for path in root.iterdir():
            if path == marker:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        marker.unlink()
