"""One way to write help: arguments and values in capitals, flags without a value, what is optional in brackets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose help shows ``PROJECT`` where Typer shows ``{PROJECT}`` and ``PROJECT <str>``."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command in the line of its usage."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The arguments and options, each with its help."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name, text = record
                kind = parameter.param_type_name
                rows[kind].append((name.partition(" <")[0] if kind == "argument" else name, text))
        for title, found in (("Arguments", rows["argument"]), ("Options", rows["option"])):
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


class Commands(typer.Typer):
    """Commands with such help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(rich_markup_mode=None, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """The same as Typer's."""
        return super().command(name, cls=Command, **options)
