"""``python -m jgi_stager.simulator``: the simulator as a process of its own."""

from __future__ import annotations

import json
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from jgi_stager.clock import ScaledClock
from jgi_stager.settings import parse_instant

from .catalogue import DEFAULT_PROPOSAL
from .generator import generate
from .recorded import CatalogueError, load_recorded
from .secret_files import write_secrets
from .server import Simulator
from .settings import SimulatorSettings
from .world import World

NAMES = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=NAMES)


@app.command()
def simulate(  # noqa: PLR0913, PLR0917 - one argument is one option
    root_dir: Annotated[Path, typer.Option(metavar="DIRECTORY", help="Directory of the JGI collection.")],
    nersc_prefix: Annotated[
        Path, typer.Option(metavar="DIRECTORY", help="The part of the file system the NERSC collection shows.")
    ],
    clock_start: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Instant at which the clock starts to run fast.")
    ] = None,
    clock_scale: Annotated[
        float, typer.Option(metavar="FACTOR", min=0.001, help="Simulated seconds in a real one.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the catalogue and of the faults.")] = 1,
    analysis_projects: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="How many to generate.")] = 12,
    catalogue: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Recorded answers; may be repeated.")
    ] = None,
    proposal_id: Annotated[
        int, typer.Option(metavar="NUMBER", help="The one proposal there is.")
    ] = DEFAULT_PROPOSAL,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: any free port.")] = 0,
    port_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the addresses, as JSON.")
    ] = None,
    secrets_dir: Annotated[
        Path | None, typer.Option(metavar="DIRECTORY", help="Where to write the accepted credentials.")
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON with more SimulatorSettings.")
    ] = None,
    switches: Annotated[
        str, typer.Option(metavar="JSON", help="Object of switches to start with.", show_default=False)
    ] = "{}",
) -> None:
    """Serve GOLD, JDP, NMDC, Globus Auth and Globus Transfer on one port until SIGTERM."""
    try:
        clock = ScaledClock(parse_instant(clock_start) if clock_start else datetime.now(UTC), clock_scale)
        found = (
            load_recorded(catalogue, proposal_id) if catalogue else generate(analysis_projects, seed, proposal_id)
        )
        more = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file else {}
        fixed = {"root_dir": root_dir.absolute(), "nersc_prefix": nersc_prefix.absolute(), "seed": seed}
        world = World(SimulatorSettings(**{**more, **fixed}), found, clock.now())
        world.switch(json.loads(switches))
    except (ValueError, CatalogueError) as error:
        typer.echo(f"simulator: {error}", err=True)
        raise typer.Exit(2) from None
    if secrets_dir:
        write_secrets(secrets_dir, world.settings.credentials)
    _serve(Simulator(world, clock, port), port_file)


def _serve(simulator: Simulator, port_file: Path | None) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        simulator.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    simulator.start()
    urls = simulator.urls
    addresses = {
        "port": simulator.port,
        "gold": urls.gold,
        "jdp": urls.jdp,
        "downloads": urls.downloads,
        "nmdc": urls.nmdc,
        "nersc": urls.nersc,
        "sim": urls.sim,
    }
    line = json.dumps({**addresses, "environment": urls.environment()})
    if port_file:
        temporary = port_file.with_name(f".{port_file.name}.new")
        temporary.write_text(line + "\n", encoding="utf-8")
        temporary.replace(port_file)
    typer.echo(line)
    try:
        while not simulator.stopping.wait(3600):
            pass
    finally:
        simulator.stop()


if __name__ == "__main__":
    threading.current_thread().name = "simulator-main"
    app()
