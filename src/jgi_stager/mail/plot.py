"""The plot of a project in a mail: its bytes by what they wait for, stacked, over time, as a PNG.

It lies on a light ground of its own, so that it reads the same on a light and on a dark screen, and its letters
are large: a phone shows it at a third of its size.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

from PIL import Image, ImageDraw, ImageFont

from jgi_stager.formatting import human_bytes
from jgi_stager.history_models import DAY, HistoryPoint
from jgi_stager.lifecycle import Phase, states_in

SIZE = (1168, 720)
"""Pixels; shown at half of that, where there is room."""
LARGEST = 100_000
"""Bytes that a plot may have: more than any has."""
COLOURS: tuple[tuple[Phase, str], ...] = (
    (Phase.DONE, "#1b8a5a"),
    (Phase.IN_TRANSFER, "#2f6fb2"),
    (Phase.DELIVERED, "#6cb6e8"),
    (Phase.ON_TAPE, "#8e6bbf"),
    (Phase.PENDING, "#c9d1d9"),
    (Phase.FAILED, "#c8372d"),
)
"""From the bottom up. Neighbours differ in lightness, for whoever sees no colours."""
GROUND, INK, LINE = "#f7f9fb", "#3a4651", "#d5dbe1"
_SHARP = 2
"""It is drawn so many times as large, and made smaller: its edges become smooth."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 196, 36, 158, 88
_LETTERS = 38
_COLOURS_KEPT = 64
_MOST_POINTS = 1000


def plot(points: Sequence[HistoryPoint]) -> bytes | None:
    """The PNG; None where there is nothing to see: no time has passed, or no bytes are known."""
    shown = _some([one for one in points if one.bytes])
    if len(shown) < 2 or shown[-1].at <= shown[0].at:
        return None
    image = Image.new("RGB", (SIZE[0] * _SHARP, SIZE[1] * _SHARP), GROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_LETTERS * _SHARP)
    top = max(sum(one.bytes.values()) for one in shown)
    phases = [(phase, colour) for phase, colour in COLOURS if any(_of(one, phase) for one in shown)]
    places = [_x(one.at, shown[0].at, shown[-1].at) for one in shown]
    below = [0] * len(shown)
    for phase, colour in phases:
        above = [base + _of(one, phase) for base, one in zip(below, shown, strict=True)]
        edge = list(zip(places, above, strict=True)) + list(zip(places, below, strict=True))[::-1]
        draw.polygon([_scaled(x, _y(size, top)) for x, size in edge], fill=colour)
        below = above
    _axes(draw, font, shown[0].at, shown[-1].at, top)
    _legend(draw, font, phases)
    small = image.reduce(_SHARP).quantize(_COLOURS_KEPT, dither=Image.Dither.NONE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def _some(points: Sequence[HistoryPoint]) -> list[HistoryPoint]:
    """As many as can be told apart, the last one among them."""
    step = len(points) // _MOST_POINTS + 1
    return [*points[:-1:step], *points[-1:]]


def _of(point: HistoryPoint, phase: Phase) -> int:
    return sum(point.bytes.get(state, 0) for state in states_in(phase))


def _x(at: datetime, first: datetime, last: datetime) -> float:
    return _LEFT + (at - first) / (last - first) * (SIZE[0] - _LEFT - _RIGHT)


def _y(size: float, top: int) -> float:
    return SIZE[1] - _BOTTOM - size / top * (SIZE[1] - _TOP - _BOTTOM)


def _scaled(x: float, y: float) -> tuple[float, float]:
    return x * _SHARP, y * _SHARP


def _axes(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    first: datetime,
    last: datetime,
    top: int,
) -> None:
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        draw.line([_scaled(_LEFT, y), _scaled(SIZE[0] - _RIGHT, y)], fill=LINE if share else INK, width=_SHARP)
        said = human_bytes(round(top * share)) if share else "0"
        draw.text(_scaled(_LEFT - 14, y), said, fill=INK, font=font, anchor="rm")
    words = "%d %b" if last - first >= 2 * DAY else "%H:%M"
    ends: list[tuple[datetime, str]] = [(first, "lt"), (first + (last - first) / 2, "mt"), (last, "rt")]
    for at, anchor in ends:
        x, y = _x(at, first, last), SIZE[1] - _BOTTOM
        draw.line([_scaled(x, y), _scaled(x, y + 10)], fill=INK, width=_SHARP)
        draw.text(_scaled(x, y + 20), f"{at:{words}}".lstrip("0"), fill=INK, font=font, anchor=anchor)


def _legend(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    phases: Sequence[tuple[Phase, str]],
) -> None:
    x, y, box = 28.0, 40.0, 28
    for phase, colour in phases:
        width = draw.textlength(phase.value, font=font) / _SHARP
        if x + box + 12 + width > SIZE[0] - _RIGHT:
            x, y = 28.0, y + 54
        draw.rectangle([*_scaled(x, y - box / 2), *_scaled(x + box, y + box / 2)], fill=colour)
        draw.text(_scaled(x + box + 12, y), phase.value, fill=INK, font=font, anchor="lm")
        x += box + 12 + width + 36
