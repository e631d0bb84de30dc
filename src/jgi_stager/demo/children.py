"""The processes of a run: started so that they end with it, watched, and stopped in order.

``python -m jgi_stager.demo.children PARENT COMMAND...`` runs a command that ends with its parent: the kernel sends
SIGTERM when the parent is gone, even after ``kill -9`` (prctl(2), ``PR_SET_PDEATHSIG``, which survives the exec).
This part needs the standard library only, so that it costs nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

# --- a command that ends with its parent --------------------------------------------------------------------


PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, and become the command. Does not return."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"leash: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        # It died before it was tied: nobody would ever send the signal.
        sys.exit("leash: the parent is gone")
    os.execvp(command[0], command)  # noqa: S606 - the point of it


if __name__ == "__main__":
    main()


# --- the processes of a run ---------------------------------------------------------------------------------


TAIL_LINES = 15
_HIDDEN_PREFIXES = ("JGI_STAGER_", "GLOBUS_")
_HIDDEN = ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC")


class RunFailed(RuntimeError):  # noqa: N818 - what happened
    """The run cannot go on. The message says why, for people."""


class ChildEnded(RunFailed):
    """A process of the demo ended by itself, or did not come up. The message carries the end of its log."""


@dataclass(frozen=True)
class Child:
    """One process. It has a session of its own, so that Ctrl-C on a terminal reaches the demo alone."""

    name: str
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    timeout_seconds: float

    def check(self) -> None:
        """Raise `ChildEnded` if it has ended."""
        status = self.process.poll()
        if status is not None:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise ChildEnded(f"the {self.name} {how}; the end of {self.log}:\n{tail(self.log)}")

    def stop(self) -> str | None:
        """Ask it to end, and wait. What went wrong, or None. Harmless if it has ended."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(self.timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"the {self.name} did not end within {self.timeout_seconds:.0f} s and was killed"
        return f"the {self.name} ended with status {status}, see {self.log}" if status else None


def start(
    name: str,
    module: Sequence[str],
    log: Path,
    timeout_seconds: float = 15.0,
) -> Child:
    """Start ``python -m`` with ``module`` and its arguments. Call it from the main thread: the child is tied to
    the thread that starts the process."""
    python = [sys.executable, "-P", "-m"]
    command = [*python, "jgi_stager.demo.children", str(os.getpid()), *python, *module]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, log, process, timeout_seconds)


def plain_environment() -> dict[str, str]:
    """The environment without what would change a setting of the daemon, or lead its calls elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _HIDDEN and not name.startswith(_HIDDEN_PREFIXES) and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONUNBUFFERED": "1"}


def wait_until(child: Child, ready: Callable[[], bool], seconds: float) -> None:
    """Wait until ``ready`` says so. Raises `ChildEnded` if the child ends first, or after ``seconds``."""
    deadline = monotonic() + seconds
    while not ready():
        child.check()
        if monotonic() > deadline:
            raise ChildEnded(f"the {child.name} was not ready within {seconds:.0f} s:\n{tail(child.log)}")
        sleep(0.05)


def tail(log: Path) -> str:
    """The last lines of a log, indented."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        lines = file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"    {line[:400]}" for line in lines) or "    (it wrote nothing)"
