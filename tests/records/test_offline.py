"""Files of offline rows come back as they were, or say what is wrong with them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.errors import RecordError
from radialbench.records.offline import Offline, OfflineRow, read_offline, write_offline
from tests.records.offline import ABSENT, HEAD, KERNEL, MASK, OFFLINE


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    write_offline(path, OFFLINE)
    assert read_offline(path) == OFFLINE
    first = path.read_bytes()
    write_offline(path, read_offline(path))
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    write_offline(path, OFFLINE)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RecordError, match="is not whole: it says 3 rows and has 2"):
        read_offline(path)
    path.write_bytes(b"".join(lines)[:-30])
    with pytest.raises(RecordError, match=r"baseline\.jsonl:4: not what an offline check wrote"):
        read_offline(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("{}", ":1: .*missing"),
        ('{"suite": 3}', ":1: "),
        ('{"suite": "a", "compiler": "b", "sm_count": 132, "rows": 0, "schema": 9}', "update"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=words):
        read_offline(path)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    write_offline(path, OFFLINE)
    path.write_text(path.read_text().replace('"density": 0.5', '"density": NaN'))
    with pytest.raises(RecordError, match="baseline"):
        read_offline(path)


def test_a_row_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    write_offline(path, Offline(replace(HEAD, rows=2), (MASK, MASK)))
    with pytest.raises(RecordError, match="mask radial/a/h2d8/16x16 is there twice"):
        read_offline(path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "baseline.jsonl"
    path.write_text("old", encoding="utf-8")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="cannot write"):
        write_offline(path, OFFLINE)
    assert path.read_text(encoding="utf-8") == "old"


def test_a_row_has_figures_of_its_kind_or_a_reason() -> None:
    assert (KERNEL.figures, ABSENT.figures, MASK.figures) == (KERNEL.kernel, None, MASK.mask)
    for row in (KERNEL, MASK):
        with pytest.raises(RecordError, match="must have a reason or the figures"):
            replace(row, reason="why")
    with pytest.raises(RecordError, match="must have a reason or the figures"):
        OfflineRow("kernel", "a", mask=MASK.mask)
    with pytest.raises(RecordError, match="must have a reason or the figures"):
        OfflineRow("mask", "a")
