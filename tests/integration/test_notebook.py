"""`Stager`, for notebooks: what the commands answer, as values, and not a byte written."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from commands import Run, parsed
from jgi_stager import Stager
from jgi_stager.reporting.json_output import plain
from jgi_stager.settings import ConfigError
from jgi_stager.store import StoreRefused
from stage import Stage

WRITES = ("insert", "update", "delete")


def everything(made: Stage) -> dict[str, Any]:
    """Each document and each index of the database."""
    database = made.store.database
    return {
        name: (list(database[name].find(sort=[("_id", 1)])), database[name].index_information())
        for name in sorted(database.list_collection_names())
    }


def written(made: Stage) -> list[int]:
    """How much the server ever wrote, whoever asked."""
    counted = made.store.client.admin.command("serverStatus")["opcounters"]
    return [counted[kind] for kind in WRITES]


def test_it_answers_as_the_commands_do_and_changes_nothing(made: Stage, run: Run) -> None:
    made.insert()
    made.drive(2)
    collection = made.store.database["files"]
    collection.drop_index(next(name for name in collection.index_information() if name != "_id_"))
    before, counted = everything(made), written(made)
    stager = Stager(os.environ["JGI_STAGER_CONFIG"])
    status, (explained,), rows = stager.status(), stager.explain("soil"), list(stager.files())
    (one,) = stager.explain(rows[0]["jdp_file_id"], project="soil")
    alone = stager.status("soil")
    assert everything(made) == before
    assert written(made) == counted

    assert rows == list(Stager().files("soil"))
    assert plain(rows) == parsed(run("files", "soil", "--limit", "0", "--json"))
    assert len(rows) == 6
    assert all(type(row["state"]) is str and type(row["bytes"]) is int for row in rows)
    assert all(isinstance(row["since"], datetime) and row["since"].tzinfo is not None for row in rows)
    assert next(stager.files(state=rows[0]["state"])) == rows[0]
    assert list(stager.files("soil", analysis_project=rows[0]["ap_gold_id"], state=["failed"])) == []

    said = parsed(run("status", "--json"))
    assert (plain(status)["projects"], plain(alone)["quota"]) == (said["projects"], said["quota"])
    assert plain(explained)["facts"] == parsed(run("explain", "soil", "--json"))[0]["facts"]
    assert (explained["kind"], one["kind"]) == ("project", "file")


def test_what_is_not_there_is_said(made: Stage, run: Run) -> None:
    made.insert()
    stager = Stager()
    for ask in (stager.status, stager.explain, stager.files):
        with pytest.raises(LookupError, match="no project called desert"):
            ask("desert")
    with pytest.raises(ValueError, match="'melting' is not a valid State"):
        stager.files(state="melting")


def test_a_database_of_another_release_is_refused_and_not_brought_up_to_date(made: Stage, run: Run) -> None:
    made.store.database["control"].update_one({"_id": "schema"}, {"$inc": {"version": -1}})
    before = everything(made)
    with pytest.raises(StoreRefused, match="this program knows"):
        Stager().status()
    assert everything(made) == before


def test_where_no_daemon_has_run_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(f'[state]\ndirectory = "{tmp_path}/state"\n')
    stager = Stager(config)
    with pytest.raises(LookupError, match="no daemon has run"):
        stager.status()
    assert not (tmp_path / "state").exists()
    monkeypatch.delenv("JGI_STAGER_CONFIG", raising=False)
    config.write_text("[stat]\n")
    with pytest.raises(ConfigError):
        Stager(config)


def test_importing_the_package_imports_nothing_else() -> None:
    program = "import sys, jgi_stager; print([one for one in sys.modules if one.startswith('jgi_stager.')])"
    program += "; print(sorted({'pymongo', 'pydantic', 'typer', 'requests'} & set(sys.modules)))"
    program += "; jgi_stager.Stager; print('typer' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split("\n")[:3] == ["[]", "[]", "True"]
    with pytest.raises(AttributeError, match="nonsense"):
        __import__("jgi_stager").nonsense  # noqa: B018
