"""The parts of the command line that need no books: amounts, bars, tokens, JSON, the example of the settings."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from jgi_stager.cli.commands import ROWS, Commands, Row
from jgi_stager.cli.common import Mistake, Page, complain
from jgi_stager.cli.control import parse_amount, shown_value
from jgi_stager.cli.credentials import Tokens, plausible, store_secret
from jgi_stager.cli.main import app
from jgi_stager.cli.setup import example
from jgi_stager.cli.status import shares, status_lines
from jgi_stager.formatting import clean
from jgi_stager.planning import Spent
from jgi_stager.preflight import Check, Problem, Verdict, attempt, try_all, worst
from jgi_stager.reporting import summary
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.json_output import plain
from jgi_stager.secrets import Secrets
from jgi_stager.settings import MongoSettings, Settings
from views import HOUR, NOW, TERA, facts, project, trouble, waiting, wants

REPOSITORY = Path(__file__).parents[2]
NO_DEFAULT = {
    ("mongodb", "uri"),
    ("jdp", "unknown_patience_hours"),
    ("globus", "client_id"),
    ("staging", "stage_dir"),
    ("staging", "md5_max_bytes"),
    ("staging", "verify_workers"),
    ("staging", "destination_quota_bytes"),
    ("notifications", "smtp_user"),
    ("web", "socket"),
    ("page", "url"),
    ("web", "socket"),
    ("page", "publish_dir"),
    ("state", "directory"),
    ("clock", "start"),
    ("secrets", "directory"),
    ("globus", "transfer_url"),
    ("globus", "auth_url"),
}
"""Without a value these mean something else, which the comment above each says; the example shows a value."""


def uncommented() -> dict[str, dict[str, object]]:
    lines = (re.sub(r"^# ([a-z0-9_]+ = )", r"\1", line) for line in example().splitlines())
    return tomllib.loads("\n".join(lines))


def test_the_example_names_every_setting_and_no_other() -> None:
    sections = {name: type(getattr(Settings(), name)).model_fields for name in Settings.model_fields}
    settings = {(section, key) for section, keys in sections.items() for key in keys}
    shown = {(section, key) for section, keys in uncommented().items() for key in keys}
    assert sorted(settings ^ shown) == []


def test_the_example_shows_the_defaults() -> None:
    for section, keys in uncommented().items():
        for key, value in keys.items():
            default = getattr(getattr(Settings(), section), key)
            if (section, key) in NO_DEFAULT:
                assert default is None or section == "state"
            else:
                assert value == default, (section, key)


def test_the_example_can_be_used_as_it_is_and_explains_every_key() -> None:
    assert Settings(**tomllib.loads(example())) == Settings()
    blocks = re.split(r"\n(?=# [a-z0-9_]+ = |\[)", example())
    explained = [block for block in blocks if "\n# " in block or re.search(r"^# [A-Z\"$]", block, re.MULTILINE)]
    assert len(explained) > 10


def test_the_example_lies_in_config_too() -> None:
    assert (REPOSITORY / "config" / "jgi-stager.example.toml").read_text(encoding="utf-8") == example()


@pytest.mark.parametrize(
    ("text", "value"),
    [("500", 500), ("500GB", 500 * 10**9), ("2.5 TB", 2_500_000_000_000), ("10t", 10**13), ("1_000", 1000)],
)
def test_amounts(text: str, value: int) -> None:
    assert parse_amount(text) == value


@pytest.mark.parametrize("text", ["", "-1", "many", "1e13", "5 TiB", "9" * 30, "\N{FULLWIDTH DIGIT ONE}"])
def test_what_is_no_amount_is_a_mistake(text: str) -> None:
    with pytest.raises(Mistake) as error:
        parse_amount(text)
    assert error.value.code == 2


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=6), st.integers(6, 60))
def test_bars_are_full_and_show_whatever_is_there(sizes: list[int], width: int) -> None:
    cells = shares(sizes, width)
    assert sum(cells) == (width if sum(sizes) else 0)
    assert all(bool(cell) == bool(size) for cell, size in zip(cells, sizes, strict=True))


def test_what_could_steer_a_terminal_is_replaced() -> None:
    assert clean("a\x1b[31mb\n\u202ec") == "a\ufffd[31mb\ufffd\ufffdc"


def test_no_line_of_a_page_steers_a_terminal_or_is_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    page = Page()
    evil = "\x1b]0;owned\x07[bold]soil[/bold] [link=https://example.org]\u202e"
    page.line(Text(evil, style="bold"))
    page.say(evil)
    page.pair("name", evil, 6)
    page.table(["name"], [[evil]])
    complain(evil)
    said = "".join(capsys.readouterr())
    assert [char for char in said if not char.isprintable() and char != "\n"] == []
    assert said.count("[bold]soil[/bold] [link=https://example.org]") == 5


def test_json_has_plain_values() -> None:
    at = datetime(2026, 3, 4, 14, 0, 0, 123, tzinfo=UTC)
    found = plain({"at": at, "took": timedelta(minutes=1), "verdict": Verdict.OK, "some": (1, None, True)})
    assert found == {"at": "2026-03-04T14:00:00Z", "took": 60.0, "verdict": "ok", "some": [1, None, True]}
    assert json.dumps(found)


# --- tokens --------------------------------------------------------------------------------------------------


def test_tokens_lose_what_copying_adds() -> None:
    assert plausible(Tokens.JDP, ' "Bearer /api/sessions/0123" \n') == "Bearer /api/sessions/0123"
    assert plausible(Tokens.GOLD, "Bearer eyJhbGciOi.x.y\n") == "eyJhbGciOi.x.y"


@pytest.mark.parametrize(
    "text", ["", "  ", "short", "two words here", "<html>login</html>", "a\nb" * 9, "t\u00f6ken" * 5]
)
def test_what_is_no_token_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(Mistake) as error:
        plausible(Tokens.JDP, text)
    assert error.value.code == 2
    assert not text.strip() or text.strip() not in str(error.value)


def test_a_secret_is_written_for_its_owner_alone_and_whole(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets")
    store_secret(secrets, "jdp_token", "first")
    path = store_secret(secrets, "jdp_token", "second")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert secrets.read("jdp_token").get_secret_value() == "second"
    assert [one.name for one in path.parent.iterdir()] == ["jdp_token"]


def test_a_password_in_an_address_is_not_shown() -> None:
    settings = Settings(mongodb=MongoSettings(uri="mongodb://me:s3cret@host:27017/?authSource=admin"))
    assert shown_value(settings, "mongodb", "uri") == "mongodb://me:***@host:27017/?authSource=admin"
    assert shown_value(settings, "mongodb", "database") == "jgi_stager"


# --- the preflight -------------------------------------------------------------------------------------------


def warn() -> str:
    raise Problem("nearly full", "make room", Verdict.WARN)


def test_a_check_ends_in_a_row_whatever_happens() -> None:
    row = attempt(Check("space", warn))
    assert (row.verdict, row.text, row.cure) == (Verdict.WARN, "nearly full", "make room")
    bug = attempt(Check("bug", lambda: str(1 // 0)))
    assert (bug.verdict, bug.text) == (Verdict.FAIL, "ZeroDivisionError: integer division or modulo by zero")


def test_checks_are_bounded_in_time_and_keep_their_order() -> None:
    import threading

    hang = threading.Event()

    def never() -> str:
        hang.wait(30)
        return "late"

    rows = try_all([Check("hangs", never), Check("good", lambda: "yes"), Check("full", warn)], 0.5)
    hang.set()
    assert [(row.name, row.verdict) for row in rows] == [("hangs", "fail"), ("good", "ok"), ("full", "warn")]
    assert rows[0].text == "no answer within 0 s"
    assert worst(rows) == Verdict.FAIL
    assert worst(rows[1:]) == Verdict.WARN
    assert worst(rows[1:2]) == Verdict.OK


# --- the documentation ---------------------------------------------------------------------------------------


def _home(command: Any) -> str:
    """The module a command is written in; of a group, that of its first command."""
    inner = next(iter(getattr(command, "commands", {}).values()), command)
    return str(inner.callback.__module__)


def test_every_command_and_every_reason_is_documented() -> None:
    text = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    documented = {
        f"jgi_stager.cli.{name}"
        for name in ("ask", "control", "credentials", "plan", "project", "report", "setup", "status")
    }
    ours = [name for name, command in group.commands.items() if _home(command) in documented]
    assert len(ours) > 10
    for name in ours:
        assert f"`{name}" in text, name
    assert {why.value for why in ReasonCode} <= set(re.findall(r"`([a-z]+)`", text))


# --- help ----------------------------------------------------------------------------------------------------


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*words, name))


EVERY = {" ".join(words): command for words, command in _commands(get_command(app))}


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_the_table_of_commands_says_what_each_is(row: Row) -> None:
    command = EVERY[row.name]
    assert command.get_short_help_str(1000) == TyperCommand(row.name, help=row.help).get_short_help_str(1000)
    assert (command.name, command.hidden) == (row.name, row.hidden)
    inner = next(iter(getattr(command, "commands", {}).values()), command)
    assert inner.callback.__module__ == f"jgi_stager.cli.{row.module}"


def test_every_command_that_a_module_registers_is_in_the_table() -> None:
    found = set()
    for module in {row.module for row in ROWS.values()}:
        application = Commands(callback=lambda: None)
        import_module(f"jgi_stager.cli.{module}").register(application)
        found |= set(getattr(get_command(application), "commands", {}))
    assert found == set(ROWS)


@pytest.mark.parametrize("words", [("--help",), ("--version",), ()], ids=" ".join)
def test_help_and_version_load_no_command(words: tuple[str, ...]) -> None:
    """Loading all of them took a second and 1,100 modules."""
    code = "import sys\nfrom jgi_stager.cli.main import app\n"
    code += f"try: app({list(words)!r})\nexcept SystemExit: pass\nprint(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(shown.splitlines()[-1].split())
    assert len(loaded) < 400
    assert not loaded & {"pydantic", "pymongo", "structlog", "requests", "globus_sdk", "jinja2", "yaml", "uvicorn"}
    assert {name for name in loaded if name.startswith("jgi_stager.")} <= {
        "jgi_stager.cli",
        "jgi_stager.cli.main",
        "jgi_stager.cli.commands",
        "jgi_stager.version",
    }


@pytest.mark.parametrize("name", EVERY)
def test_every_help_is_written_in_one_way(name: str) -> None:
    said = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"}).output
    assert said.startswith("Usage: ")
    assert max(map(len, said.splitlines())) <= 80
    assert not re.search(r"<\w|[{}]|list\[", said), said
    usage = said.partition("\n\n")[0].partition("[OPTIONS]")[2]
    assert usage == usage.upper()
    for line in said.splitlines():
        # What an option is given is one word in capitals.
        if found := re.match(r"  (?:-\w, )?--[\w-]+(?: / --[\w-]+)?(?: (\S+))?(?:  |$)", line):
            assert found[1] is None or re.fullmatch(r"[A-Z]+", found[1]), line


def test_the_walk_over_the_helps_finds_them_all() -> None:
    assert len(EVERY) > 25
    assert {"", "project add", "limits set", "token set", "demo", "simulate"} <= EVERY.keys()


# --- the page ------------------------------------------------------------------------------------------------


def test_a_dead_token_is_on_the_page_once_without_the_raw_answer() -> None:
    raw = 'jdp: HTTP 401 {"error": "unauthorized"}; the session token is missing, wrong or has ended'
    world = facts(
        daemon=trouble("jdp", "needs_person", raw, "jgi-stager token set jdp"),
        projects=(project("a", counts={"pending": (3, TERA)}), project("b", counts={"pending": (3, TERA)})),
        waiting=waiting(wants(3, TERA, "a"), spent=(Spent(NOW - 20 * HOUR, 10 * TERA),)),
    )
    page = "\n".join(line.plain for line in status_lines(summary.status(world), Page(), None))
    assert page.count("the session token is missing") == 1
    assert "do this before 18:00 UTC and no time is lost" in page
    assert page.count("waiting for a person since 12:00 UTC: see You, below") == 2
    assert "{" not in page
