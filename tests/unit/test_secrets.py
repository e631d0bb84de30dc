"""Secrets: private files of one line, read anew, never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jgi_stager.secrets import LARGEST_SECRET_BYTES, SecretProblem, Secrets

VALUE = "s3cret-value-7f"


def put(directory: Path, content: bytes, mode: int = 0o600, name: str = "jdp_token") -> Path:
    """A secret as a person or a program leaves it."""
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [f"{VALUE}", f"{VALUE}\n", f"  {VALUE}\r\n\n", f"\ufeff{VALUE}\n"])
def test_surrounding_white_space_and_byte_order_marks_are_no_part_of_it(tmp_path: Path, content: str) -> None:
    put(tmp_path, content.encode())
    assert Secrets(tmp_path).read("jdp_token").get_secret_value() == VALUE


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_private_file_is_read(tmp_path: Path, mode: int) -> None:
    put(tmp_path, VALUE.encode(), mode)
    assert Secrets(tmp_path).read("jdp_token").get_secret_value() == VALUE


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o602, 0o601, 0o444])
def test_a_file_open_to_others_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path, VALUE.encode(), mode)
    with pytest.raises(SecretProblem, match="chmod 600") as caught:
        Secrets(tmp_path).read("jdp_token")
    assert str(path) in str(caught.value)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    ("owner", "group", "allowed"),
    [(0, 0, True), (1000, 0, False), (0, 1000, False), (0, 10001, True), (10001, 10001, False)],
)
def test_a_credential_as_systemd_or_kubernetes_leaves_it_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, group: int, allowed: bool
) -> None:
    """An access list for the service user shows as 0440, root and root; fsGroup as 0440, root and that group."""
    monkeypatch.setattr(os, "getgroups", lambda: [10001])
    put(tmp_path, VALUE.encode(), 0o440)
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[4:6] = owner, group
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", fstat)
    if allowed:
        assert Secrets(tmp_path).read("jdp_token").get_secret_value() == VALUE
    else:
        with pytest.raises(SecretProblem, match="chmod 600"):
            Secrets(tmp_path).read("jdp_token")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\t\n",
        f"{VALUE}\nsecond".encode(),
        f"{VALUE}\x00".encode() + b"x",
        f"{VALUE}\x7fx".encode(),
        VALUE.encode() + b"\xff",
        VALUE.encode("utf-16"),
        VALUE.encode() * (LARGEST_SECRET_BYTES // len(VALUE) + 1),
    ],
    ids=["empty", "blank", "two lines", "NUL", "DEL", "latin-1", "utf-16", "huge"],
)
def test_what_is_not_one_line_of_text_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path, content)
    with pytest.raises(SecretProblem) as caught:
        Secrets(tmp_path).read("jdp_token")
    assert str(path) in str(caught.value)
    assert VALUE not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_missing_secret_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(SecretProblem, match=r"jdp_token: missing; write the secret into it"):
        Secrets(tmp_path).read("jdp_token")
    assert not Secrets(tmp_path).exists("jdp_token")
    assert Secrets(tmp_path).fingerprint("jdp_token") is None


def test_a_directory_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("directory", "pipe"):
        with pytest.raises(SecretProblem, match=name):
            Secrets(tmp_path).read(name)
        assert not Secrets(tmp_path).exists(name)


def test_a_directory_that_is_none_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    put(tmp_path, b"x", name="file")
    inside = Secrets(tmp_path / "file")
    assert not inside.exists("jdp_token")
    assert inside.fingerprint("jdp_token") is None
    with pytest.raises(SecretProblem, match="jdp_token"):
        inside.read("jdp_token")


def test_a_renewed_secret_is_read_anew_and_changes_the_fingerprint(tmp_path: Path) -> None:
    found = Secrets(tmp_path)
    put(tmp_path, b"first")
    before = found.fingerprint("jdp_token")
    assert found.read("jdp_token").get_secret_value() == "first"
    assert found.fingerprint("jdp_token") == before
    put(tmp_path, b"other", name="new").rename(tmp_path / "jdp_token")
    assert found.read("jdp_token").get_secret_value() == "other"
    assert found.fingerprint("jdp_token") != before


def test_a_repaired_mode_changes_the_fingerprint(tmp_path: Path) -> None:
    """The cure that `read` names is chmod: whoever waits for the file to change must notice it."""
    path = put(tmp_path, VALUE.encode(), 0o644)
    before = Secrets(tmp_path).fingerprint("jdp_token")
    changed = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == changed:  # the kernel's clock ticks every few milliseconds
        path.chmod(0o600)
    assert Secrets(tmp_path).fingerprint("jdp_token") != before


def test_a_link_to_a_secret_follows_it(tmp_path: Path) -> None:
    put(tmp_path, VALUE.encode(), name="real")
    (tmp_path / "jdp_token").symlink_to(tmp_path / "real")
    assert Secrets(tmp_path).exists("jdp_token")
    assert Secrets(tmp_path).read("jdp_token").get_secret_value() == VALUE


def test_a_secret_does_not_show_itself(tmp_path: Path) -> None:
    put(tmp_path, VALUE.encode())
    value = Secrets(tmp_path).read("jdp_token")
    assert VALUE not in f"{value} {value!r} {Secrets(tmp_path)!r}"
