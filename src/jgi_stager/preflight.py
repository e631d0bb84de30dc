"""The preflight: everything the daemon depends on, tried once, each with its cure. Changes nothing outside."""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from jgi_stager.failures import NeedsPerson, Rejected, ServiceError
from jgi_stager.secrets import SecretProblem
from jgi_stager.store import StoreError

WORKERS = 6


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Row:
    """One dependency. ``cure`` says what to do where it is not ok."""

    name: str
    verdict: Verdict
    text: str
    cure: str | None = None


class Problem(Exception):  # noqa: N818 - a finding of a check, not an error of ours
    """What is wrong, and what to do."""

    def __init__(self, text: str, cure: str, verdict: Verdict = Verdict.FAIL) -> None:
        super().__init__(text)
        self.cure = cure
        self.verdict = verdict


@dataclass(frozen=True)
class Check:
    """``run`` returns what it found, or raises `Problem` or a failure of the outside."""

    name: str
    run: Callable[[], str]


def try_all(checks: Sequence[Check], seconds: float) -> list[Row]:
    """Run the checks side by side, for at most ``seconds`` (real) in all; the rows in the order of the checks."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(checks)):
        waiting.put(number)
    rows: dict[int, Row] = {}
    finished = threading.Semaphore(0)

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            rows[number] = attempt(checks[number])
            finished.release()

    # Daemon threads: one that hangs in a library must not hold up the end of the command.
    for _ in range(min(WORKERS, len(checks))):
        threading.Thread(target=work, daemon=True).start()
    deadline = time.monotonic() + seconds
    for _ in checks:
        if not finished.acquire(timeout=max(0.0, deadline - time.monotonic())):
            break
    late = f"no answer within {seconds:.0f} s"
    cure = "look at the network and the service, and try again"
    return [rows.get(at) or Row(check.name, Verdict.FAIL, late, cure) for at, check in enumerate(checks)]


def attempt(check: Check) -> Row:  # noqa: PLR0911 - one return for each kind of end
    """One check as a row. A bug in it is a failed row, too: the others must be seen."""
    try:
        return Row(check.name, Verdict.OK, check.run())
    except Problem as problem:
        return Row(check.name, problem.verdict, str(problem), problem.cure)
    except NeedsPerson as error:
        return Row(check.name, Verdict.FAIL, str(error), error.cure)
    except SecretProblem as error:
        return Row(check.name, Verdict.FAIL, str(error), None)
    except Rejected as error:
        return Row(check.name, Verdict.FAIL, str(error), "check the settings of this service")
    except ServiceError as error:
        return Row(check.name, Verdict.FAIL, str(error), "try again later; the daemon does so by itself")
    except (StoreError, OSError) as error:
        return Row(check.name, Verdict.FAIL, str(error), None)
    except Exception as error:  # noqa: BLE001 - reported as the finding it is
        return Row(check.name, Verdict.FAIL, f"{type(error).__name__}: {error}", "this is a bug: please report it")


def worst(rows: Iterable[Row]) -> Verdict:
    """The worst verdict among the rows."""
    found = {row.verdict for row in rows}
    return Verdict.FAIL if Verdict.FAIL in found else Verdict.WARN if Verdict.WARN in found else Verdict.OK


def clock_difference(server: datetime) -> float:
    """Seconds by which a server's wall clock is ahead of ours."""
    return (server - datetime.now(UTC)).total_seconds()


def write_probe(directory: str) -> None:
    """Create and remove a file. Raises OSError."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".jgi-stager-check-"):
        pass


def free_bytes(directory: str) -> int:
    """What is free where ``directory`` lies. Raises OSError."""
    return shutil.disk_usage(directory).free
