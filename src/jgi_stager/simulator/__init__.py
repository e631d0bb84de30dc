"""A stand-in for the outside: GOLD, JDP, the NMDC API, Globus Auth, Globus Transfer and two collections.

The map of the package:

- ``settings`` every knob: `SimulatorSettings` (fixed at start), `Switches` and `WorldFault` (while it runs)
- ``catalogue`` what the archive holds; made by ``generator`` (from ``template``) or loaded by ``recorded``
- ``content`` and ``zeros`` what files hold, with true md5; ``filesystem`` the collections as directories
- ``world`` the whole state behind one lock and one ``advance(now)``, no HTTP: ``archive`` (file status and
  requests, with ``restores``, ``tape`` and ``delivery``), ``transfers`` (with ``tasks`` and ``mover``),
  ``tokens``, ``mishaps``
- ``gold jdp jdp_search downloads nmdc auth transfer`` one thin application per service, over ``web``;
  ``descriptors``, ``listing`` and ``transfer_documents`` are what they show
- ``faults`` and ``fault_injection`` faults on the wire; ``observations`` and ``control`` the ``/_sim`` calls
- ``server`` real HTTP on one port (`running_simulator`); ``__main__`` the process
"""

from __future__ import annotations

from .catalogue import Catalogue
from .generator import generate
from .recorded import CatalogueError, load_recorded
from .secret_files import write_secrets
from .server import BaseUrls, Simulator, running_simulator
from .settings import Credentials, SimulatorSettings, Switches, WorldFault
from .world import World

__all__ = [
    "BaseUrls",
    "Catalogue",
    "CatalogueError",
    "Credentials",
    "Simulator",
    "SimulatorSettings",
    "Switches",
    "World",
    "WorldFault",
    "generate",
    "load_recorded",
    "running_simulator",
    "write_secrets",
]
