"""The log of the private mongod: its end, for people, and its size."""

from __future__ import annotations

from pathlib import Path


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
