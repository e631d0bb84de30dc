"""The colours of the HTML part, for a light and for a dark screen.

Inline styles carry the light ones, for programs that know nothing else; a style sheet replaces them by name where
the program says that it is dark. A test measures the contrast of what lies on what (WCAG AA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from jgi_stager.notices import Tone


@dataclass(frozen=True)
class Look:
    """Colours by what they are for; ``ink`` and ``paper`` are those of the tone of a letter."""

    ink: str
    paper: str
    ground: str
    sheet: str
    text: str
    muted: str
    line: str
    command: str
    command_paper: str
    quote: str
    quote_paper: str
    quote_line: str
    track: str


_LIGHT = {
    **{"ground": "#f2f4f6", "sheet": "#ffffff", "text": "#1f2933", "muted": "#596673", "line": "#dde1e6"},
    **{"command": "#f5f7fa", "command_paper": "#1f2933"},
    **{"quote": "#364350", "quote_paper": "#f5f6f8", "quote_line": "#c4cad1", "track": "#e6e9ed"},
}
_DARK = {
    **{"ground": "#10141a", "sheet": "#1b2128", "text": "#e4e8ec", "muted": "#a8b2bd", "line": "#38414b"},
    **{"command": "#f5f7fa", "command_paper": "#0b0f13"},
    **{"quote": "#cfd6dd", "quote_paper": "#262d35", "quote_line": "#5b6773", "track": "#38414b"},
}
LIGHT: Mapping[Tone, Look] = {
    Tone.GOOD: Look(ink="#17734a", paper="#e8f5ee", **_LIGHT),
    Tone.NEWS: Look(ink="#1f5fa8", paper="#e9f1fa", **_LIGHT),
    Tone.ACT: Look(ink="#9a4708", paper="#fdf3e3", **_LIGHT),
    Tone.BAD: Look(ink="#b42318", paper="#fdecea", **_LIGHT),
}
DARK: Mapping[Tone, Look] = {
    Tone.GOOD: Look(ink="#72d5a3", paper="#12332a", **_DARK),
    Tone.NEWS: Look(ink="#90c2ff", paper="#172f4b", **_DARK),
    Tone.ACT: Look(ink="#ffbd6b", paper="#3d290d", **_DARK),
    Tone.BAD: Look(ink="#ffa29a", paper="#461c19", **_DARK),
}


def looks(tone: Tone) -> dict[str, dict[str, str]]:
    """What the layout of HTML needs: ``light`` and ``dark``, by name."""
    return {"light": asdict(LIGHT[tone]), "dark": asdict(DARK[tone])}
