"""A network in between: a unix socket that forwards to another one, and can be cut, frozen and healed."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from contextlib import suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

_CHUNK = 65_536


class Wire(Enum):
    """How the network is."""

    WHOLE = "whole"
    CUT = "cut"
    """Connections are dropped and new ones are refused."""
    FROZEN = "frozen"
    """Connections stay and new ones are taken, but nothing comes through until it is whole again."""


class Proxy:
    """Forwards every connection to ``path`` to the unix socket ``target``, in a thread of its own."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self.target = path, target
        self._wire = Wire.WHOLE
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._told, self._notify = os.pipe()
        self._over = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    @property
    def uri(self) -> str:
        """Where a client of MongoDB finds the target by way of this proxy."""
        return f"mongodb://{quote(str(self.path), safe='')}/?directConnection=true"

    def __enter__(self) -> Proxy:
        self._selector.register(self._told, selectors.EVENT_READ)
        self._listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        os.write(self._notify, b".")
        self._thread.join()
        self._selector.close()
        os.close(self._told)
        os.close(self._notify)

    def be(self, wire: Wire) -> None:
        """Make the network so, and return when it is."""
        self._changed.clear()
        self._wire = wire
        os.write(self._notify, b".")
        assert self._changed.wait(10)

    def _work(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                if key.fileobj == self._told:
                    os.read(self._told, _CHUNK)
                    self._rewire()
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._pairs:
                    self._forward(key.fileobj)
        self._cut()

    def _rewire(self) -> None:
        if self._wire is Wire.CUT or self._over:
            self._cut()
        elif self._listener is None:
            self._listen()
        for end in self._pairs:
            frozen = end.fileno() not in self._watched()
            if self._wire is Wire.FROZEN and not frozen:
                self._selector.unregister(end)
            elif self._wire is Wire.WHOLE and frozen:
                self._selector.register(end, selectors.EVENT_READ)
        self._changed.set()

    def _watched(self) -> set[int]:
        return {key.fd for key in self._selector.get_map().values()}

    def _listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        assert self._listener is not None
        near, _ = self._listener.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(str(self.target))
        except OSError:
            near.close()
            far.close()
            return
        self._pairs |= {near: far, far: near}
        if self._wire is Wire.WHOLE:
            for end in (near, far):
                self._selector.register(end, selectors.EVENT_READ)

    def _forward(self, end: socket.socket) -> None:
        try:
            data = end.recv(_CHUNK)
            self._pairs[end].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._pairs.pop(end)
        del self._pairs[other]
        for each in (end, other):
            with suppress(KeyError):
                self._selector.unregister(each)
            each.close()

    def _cut(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            self.path.unlink()
        while self._pairs:
            self._drop(next(iter(self._pairs)))
