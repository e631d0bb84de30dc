"""Stages sequencing results from JGI's tape archive to NERSC, unattended.

In a notebook: ``from jgi_stager import Stager``, which only reads (docs/commands.md).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jgi_stager.notebook import Stager

__all__ = ["Stager", "__version__"]
__version__: str


def __getattr__(name: str) -> Any:
    """The version, and `Stager`, when they are asked for: looking up the one took half of the time of ``--help``,
    and the other needs the whole command line."""
    if name == "__version__":
        from jgi_stager.version import RELEASE

        return RELEASE
    if name == "Stager":
        from jgi_stager.notebook import Stager

        return Stager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
