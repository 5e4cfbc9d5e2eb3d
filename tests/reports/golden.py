"""Records that the golden texts are of; `python -m tests.reports.golden` writes the texts anew.

So it does the table of columns in docs/reports.md.
"""

import re
from dataclasses import replace
from pathlib import Path

from radialbench.records.problem import KernelConfig
from radialbench.records.result import Record, Status
from radialbench.reports.check.compare import check
from radialbench.reports.columns import BASELINE_COLUMNS, COLUMNS
from radialbench.reports.formats import FORMATS, load_format
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import Summary, summarize
from radialbench.reports.text import markdown_table
from tests.reports.factory import elsewhere, ended, kept, made, on_gpu, swept

FOLDER = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs" / "reports.md"

TEXTS = [name for name in FORMATS if name != "html"]
"""Formats with a golden text: the page holds pictures, which differ from release to release."""


def records() -> list[Record]:
    """Three lengths, every way a case can end, a token order, tables."""
    shares = {5: 0.9, 9: 0.6, 17: 0.4}
    return [
        *swept(DENSE, dict.fromkeys(shares, 1.0), backend="sdpa", rate=80.0),
        *swept("radial", shares, fidelity=kept(0.93)),
        *on_gpu(swept("svg", {5: 0.5}, backend="hopper")),
        *swept(
            "sta(window_t=5, window_h=5)",
            dict.fromkeys(shares, 0.2),
            order=300.0,
            fidelity=kept(0.81, 0.3),
        ),
        ended(Status.FAILED, "TypeError: it | broke", made("power", 5)),
        ended(Status.OOM, "needs at least 9.0 GiB, 2.0 GiB are free; not tried", made("power", 9)),
        ended(Status.UNSUPPORTED, "'other' needs a GPU", made("power", 5, backend="other")),
        ended(Status.INACCURATE, "errors of 2.00e-01 in the output", made("power", 17)),
        *(made("radial", f, backend=None, share=share) for f, share in shares.items()),
        ended(Status.FAILED, "TypeError: again", made("power", 5)),
    ]


def baseline() -> list[Record]:
    """An earlier run: another commit and configuration, another problem, a case that is gone."""
    few = made("radial", 5, samples=[9000.0] * 3, share=0.9)
    few = replace(few, config=KernelConfig(block_n=64))
    other = made("radial", 9, samples=[5000.0], share=0.6)
    other = replace(other, problem=replace(other.problem, heads=2))
    return elsewhere([few, other, made("gone", 5)], commit="beef")


def summary() -> Summary:
    """The summary that the golden texts are of."""
    return summarize(
        records(),
        source="results/smoke/results.jsonl",
        skipped=["line 9: not a whole line of JSON"],
        check=check(records(), baseline(), baseline_source="results/before/results.jsonl"),
    )


def documented(text: str) -> str:
    """Put the table of columns into the text of docs/reports.md."""
    body = [
        (f"`{column.name}`", f"`{column.dtype}`", column.unit, column.help)
        for column in (*COLUMNS, *BASELINE_COLUMNS)
    ]
    made = markdown_table(("column", "type", "unit", "meaning"), body, text_columns=4)
    part = r"(<!-- columns: made by tests/reports/golden.py -->\n).*(<!-- /columns -->)"
    new, count = re.subn(part, lambda mark: f"{mark[1]}{made}\n{mark[2]}", text, flags=re.DOTALL)
    assert count == 1
    return new


def write() -> None:
    """Write the golden texts anew."""
    DOCS.write_text(documented(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
    FOLDER.mkdir(exist_ok=True)
    for name in TEXTS:
        (FOLDER / f"{name}.txt").write_text(load_format(name)(summary()), encoding="utf-8")


if __name__ == "__main__":
    write()
