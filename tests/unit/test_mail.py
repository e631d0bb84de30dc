"""Letters: both parts say the same, hostile text stays text, and every kind can be told."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from factories import project
from jgi_stager.mail import Attachment, Envelope, RenderedMail, make_mail, render
from jgi_stager.mail.push import LONGEST_BODY, gist
from jgi_stager.mail.render import DARK, LIGHT, LONGEST_SUBJECT, WIDTH, Palette, facts
from jgi_stager.models import TriesNotTaken
from jgi_stager.notices import FORMS, Kind
from jgi_stager.planning import Limits
from jgi_stager.settings import NotificationSettings
from jgi_stager.steps.digest import sharing
from jgi_stager.steps.listing import accepted_data
from jgi_stager.steps.notify import alert
from jgi_stager.warning_groups import group
from mail_samples import ACCEPTED, AT, DIGEST, LISTED, NEEDS, OUTAGE, QUOTA, SAMPLES, STALLED, notice


class _Text(HTMLParser):
    """The words that a mail program shows, and every tag and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._hidden += tag in ("style", "head")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "head")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.shown.append(data)


def parsed(letter: RenderedMail) -> _Text:
    found = _Text()
    found.feed(letter.html)
    return found


def words(text: str) -> list[str]:
    return re.findall(r"[\w/:.@%-]*\w[\w/:.@%-]*", text)


@pytest.mark.parametrize("kind", list(Kind))
def test_both_parts_say_the_same_words_in_the_same_order(kind: Kind) -> None:
    letter = render(notice(kind))
    without_quotes = re.sub(r"^  \| ", "", letter.text, flags=re.MULTILINE)
    assert words(" ".join(parsed(letter).shown)) == words(without_quotes)
    assert len(words(letter.text)) > 8


def test_both_parts_of_an_outage_say_the_same() -> None:
    letter = render(notice(Kind.STALLED, OUTAGE))
    assert words(" ".join(parsed(letter).shown)) == words(letter.text)
    assert letter.subject == "[jgi-stager] JDP has not answered for 6 h"


def test_every_kind_has_a_form_a_sample_and_a_template() -> None:
    assert set(FORMS) == set(Kind) == set(SAMPLES)


def test_every_kind_has_its_row_in_the_page_about_mails() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "mails.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert rows ^ {kind.value for kind in Kind} == set()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_subject_is_one_short_line_and_the_text_fits_a_mail_program(kind: Kind) -> None:
    letter = render(notice(kind))
    assert "\n" not in letter.subject
    assert len(letter.subject) <= LONGEST_SUBJECT
    wide = [line for line in letter.text.splitlines() if len(line) > WIDTH + 2]
    assert not wide, wide


def test_the_subject_of_an_accepted_project_says_it_all() -> None:
    subject = render(notice(Kind.ACCEPTED)).subject
    assert subject == "[jgi-stager] bioscales-2026: accepted, 12,345 files, 23.5 TB, here by Fri 6 Mar 2026"


def test_what_needs_a_person_names_the_credential_what_waits_and_the_command() -> None:
    letter = render(notice(Kind.NEEDS_PERSON, project=None))
    assert letter.subject == "[jgi-stager] needs you: the JDP session token is refused, 8,021 files wait"
    for wanted in ("2026-03-01 12:00 UTC", "jgi-stager token set jdp", "8,021 files, 15.2 TB, 2 projects", "1 d"):
        assert wanted in letter.text, wanted


WITH_A_NEXT_STEP = (
    *(Kind.ALARM, Kind.TROUBLE, Kind.STALLED, Kind.NEEDS_PERSON, Kind.REMINDER, Kind.EXPIRING),
    *(Kind.FAILED, Kind.HELD, Kind.INVALID, Kind.FOLDED),
)


@pytest.mark.parametrize("kind", WITH_A_NEXT_STEP)
def test_a_mail_about_trouble_says_at_its_top_what_the_reader_does(kind: Kind) -> None:
    letter = render(notice(kind))
    lead, _, rest = letter.text.partition("\nYou: ")
    assert rest, letter.text
    assert lead.count("\n\n") <= 2, "below the heading and the first paragraph"
    assert "You:" in parsed(letter).shown


def test_the_mail_about_a_silent_service_says_what_the_reader_does() -> None:
    assert "\nYou: nothing to do" in render(notice(Kind.STALLED, OUTAGE)).text


def test_no_alarm_can_be_stored_without_what_the_reader_does() -> None:
    with pytest.raises(TypeError, match="you"):
        alert(None, "key", "subject", "text")  # type: ignore[arg-type,call-arg]


@pytest.mark.parametrize("kind", [Kind.ALARM, Kind.TROUBLE])
def test_an_alarm_that_an_older_version_stored_can_be_mailed(kind: Kind) -> None:
    data = {"subject": "JDP calls request 7 'x'", "text": "This word is not known.", "steps": ["Look."]}
    letter = render(notice(kind, data))
    assert "This word is not known." in letter.text
    assert "\nYou: " in letter.text


def test_a_list_that_is_cut_says_how_many_more_there_are_and_where() -> None:
    projects = [{"name": f"p{n}", "files": 1, "bytes": 1} for n in range(50)]
    waiting = {"files": 70, "bytes": 70, "projects": projects, "project_count": 70}
    letter = render(notice(Kind.NEEDS_PERSON, {**NEEDS, "waiting": waiting}))
    assert "70 projects" in letter.text
    assert "and 60 more: jgi-stager project list" in letter.text
    failed = render(notice(Kind.FAILED)).text
    assert "and 10 more: jgi-stager files bioscales-2026 --state failed --limit 0" in failed
    assert "And 2 more reasons:\n\n    jgi-stager files bioscales-2026 --state failed\n" in failed
    assert "and 7 more: jgi-stager status" in render(notice(Kind.STALLED, {**STALLED, "more": 7})).text
    assert "and 20 more: jgi-stager status" in render(notice(Kind.FOLDED)).text


def test_the_mail_of_an_accepted_project_drops_no_warning_without_a_word() -> None:
    same = [f"Ga{n}: JDP lists no file of it" for n in range(110)]
    soil = project("soil", analysis_projects_dir="/s")

    def shown(warnings: list[str]) -> str:
        said = [group([warning]) for warning in warnings]
        data = accepted_data(soil, [], said, Limits(10**13, timedelta(hours=24), 750)) | {"eta": None}
        return " ".join(render(notice(Kind.ACCEPTED, data, project="soil")).text.split())

    assert "in 110 analysis projects (Ga0, Ga1, Ga2 and 107 more): JDP lists no file of it" in shown(same)
    assert "and 10 more: jgi-stager plan soil --json" in shown([f"sort {chr(65 + n)}" for n in range(30)])


@pytest.mark.parametrize(
    ("needed_at", "said"),
    [
        (AT + timedelta(hours=11, minutes=29), "Do this before 2026-03-01 23:29 UTC and no time is lost."),
        (AT, "Work waits for it now."),
        (None, "Nothing waits for it yet."),
    ],
)
@pytest.mark.parametrize("command", [NEEDS["command"], None])
def test_what_needs_a_person_says_until_when_no_time_is_lost(
    needed_at: datetime | None, said: str, command: str | None
) -> None:
    data = {**NEEDS, "told_at": AT, "needed_at": needed_at, "command": command, "steps": ["Look at Globus"]}
    letter = render(notice(Kind.NEEDS_PERSON, data))
    you = " ".join(letter.text.partition("\nYou: ")[2].split("\n\n")[0].split())
    assert said in you
    assert ".." not in you
    without = {name: value for name, value in NEEDS.items() if name not in ("told_at", "needed_at")}
    assert "no time is lost" not in render(notice(Kind.NEEDS_PERSON, without)).text


def test_a_reminder_says_how_long_it_has_waited() -> None:
    letter = render(notice(Kind.REMINDER))
    assert letter.subject.startswith("[jgi-stager] still needs you: ")
    assert "for 3 d" in letter.text


HOSTILE = "<script>alert(1)</script>\x1b[31m\r\nBcc: everybody@example.org {{ 7 * 7 }} {% raw %}"


@pytest.mark.parametrize("kind", list(Kind))
def test_text_from_outside_stays_text_in_both_parts(kind: Kind) -> None:
    def spoilt(value: object) -> object:
        if isinstance(value, str):
            return value + HOSTILE
        if isinstance(value, dict):
            return {key: spoilt(item) for key, item in value.items()}
        return [spoilt(item) for item in value] if isinstance(value, list) else value

    data = {name: spoilt(value) for name, value in SAMPLES[kind].items()}
    letter = render(notice(kind, data, project="p" + HOSTILE))
    assert "script" not in parsed(letter).tags
    assert not [name for name, _ in parsed(letter).attributes if name.startswith("on")]
    assert "\x1b" not in letter.text + letter.html + letter.subject
    assert "49" not in letter.text.replace(HOSTILE, "")
    assert "\n" not in letter.subject
    mail = make_mail(letter, Envelope("a@example.org", ["b@example.org"], "<1@example.org>", AT))
    again = message_from_bytes(mail.as_bytes(), policy=default)
    assert again["Bcc"] is None
    assert again["To"] == "b@example.org"


def test_a_mail_that_leaves_late_says_when_it_happened() -> None:
    late = render(notice(Kind.DONE), AT + timedelta(hours=30))
    assert "This happened at 2026-03-01 12:00 UTC, and is mailed only now." in late.text
    assert "server" not in late.text + late.html, "nothing is known of the mail server"
    assert "This happened" not in render(notice(Kind.DONE), AT + timedelta(minutes=30)).text


@pytest.mark.parametrize(
    ("times", "when"), [(1, "1 try at 2026-03-01 13:00 UTC"), (9, "9 tries from 2026-03-01 13:00 UTC to")]
)
def test_a_late_mail_that_the_server_did_not_take_says_how_often_it_was_tried(times: int, when: str) -> None:
    hour = timedelta(hours=1)
    tries = TriesNotTaken(times=times, first=AT + hour, last=AT + 20 * hour)
    letter = render(notice(Kind.DONE).model_copy(update={"not_taken": tries}), AT + 30 * hour)
    assert f"The mail server did not take it in {when}" in " ".join(letter.text.split())
    assert words(" ".join(parsed(letter).shown)) == words(letter.text)


def digest_of(*projects: dict[str, object]) -> RenderedMail:
    data = {**DIGEST, "moved": {"files": 0, "bytes": 0}, "projects": list(projects), "needs": [], "notes": []}
    return render(notice(Kind.DIGEST, data))


def test_a_digest_tells_the_quota_and_the_bytes_as_status_does() -> None:
    used = {**QUOTA, "used": 9_999_999_999_811, "left": 189, "share": 0.99999}
    one = {**LISTED[0], "share": 0.478, "done_bytes": 11_212_000_000_000}
    data = {**DIGEST, "projects": [one], "quota": used}
    text = " ".join(render(notice(Kind.DIGEST, data)).text.split())
    assert "9.99 of 10.0 TB used in the last 24 h, almost nothing left" in text
    assert "47 % - 6,400 of 12,345 files, 11.2 of 23.5 TB" in text


def test_a_digest_of_projects_that_are_not_listed_does_not_say_that_nothing_arrived() -> None:
    active, listing = LISTED
    part = {**listing, "files": 200, "bytes": 5_000_000_000, "where": ["200 not asked for yet"]}
    letter = digest_of(part)
    assert letter.subject == "[jgi-stager] Sun 1 Mar 2026: files are being listed; wetlands under way"
    assert "Its files are being listed: 200 files, 5.00 GB so far." in letter.text
    assert "not asked for yet" not in letter.text, "nothing can be asked for before the list is whole"
    assert "%" not in letter.text.partition("Quota")[0], "how much it is in all is not known yet"
    assert "nothing arrived; 2 projects" in digest_of({**active, "new_files": 0, "new_bytes": 0}, part).subject


@pytest.mark.parametrize(
    ("days", "said"),
    [(0.0, "the quota has room for all of it at once"), (2.0, "the quota alone makes it take 2 d")],
)
def test_an_accepted_mail_says_what_the_quota_means_for_it(days: float, said: str) -> None:
    letter = render(notice(Kind.ACCEPTED, {**ACCEPTED, "days_of_quota": days}))
    assert said in " ".join(letter.text.split())


def test_new_projects_that_share_the_quota_are_named_or_counted() -> None:
    assert sharing(["soil"]) == "soil now shares the quota"
    many = sharing([f"p{number}" for number in range(9)])
    assert many == "p0, p1, p2, p3, p4 and 4 more (jgi-stager project list) now share the quota"


def test_an_accepted_mail_without_an_estimate_says_no_date() -> None:
    letter = render(notice(Kind.ACCEPTED, {**ACCEPTED, "eta": None}))
    assert "here by" not in letter.subject
    assert "Expected" not in letter.text


def test_a_mail_has_both_parts_the_attachment_and_the_headers_of_its_thread() -> None:
    letter = render(notice(Kind.DONE))
    table = Attachment("p_files.tsv", "text/tab-separated-values", b"destination\tbytes\n/x\t1\n")
    envelope = Envelope("JGI stager <stager@example.org>", ["a@example.org"], "<2@x>", AT, thread="<1@x>")
    mail = message_from_bytes(make_mail(letter, envelope, [table]).as_bytes(), policy=default)
    text, html = mail.get_body(["plain"]), mail.get_body(["html"])
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == letter.text
    assert html.get_content().replace("\r\n", "\n").strip() == letter.html.strip()
    assert [part.get_filename() for part in mail.iter_attachments()] == ["p_files.tsv"]
    assert (mail["Message-ID"], mail["In-Reply-To"], mail["References"]) == ("<2@x>", "<1@x>", "<1@x>")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert max(len(line) for line in make_mail(letter, envelope).as_bytes().splitlines()) <= 998


def test_the_first_mail_of_a_thread_refers_to_no_other() -> None:
    mail = make_mail(RenderedMail("s", "t", "<p>t</p>"), Envelope("a@x", ["b@x"], "<1@x>", AT, thread="<1@x>"))
    assert mail["In-Reply-To"] is None


def test_the_gist_for_the_second_channel_is_short_and_has_no_foot() -> None:
    letter = render(notice(Kind.NEEDS_PERSON))
    said = gist(letter)
    assert len(said) <= LONGEST_BODY + 4
    assert said.startswith("JDP has not been usable since")
    assert "by itself." not in said
    assert "===" not in said


def test_facts_are_aligned_and_wrapped_below_each_other() -> None:
    shown = facts([("A", "x"), ("Longer", "word " * 30)]).splitlines()
    assert shown[0] == "  A       x"
    assert {line[:10] for line in shown[2:]} == {" " * 10}
    assert all(len(line) <= WIDTH for line in shown)


def test_the_words_of_a_needs_you_mail_do_not_claim_a_path_that_is_not_there() -> None:
    letter = render(notice(Kind.NEEDS_PERSON, {**NEEDS, "path": None}))
    assert "Or write it into" not in letter.text


@pytest.mark.parametrize("wrong", ["a@x\nBcc: b@x", "nobody", "A <a@x.org>", "", "a@x.org, b@x.org"])
def test_only_plain_addresses_are_mailed_to(wrong: str) -> None:
    assert NotificationSettings(mailto=["a@x.org"]).mailto == ["a@x.org"]
    with pytest.raises(ValidationError, match="plain mail address"):
        NotificationSettings(mailto=[wrong])


def test_a_sender_may_have_a_name_but_no_second_line() -> None:
    assert NotificationSettings(mail_from="JGI stager <a@x.org>").mail_from == "JGI stager <a@x.org>"
    for wrong in ("JGI stager", "a@x.org\nBcc: b@x.org"):
        with pytest.raises(ValidationError):
            NotificationSettings(mail_from=wrong)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [*LIGHT.values(), *DARK.values()])
def test_every_text_can_be_read_on_what_it_lies_on(palette: Palette) -> None:
    """WCAG 2, level AA: 4.5 for text, 3 for a bar."""
    on_sheet = [(palette.text, palette.sheet), (palette.muted, palette.sheet), (palette.ink, palette.sheet)]
    others = [(palette.ink, palette.paper), (palette.text, palette.paper)]
    blocks = [(palette.command, palette.command_paper), (palette.quote, palette.quote_paper)]
    for one, other in (*on_sheet, *others, *blocks):
        assert contrast(one, other) >= 4.5, (one, other)
    assert contrast(palette.ink, palette.track) >= 3


@pytest.mark.parametrize("kind", list(Kind))
def test_no_colour_of_a_light_screen_stays_on_a_dark_one(kind: Kind) -> None:
    """Every element with a colour of its own has a class, and the style sheet gives each class a dark colour."""
    html = render(notice(kind)).html
    assert '<meta name="color-scheme" content="light dark">' in html
    dark = html.partition("@media (prefers-color-scheme: dark)")[2].partition("</style>")[0]
    replaced = set(re.findall(r"\.([a-z]+) \{", dark))
    for tag, style in re.findall(r"<(\w+[^>]*)style=\"([^\"]*)\"", html):
        if re.search(r"(?:background|color|solid)[: ]#?", style):
            classes = set(re.findall(r"class=\"([^\"]*)\"", tag)[0].split()) if "class=" in tag else set()
            assert classes & replaced, (tag, style)
    assert "#" not in re.sub(r"#[0-9a-f]{6}\b", "", dark), "every colour is six digits"
