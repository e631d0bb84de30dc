"""Whether Slurm's ``scrontab`` still starts the daemon: a job that is cancelled, as for maintenance, stays off."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial

from jgi_stager.preflight import Check, Problem, Verdict

MARK = "#DISABLED"
"""What Slurm writes before a line whose job was cancelled."""
PROGRAM = "jgi-stager"
SECONDS = 10.0


def checks() -> list[Check]:
    """The check, where there is a ``scrontab``; none elsewhere."""
    program = shutil.which("scrontab")
    return [] if program is None else [Check("scrontab", partial(_check, program))]


def _check(program: str) -> str:
    try:
        asked = subprocess.run([program, "-l"], capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Problem(f"scrontab -l: {error}", "ask again when Slurm answers", Verdict.WARN) from None
    return judged(asked.stdout.decode(errors="replace"))


def judged(listed: str) -> str:
    """What the list says of the daemon. Raises `Problem` if its line was switched off."""
    lines = [line.strip() for line in listed.splitlines() if PROGRAM in line]
    off = [line for line in lines if line.startswith(MARK)]
    on = [line for line in lines if not line.startswith("#")]
    if off and not on:
        raise Problem(
            f"the line of {PROGRAM} is switched off: its job was cancelled, as for maintenance",
            f"run: scrontab -e, and remove {MARK} before it",
            Verdict.WARN,
        )
    return f"starts {PROGRAM}" if on else f"has no line of {PROGRAM}"
