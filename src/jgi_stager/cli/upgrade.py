"""``upgrade --dry-run``: what this release would change in the database, and whether it would decide the same."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from jgi_stager import opening
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    require_database,
    settings_or_exit,
)
from jgi_stager.formatting import count
from jgi_stager.recorded_plans import decode, difference
from jgi_stager.store import Store, plans
from jgi_stager.store.connection import as_they_are
from jgi_stager.store.rehearsal import Rehearsal, rehearse
from jgi_stager.store.schema import CURRENT
from jgi_stager.version import RELEASE

SHOWN = 10
"""Plans that differ, and no more of them."""


def command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what this release would change in the database, and whether it would decide as was decided.

    Exits 1 if it would decide otherwise or set documents aside that are there.
    """
    settings = settings_or_exit(config)
    with handled():
        if not dry_run:
            raise Mistake(
                "the daemon brings its database up to date when it starts; to see before what that changes: "
                "jgi-stager upgrade --dry-run, and first of all: jgi-stager backup FILE",
                code=2,
            )
        require_database(settings)
        with (
            opening.open_server(settings) as (uri, password, _),
            as_they_are(uri, settings.mongodb.database, opening.make_clock(settings), password) as store,
        ):
            found = rehearse(store)
            replayed, differences, unread = _replay(store)
        if as_json:
            emit(
                {
                    "release": RELEASE,
                    "schema_version": {"is": found.version, "becomes": CURRENT},
                    **{name: value for name, value in asdict(found).items() if name != "version"},
                    "plans": {"replayed": replayed, "differences": differences, "unreadable": unread},
                }
            )
        else:
            _show(Page(), found, replayed, differences, unread)
    if differences or found.unfit:
        raise typer.Exit(1)


def _replay(store: Store) -> tuple[int, list[str], int]:
    """How many recorded plans were decided again, what differs, and how many cannot be read."""
    replayed, differences, unread = 0, list[str](), 0
    for record in plans.all_records(store):
        try:
            asked, decided = decode(record)
        except ValueError:
            unread += 1
            continue
        replayed += 1
        if (said := difference(asked, decided)) is not None:
            differences.append(said)
    return replayed, differences, unread


def _show(page: Page, found: Rehearsal, replayed: int, differences: list[str], unread: int) -> None:
    page.say(f"Release {RELEASE}. The database has version {found.version}, and this release {CURRENT}.")
    for one in found.migrations:
        page.say(f"changes the documents, {one}", indent=2, hang=2)
    for one in found.indexes:
        page.say(f"new index of {one}", indent=2, hang=2)
    if not found.migrations and not found.indexes:
        page.say("Nothing in the database changes, so the release before can go on with it.")
    elif not found.migrations:
        page.say("No document changes, so the release before can go on with the database.")
    else:
        page.say("The release before refuses the database from then on: make a backup first (docs/upgrade.md).")
    unfit = sum(found.unfit.values())
    if unfit:
        page.say(f"{count(unfit, 'document')} of {sum(found.documents.values()):,} would be set aside:")
        for one in found.examples:
            page.say(one, indent=2, hang=2)
    else:
        page.say(f"All {sum(found.documents.values()):,} documents fit.")
    page.say(f"This version would decide the same in {replayed - len(differences)} of {replayed} recorded plans.")
    for one in differences[:SHOWN]:
        page.say(one, indent=2, hang=2)
    if len(differences) > SHOWN:
        page.say(f"and {len(differences) - SHOWN} more: --json", indent=2)
    if unread:
        page.say(f"{count(unread, 'record')} cannot be read by this release.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("upgrade")(command)
