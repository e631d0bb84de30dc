"""``python -m jgi_stager``: the command line, where the script is not on PATH."""

from jgi_stager.cli.main import app

app(prog_name="jgi-stager")
