"""Answers to the questions people have: how far, why does it wait, when is it done, what must I do.

``snapshot_types`` is what the database says at one instant; ``snapshot`` reads it, and ``project_report`` the
files of a project. The answers are pure, values in and values out: ``summary``, ``explain``, ``quota``, ``eta``,
``preview``. Nothing here asks a service, and nothing knows of a terminal.
"""
