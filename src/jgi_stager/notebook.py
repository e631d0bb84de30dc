"""`Stager`: what the commands that read answer, as Python values, for notebooks and scripts. It writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from jgi_stager.cli.ask import explanations
from jgi_stager.cli.common import Mistake, open_store
from jgi_stager.config_sources import require_configuration
from jgi_stager.lifecycle import State
from jgi_stager.reporting import json_output, summary
from jgi_stager.reporting.logins import credentials
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.settings import load_settings
from jgi_stager.store import file_queries, projects

Row = dict[str, Any]


class Stager:
    """The projects of one installation, read only.

    The fields are those of ``--json`` in docs/commands.md; instants are aware datetimes in UTC, sizes are bytes,
    durations are timedeltas, and what is not known is None. Each question looks anew, and nothing stays open in
    between. It works while the daemon is down, and needs the rights of the commands that read.
    """

    def __init__(self, config: str | Path | None = None) -> None:
        """``config``: the settings file; by default the one that the commands find. Raises `ConfigError`."""
        path = None if config is None else Path(config).expanduser()
        require_configuration(path)
        self._settings = load_settings(path)

    def status(self, project: str | None = None) -> Row:
        """How far everything is, or one project, as ``jgi-stager status``.

        Raises LookupError if the project is not there.
        """
        with self._opened() as source:
            snapshot = take_snapshot(source)
            if project is not None and snapshot.project(project) is None:
                raise LookupError(f"there is no project called {project}")
            logins = credentials(self._settings, snapshot, source.clock)
            found: Row = _values(json_output.status(summary.status(snapshot, logins, project)))
            return found

    def explain(self, subject: str, project: str | None = None) -> list[Row]:
        """Why a project or a file waits, as ``jgi-stager explain``; several files may have one name.

        Raises LookupError if there is neither.
        """
        with self._opened() as source:
            return [_values(json_output.explanation(one)) for one in explanations(source, subject, project)]

    def files(
        self,
        project: str | None = None,
        state: str | Iterable[str] = (),
        analysis_project: str | None = None,
    ) -> Iterator[Row]:
        """A row for each file, as ``jgi-stager files``: ``pandas.DataFrame(stager.files(state="failed"))``.

        ``project``: its name; by default all, one after the other. ``state``: one or several. Raises LookupError
        for a project that is not there, ValueError for a state that is none.
        """
        wanted = [State(one) for one in ([state] if isinstance(state, str) else state)]
        with self._opened() as source:
            names = [one.name for one in projects.heads(source.store) if one.name is not None]
        if project is not None and project not in names:
            raise LookupError(f"there is no project called {project}")
        return self._rows([project] if project is not None else names, wanted, analysis_project)

    def _rows(self, names: list[str], states: list[State], analysis_project: str | None) -> Iterator[Row]:
        for name in names:
            with self._opened() as source:
                found = file_queries.listing(source.store, name, states=states, ap_gold_id=analysis_project)
                detailed = list(file_queries.with_details(source.store, found))
            yield from (_values(json_output.file_row(*one)) for one in detailed)

    @contextmanager
    def _opened(self) -> Iterator[SnapshotSource]:
        try:
            with open_store(self._settings, read_only=True) as source:
                yield source
        except Mistake as mistake:
            raise LookupError(str(mistake)) from None


def _values(value: Any) -> Any:
    """Plain values that a data frame takes: no enums, no views, no tuples."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key.value if isinstance(key, Enum) else key): _values(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_values(item) for item in value]
    return value
