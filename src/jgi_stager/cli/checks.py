"""The checks of the preflight: what each dependency must answer, and the cure where it does not."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from jgi_stager import daemon, gather_people
from jgi_stager.demo.place import has_ended
from jgi_stager.failures import Rejected
from jgi_stager.formatting import human_bytes
from jgi_stager.preflight import Check, Problem, Verdict, clock_difference, free_bytes, write_probe
from jgi_stager.settings import Settings
from jgi_stager.store import Store, StoreError, StoreRefused, fencing, ping, processes, server_time
from jgi_stager.wiring import Clients, open_secrets

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
        Check("secret gold", partial(_secret, settings, ("gold_offline_token",), "jgi-stager token set gold")),
        Check("secret jdp", partial(_secret, settings, ("jdp_token",), "jgi-stager token set jdp")),
        Check(
            "secret globus",
            partial(_secret, settings, ("globus_client_secret", "globus_refresh_token"), "jgi-stager login"),
        ),
        Check("GOLD", _answers(services.gold.probe, "answers, and takes the token")),
        Check("JDP search", _answers(services.jdp.probe, "answers")),
        Check("JDP session", partial(_jdp_session, services)),
        Check("NMDC", _answers(services.nmdc.probe, "answers")),
        Check("Globus", _answers(services.globus.probe, "answers, and takes the login")),
        Check("JGI collection", partial(_jgi_collection, settings, services)),
        Check("NERSC collection", partial(_nersc_collection, settings, services)),
        Check("mail server", partial(_mail_server, settings)),
    ]


def _ended_demo(config_path: str | None) -> str:
    raise Problem(
        f"{config_path} is of a demo that has ended: its daemon and the services that it asked run no more",
        "nothing is wrong; to check a running one, start it again: jgi-stager demo",
        Verdict.WARN,
    )


def _settings(settings: Settings, config_path: str | None) -> str:
    missing = [
        name
        for name, value in (
            ("staging.stage_dir", settings.staging.stage_dir),
            ("globus.globus_root_dir", settings.globus.globus_root_dir),
            ("globus.client_id", settings.globus.client_id),
            ("jdp.globus_user_name", settings.jdp.globus_user_name),
        )
        if not value
    ]
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
    clock = daemon.make_clock(settings)
    with daemon.open_store(settings, clock) as (store, mongod):
        version, difference = ping(store), clock_difference(server_time(store))
        _may_fence(store)
    kind = "private mongod" if mongod is not None else "mongod"
    if abs(difference) > CLOCK_WARN_SECONDS:
        verdict = Verdict.FAIL if abs(difference) > CLOCK_FAIL_SECONDS else Verdict.WARN
        raise Problem(
            f"{kind} {version} answers, but its clock is {difference:+.0f} s off ours",
            "let both machines keep time with NTP (timedatectl)",
            verdict,
        )
    return f"{kind} {version}, clock {difference:+.1f} s"


def _documents(settings: Settings) -> str:
    try:
        with daemon.open_store(settings, daemon.make_clock(settings)) as (store, _):
            found = gather_people.set_aside(store)
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


def _jdp_session(services: Clients) -> str:
    with suppress(Rejected):  # It does not know the request, but it listened: the session is good.
        services.jdp.request_status(UNKNOWN_REQUEST)
    return "takes the session token"


def _jgi_collection(settings: Settings, services: Clients) -> str:
    root = settings.globus.globus_root_dir
    path = f"/{root}/" if root else "/"
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
