"""How fast a project went: by hour, by day, in a line of the terminal and in the plot of a mail."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from factories import SOME_TIME, history_point
from jgi_stager.cli.common import Page
from jgi_stager.cli.status import status_lines
from jgi_stager.history_models import HistoryPoint, day_of
from jgi_stager.lifecycle import Phase, State
from jgi_stager.mail.plot import COLOURS, LARGEST, SIZE, plot
from jgi_stager.reporting import summary
from jgi_stager.reporting.progress import Progress, progress, sparkline
from views import TERA, facts, project

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = SOME_TIME


def done(hours: int, size: int, pending: int = 0) -> HistoryPoint:
    """So many hours after noon, so many bytes are done."""
    return history_point(NOON + hours * HOUR, bytes={State.DONE: size, State.PENDING: pending})


def known(points: Sequence[HistoryPoint], hours: int, now: int) -> Progress:
    found = progress(points, NOON + hours * HOUR, now)
    assert found is not None
    return found


def test_what_arrived_is_told_by_the_hour_by_the_day_and_in_a_sentence() -> None:
    points = [done(0, 0), done(2, 0), done(3, 3 * TERA), done(20, 5 * TERA)]
    found = known(points, 26, 6 * TERA)
    assert [one.bytes // TERA for one in found.hours] == [
        3 if at == 0 else 2 if at == 17 else 0 for at in range(23)
    ] + [1]
    assert [one.bytes // TERA for one in found.days] == [3, 3]
    assert found.days[0].begun == day_of(NOON)
    assert found.hours[0].share == 1
    assert found.sentence == "6.00 TB arrived in the last 24 h, 6.00 TB in seven days"
    assert sparkline(found.hours) == "\N{FULL BLOCK}" + " " * 16 + "▆" + " " * 5 + "▃"
    assert sparkline(found.hours, unicode=False) == "@" + " " * 16 + "*" + " " * 5 + "-"


def test_a_week_without_a_file_is_said_as_that_and_a_project_without_a_history_says_nothing() -> None:
    assert known([done(0, TERA)], 24 * 9, TERA).sentence == "nothing arrived in the last seven days"
    lately = known([done(0, 0), done(2, TERA)], 24 * 3, TERA)
    assert lately.sentence == "nothing arrived in the last 24 h, 1.00 TB in seven days"
    assert progress([], NOON, 7) is None
    assert progress([done(3, 1)], NOON, 7) is None


def test_what_was_done_before_the_first_point_did_not_arrive_on_that_day() -> None:
    """Of a long project only the last days of its history are read; a daemon may have been down before them."""
    assert known([done(0, 7 * TERA)], 1, 8 * TERA).sentence.startswith("1.00 TB arrived")


@given(st.lists(st.tuples(st.integers(0, 24 * 20), st.integers(0, 10**15)), min_size=1, max_size=50))
def test_no_history_gives_a_negative_figure_or_a_line_of_another_length(values: list[tuple[int, int]]) -> None:
    found = progress([done(hours, size) for hours, size in sorted(values)], NOON + 21 * DAY, 0)
    assert found is not None
    assert len(found.hours) == 24
    assert 1 <= len(found.days) <= 7
    assert all(one.bytes >= 0 and 0 <= one.share <= 1 for one in (*found.hours, *found.days))
    assert len(sparkline(found.hours)) == len(sparkline(found.hours, unicode=False)) == 24


def test_the_page_that_is_watched_shows_the_last_day_of_each_project() -> None:
    world = facts(projects=(project("a", counts={"pending": (3, TERA)}),))
    found = known([done(0, 0), done(2, 3 * TERA)], 20, 3 * TERA)
    page = Page()
    shown = summary.status(world)
    without = [line.plain for line in status_lines(shown, page, None)]
    lines = [line.plain for line in status_lines(replace(shown, went={"a": found}), page, None)]
    (line,) = [one for one in lines if one not in without]
    assert line == f"  {sparkline(found.hours, unicode=page.unicode)}  {found.sentence}"


# --- the plot


def pixels(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.load()
    return image


def near(image: Image.Image, colour: str, column: int) -> int:
    """How many pixels of a column have about this colour."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    found = (image.getpixel((column, row)) for row in range(170, SIZE[1] - 90))
    return sum(all(abs(one - other) < 12 for one, other in zip(pixel, wanted, strict=True)) for pixel in found)  # type: ignore[arg-type]


def test_the_plot_shows_as_much_of_each_colour_as_there_are_bytes() -> None:
    colours = dict(COLOURS)
    sizes = {State.DONE: 4, State.TRANSFERRING: 1, State.RESTORED: 1, State.RESTORE_REQUESTED: 2, State.PENDING: 2}
    points = [
        history_point(NOON + hours * HOUR, bytes={k: v * TERA for k, v in sizes.items()}) for hours in range(9)
    ]
    content = plot(points)
    assert content is not None
    image = pixels(content)
    assert image.size == SIZE
    shown = {phase: near(image, colours[phase], SIZE[0] // 2) for phase in Phase}
    whole = sum(shown.values())
    shares = {phase: round(10 * number / whole) for phase, number in shown.items()}
    assert shares == {
        Phase.DONE: 4,
        Phase.IN_TRANSFER: 1,
        Phase.DELIVERED: 1,
        Phase.ON_TAPE: 2,
        Phase.PENDING: 2,
        Phase.FAILED: 0,
    }


def test_what_grows_is_higher_at_the_right() -> None:
    content = plot([done(hours, hours * TERA, (9 - hours) * TERA) for hours in range(10)])
    assert content is not None
    image, green = pixels(content), dict(COLOURS)[Phase.DONE]
    heights = [near(image, green, column) for column in range(240, SIZE[0] - 60, 100)]
    assert heights == sorted(heights)
    assert heights[-1] > 4 * max(1, heights[0])


@pytest.mark.parametrize(
    "points", [[], [done(0, 5)], [done(0, 5), done(0, 6)], [history_point(NOON, bytes={})] * 2]
)
def test_nothing_to_see_is_no_plot(points: list[HistoryPoint]) -> None:
    assert plot(points) is None


def test_the_plot_of_a_long_and_restless_project_is_small() -> None:
    points = [
        history_point(
            NOON + hours * HOUR, bytes={state: (hours * 7919 * at) % TERA for at, state in enumerate(State, 1)}
        )
        for hours in range(3000)
    ]
    content = plot(points)
    assert content is not None
    assert len(content) < LARGEST
