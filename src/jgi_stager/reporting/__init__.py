"""Answers to the questions people have: how far, why does it wait, when is it done, what must I do.

Pure: values in, values out. ``snapshot_types`` is what the database says at one instant
(`jgi_stager.reporting.snapshot` reads it); ``summary``, ``explain``, ``quota``, ``eta`` and ``preview`` answer
from it. Nothing here asks a service, the database or the clock, and nothing knows of a terminal.
"""
