"""The man page, the exit codes and the completion are those of the commands as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import man_page
from jgi_stager.cli.demo import INTERRUPTED
from jgi_stager.cli.status import DAEMON_DOWN
from jgi_stager.cli.wait import Result


def test_the_man_page_is_made_from_the_commands() -> None:
    assert man_page.PAGE.read_text(encoding="utf-8") == man_page.made(), "make man"


def test_the_man_page_has_every_command_with_every_option() -> None:
    page = man_page.PAGE.read_text(encoding="utf-8").replace("\\-", "-")
    sections = {part.partition(" [")[0].partition(" NAME")[0]: part for part in re.split(r'\.SS "', page)[1:]}
    found = list(man_page.commands())
    assert len(found) > 30
    for name, command, _ in found:
        (section,) = [part for title, part in sections.items() if re.fullmatch(rf"{name}(?: [A-Z|.]+)*\"?", title)]
        shown = [one for one in command.params if not getattr(one, "hidden", False)]
        options = {name for one in shown for name in one.opts if name.startswith("--")} - {"--help"}
        assert {one for one in options if one not in section} == set(), name


def test_no_line_of_the_man_page_is_taken_for_a_request_of_roff() -> None:
    known = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", '.\\"'}
    lines = man_page.PAGE.read_text(encoding="utf-8").splitlines()
    assert {line.split()[0] for line in lines if line.startswith((".", "'"))} <= known
    assert man_page._line("'quoted'.").startswith("\\&'")


def test_every_exit_code_is_documented_in_one_table() -> None:
    documented = {int(code) for code, _ in man_page.exit_codes()}
    assert documented == {0, 1, 2, DAEMON_DOWN, INTERRUPTED} | {int(one) for one in Result}


@pytest.mark.parametrize(
    ("words", "at", "offered"),
    [("jgi-stager pro", 1, ["project"]), ("jgi-stager project res", 2, ["rescan", "resume"])],
)
def test_the_shell_completes_commands(words: str, at: int, offered: list[str]) -> None:
    asked = {"_JGI_STAGER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    command = [sys.executable, "-m", "jgi_stager"]
    ended = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert sorted(ended.stdout.split()) == offered
