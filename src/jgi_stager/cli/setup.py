"""``init`` and ``check``: a settings file to start from, and whether everything the daemon needs is there.

A check asks one dependency and says what it must answer, and the cure where it does not.
"""

from __future__ import annotations

import os
import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager import opening
from jgi_stager.cli import scrontab
from jgi_stager.cli.common import ConfigOption, JsonOption, Mistake, Page, emit, handled, settings_or_exit
from jgi_stager.cli.control import config_file
from jgi_stager.client_factory import Clients, clients_for_command
from jgi_stager.config_sources import CONFIG_VARIABLE, ConfigError
from jgi_stager.demo.place import has_ended
from jgi_stager.failures import Rejected, ServiceError
from jgi_stager.formatting import count, human_bytes, instant, some_of
from jgi_stager.importer import PatternsError
from jgi_stager.opening import open_secrets
from jgi_stager.outages import not_over
from jgi_stager.pattern_files import read_importer
from jgi_stager.preflight import (
    Check,
    Problem,
    Row,
    Verdict,
    clock_difference,
    free_bytes,
    try_all,
    worst,
    write_probe,
)
from jgi_stager.reporting.contract_rows import contract_rows
from jgi_stager.reporting.snapshot import set_aside
from jgi_stager.server_versions import known_against, obstacle, on_network, parsed
from jgi_stager.settings import Settings, load_settings
from jgi_stager.store import Store, StoreError, StoreRefused, evidence, fencing, ping, processes, server_time
from jgi_stager.store.processes import private_directory

# --- the checks ---------------------------------------------------------------------------------------------


CLOCK_WARN_SECONDS = 5.0
CLOCK_FAIL_SECONDS = 300.0
LITTLE_SPACE = 10_000_000_000
STAGED_LITTLE = 1_000_000_000_000
UNKNOWN_REQUEST = 1
"""A request id that is not ours: JDP answers "unknown" to a good session and 401 to a bad one."""


def all_checks(settings: Settings, services: Clients, config_path: str | None) -> list[Check]:
    """Every dependency, the nearest first. Of a demo that has ended nothing is left that could be asked."""
    if has_ended(None if config_path is None else Path(config_path)):
        return [Check("settings", partial(_ended_demo, config_path))]
    return [
        Check("settings", partial(_settings, settings, config_path)),
        Check("state directory", partial(_state_directory, settings)),
        Check("database", partial(_database, settings)),
        Check("documents", partial(_documents, settings)),
        Check("staging directory", partial(_stage_dir, settings)),
        Check("importer", partial(_importer, settings)),
        Check("secret gold", partial(_secret, settings, ("gold_offline_token",), "jgi-stager token set gold")),
        Check("secret jdp", partial(_secret, settings, ("jdp_token",), "jgi-stager token set jdp")),
        Check("GOLD", _answers(services.gold.probe, "answers, and takes the token")),
        Check("JDP search", _answers(services.jdp.probe, "answers")),
        Check("JDP session", partial(_jdp_session, services)),
        Check("NMDC", _answers(services.nmdc.probe, "answers")),
        Check("NERSC status", partial(_planned_outages, settings, services)),
        *_ways_of_files(settings, services),
        Check("mail server", partial(_mail_server, settings)),
        *scrontab.checks(),
    ]


def _ways_of_files(settings: Settings, services: Clients) -> list[Check]:
    """What files come by: the one that is chosen is all that must be there."""
    if settings.staging.method == "https":
        return [Check("JDP downloads", _answers(services.downloads.probe, "answers, and takes the session token"))]
    secret = partial(_secret, settings, ("globus_client_secret", "globus_refresh_token"), "jgi-stager login")
    return [
        Check("secret globus", secret),
        Check("Globus", _answers(services.globus.probe, "answers, and takes the login")),
        Check("JGI collection", partial(_jgi_collection, settings, services)),
        Check("NERSC collection", partial(_nersc_collection, settings, services)),
    ]


def _ended_demo(config_path: str | None) -> str:
    raise Problem(
        f"{config_path} is of a demo that has ended: its daemon and the services that it asked run no more",
        "nothing is wrong; to check a running one, start it again: jgi-stager demo",
        Verdict.WARN,
    )


def _settings(settings: Settings, config_path: str | None) -> str:
    needed: list[tuple[str, object]] = [("staging.stage_dir", settings.staging.stage_dir)]
    if settings.staging.method == "globus":
        needed += [
            ("globus.globus_root_dir", settings.globus.globus_root_dir),
            ("globus.client_id", settings.globus.client_id),
            ("jdp.globus_user_name", settings.jdp.globus_user_name),
        ]
    missing = [name for name, value in needed if not value]
    where = config_path or "no settings file"
    if missing:
        raise Problem(
            f"{where}: {', '.join(missing)} not set", "set them; jgi-stager init writes a file to start from"
        )
    return where


def _state_directory(settings: Settings) -> str:
    home = processes.private_directory(settings.state.directory)
    write_probe(str(home))
    free = free_bytes(str(home))
    if free < LITTLE_SPACE and settings.mongodb.uri is None:
        raise Problem(
            f"{home}: only {human_bytes(free)} free", "make room: the database lives there", Verdict.WARN
        )
    return f"{home}, {human_bytes(free)} free"


def _database(settings: Settings) -> str:
    clock = opening.make_clock(settings)
    with opening.open_store(settings, clock) as (store, mongod):
        version, difference = ping(store), clock_difference(server_time(store))
        _may_fence(store)
    kind = "private mongod" if mongod is not None else "mongod"
    networked = mongod is None and on_network(settings.mongodb.uri or "")
    against = _known_against(version, networked=networked)
    if abs(difference) > CLOCK_WARN_SECONDS:
        verdict = Verdict.FAIL if abs(difference) > CLOCK_FAIL_SECONDS else Verdict.WARN
        raise Problem(
            f"{kind} {version} answers, but its clock is {difference:+.0f} s off ours",
            "let both machines keep time with NTP (timedatectl)",
            verdict,
        )
    said = f"{kind} {version}, clock {difference:+.1f} s{''.join(f'; {one}' for one in against)}"
    if against and networked:
        raise Problem(said, "run a series that gets fixes: docs/install.md, Which MongoDB", Verdict.WARN)
    return said


def _known_against(version: str, *, networked: bool) -> tuple[str, ...]:
    """What is known against the server. Raises `Problem` for one that is too old."""
    known = parsed(version)
    if known is None:
        return ()
    if (why := obstacle(known, None)) is not None:
        raise Problem(f"mongod {why}", "run a newer one: docs/install.md, Which MongoDB")
    return known_against(known, on_network=networked)


def _documents(settings: Settings) -> str:
    try:
        with opening.open_store(settings, opening.make_clock(settings)) as (store, _):
            found = set_aside(store)
    except StoreError:
        raise Problem("not read: see the database", "mend the database first", Verdict.WARN) from None
    if not found:
        return "every document that the daemon read fits"
    first, more = found[0], len(found) - 1
    said = f"{first.sentence}{f'; and {more} more: jgi-stager status' if more else ''}"
    raise Problem(said, first.cure, Verdict.WARN)


def _may_fence(store: Store) -> None:
    try:
        fencing.may_raise(store.database)
    except StoreRefused as error:
        cure = "give the user the role dbAdmin on this database, beside readWrite (docs/install.md)"
        raise Problem(f"the user may not keep a daemon out that was replaced: {error}", cure) from None


def _stage_dir(settings: Settings) -> str:
    path = settings.staging.stage_dir
    if path is None:
        raise Problem("not set", "set staging.stage_dir to the directory where files arrive")
    if not path.is_dir():
        raise Problem(f"{path} is not a directory here", f"mount it, or create it: mkdir -p {path}")
    try:
        write_probe(str(path))
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "let the daemon's user write there") from None
    free = free_bytes(str(path))
    if free < STAGED_LITTLE:
        raise Problem(f"{path}: only {human_bytes(free)} free", "make room, or choose another", Verdict.WARN)
    return f"{path}, {human_bytes(free)} free"


def _importer(settings: Settings) -> str:
    try:
        found = read_importer(settings.importer)
    except PatternsError as error:
        raise Problem(str(error), "correct the file or importer.patterns; staging goes on without") from None
    if found is None:
        return "no patterns named: what is ready to import is not judged"
    if unknown := found.unknown_optional():
        raise Problem(
            f"importer.optional_types: no pattern is for {some_of([repr(one) for one in unknown])}",
            "write it as the patterns do, or remove it",
            Verdict.WARN,
        )
    kinds = [f"{count(len(one.types), 'pattern')} for a {omics}" for omics, one in found.patterns.items()]
    return ", ".join(kinds)


def _secret(settings: Settings, names: tuple[str, ...], cure: str) -> str:
    secrets = open_secrets(settings)
    for name in names:
        if secrets.exists(name):
            secrets.read(name)
            return f"{secrets.path(name)}"
    raise Problem(f"{' or '.join(names)} missing in {secrets.directory}", f"run: {cure}")


def _answers(probe: Callable[[], None], text: str) -> Callable[[], str]:
    def run() -> str:
        probe()
        return text

    return run


def _planned_outages(settings: Settings, services: Clients) -> str:
    """Whatever it answers, nothing waits for it: never a failure, nor a warning."""
    if not services.nersc.is_on:
        return "not asked for planned outages (nersc.status_url is empty)"
    now = opening.make_clock(settings).now()
    try:
        found = services.nersc.planned(now)
    except ServiceError as error:
        return f"planned outages are not known ({error}); announce them: jgi-stager outage add"
    coming = [one for one in not_over(found, now) if one.what is not None]
    following = f", the next {coming[0].title} at {instant(coming[0].start)}" if coming else ""
    return f"answers, {count(len(coming), 'planned outage')} that concern files{following}"


def _jdp_session(services: Clients) -> str:
    with suppress(Rejected):  # It does not know the request, but it listened: the session is good.
        services.jdp.request_status(UNKNOWN_REQUEST)
    return "takes the session token"


def _jgi_collection(settings: Settings, services: Clients) -> str:
    path = f"{settings.globus.delivery_root}/"
    entries = services.globus.ls(settings.globus.jgi_collection_id, path)
    if entries is None:
        raise Problem(
            f"there is no {path} on the collection",
            "set globus.globus_root_dir to your delivery folder; it appears with the first delivery",
            Verdict.WARN,
        )
    return f"{path} can be read, {len(entries)} entries"


def _nersc_collection(settings: Settings, services: Clients) -> str:
    path = settings.staging.stage_dir
    if path is None:
        raise Problem("staging.stage_dir is not set", "set it")
    if services.globus.ls(settings.globus.nersc_collection_id, f"{path}/") is None:
        raise Problem(
            f"{path} is not there on the collection",
            "create it, or correct globus.nersc_collection_id or staging.stage_dir",
        )
    return f"{path} can be read"


def _mail_server(settings: Settings) -> str:
    found = settings.notifications
    if not found.mailto:
        raise Problem("notifications.mailto is not set", "set it to hear of failures", Verdict.WARN)
    try:
        with _smtp(settings) as server:
            server.ehlo_or_helo_if_needed()
            if found.smtp_user:
                server.login(found.smtp_user, open_secrets(settings).read("smtp_password").get_secret_value())
            server.noop()
    except smtplib.SMTPAuthenticationError as error:
        cure = "correct notifications.smtp_user or the secret smtp_password"
        raise Problem(f"{found.smtp_host}:{found.smtp_port} refuses the login ({error.smtp_code})", cure) from None
    except (smtplib.SMTPException, OSError) as error:
        cure = "check notifications.smtp_host, smtp_port and smtp_tls"
        raise Problem(f"{found.smtp_host}:{found.smtp_port}: {error}", cure) from None
    return f"{found.smtp_host}:{found.smtp_port} answers; no mail was sent"


def _smtp(settings: Settings) -> smtplib.SMTP:
    found, context = settings.notifications, ssl.create_default_context()
    timeout = min(found.smtp_timeout_seconds, 15.0)
    if found.smtp_tls == "tls":
        return smtplib.SMTP_SSL(found.smtp_host, found.smtp_port, timeout=timeout, context=context)
    server = smtplib.SMTP(found.smtp_host, found.smtp_port, timeout=timeout)
    if found.smtp_tls == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


# --- the commands -------------------------------------------------------------------------------------------


CHECK_SECONDS = 45.0
STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def example() -> str:
    """The settings file with every key, its unit, default and reason."""
    return files("jgi_stager.cli").joinpath("example.toml").read_text(encoding="utf-8")


def init(config: ConfigOption = None) -> None:
    """Write a commented settings file and the directory for the secrets. Overwrites nothing."""
    with handled():
        page = Page()
        target = (config_file(config) or _usual_file()).absolute()
        if target.exists():
            page.say(f"{target} is there already and was left as it is.")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_new(target, example())
            page.say(f"{target} is written: every setting, commented out, with its default.")
        try:
            secrets = load_settings(target).secrets.directory
        except ConfigError as error:
            raise Mistake(
                f"the settings cannot be used yet, so no directory for secrets was made: {error}"
            ) from None
        if secrets is not None:
            there = secrets.is_dir()
            private_directory(secrets)
            page.say(f"{secrets} is {'there' if there else 'made'}, for you alone (0700).")
        page.say()
        page.say(
            "Next: set staging.stage_dir, [globus] client_id and globus_root_dir, [jdp] globus_user_name; then"
        )
        for command in (
            "jgi-stager token set gold",
            "jgi-stager token set jdp",
            "jgi-stager login",
            "jgi-stager check",
        ):
            page.say(command, indent=2)
        page.say()
        page.say(
            'A site without Globus sets staging.stage_dir and staging.method = "https", and needs no login there.'
        )


def _usual_file() -> Path:
    """Where a settings file goes if none is named: as `default_config_file` looks for it."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "jgi-stager" / "jgi-stager.toml"


def _write_new(path: Path, text: str) -> None:
    """Create a file, never replacing one that appeared meanwhile."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Mistake(f"{path} appeared at this moment and was left as it is; give the command again") from None


def check(
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="At most so long in all (real seconds).")
    ] = CHECK_SECONDS,
    contract: Annotated[
        bool, typer.Option("--contract", help="Instead: what was seen of what is assumed of the services.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Try everything the daemon depends on, and say what to do where something is wrong. Exits 1 if it is."""
    settings = settings_or_exit(config)
    if contract:
        with handled():
            _contract(settings, as_json=as_json)
        return
    path = config_file(config)
    with handled(), clients_for_command(settings, seconds=max(1.0, seconds / 3)) as services:
        rows = try_all(all_checks(settings, services, None if path is None else str(path)), seconds)
        if as_json:
            emit(
                {
                    "verdict": worst(rows),
                    "checks": [
                        {"name": row.name, "verdict": row.verdict, "text": row.text, "cure": row.cure}
                        for row in rows
                    ],
                }
            )
        else:
            _show(rows)
    if worst(rows) == Verdict.FAIL:
        raise typer.Exit(1)


def _contract(settings: Settings, *, as_json: bool) -> None:
    """Each assumption, with what this installation has seen of it. Asks nobody but the database."""
    with opening.open_store(settings, opening.make_clock(settings)) as (store, _):
        known = evidence.contract(store)
    rows = contract_rows(known)
    proof = known.proof
    if as_json:
        emit(
            {
                "proven_at": None if proof is None else proof.at,
                "proof": None if proof is None else proof.evidence,
                "assumptions": [asdict(row) for row in rows],
            }
        )
        return
    page = Page()
    lines = [(row.id, row.standing.value, row.evidence or row.assumed) for row in rows]
    page.table(("ASSUMPTION", "SEEN", "EVIDENCE, OR WHAT IS ASSUMED"), lines)
    page.say()
    if proof is None:
        page.say("No delivery was used end to end yet: a small request goes first, the rest follows by itself.")
    else:
        page.say(f"A delivery was used end to end at {proof.at:%Y-%m-%d %H:%M} UTC: {proof.evidence}.")


def _show(rows: list[Row]) -> None:
    page = Page()
    width = max(len(row.name) for row in rows)
    for row in rows:
        page.say(f"{row.verdict:<5} {row.name:<{width}}  {row.text}", hang=8 + width, style=STYLES[row.verdict])
        if row.cure and row.verdict != Verdict.OK:
            page.say(f"-> {row.cure}", indent=8 + width, hang=3)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in Verdict}
    page.say()
    if counts[Verdict.FAIL]:
        page.say(f"{counts[Verdict.FAIL]} of {len(rows)} checks failed; the daemon cannot do all of its work.")
    elif counts[Verdict.WARN]:
        page.say(f"The daemon can work; {counts[Verdict.WARN]} of {len(rows)} checks want a look.")
    else:
        page.say("Everything is there.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(check)
