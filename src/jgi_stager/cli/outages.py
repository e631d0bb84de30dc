"""``outage``: windows of time that a site announces, so that nobody is alarmed by what stands still in them."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated

import typer

from jgi_stager.cli.commands import Commands
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    settings_or_exit,
    somebody,
)
from jgi_stager.formatting import instant
from jgi_stager.outages import Outage, What, not_over, one_line, problem_of
from jgi_stager.reporting.json_output import outage as document
from jgi_stager.settings import parse_instant
from jgi_stager.store import outages

outage_app = Commands(no_args_is_help=True, help="Planned outages: what is announced not to work.")


@outage_app.command("add")
def add(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What it is, for people.")],
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="Such as 2026-12-01T08:00Z.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="When it will be over.")],
    what: Annotated[str, typer.Option(metavar="WHAT", help=", ".join(What))] = What.NERSC.value,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Announce an outage: no alarm for what it explains, and the estimate counts on nothing meanwhile."""
    settings = settings_or_exit(config)
    with handled():
        if what not in set(What):
            raise Mistake(f"--what {what[:40]}: it is one of {', '.join(What)}", code=2)
        said = one_line(text)
        if not said:
            raise Mistake("say in a few words what it is", code=2)
        begun, over = _instant("--from", start), _instant("--to", end)
        with open_store(settings) as source:
            if wrong := problem_of(begun, over, source.clock.now()):
                raise Mistake(f"{instant(begun)} to {instant(over)}: {wrong}", code=2)
            made = Outage(
                id=uuid.uuid4().hex[:6], what=What(what), start=begun, end=over, text=said, by=somebody()
            )
            outages.add(source.store, made)
        if as_json:
            emit(document(made))
        else:
            Page().say(f"{made.id}: {made.title}, {instant(begun)} to {instant(over)}.")
            Page().say(f"To take it back: jgi-stager outage remove {made.id}")


def _instant(option: str, text: str) -> datetime:
    try:
        return parse_instant(text.strip()[:60])
    except ValueError:
        raise Mistake(
            f"{option} {text[:60]}: not an instant; give date, time and zone, such as 2026-12-01T08:00Z or "
            "2026-12-01T08:00-08:00",
            code=2,
        ) from None


@outage_app.command("list")
def show(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show what is announced, by NERSC and by people here, and is not over."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        said = outages.announced(source.store)
        found = not_over(outages.known(source.store), source.clock.now())
        asked = bool(settings.nersc.status_url)
        if as_json:
            nersc = {"asked": asked, "answered_at": said.at, "problem": said.problem or None}
            emit({"outages": [document(one) for one in found], "nersc": nersc})
            return
        page = Page()
        if found:
            rows = [
                [one.id, one.what or "(no files)", instant(one.start), instant(one.end), one.by, one.text]
                for one in found
            ]
            page.table(("id", "of", "from", "to", "by", "text"), rows)
        else:
            page.say("No outage is announced.")
        if not asked:
            page.say("NERSC is not asked (nersc.status_url is empty).")
        elif said.problem:
            page.say(f"What NERSC plans is not known: {said.problem}")
        elif said.at is None:
            page.say("NERSC was not asked yet: the daemon does so every hour.")
        else:
            page.say(f"NERSC answered at {instant(said.at)}.")


@outage_app.command("remove")
def remove(
    outage_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take back what a person announced."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        if not outages.remove(source.store, outage_id):
            theirs = any(one.id == outage_id for one in outages.announced(source.store).outages)
            why = (
                "it is announced by NERSC, and goes when NERSC takes it back"
                if theirs
                else "there is none; see: jgi-stager outage list"
            )
            raise Mistake(f"{outage_id[:60]}: {why}")
        if as_json:
            emit({"removed": outage_id})
        else:
            Page().say(f"{outage_id} is taken back.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(outage_app, name="outage")
