"""Stages sequencing results from JGI's tape archive to NERSC, unattended."""

from importlib.metadata import version

__version__ = version("jgi-stager")
