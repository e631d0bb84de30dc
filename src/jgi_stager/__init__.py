"""Stages sequencing results from JGI's tape archive to NERSC, unattended."""

from typing import Any

__version__: str


def __getattr__(name: str) -> Any:
    """The version, looked up when it is asked for: half of the time of ``--help`` went into that."""
    if name == "__version__":
        from importlib.metadata import version

        return version("jgi-stager")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
