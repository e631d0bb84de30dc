"""A daemon that dies: between two writes, or before or after what a test replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jgi_stager.store.fencing import Fenced

WRITES = ("insert_one", "insert_each", "replace_one", "update_one", "update_many", "update_each")


class Killed(BaseException):
    """What no handler of the code under test catches."""


def kill(*_: object, **__: object) -> Any:
    """Die in the place of what was to be done."""
    raise Killed


def after(real: Callable[..., Any]) -> Callable[..., Any]:
    """The same as ``real``, and then die."""

    def function(*args: Any, **fields: Any) -> Any:
        real(*args, **fields)
        raise Killed

    return function


class Killer:
    """Lets so many writes happen, and none after them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written, self.left = 0, 10**6
        for name in WRITES:
            monkeypatch.setattr(Fenced, name, self._counted(getattr(Fenced, name)))

    def _counted(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            self.written += 1
            return write(*args, **kwargs)

        return counted
