"""A benchmark in a process of its own: what one fills or loads is no part of what the next measures."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

import structlog

from benchmarks.figures import Figure

Benchmark = Callable[[Sequence[int]], Iterator[Figure]]


def figures(benchmark: Benchmark, sizes: Sequence[int]) -> Iterator[Figure]:
    """Those of a benchmark, as they come. Raises RuntimeError if it fails; it has said why."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_measure, args=(benchmark, sizes, sender))
    process.start()
    sender.close()
    with suppress(EOFError):
        while True:
            yield receiver.recv()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{benchmark.__module__} ended with {process.exitcode}")


def _measure(benchmark: Benchmark, sizes: Sequence[int], told: Connection) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for figure in benchmark(sizes):
        told.send(figure)
