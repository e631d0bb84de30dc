"""Reading manifests: the recorded ones whole, a torn one never, a hostile one only as far as it can be trusted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jgi_stager import manifests
from jgi_stager.manifests import (
    HEADER,
    Manifest,
    ManifestNotComplete,
    Row,
    UnknownFormat,
    compare,
    find_columns,
    holds_request,
    local_name,
    manifest_name,
    merge,
    parse_manifest,
    similar_names,
)
from jgi_stager.records import unsafe_name, unsafe_relative_path

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "recorded"
ROWS = {201545: 1, 201547: 1, 201572: 74, 521076: 247}
IDS = [f"{number:024x}" for number in range(9)]
MD5 = "d2b6bf768939813dca151f530e118c50"


def cells(
    number: int, *, name: str = "", directory: str = "Soil_1/IMG_Data", md5: str = MD5, size: str = "353"
) -> list[str]:
    """One row of a manifest. The organism's name has commas, quotes and letters beyond ASCII."""
    organism = f'Soil of "Höhe {number}", Colorado, United States'
    return [name or f"file{number}.txt", IDS[number], "IMG_AP-1", directory, "Soil_1", organism, md5, size]


def written(rows: Sequence[Sequence[str]], *, quoting: int = csv.QUOTE_ALL, end: str = "\n") -> str:
    """The manifest as text."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=end).writerows([HEADER, *rows])  # type: ignore[arg-type]
    return text.getvalue()


THREE = [cells(0), cells(1, size="35900000000"), cells(2, directory="Soil_1/QC/Krona_output")]


def recorded(request_id: int) -> bytes:
    """A real manifest."""
    path = RECORDED / manifest_name(request_id)
    if not path.is_file():
        pytest.skip(f"the recorded answers are not here: {path}")
    return path.read_bytes()


@pytest.mark.parametrize("request_id", ROWS)
def test_the_recorded_manifests_parse_whole(request_id: int) -> None:
    raw = recorded(request_id)
    manifest = parse_manifest(raw)
    assert (manifest.problems, manifest.torn) == ((), None)
    assert len(manifest.rows) == ROWS[request_id] == raw.rstrip(b"\n").count(b"\n")
    assert all(row.md5 and row.size > 0 for row in manifest.rows.values())
    delivery = compare(manifest, sizes_of(manifest))
    assert (delivery.missing, delivery.extra, delivery.doubt) == ((), (), None)
    assert len({row.path for row in manifest.rows.values()}) == ROWS[request_id]


def test_a_recorded_row_is_read_as_it_is() -> None:
    (row,) = parse_manifest(recorded(201545)).rows.values()
    assert row == Row(
        "6141a2b4cc4ff44f36c8991a",
        "ERLowmetatpilot/IMG_Data/Ga0502004_genes.fna",
        337110427,
        "ee98bfe80a169ed7780dfdb640a1edf9",
    )


def never_silently_short(raw: bytes, positions: Iterable[int]) -> None:
    """Cut anywhere, it is refused, or every line that is there is as it was; and unless nothing is missing it is
    torn or in doubt, or `compare` names the rest."""
    whole = parse_manifest(raw)
    sizes = sizes_of(whole)
    for position in positions:
        try:
            cut = parse_manifest(raw[:position])
        except ManifestNotComplete:
            continue
        assert (cut.problems, cut.unusable, cut.nameless) == ((), {}, ()), position
        delivery = compare(cut, sizes)
        # The path of a row is never cut, and a size that may be is taken from JDP.
        assert all(whole.rows[file_id] == row for file_id, row in delivery.delivered.items()), position
        assert set(delivery.missing) == set(whole.rows) - set(delivery.delivered)
        at_a_line_break = b"\n" in raw[position - 1 : position + 1] or b"\r" in raw[position - 1 : position + 1]
        is_last = not raw[position:].strip()
        assert delivery.doubt or at_a_line_break or is_last or not cut.rows, position


def sizes_of(manifest: Manifest) -> dict[str, int | None]:
    """What JDP says of the files of a manifest that tells the truth."""
    return {file_id: row.size for file_id, row in manifest.rows.items()}


@pytest.mark.parametrize("request_id", ROWS)
def test_a_recorded_manifest_cut_at_any_byte_is_never_silently_short(request_id: int) -> None:
    raw = recorded(request_id)
    # Every byte of the last lines, and a few of each of the others.
    near_the_end = range(max(0, len(raw) - 300), len(raw))
    never_silently_short(raw, sorted({*near_the_end, *range(0, len(raw), 1 + len(raw) // 100)}))


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("ended", [True, False])
def test_quoted_or_not_ended_or_not_and_cut_at_any_byte(quoting: int, end: str, ended: bool) -> None:
    text = written(THREE, quoting=quoting, end=end)
    raw = (text if ended else text.removesuffix(end)).encode()
    assert len(parse_manifest(raw).rows) == 3
    never_silently_short(raw, range(len(raw)))


UNENDED = written(THREE, quoting=csv.QUOTE_MINIMAL).rstrip("\n").encode()
"""Nothing in it proves that the last size, 353, is whole."""


def test_a_last_row_without_a_line_break_counts_if_it_says_what_jdp_says() -> None:
    sizes: dict[str, int | None] = {IDS[0]: 353, IDS[1]: 35900000000, IDS[2]: 353}
    delivery = compare(parse_manifest(UNENDED), sizes)
    assert set(delivery.delivered) == set(IDS[:3])
    assert (delivery.missing, delivery.doubt) == ((), None)


@pytest.mark.parametrize("size", [3530, None, 7])
def test_a_last_row_that_may_be_cut_leaves_a_doubt(size: int | None) -> None:
    delivery = compare(parse_manifest(UNENDED), {IDS[0]: 353, IDS[1]: 35900000000, IDS[2]: size})
    assert delivery.doubt is not None
    assert "no line break" in delivery.doubt
    # Its path is whole all the same, and where the size is the beginning of JDP's it is cut and nothing else.
    assert delivery.delivered[IDS[2]].path == "Soil_1/QC/Krona_output/file2.txt"
    assert delivery.delivered[IDS[2]].size == (3530 if size == 3530 else 353)


def test_a_last_row_that_nobody_asked_for_leaves_a_doubt() -> None:
    delivery = compare(parse_manifest(UNENDED), {IDS[0]: 353, IDS[1]: 35900000000})
    assert delivery.doubt is not None
    assert delivery.extra == (IDS[2],)


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_a_torn_manifest_keeps_the_rows_before_the_tear(quoting: int) -> None:
    text = written(THREE, quoting=quoting)
    manifest = parse_manifest(text[: text.rindex("United")].encode())
    assert set(manifest.rows) == {IDS[0], IDS[1]}
    assert manifest.torn is not None
    assert "file2.txt" in manifest.torn
    assert (manifest.problems, manifest.unusable) == ((), {})


@pytest.mark.parametrize(
    ("line", "file_id", "why"),
    [
        (f"a, b.txt,{IDS[1]},IMG_AP-1,d,Soil_1,Soil,{MD5},353", IDS[1], "has 9 fields instead of 8"),
        (f"b.txt,{IDS[1]},IMG_AP-1", IDS[1], "has 3 fields instead of 8"),
        (f'b.txt,{IDS[1]},IMG_AP-1,d,Soil_1,"Soil" wet,{MD5},353', IDS[1], "not valid CSV"),
        (f'b.txt,{IDS[1]},IMG_AP-1,d,Soil_1,"Soil,{MD5},353', IDS[1], "not valid CSV"),
        ("b.txt,,IMG_AP-1,d,Soil_1", None, "has 5 fields instead of 8"),
        ("x" * 200_000, None, "not valid CSV"),
    ],
)
def test_a_line_that_is_no_row_leaves_the_lines_around_it_alone(line: str, file_id: str | None, why: str) -> None:
    first, second = (written([cells(number)], quoting=csv.QUOTE_MINIMAL).splitlines()[1] for number in (0, 2))
    manifest = parse_manifest("\n".join([",".join(HEADER), first, line, second, ""]).encode())
    assert set(manifest.rows) == {IDS[0], IDS[2]}
    assert manifest.torn is None
    (problem,) = manifest.problems
    assert problem.startswith("line 3 (")
    assert why in problem
    assert manifest.unusable == ({} if file_id is None else {file_id: problem})
    assert manifest.nameless == ((problem,) if file_id is None else ())


def test_more_lines_that_cannot_be_used_than_a_request_has_files_are_no_manifest() -> None:
    text = written(THREE) + "too,few\n" * 1001 + written(THREE).split("\n", 1)[1]
    with pytest.raises(ManifestNotComplete, match="more than 1000 of its lines"):
        parse_manifest(text.encode())


def test_a_line_break_inside_a_name_is_part_of_it() -> None:
    row = cells(0)
    row[5] = "Soil\nof two\r\nlines"
    raw = written([row, cells(1, name="../x")]).encode()
    manifest = parse_manifest(raw)
    assert set(manifest.rows) == {IDS[0]}
    assert manifest.problems[0].startswith("line 5 ('../x'): filename contains a slash")
    assert len(parse_manifest(raw.rstrip(b"\n")).rows) == 1
    for position in range(raw.index(b"Soil\n"), raw.index(b"lines")):
        cut = parse_manifest(raw[:position])
        assert cut.torn is not None
        assert (cut.rows, cut.problems) == ({}, ())


def test_a_byte_order_mark_is_no_part_of_the_header() -> None:
    assert len(parse_manifest(written(THREE).encode("utf-8-sig")).rows) == 3


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(ManifestNotComplete):
        parse_manifest(written(THREE).encode(encoding))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"<html><body>Down for maintenance</body></html>\n",
        b"filename,file_id\n",
        (",".join(HEADER[:-1]) + "\n").encode(),
        (",".join([*HEADER, "file id"]) + "\n").encode(),
        (",".join(HEADER).replace("directory/path", "path") + "\n").encode(),
        (",".join([*HEADER, *map(str, range(200))]) + "\n").encode(),
        written(THREE).split("\n", 1)[1].encode(),
        b"\0" * 4096,
        written(THREE).encode() + b"\0" * 100,
        written(THREE).encode().replace(b"file1", b"fil\0e"),
        b'"' + b"a" * 300_000 + b'"\n',
        b'"' + b"a" * 300_000,
        b"a" * 300_000 + b'"',
    ],
)
def test_what_is_not_a_whole_manifest_is_waited_for(raw: bytes) -> None:
    with pytest.raises(ManifestNotComplete) as caught:
        parse_manifest(raw)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("end", ['"unclosed\n', "too,few\n", '"quote" behind,x,x,x,x,x,x,1\n', "x", "h\u00f6"])
def test_what_is_no_row_at_the_end_may_be_one_that_is_cut(end: str) -> None:
    manifest = parse_manifest((written(THREE) + end).encode())
    assert len(manifest.rows) == 3
    assert manifest.torn is not None
    assert manifest.torn.isprintable()
    assert len(manifest.torn) < 250
    assert parse_manifest(written(THREE).encode() + "h\u00f6".encode()[:-1]).torn is not None


def test_a_manifest_beyond_reason_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = written(THREE).encode()
    monkeypatch.setattr(manifests, "LARGEST_MANIFEST_BYTES", len(raw))
    assert len(parse_manifest(raw).rows) == 3
    monkeypatch.setattr(manifests, "LARGEST_MANIFEST_BYTES", len(raw) - 1)
    with pytest.raises(ManifestNotComplete, match="larger than"):
        parse_manifest(raw)


def test_a_header_alone_lists_nothing_and_everything_is_missing() -> None:
    manifest = parse_manifest(written([]).encode())
    assert manifest == Manifest({})
    assert compare(manifest, dict.fromkeys(IDS[:2])).missing == tuple(IDS[:2])
    assert parse_manifest(",".join(HEADER).encode()) == Manifest({})


def test_blank_lines_and_blanks_around_the_header_do_not_matter() -> None:
    raw = written(THREE).replace('"filename"', '" filename "').replace("\n", "\n\n").encode()
    assert len(parse_manifest(raw).rows) == 3


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (cells(1, name=".."), "filename is empty or a directory"),
        (cells(1, name="../../x"), "filename contains a slash"),
        (cells(1, name="a\x1b[2J"), "filename contains control characters"),
        (cells(1, name="x" * 256), "filename is longer than 255 bytes"),
        (cells(1, directory="/etc"), "directory/path is absolute"),
        (cells(1, directory="a/../../b"), "directory/path component '..' is empty or a directory"),
        (cells(1, directory="a//b"), "directory/path component '' is empty or a directory"),
        (cells(1, directory="a\nb"), "directory/path component 'a\\nb' contains control characters"),
        (cells(1, size="-1"), "file size is not a number of bytes"),
        (cells(1, size="1.5"), "file size is not a number of bytes"),
        (cells(1, size="1e9"), "file size is not a number of bytes"),
        (cells(1, size=""), "file size is not a number of bytes"),
        (cells(1, size="٣"), "file size is not a number of bytes"),
        (cells(1, size="9" * 19), "file size is not a number of bytes"),
        (cells(1, directory="/".join(["d" * 250] * 17)), "its path is longer than 4096 bytes"),
        (["x", "../" + "0" * 21, *cells(1)[2:]], "file_id is not 24 hexadecimal digits"),
        (["x", "0" * 24 + "\n", *cells(1)[2:]], "file_id is not 24 hexadecimal digits"),
        (["x", "G" * 24, *cells(1)[2:]], "file_id is not 24 hexadecimal digits"),
    ],
)
def test_a_hostile_row_is_reported_by_name_and_not_used(row: list[str], why: str) -> None:
    manifest = parse_manifest(written([cells(0), row, cells(2)]).encode())
    assert set(manifest.rows) == {IDS[0], IDS[2]}
    (problem,) = manifest.problems
    assert problem.endswith(why)
    assert problem.isprintable()
    assert len(problem) < 250
    delivery = compare(manifest, {IDS[0]: 353, IDS[1]: 353, IDS[2]: 353})
    # Also a line that does not say whose it is: there are as many lines as files, so no other will come.
    assert (delivery.missing, set(delivery.unusable)) == ((), {IDS[1]})
    assert problem in delivery.unusable[IDS[1]]


def test_a_line_that_names_no_file_settles_nothing_while_others_may_come() -> None:
    bad = ["x", "G" * 24, *cells(1)[2:]]
    manifest = parse_manifest(written([cells(0), bad]).encode())
    delivery = compare(manifest, dict.fromkeys(IDS[:3]))
    assert (delivery.missing, delivery.unusable) == ((IDS[1], IDS[2]), {})
    assert set(compare(manifest, dict.fromkeys(IDS[:3]), given_up=[IDS[1]]).unusable) == {IDS[2]}


def test_an_empty_directory_is_the_delivery_itself() -> None:
    assert parse_manifest(written([cells(0, directory="")]).encode()).rows[IDS[0]].path == "file0.txt"


@pytest.mark.parametrize(("md5", "read"), [(MD5.upper(), MD5), ("", None), ("none", None), (MD5[:-1], None)])
def test_a_checksum_is_read_in_lower_case_or_not_at_all(md5: str, read: str | None) -> None:
    manifest = parse_manifest(written([cells(0, md5=md5)]).encode())
    assert manifest.rows[IDS[0]].md5 == read
    assert manifest.problems == ()


def test_a_repeated_row_counts_once_and_a_contradiction_is_reported() -> None:
    assert parse_manifest(written([cells(0), cells(0)]).encode()).problems == ()
    manifest = parse_manifest(written([cells(0), cells(0, size="9")]).encode())
    assert manifest.rows[IDS[0]].size == 353
    assert manifest.problems == (f"line 3 ('file0.txt'): {IDS[0]} is listed twice; the first counts",)


def test_compare_names_what_is_missing_and_what_nobody_asked_for() -> None:
    manifest = parse_manifest(written(THREE).encode())
    delivery = compare(manifest, {IDS[5]: 1, IDS[0]: 353, IDS[4]: None})
    assert set(delivery.delivered) == {IDS[0]}
    assert delivery.missing == (IDS[4], IDS[5])
    assert delivery.extra == (IDS[1], IDS[2])


def test_the_name_of_a_manifest() -> None:
    assert manifest_name(201545) == "Globus_Download_201545_File_Manifest.csv"


HEAD = written([]).encode()


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda raw: HEAD + raw))
@example(HEAD + b'"\n"')
@example(b"\xef\xbb\xbf" + HEAD + b"\r")
def test_arbitrary_bytes_are_a_manifest_or_not_complete(raw: bytes) -> None:
    try:
        manifest = parse_manifest(raw)
    except ManifestNotComplete:
        return
    assert isinstance(manifest, Manifest)


printable = st.text(st.characters(codec="utf-8"), max_size=12)
fields = st.lists(printable, min_size=8, max_size=8).flatmap(
    lambda row: st.builds(
        lambda name, number, size: [name or row[0], IDS[number], row[2], row[3], *row[4:7], size],
        st.sampled_from(["", "a.txt", "../b"]),
        st.integers(0, 8),
        st.sampled_from(["1", "353", "x"]),
    )
)


@given(st.lists(fields, max_size=4), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), st.data())
def test_what_was_written_is_read_or_reported_and_no_path_leaves_the_delivery(
    rows: list[list[str]], quoting: int, data: st.DataObject
) -> None:
    raw = written(rows, quoting=quoting).encode()
    try:
        manifest = parse_manifest(raw)
    except ManifestNotComplete:
        assert b"\0" in raw
        return
    # The writer does not quote a bare carriage return, so that its row becomes two.
    assert len(manifest.rows) + len(manifest.problems) <= len(rows) + raw.count(b"\r")
    assert set(manifest.rows) <= {row[1] for row in rows}
    assert all(unsafe_relative_path(row.path) is None for row in manifest.rows.values())
    position = data.draw(st.integers(0, len(raw)))
    try:
        cut = parse_manifest(raw[:position])
    except ManifestNotComplete:
        return
    sure = {file_id: row for file_id, row in cut.rows.items() if file_id not in cut.unproven}
    assert all(manifest.rows[file_id] == row for file_id, row in sure.items())


# --- columns by name, several manifests, names that differ -----------------------------------------------------


def shuffled(rows: Sequence[Sequence[str]], order: Sequence[int], names: Sequence[str] = HEADER) -> str:
    """The manifest with its columns in this order and under these names, without quotes or a final line break."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[one[at] for at in order] for one in (names, *rows)])
    return text.getvalue().removesuffix("\n")


@given(st.permutations(range(8)), st.sampled_from([str.upper, str.title, lambda name: f" {name} ", str]))
def test_columns_are_found_by_name_in_any_order_and_case(order: Sequence[int], change: type[str]) -> None:
    text = shuffled(THREE, order, [change(name) for name in HEADER])
    assert parse_manifest(text.encode()).rows == parse_manifest(written(THREE).encode()).rows


@given(st.permutations(range(8)), st.data())
def test_columns_in_another_order_cut_at_any_byte_are_never_silently_short(
    order: Sequence[int], data: st.DataObject
) -> None:
    raw = shuffled(THREE, order).encode()
    whole = parse_manifest(raw + b"\n")
    sizes = sizes_of(whole)
    try:
        cut = parse_manifest(raw[: data.draw(st.integers(0, len(raw)))])
    except ManifestNotComplete:
        return
    delivery = compare(cut, sizes)
    # What ends in a column that nobody needs is whole all the same; the others are missing by name.
    assert all(whole.rows[file_id] == row for file_id, row in delivery.delivered.items())
    assert set(delivery.missing) == set(whole.rows) - set(delivery.delivered)
    assert (cut.problems, cut.unusable) == ((), {})


def test_a_column_more_and_columns_of_another_name_that_mean_the_same() -> None:
    renamed = dict(zip(HEADER, HEADER, strict=True)) | {
        "filename": "File_Name",
        "file_id": "File ID",
        "directory/path": "Directory",
        "md5 checksum": "MD5",
        "file size": "File Size (bytes)",
    }
    text = shuffled([[*row, "x"] for row in THREE], [8, *range(8)], [*renamed.values(), "Delivered by"])
    assert parse_manifest(text.encode()).rows == parse_manifest(written(THREE).encode()).rows


def test_without_a_column_of_checksums_there_are_none() -> None:
    (row, *_) = parse_manifest((shuffled(THREE, [0, 1, 3, 7]) + "\n").encode()).rows.values()
    assert row == Row(IDS[0], "Soil_1/IMG_Data/file0.txt", 353, None)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["Portal Key", "path", *HEADER[2:]], "filename, file_id"),
        (["filename", "file_id", *HEADER[2:7], "length"], "file size"),
        (["filename", "file_id", "File ID", *HEADER[3:]], "file_id"),
    ],
)
def test_a_header_that_does_not_name_what_is_needed_is_shown(names: list[str], missing: str) -> None:
    with pytest.raises(UnknownFormat, match=f"it has no column {missing}$") as caught:
        find_columns(names)
    assert caught.value.header == ",".join(names)


def test_what_is_shown_of_a_header_is_bounded_and_printable() -> None:
    with pytest.raises(UnknownFormat) as caught:
        find_columns(["\x1b[2J", "\u202e" * 5000] * 200)
    assert caught.value.header.isprintable()
    assert len(caught.value.header) <= 300


def test_an_id_in_capitals_is_that_in_lower_case() -> None:
    row = ["x", "AB" * 12, *cells(1)[2:]]
    assert set(parse_manifest(written([row]).encode()).rows) == {"ab" * 12}


@given(st.permutations(range(8)), st.integers(0, 8))
def test_two_manifests_say_together_what_one_would_say(order: Sequence[int], at: int) -> None:
    rows = [cells(number) for number in order]
    parts = {str(part): parse_manifest(written(some).encode()) for part, some in enumerate((rows[:at], rows[at:]))}
    assert merge(parts).rows == parse_manifest(written(rows).encode()).rows
    assert merge(parts).problems == ()


def test_manifests_that_contradict_each_other_concern_that_file_alone() -> None:
    first = parse_manifest(written([cells(0), cells(1), cells(2, name="../x")]).encode())
    second = parse_manifest(written([cells(1, size="9"), cells(2), cells(3)]).encode())
    manifest = merge({"a.csv": first, "b.csv": second})
    assert set(manifest.rows) == {IDS[0], IDS[2], IDS[3]}
    assert manifest.unusable == {IDS[1]: f"'a.csv' and 'b.csv' say different things about {IDS[1]}"}
    assert manifest.problems[0].startswith("'a.csv', line 4 ('../x')")


def test_one_torn_manifest_of_two_leaves_a_doubt_about_both() -> None:
    whole, torn = written([cells(0)]).encode(), written(THREE[1:]).encode()[:-40]
    manifest = merge({"a.csv": parse_manifest(whole), "b.csv": parse_manifest(torn)})
    assert set(manifest.rows) == {IDS[0], IDS[1]}
    assert (compare(manifest, dict.fromkeys(IDS[:3])).doubt or "").startswith("'b.csv', its last line is torn")


@pytest.mark.parametrize("last", [0, 3, 6])
def test_a_value_at_the_end_of_a_text_without_a_line_break_is_believed_once_nothing_changes_any_more(
    last: int,
) -> None:
    order = [*(at for at in range(8) if at != last), last]
    manifest = parse_manifest(shuffled(THREE, order).encode())
    sizes = sizes_of(manifest)
    assert "what it ends with may be cut" in (compare(manifest, sizes).doubt or "")
    assert compare(manifest, sizes, settled=True).doubt is None
    assert len(compare(manifest, sizes, settled=True).delivered) == 3


NAMES = st.text(st.sampled_from("aB _-%20."), min_size=1, max_size=8)


@given(NAMES, st.lists(NAMES, max_size=6))
def test_similar_names_are_safe_and_similar_both_ways(name: str, listed: list[str]) -> None:
    for one in similar_names(name, listed):
        assert one in listed
        assert unsafe_name(one) is None
        assert similar_names(one, [name]) == ((name,) if unsafe_name(name) is None else ())


@pytest.mark.parametrize(
    ("name", "other", "similar"),
    [
        ("a b.txt", "a_b.txt", True),
        ("a b.txt", "a%20b.txt", True),
        ("a b.txt", "A-B.TXT", True),
        ("a b.txt", "a b.txt", False),
        ("a b.txt", "ab.tx", False),
        ("a1.txt", "a2.txt", False),
        ("_", "-", False),
        ("a b", "a\x1bb", False),
        ("a_b", "a/b", False),
    ],
)
def test_which_names_are_similar(name: str, other: str, similar: bool) -> None:
    assert similar_names(name, [other]) == ((other,) if similar else ())


@pytest.mark.parametrize(
    ("held", "asked", "is_it"),
    [
        ("abc", "abc", True),
        ("abcd", "abc", True),
        ("bc", "abcd", True),
        ("b", "abcd", False),
        ("bx", "abc", False),
        ("", "abc", False),
        ("", "", False),
        ("abc", "", False),
    ],
)
def test_only_the_ids_decide_whose_a_delivery_is(held: str, asked: str, is_it: bool) -> None:
    assert holds_request(held, asked) is is_it


@given(st.text(min_size=1, max_size=255), st.text(min_size=1, max_size=255))
def test_the_local_name_of_a_manifest_is_safe_and_its_own(directory: str, name: str) -> None:
    if unsafe_name(directory) or unsafe_name(name):
        return
    found = local_name(7, directory, name)
    assert found.isascii()
    assert unsafe_name(found) is None
    assert found != local_name(7, directory, name + "x")
    assert local_name(7, "R7", manifest_name(7)) == manifest_name(7)
