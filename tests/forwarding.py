"""A port of one loopback on another: the way of a container to a simulator that only its own machine may reach.

``python forwarding.py GATEWAY PORT COMMAND...`` becomes the command, beside a process that hands on what comes to
this port. Nothing but the standard library: it runs where the tests are not.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOPBACK = "127.0.0.1"
IP_FREEBIND = 15


@contextmanager
def forwarded(host: str, target: str, port: int) -> Iterator[None]:
    """What comes to the port of ``host`` goes to that of ``target``; ``host`` may be an address yet to come."""
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        door.bind((host, port))
        door.listen(64)
        threading.Thread(target=_serve, args=(door, (target, port)), daemon=True).start()
        yield


def _serve(door: socket.socket, target: tuple[str, int]) -> None:
    while True:
        try:
            outer, _ = door.accept()
        except OSError:
            return
        try:
            inner = socket.create_connection(target)
        except OSError:
            outer.close()
            continue
        for pair in ((outer, inner), (inner, outer)):
            threading.Thread(target=_pour, args=pair, daemon=True).start()


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while some := source.recv(65_536):
            target.sendall(some)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    """Hand on in a child, which ends with the container."""
    gateway, port, *command = sys.argv[1:]
    if os.fork():
        os.execvp(command[0], command)
    with forwarded(LOOPBACK, gateway, int(port)):
        threading.Event().wait()


if __name__ == "__main__":
    main()
