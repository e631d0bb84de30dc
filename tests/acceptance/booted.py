"""A Debian 12 with real systemd, booted in a container: made once, copied for each run.

The trees lie in a cache outside the repository: ``$XDG_CACHE_HOME`` or /var/tmp. Packages come from the index that
the pip of this machine uses; the container itself needs no network but loopback, which it shares with us.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PYTHON = "3.11"
"""What this Debian has."""
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "ca-certificates", "procps")
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)] + ["manylinux2014_x86_64", "any"]
VENV = Path("/opt/jgi-stager")
PROGRAM = VENV / "bin" / "jgi-stager"
REBOOT_WANTED = 133
"""The exit code of systemd-nspawn for that; with ``--keep-unit`` only."""
PATHS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}


class CannotBuildError(Exception):
    """The machine cannot be made here. The message says why."""


def obstacle() -> str | None:
    """Why the test cannot run on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(name) is None]
    return f"needs {', '.join(missing)} (Debian: debootstrap, systemd-container)" if missing else None


def base_tree() -> Path:
    """A Debian 12 with all pinned packages of the project, but without the project. Made when first needed."""
    constraints = (REPOSITORY / "constraints.txt").read_bytes()
    key = hashlib.sha256(constraints + repr((SUITE, PACKAGES)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / "jgi-stager-acceptance"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    tree = cache / f"base-{key}"
    if not tree.exists():
        fresh = cache / f"new-{uuid.uuid4().hex[:8]}"
        try:
            _debian(cache, fresh)
            _pinned_packages(cache, fresh)
            fresh.rename(tree)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return tree


def _debian(cache: Path, fresh: Path) -> None:
    plain = cache / f"debian-{SUITE}-{hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:8]}"
    if not plain.exists():
        made = cache / f"new-{uuid.uuid4().hex[:8]}"
        try:
            _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(made))
            made.rename(plain)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    _copy(plain, fresh)


def _pinned_packages(cache: Path, tree: Path) -> None:
    """A venv in the tree. The wheels are fetched out here, where pip knows its index and its certificates."""
    wheels = cache / "wheels"
    chosen = [option for name in PLATFORMS for option in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet"]
    download = [*pip, "--no-deps", "--require-hashes", "--only-binary=:all:"]
    target = ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(wheels)]
    constraints = str(REPOSITORY / "constraints.txt")
    _run(*download, *target, *chosen, "-r", constraints)
    inside = tree / "root" / "wheels"
    shutil.copytree(wheels, inside)
    shutil.copy(constraints, inside)
    _run("chroot", str(tree), "python3", "-m", "venv", str(VENV))
    offline = [
        "--no-index",
        "--find-links",
        "/root/wheels",
        "--no-deps",
        "--require-hashes",
        "-r",
        "/root/wheels/constraints.txt",
    ]
    _run("chroot", str(tree), str(VENV / "bin" / "pip"), "install", "--quiet", *offline)
    shutil.rmtree(inside)


def _copy(source: Path, target: Path) -> None:
    _run("cp", "-a", "--reflink=auto", str(source), str(target))


def _run(*command: str) -> str:
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if found.returncode:
        raise CannotBuildError(f"{' '.join(command)[:300]} failed:\n{(found.stderr or found.stdout)[-1500:]}")
    return found.stdout


def build_wheel(directory: Path) -> Path:
    """The project as a wheel, from this checkout."""
    script = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    found = subprocess.run(
        [sys.executable, "-c", script, str(directory)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return directory / found.stdout.strip().splitlines()[-1]


def wait_until(what: str, condition: Callable[[], object], seconds: float = 120, pause: float = 0.2) -> None:
    """Wait for a condition. Fails with ``what``, and with the last thing the condition raised."""
    deadline = time.monotonic() + seconds
    problem: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            problem = error
        time.sleep(pause)
    raise AssertionError(f"after {seconds} s still not: {what} ({problem})")


class Machine:
    """One container. Its tree is thrown away at the end."""

    def __init__(self, directory: Path) -> None:
        self.tree = directory / "tree"
        self.console = directory / "console.log"
        self.name = f"jgi-{uuid.uuid4().hex[:8]}"
        self._nspawn: subprocess.Popen[bytes] | None = None
        _copy(base_tree(), self.tree)

    def install(self, wheel: Path) -> None:
        """Install the project into its venv."""
        shutil.copy(wheel, self.tree / "root")
        inside = f"/root/{wheel.name}"
        _run(
            "chroot",
            str(self.tree),
            str(VENV / "bin" / "pip"),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            inside,
        )

    def boot(self) -> None:
        """Start it, until systemd answers."""
        command = [
            "systemd-nspawn",
            "--quiet",
            "--directory",
            str(self.tree),
            "--machine",
            self.name,
            "--boot",
        ]
        command += ["--console=pipe", "--link-journal=no"]
        if not Path("/run/systemd/system").exists():
            command += ["--register=no", "--keep-unit"]
        with self.console.open("ab") as log:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_up()

    def reboot(self) -> None:
        """Let systemd in there boot again, until it answers."""
        assert self._nspawn is not None
        before = self.init
        self.run("systemctl", "reboot", ok=(0, 1, -15, 143, 255))
        wait_until("the machine went down", lambda: not Path(f"/proc/{before}").exists(), 60)
        try:
            # Without a systemd out here that watches over it, nspawn leaves the second start to its caller.
            assert self._nspawn.wait(3) == REBOOT_WANTED
        except subprocess.TimeoutExpired:
            self.wait_up()
        else:
            self.boot()

    def wait_up(self) -> None:
        """Until systemd has started everything."""
        states = ("running", "degraded")
        wait_until(
            "the machine is up",
            lambda: self.run("systemctl", "is-system-running", ok=(0, 1)).strip() in states,
        )

    @property
    def init(self) -> int:
        """The process out here that is number 1 in there. Raises ValueError while there is none."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self.console.read_text(errors="replace")[-2000:]
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        raise ValueError("no systemd yet")

    def run(self, *command: str, ok: tuple[int, ...] = (0,), text: str | None = None) -> str:
        """Run a command in there as root; its standard output. Raises CalledProcessError, or ValueError if it
        is down."""
        environment = [f"{name}={value}" for name, value in PATHS.items()]
        enter = ["nsenter", "--target", str(self.init), "--all", "env", "-i", *environment, *command]
        found = subprocess.run(enter, capture_output=True, text=True, check=False, input=text or "", timeout=300)
        if found.returncode not in ok:
            print(found.stdout[-3000:], found.stderr[-3000:], file=sys.stderr)
            raise subprocess.CalledProcessError(found.returncode, command, found.stdout, found.stderr)
        return found.stdout

    def python(self, script: str) -> str:
        """Run a script with the project's Python, in there, as root."""
        return self.run(str(VENV / "bin" / "python"), "-c", script)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root in there."""
        target = self.tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)

    def properties(self, unit: str = "jgi-stager.service") -> Mapping[str, str]:
        """What systemd knows of a unit."""
        lines = self.run("systemctl", "show", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def pids(self) -> list[int]:
        """Every process in there, by the numbers out here."""
        mine = os.readlink(f"/proc/{self.init}/ns/pid")
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.readlink(entry / "ns" / "pid") == mine:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def destroy(self) -> None:
        """Switch it off and throw it away."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            self._nspawn.terminate()
            try:
                self._nspawn.wait(30)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        shutil.rmtree(self.tree)
