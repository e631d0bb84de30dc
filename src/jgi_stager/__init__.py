"""Stages sequencing results from JGI's tape archive to NERSC, unattended.

In a notebook: ``from jgi_stager import Stager``, which only reads (docs/commands.md).
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("jgi-stager")


def __getattr__(name: str) -> Any:
    """`Stager` when it is asked for: whoever imports something else does not pay for the whole command line."""
    if name == "Stager":
        return import_module("jgi_stager.notebook").Stager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
