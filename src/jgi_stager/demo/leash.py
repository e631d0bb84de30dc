"""``python -m jgi_stager.demo.leash PARENT COMMAND...``: run a command that ends with its parent.

The kernel sends SIGTERM when the parent is gone, even after ``kill -9``: see prctl(2), ``PR_SET_PDEATHSIG``,
which survives the exec. Standard library only, so that it costs nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Put the leash on, and become the command. Does not return."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"leash: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        # It died before the leash was on: nobody would ever send the signal.
        sys.exit("leash: the parent is gone")
    os.execvp(command[0], command)  # noqa: S606 - the point of it


if __name__ == "__main__":
    main()
