"""Readers of the page, as many as one likes, in a process of their own: each asks as a browser with the page open.

It is told what to do by lines of JSON on its standard input, and says how it went by lines on its output:

    {"ask": "/", "times": 20}                   one reader, one answer after the other
    {"read": ["/", "/p/x"], "readers": 200, "seconds": 3, "period": 20}
                                                each asks again after a period, spread evenly over it
    {"burst": ["/"], "readers": 200}            all at once
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

TIMEOUT_SECONDS = 60.0
NICENESS = 19
"""Readers sit at other machines: on this one they get what CPU time nobody else wants."""


@dataclass(frozen=True)
class Answer:
    """One answer. ``status`` 0: there was none."""

    status: int
    seconds: float
    sent: int
    """Bytes on the wire, head and all."""
    bytes: int
    """Of the page itself."""


class Reader:
    """A browser with one page open."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path, self._tag = port, path, ""

    async def ask(self) -> Answer:
        """Fetch the page, or hear that it is the same."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, sent, size = await self._fetch()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            status, sent, size = 0, 0, 0
        return Answer(status, time.perf_counter() - began, sent, size)

    async def _fetch(self) -> tuple[int, int, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            asked = (
                f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n"
            )
            tag = f"If-None-Match: {self._tag}\r\n" if self._tag else ""
            writer.write(f"{asked}{tag}\r\n".encode())
            answer = await reader.read(-1)
        finally:
            writer.close()
        head, end, body = answer.partition(b"\r\n\r\n")
        if not end:
            raise ConnectionError("dropped")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines[1:])}
        status = int(lines[0].split()[1])
        if status == 200:
            self._tag = headers.get("etag", "")
        page = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        return status, len(answer), len(page)


# --- the process --------------------------------------------------------------------------------------------


async def _one(port: int, what: dict[str, Any]) -> list[Answer]:
    return [await Reader(port, what["ask"]).ask() for _ in range(what["times"])]


class Crowd:
    """Many readers. Their time passes only while they are let to read."""

    def __init__(self, port: int, paths: Sequence[str], number: int) -> None:
        self._readers = [Reader(port, paths[at % len(paths)]) for at in range(number)]
        self._next = [at / number for at in range(number)]
        """When each asks again, in periods."""
        self._now = 0.0

    async def read(self, seconds: float, period: float) -> list[Answer]:
        """Let each ask again and again for so long."""
        begun, until = time.perf_counter(), self._now + seconds / period
        found: list[Answer] = []

        async def one(number: int) -> None:
            while self._next[number] < until:
                at = begun + (self._next[number] - self._now) * period
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                found.append(await self._readers[number].ask())
                self._next[number] += 1

        await asyncio.gather(*(one(number) for number in range(len(self._readers))))
        self._now = until
        return found

    async def burst(self) -> list[Answer]:
        """Let all ask at once."""
        return list(await asyncio.gather(*(one.ask() for one in self._readers)))


def main() -> None:
    """Do what is said, until nothing more is."""
    os.nice(NICENESS)
    port = int(sys.argv[1])
    crowds: dict[str, Crowd] = {}
    for line in sys.stdin:
        what = json.loads(line)
        if "ask" in what:
            found = asyncio.run(_one(port, what))
        else:
            paths = what.get("read") or what["burst"]
            key = json.dumps(paths)
            if key not in crowds:
                crowds[key] = Crowd(port, paths, what["readers"])
            crowd = crowds[key]
            work = crowd.burst() if "burst" in what else crowd.read(what["seconds"], what["period"])
            found = asyncio.run(work)
        print(json.dumps([asdict(one) for one in found]), flush=True)


# --- who tells it -------------------------------------------------------------------------------------------


class Readers:
    """The process, for whoever started it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self, **what: Any) -> None:
        """Say what to do."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def answers(self) -> list[Answer]:
        """How it went, as soon as it is over."""
        assert self._process.stdout is not None
        return [Answer(**one) for one in json.loads(self._process.stdout.readline())]

    def ask(self, path: str, times: int = 1) -> list[Answer]:
        """One reader who asks for a page so many times."""
        self.begin(ask=path, times=times)
        return self.answers()


@contextmanager
def readers(port: int) -> Iterator[Readers]:
    """The process, while the block lasts."""
    command = [sys.executable, "-m", "benchmarks.readers", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Readers(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


if __name__ == "__main__":
    main()
