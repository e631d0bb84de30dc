"""The command line."""

from jgi_stager.cli.main import app

__all__ = ["app"]
