"""``make container``: the image built, looked at, and tried: a demo inside, and the kill of the working replica.

The base is a Debian made by debootstrap, unless ``--base IMAGE`` names one; it and the wheels lie in a cache
outside the repository. Needs root, podman with runc, and debootstrap; for compose.yaml see compose.py. Says so and
ends well elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import compose
from left_behind import guarded
from mongods import replica_set
from processes_of_a_test import Site, check_all_arrived, serves_pages, simulated_site, wait_for
from smtp_server import free_port

ROOT = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
IMAGE, DEMO, DEBIAN = "localhost/jgi-stager", "localhost/jgi-stager-demo", f"localhost/debian-python:{SUITE}"
PACKAGES = "python3,python3-venv,ca-certificates"
# No more rights than a cluster gives. The limits and the runtime are for machines that are containers themselves.
RUN = [*("podman", "--runtime", "runc", "run", "--rm", "--network", "host", "--no-healthcheck", "--read-only")]
RUN += ["--tmpfs", "/tmp:mode=1777", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
RUN += ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=1024:1024"]
TAKEOVER_SECONDS = 240.0
USER = 10001


def obstacle() -> str | None:
    """Why this cannot be tried on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in ("podman", "runc", "debootstrap") if shutil.which(name) is None]
    return f"needs {', '.join(missing)} (Debian: podman, runc, debootstrap)" if missing else None


def run(*command: str) -> str:
    """What a command prints. Raises `CalledProcessError`, after its errors were shown."""
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout.strip()


def cache() -> Path:
    """Where the base and the wheels lie, outside the repository."""
    found = Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / "jgi-stager-container"
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def debian() -> str:
    """An image of a small Debian with Python, made when it is first needed."""
    if subprocess.run(["podman", "image", "exists", DEBIAN], check=False).returncode:
        tree = cache() / "debian"
        shutil.rmtree(tree, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree))
        for waste in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(tree / waste)
        archive = cache() / "debian.tar"
        run("tar", "-C", str(tree), "-cf", str(archive), ".")
        run("podman", "import", str(archive), DEBIAN)
        archive.unlink()
        shutil.rmtree(tree)
    return DEBIAN


def build(name: str, base: str, *arguments: str) -> None:
    """Build the image as docs/containers.md says for a machine without an index in the container."""
    wheels = cache() / "wheels"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    run(*pip, "-r", "constraints.txt", "-d", str(wheels))
    command = ["podman", "build", "--quiet", "--isolation", "chroot", "--format", "docker", "--tag", name]
    command += ["--volume", f"{wheels}:/wheels:ro", "--build-arg", f"BASE={base}"]
    for one in ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", *arguments):
        command += ["--build-arg", one]
    run(*command, ".")


def look(name: str) -> None:
    """It runs as nobody in particular, with a root that cannot be written, and brings no database."""
    told = json.loads(run("podman", "image", "inspect", name))[0]
    print(f"image: {told['Size'] / 1e6:.0f} MB, user {told['User']}", flush=True)
    print(f"version {run(*RUN, name, '--version')}; probe: {run(*RUN, '--entrypoint', 'python', name, *PROBE)}")
    told_by = run(*RUN, "--entrypoint", "python", name, "-c", LOOK)
    assert told_by == f"{USER} False []", told_by


PROBE = ("-m", "jgi_stager.web.probe", "/healthz")
LOOK = (
    "import os, pathlib; root = pathlib.Path('/opt/jgi-stager'); "
    "print(os.getuid(), os.access(root, os.W_OK), list(root.rglob('mongod')))"
)


def demo(name: str, home: Path) -> None:
    """A demo from begin to end inside the container."""
    os.chown(home, USER, USER)
    began = time.monotonic()
    run(*RUN, "-v", f"{home}:/demo", name, "demo", "--analysis-projects", "12", "--dir", "/demo/run")
    summary = json.loads((home / "run" / "summary.json").read_text())
    assert summary["ok"], summary["problems"]
    assert (home / "run" / "summary.json").stat().st_uid == USER
    print(
        f"demo inside: {summary['done']} files done, nothing wrong ({time.monotonic() - began:.0f} s)", flush=True
    )


@dataclass(frozen=True)
class Replica:
    """One daemon in a container."""

    name: str
    port: int

    def works(self) -> bool:
        """Whether it is the one that works."""
        return serves_pages(self.port)


@contextmanager
def replica(site: Site, number: int) -> Iterator[Replica]:
    """A daemon of the site, in a container with a host name and a state of its own."""
    found = Replica(f"jgi-stager-try-{os.getpid()}-{number}", free_port())
    settings = {
        "SECRETS__DIRECTORY": f"{site.home}/secrets",
        "WEB__PORT": str(found.port),
        "CONFIG": str(site.config),
    }
    # The user is the one to whom the staged files belong: here that of the simulator.
    command = [*RUN, "--name", found.name, "--user", f"{os.geteuid()}:{os.getegid()}"]
    command += ["--uts", "private", "--hostname", f"stager{number}"]
    # The state is mounted as Kubernetes mounts it: a directory of root in which all may write.
    command += ["-v", f"{site.home}:{site.home}", "--tmpfs", "/var/lib/jgi-stager:mode=2777"]
    named = {f"JGI_STAGER_{key}": value for key, value in settings.items()}
    for key, value in {**named, **site.urls["environment"]}.items():
        command += ["--env", f"{key}={value}"]
    with site.log.open("ab") as log:
        process = subprocess.Popen([*command, IMAGE], stdout=log, stderr=log)
    try:
        yield found
    finally:
        subprocess.run(["podman", "kill", "--signal", "KILL", found.name], capture_output=True, check=False)
        process.wait()


def takeover(home: Path) -> None:
    """Kill the replica that works in the middle of a project: the other one ends it, and nothing is doubled."""
    with ExitStack() as stack:
        books = stack.enter_context(replica_set(home / "mongo"))
        # Files are holes of their full size: what is free on this machine says nothing.
        sections: dict[str, dict[str, Any]] = {
            "schedule": {"lease_seconds": 10},
            "staging": {"watch_space": False},
        }
        site = stack.enter_context(simulated_site(home, home / "state", uri=books.uri, sections=sections))
        both = [stack.enter_context(replica(site, number)) for number in (1, 2)]
        wait_for(lambda: any(one.works() for one in both), "a replica that works", TAKEOVER_SECONDS)
        site.insert()
        site.reach("restore_requested", "transferring")
        (working,) = [one for one in both if one.works()]
        (other,) = [one for one in both if one is not working]
        began = time.monotonic()
        run("podman", "kill", "--signal", "KILL", working.name)
        wait_for(other.works, "the other one to take over", TAKEOVER_SECONDS)
        took = time.monotonic() - began
        site.reach_the_end(TAKEOVER_SECONDS)
        check_all_arrived(site)
    print(f"kill of the one that works: the other one took over after {took:.1f} s, nothing doubled", flush=True)


def main(
    base: Annotated[str | None, typer.Option(help="An image with Python; by default made by debootstrap.")] = None,
    mongo: Annotated[
        str | None, typer.Option(help="With mongod and mongosh; by default made of the demo's.")
    ] = None,
) -> None:
    """Build, look, and try."""
    if (why := obstacle()) is not None:
        print(f"skipped: {why}")
        return
    base = base or debian()
    build(IMAGE, base)
    look(IMAGE)
    build(DEMO, base, "LIST=constraints.txt", "WITHOUT=")
    with guarded(), tempfile.TemporaryDirectory(prefix="jgi-container-") as text:
        home = Path(text)
        for name in ("demo", "takeover", "mongo", "compose"):
            (home / name).mkdir()
        demo(DEMO, home / "demo")
        takeover(home / "takeover")
        if (why := compose.obstacle()) is not None:
            print(f"compose: skipped: {why}")
            return
        owner = f"{compose.OWNER}:{compose.OWNER}"
        python = [*RUN, "--user", owner, "-v", f"{home}/compose:{home}/compose", "--entrypoint", "python", DEMO]
        compose.tried(home / "compose", mongo or compose.mongo_image(DEMO, home / "mongo"), python)


if __name__ == "__main__":
    typer.run(main)
