"""Broken builds: what a careless change could do. The judge must catch each of them, or it is no judge."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from jgi_stager.clients.jdp import Jdp
from jgi_stager.steps import verify
from jgi_stager.store import requests


def mutate(name: str | None) -> None:
    """Break this process in the named way; None leaves it whole."""
    if name is not None:
        MUTATIONS[name]()


def _intent_after_the_post() -> None:
    """The intent is written when the answer is there: who dies in between asks again."""
    insert, ask = requests.insert_request, Jdp.request_files
    kept: dict[str, Any] = {}
    real: dict[str, str] = {}

    def insert_later(store: Any, **fields: Any) -> str:
        kept.update(store=store, fields=fields, key=uuid.uuid4().hex)
        return str(kept["key"])

    def ask_first(self: Jdp, *arguments: Any) -> Any:
        answer = ask(self, *arguments)
        real[kept["key"]] = insert(kept["store"], **kept["fields"])
        return answer

    def update_the_late(store: Any, key: str, *arguments: Any, **fields: Any) -> bool:
        return update(store, real.get(key, key), *arguments, **fields)

    update = requests.update_request
    requests.insert_request, requests.update_request = insert_later, update_the_late
    Jdp.request_files = ask_first  # type: ignore[method-assign,assignment]


def _quota_per_run() -> None:
    """The quota is summed by a counter in memory: who starts anew has all of it again."""
    ledger = requests.ledger
    seen_at_start: set[Any] | None = None

    def of_this_run(store: Any, window_start: Any) -> list[Any]:
        nonlocal seen_at_start
        entries = ledger(store, window_start)
        if seen_at_start is None:
            seen_at_start = {entry.at for entry in entries}
        return [entry for entry in entries if entry.at not in seen_at_start]

    requests.ledger = of_this_run


def _done_unchecked() -> None:
    """A file counts as arrived because Globus says that the task succeeded."""
    verify.look_at = lambda *_: verify.Finding(None, "Globus says so")


MUTATIONS: dict[str, Callable[[], None]] = {
    "intent_after_the_post": _intent_after_the_post,
    "quota_per_run": _quota_per_run,
    "done_unchecked": _done_unchecked,
}
"""By name, each a function that breaks this process."""
