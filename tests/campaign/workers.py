"""Plays scripts in parallel: one process per core, each with a site of its own."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeAlias

from campaign.script import Outcome, Script

Pipe: TypeAlias = "Connection[str | None, str | None]"


class Workers:
    """Some processes that play. Made by `workers`."""

    def __init__(self, pipes: list[Pipe]) -> None:
        self._pipes = pipes

    def play(
        self,
        scripts: Iterable[Script],
        until: float = float("inf"),
        told: Callable[[Outcome], None] = lambda _: None,
    ) -> list[Outcome]:
        """Play all of them, or as many as begin before ``until`` (monotonic); the outcomes, in any order."""
        waiting = iter(scripts)
        outcomes: list[Outcome] = []
        busy: list[Pipe] = []
        for pipe in self._pipes:
            busy += _next(pipe, waiting, until)
        while busy:
            ready = multiprocessing.connection.wait(busy)
            for pipe in [one for one in busy if one in ready]:
                outcome = Outcome.model_validate_json(pipe.recv() or "")
                outcomes.append(outcome)
                told(outcome)
                busy.remove(pipe)
                busy += _next(pipe, waiting, until)
        return outcomes


def _next(pipe: Pipe, waiting: Iterator[Script], until: float) -> list[Pipe]:
    script = next(waiting, None) if time.monotonic() < until else None
    if script is None:
        return []
    pipe.send(script.model_dump_json())
    return [pipe]


def _work(pipe: Pipe) -> None:
    from campaign.site import site

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us in good order
    with site() as place:
        while (text := pipe.recv()) is not None:
            script = Script.model_validate_json(text)
            try:
                outcome = place.play(script)
            except Exception:  # noqa: BLE001 - told as a violation: nothing may go by unseen
                told = " | ".join(traceback.format_exc().splitlines())
                outcome = Outcome(script=script, violations=[f"the campaign failed: {told}"])
            pipe.send(outcome.model_dump_json())


@contextmanager
def workers(count: int | None = None) -> Iterator[Workers]:
    """``count`` processes, by default one per core."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(count or len(os.sched_getaffinity(0))):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield Workers(pipes)
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join()
