"""Answers to the questions people have: how far, why does it wait, when is it done, what must I do.

Pure: values in, values out. ``facts`` is what the books say at one instant (`jgi_stager.gather` reads them);
``status``, ``explain``, ``quota``, ``eta`` and ``preview`` answer from it; ``words`` puts values into text.
Nothing here asks a service, the database or the clock, and nothing knows of a terminal.
"""
