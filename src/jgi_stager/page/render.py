"""The pages as HTML: Jinja templates, one style and one script, which are in each page.

A page loads nothing. Its style and its script are in it, and its policy names them by their digests: no other
runs, whatever got into the page. So a file of it is as good as the served one, and a link opens one page alone.

What came from outside is written as text: escaped for HTML, and what cannot be seen, or turns the order of what is
read, as its escape.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jgi_stager.formatting import ago, count, day, escaped, human_bytes, number, when
from jgi_stager.lifecycle import State
from jgi_stager.page import views
from jgi_stager.page.events import EventKind
from jgi_stager.page.tables import words_of
from jgi_stager.page.views import FilePage, Index, Overview, ProjectPage
from jgi_stager.reporting.summary import NO_PROJECTS
from jgi_stager.version import RELEASE

REFRESH_SECONDS = 20
"""So often a page that is looked at fetches itself again."""
FAST_REFRESH_SECONDS = 3
"""The same where the clock runs faster than the world's, as in the demo."""
ADDRESS = re.compile(r"[^\s<>()\"',;:]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
"""What may be a mail address, whoever wrote it."""
WITHHELD = "(an address)"


def without_addresses(value: Any) -> Any:
    """Text for everybody: mail addresses left out, at any depth."""
    if isinstance(value, str):
        return ADDRESS.sub(WITHHELD, value)
    if isinstance(value, Mapping):
        return {key: without_addresses(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_addresses(item) for item in value]
    return value


def overview(page: Overview) -> str:
    """The page of everything, served at ``/``."""
    return _page("overview", page, public=False, root="", refresh=_refresh(page.scale))


def project(page: ProjectPage, up: str | None, json: str) -> str:
    """The page of a project, served: with a link ``up`` where all may be seen, and the address of its ``json``."""
    return _page("project", page, public=True, refresh=_refresh(page.scale), up=up, json=json)


def file(page: FilePage, json: str) -> str:
    """The page of a file, served at ``/f/ID``."""
    return _page("file", page, public=False, root="../", up="../", json=json, refresh=_refresh(page.scale))


def project_copy(page: ProjectPage) -> str:
    """The page of a project as a file in ``p``."""
    return _page("project", page, public=True, refresh=0, up="../index.html", json=None)


def index_copy(page: Index) -> str:
    """The list of projects as a file."""
    return _page("index", page, public=True, refresh=0)


def _refresh(scale: float) -> int:
    return REFRESH_SECONDS if scale <= 1 else FAST_REFRESH_SECONDS


def _page(template: str, page: object, *, public: bool, **names: Any) -> str:
    environment = _environment(public=public)
    return environment.get_template(f"{template}.html.j2").render(page=page, **names)


# --- the environment ----------------------------------------------------------------------------------------


def _text(value: Any) -> Any:
    """What is not markup of our own, as it may be shown."""
    return escaped(value, keep="\n") if isinstance(value, str) and not hasattr(value, "__html__") else value


def _public_text(value: Any) -> Any:
    """The same for everybody."""
    shown = _text(value)
    return without_addresses(shown) if isinstance(shown, str) and not hasattr(shown, "__html__") else shown


@cache
def _environment(*, public: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("jgi_stager", "page/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_public_text if public else _text,
    )
    environment.filters.update(
        size=human_bytes,
        number=number,
        count=count,
        when=when,
        ago=ago,
        day=day,
        iso=_iso,
        words=words_of,
        known=_known,
    )
    environment.globals.update(
        css=Markup(STYLE),  # noqa: S704 - our own file
        js=Markup(SCRIPT),  # noqa: S704 - our own file
        policy=COPY_POLICY,
        version=RELEASE,
        no_projects=NO_PROJECTS,
        kinds=tuple(EventKind),
        query=_query,
        most_history=views.MOST_HISTORY,
    )
    return environment


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _known(state: str) -> str:
    """The colour of a state; one that this version does not know has its own."""
    return state if state in set(State) else "other"


def _query(kind: str | None, project: str | None) -> str:
    """The link to the events of a choice."""
    chosen = {name: value for name, value in (("kind", kind), ("project", project)) if value}
    return f"?{urlencode(chosen)}#events" if chosen else "?#events"


def _source(name: str) -> str:
    loader = PackageLoader("jgi_stager", "page/templates")
    return loader.get_source(Environment(autoescape=True), name)[0].strip()


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


STYLE, SCRIPT = _source("page.css"), _source("page.js")
COPY_POLICY = f"default-src 'none'; style-src {_digest(STYLE)}; img-src data:; base-uri 'none'; form-action 'none'"
"""Of a copy: it has no script."""
SERVED_POLICY = f"{COPY_POLICY}; script-src {_digest(SCRIPT)}; connect-src 'self'; frame-ancestors 'none'"
"""Of a served page: its script fetches the page again, from where it came."""
