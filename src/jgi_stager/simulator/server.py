"""Serves a world over real HTTP on one port, in a thread of this process."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from jgi_stager.clock import Clock

from . import auth, control, downloads, gold, jdp, nersc, nmdc, transfer
from .dates import Dated
from .fault_injection import FaultInjector
from .faults import FaultBoard
from .world import World

HOST = "127.0.0.1"
TICK_SECONDS = 0.03
START_SECONDS = 20.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseUrls:
    """Where each service answers."""

    root: str

    @property
    def gold(self) -> str:
        """GOLD (`[gold] base_url`)."""
        return f"{self.root}/gold"

    @property
    def jdp(self) -> str:
        """JDP (`[jdp] base_url`)."""
        return f"{self.root}/jdp"

    @property
    def downloads(self) -> str:
        """The host for single files (`[jdp] download_url`)."""
        return f"{self.root}/jdp-files"

    @property
    def nmdc(self) -> str:
        """The NMDC API (`[nmdc] base_url`)."""
        return f"{self.root}/nmdc"

    @property
    def nersc(self) -> str:
        """What NERSC plans (`[nersc] status_url`)."""
        return f"{self.root}/nersc{nersc.PATH}"

    @property
    def sim(self) -> str:
        """Inspection and control."""
        return f"{self.root}/_sim"

    def environment(self) -> dict[str, str]:
        """What globus_sdk needs to find the simulator."""
        return {
            "GLOBUS_SDK_SERVICE_URL_TRANSFER": f"{self.root}/globus-transfer",
            "GLOBUS_SDK_SERVICE_URL_AUTH": f"{self.root}/globus-auth",
        }


class Simulator:
    """A world, a clock and a port. Without ``ticking`` time passes only when a call arrives."""

    def __init__(self, world: World, clock: Clock, port: int = 0, *, ticking: bool = True) -> None:
        self.world, self.clock = world, clock
        self.faults = FaultBoard(world.settings.seed)
        self.failure: BaseException | None = None
        self.stopping = threading.Event()
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}
        self._socket = _bind(port)
        self.port = int(self._socket.getsockname()[1])
        self.urls = BaseUrls(f"http://{HOST}:{self.port}")
        self._server = _Server(self._application(), self._transports)
        self._threads = [threading.Thread(target=self._serve, name="simulator", daemon=True)]
        if ticking:
            self._threads.append(threading.Thread(target=self._tick, name="simulator-time", daemon=True))

    def start(self) -> None:
        """Serve. Raises RuntimeError if the server does not come up."""
        for thread in self._threads:
            thread.start()
        if not self._server.ready.wait(START_SECONDS):
            self.stop()
            raise RuntimeError("the simulator did not start")

    def stop(self) -> None:
        """End everything; raises what went wrong inside, if anything did."""
        self.stopping.set()
        self._server.should_exit = True
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._socket.close()
        if self.failure is not None:
            raise RuntimeError("the simulator failed") from self.failure

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:  # noqa: BLE001 - handed on by stop()
            self._fail(error)

    def _tick(self) -> None:
        while not self.stopping.wait(TICK_SECONDS):
            try:
                self.world.advance(self.clock.now())
            except BaseException as error:  # noqa: BLE001 - handed on by stop()
                self._fail(error)
                return

    def _fail(self, error: BaseException) -> None:
        logger.exception("simulator_failed", exc_info=error)
        self.failure = error
        self.stopping.set()

    def _application(self) -> ASGIApp:
        world, clock = self.world, self.clock
        services: dict[str, list[Route]] = {
            "/gold": gold.routes(world, clock),
            "/jdp": jdp.routes(world, clock),
            "/jdp-files": downloads.routes(world, clock),
            "/nersc": nersc.routes(world, clock),
            "/nmdc": nmdc.routes(world, clock),
            "/globus-auth": auth.routes(world, clock),
            "/globus-transfer": transfer.routes(world, clock),
        }
        sim = control.routes(world, clock, self.faults, self._server_refuses)
        mounts = [
            Mount(prefix, app=Router(routes, redirect_slashes=False))
            for prefix, routes in [*services.items(), ("/_sim", sim)]
        ]
        app = Starlette(routes=mounts)
        # a redirect of our own making stands for what JDP does; the others answer 404
        app.router.redirect_slashes = False

        def name_of(method: str, path: str) -> str | None:
            for prefix, routes in services.items():
                if path.startswith(f"{prefix}/"):
                    rest = path[len(prefix) :]
                    matching = [r for r in routes if r.path_regex.match(rest)]
                    named = [r for r in matching if method in (r.methods or ())] or matching
                    return named[0].name if named else None
            return None

        async def shut(seconds: float, answering: asyncio.Transport) -> None:
            await self._server.refuse_now(self.port, seconds, answering)

        gate = FaultInjector(app, self.faults, name_of, self._transports, shut)
        return Dated(gate, clock.now, lambda: world.switches)

    def _server_refuses(self, seconds: float) -> None:
        self._server.refuse(self.port, seconds)


def _bind(port: int) -> socket.socket:
    """A bound socket that does not listen yet. Port 0 is any free one."""
    # asyncio switches Nagle's algorithm off only for a socket that names its protocol
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


class _Server(uvicorn.Server):
    """uvicorn, telling when it is ready, and able to shut its port for a while."""

    def __init__(self, app: ASGIApp, transports: dict[tuple[str, int], asyncio.Transport]) -> None:
        self._open = transports
        self._protocol = _recording(transports)
        super().__init__(
            uvicorn.Config(
                app,
                http=self._protocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level=logging.CRITICAL,
                access_log=False,
                date_header=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=60,
            )
        )
        self.ready = threading.Event()
        self._is_shut = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.ready.set()

    def refuse(self, port: int, seconds: float) -> None:
        """Close the port and all connections; open the same port again after ``seconds`` real seconds."""
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, self._stop_accepting, loop)
        loop.call_later(0.1, self._shut, loop, port, seconds)

    async def refuse_now(self, port: int, seconds: float, answering: asyncio.Transport) -> None:
        """Like `refuse`, but shut when this returns, and without ending the connection ``answering``."""
        if self._is_shut:
            return
        loop = asyncio.get_running_loop()
        self._stop_accepting(loop)
        await asyncio.sleep(0.05)
        self._shut(loop, port, seconds, answering)

    def _stop_accepting(self, loop: asyncio.AbstractEventLoop) -> None:
        # what asyncio has accepted but not yet given to a protocol would hang if the server closed now
        for server in self.servers:
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())

    def _shut(
        self,
        loop: asyncio.AbstractEventLoop,
        port: int,
        seconds: float,
        answering: asyncio.Transport | None = None,
    ) -> None:
        if self._is_shut:
            return
        self._is_shut = True
        for server in self.servers:
            server.close()
        for transport in list(self._open.values()):
            if transport is not answering:
                transport.abort()
        # bound but not listening: connections are refused, and nobody else gets the port meanwhile
        loop.call_later(seconds, self._reopen, loop, _bind(port))

    def _reopen(self, loop: asyncio.AbstractEventLoop, reserved: socket.socket) -> None:
        config = self.config

        async def serve() -> None:
            made = await loop.create_server(
                lambda: self._protocol(config=config, server_state=self.server_state, app_state={}, _loop=loop),
                sock=reserved,
            )
            self.servers, self._is_shut = [made], False

        self._reopening = loop.create_task(serve())


def _recording(transports: dict[tuple[str, int], asyncio.Transport]) -> type[H11Protocol]:
    """The HTTP protocol, noting which transport belongs to which client: the way to reset a connection."""

    class Recording(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client:
                transports[self.client] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.client:
                transports.pop(self.client, None)

    return Recording


@contextmanager
def running_simulator(world: World, clock: Clock, port: int = 0, *, ticking: bool = True) -> Iterator[Simulator]:
    """A simulator that serves ``world`` while the block runs. Its addresses are in ``simulator.urls``."""
    simulator = Simulator(world, clock, port, ticking=ticking)
    simulator.start()
    try:
        yield simulator
    finally:
        simulator.stop()
