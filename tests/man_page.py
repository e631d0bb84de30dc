"""man/jgi-stager.1, made from the commands as ``--help`` shows them: ``make man`` writes it.

The exit codes are the table of docs/commands.md, where they are documented.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from jgi_stager.cli.main import app
from jgi_stager.version import RELEASE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "man" / "jgi-stager.1"
EXIT_CODES = re.compile(r"^\| (\d+) \| (.+) \|$", re.MULTILINE)
ENVIRONMENT = (
    ("JGI_STAGER_CONFIG", "The settings file, where --config names none."),
    ("JGI_STAGER_SECTION__KEY", "A setting, which goes before that of the file: JGI_STAGER_STAGING__STAGE_DIR."),
    ("NO_COLOR", "Nothing is coloured."),
)
FILES = (
    ("~/.config/jgi-stager/jgi-stager.toml", "The settings of a user, written by jgi-stager init."),
    ("/etc/jgi-stager/jgi-stager.toml", "Those of the machine, which count where a user has none."),
    (
        "share/doc/jgi-stager/",
        "The documents, in the directory that jgi-stager --help names.",
    ),
)


def exit_codes() -> list[tuple[str, str]]:
    """Each exit code and what it means, as docs/commands.md has them."""
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    section = text.partition("## Exit codes\n")[2].partition("\n## ")[0]
    return [
        (code, re.sub(r"[`*]|\[([^]]+)\]\([^)]*\)", r"\1", said)) for code, said in EXIT_CODES.findall(section)
    ]


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Every command that can be given, by its whole name, with its context."""
    root: Any = get_command(app)
    yield from _below(root, root.make_context("jgi-stager", [], resilient_parsing=True))


def _below(command: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    for name, one in getattr(command, "commands", {}).items():
        inner = type(context)(one, info_name=name, parent=context, **one.context_settings)
        if hasattr(one, "commands"):
            yield from _below(one, inner)
        else:
            yield inner.command_path, one, inner


def made() -> str:
    """The whole page."""
    root: Any = get_command(app)
    context = root.make_context("jgi-stager", [], resilient_parsing=True)
    lines = [
        '.\\" Made by `make man` from the commands; changes here are lost.',
        f'.TH JGI\\-STAGER 1 "" "jgi\\-stager {_text(RELEASE)}" "User Commands"',
        *(".SH NAME", f"jgi\\-stager \\- {_text(root.help)}"),
        *(".SH SYNOPSIS", ".B jgi\\-stager", ".I COMMAND", "[OPTIONS] [ARGUMENTS]"),
        *(".SH OPTIONS", *_options(root, context)),
        ".SH COMMANDS",
    ]
    for name, command, inner in commands():
        pieces = " ".join(command.collect_usage_pieces(inner))
        lines += [f'.SS "{_text(name)} {_text(pieces)}"', *_paragraphs(command.help or "")]
        lines += _options(command, inner)
    lines += [".SH EXIT STATUS", *_pairs(exit_codes())]
    lines += [".SH ENVIRONMENT", *_pairs(ENVIRONMENT), ".SH FILES", *_pairs(FILES)]
    return "\n".join(lines) + "\n"


def _options(command: Any, context: Any) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and (parameter.name != "help" or context.parent is None):
            name = record[0].partition(" <")[0] if parameter.param_type_name == "argument" else record[0]
            yield from _pairs([(name, record[1])])


def _pairs(rows: Any) -> Iterator[str]:
    for name, said in rows:
        yield from (".TP", f".B {_text(name)}", _line(said))


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield _line(" ".join(paragraph.split()))


def _text(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def _line(text: str) -> str:
    """A line of text that roff takes for no request of its own."""
    said = _text(" ".join(text.split()))
    return f"\\&{said}" if said.startswith((".", "'")) else said


def main() -> None:
    """Write the page with ``--write``; else exit with 1 if it is not as the commands are."""
    fresh = made()
    if "--write" in sys.argv:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        sys.exit(f"{PAGE} is not as the commands are: make man")


if __name__ == "__main__":
    main()
