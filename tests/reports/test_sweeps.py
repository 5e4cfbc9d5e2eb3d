"""Names of sweeps for people, and where they stand for the ids."""

from dataclasses import replace
from typing import Any

import pytest

from radialbench.maskgen.grid import Segment, TokenGrid
from radialbench.records.fidelity import InputsIdentity
from radialbench.records.result import Record
from radialbench.reports.formats import FORMATS, load_format
from radialbench.reports.rows import DENSE, rows_of
from radialbench.reports.summary import summarize
from radialbench.reports.sweeps import sweep_differences, sweep_texts
from tests.reports.factory import made


def on(grid: TokenGrid, **changes: Any) -> Record:
    record = made("sta")
    return replace(record, problem=replace(record.problem, grid=grid, **changes))


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (made("sta"), "frames of 30×52 tokens, 1 head of 128, float32"),
        (
            replace(made("sta"), model="wan2.1-14b"),
            "wan2.1-14b, frames of 30×52 tokens, 1 head of 128, float32",
        ),
        (
            on(TokenGrid(3, 4, 5, text_tokens=256, text_valid=200), heads=8, kv_heads=2),
            "frames of 4×5 tokens, 256 text tokens (56 of them padding), "
            "8 heads (2 key heads) of 128, float32",
        ),
        (
            on(TokenGrid(3, 4, 5, text_tokens=7, text_first=True), batch=2, dtype="bfloat16"),
            "frames of 4×5 tokens, 7 text tokens before them, 1 head of 128, bfloat16, batch of 2",
        ),
        (
            on(TokenGrid(9, 4, 5, query_frames=(6, 8))),
            "frames of 4×5 tokens, queries of frames 6 to 8, 1 head of 128, float32",
        ),
        (
            on(TokenGrid.of(Segment("audio", 12), Segment("video", sides=(3, 4, 5)))),
            "frames of 4×5 tokens, audio 12 + video, 1 head of 128, float32",
        ),
        (
            replace(made("sta"), inputs=InputsIdentity("a model", "captured", "aa")),
            "frames of 30×52 tokens, 1 head of 128, float32, on a model",
        ),
    ],
)
def test_a_sweep_in_words(record: Record, text: str) -> None:
    assert list(sweep_texts(rows_of([record])[0]).values()) == [text]
    assert list(sweep_differences(rows_of([record])[0]).values()) == [""]


def test_sweeps_are_told_apart_by_what_differs() -> None:
    wide = [replace(r, case=f"{m}{r.case}", model=m) for m in "ab" for r in (made("sta"),)]
    assert list(sweep_differences(rows_of(wide)[0]).values()) == ["a", "b"]
    # What only lacks what the other has is named, too.
    both = rows_of([made("sta"), wide[0]])[0]
    assert list(sweep_differences(both).values()) == ["frames of 30×52 tokens", "a"]


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("json", "csv")])
def test_reports_have_no_codes_of_sweeps(name: str) -> None:
    records = [made(mask, frames) for mask in (DENSE, "sta") for frames in (3, 5)]
    wide = [replace(r, case=f"wide {r.case}", model="wide") for r in records]
    summary = summarize([*records, *wide])
    text = load_format(name)(summary)
    assert "Fx30x52" not in text
    assert all(words in text for words in summary.sweep_texts.values())
