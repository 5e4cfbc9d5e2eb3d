"""Reports of what masks keep: ranks at equal mass, the chart, tables, and what is not known."""

from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from radialbench.records.fidelity import Fidelity
from radialbench.records.result import Record
from radialbench.reports.charts._drawing import drawing
from radialbench.reports.charts.keep import draw
from radialbench.reports.fidelity import UNKNOWN, fastest_keeping, keeping_lines, kept_rows
from radialbench.reports.page.assemble import page as render
from radialbench.reports.page.kept import heads, ranks
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import Summary, summarize
from tests.reports.factory import kept, made

SWEEP = "Fx30x52 h1d128f32"


def of(mask: str, ms: float, mass: float | None, **changes: Any) -> Record:
    fidelity = None if mass is None else kept(mass, 1 - mass)
    samples = [ms * factor for factor in (0.99, 1.0, 1.0, 1.0, 1.0, 1.01)]
    return made(mask, samples=samples, fidelity=fidelity, **changes)


def summary(*more: Record) -> Summary:
    return summarize(
        [
            of(DENSE, 100, 1.0, backend="sdpa"),
            of("radial", 50, 0.92),
            of("radial", 60, 0.92, backend="triton"),
            of("sta", 40, 0.85),
            of("waste", 45, 0.7),
            of("tiny", 2, 0.03),
            *more,
        ]
    )


def test_masks_are_ranked_by_speed_at_equal_mass() -> None:
    rows = kept_rows(summary(), SWEEP)
    # The fastest kernel of each mask; dense is what they are beside.
    assert [(row.mask, row.backend) for row in rows] == [
        *(("tiny", "cpu"), ("sta", "cpu"), ("waste", "cpu"), ("radial", "cpu"))
    ]
    found = fastest_keeping(rows)
    assert [(level, row.mask) for level, row in found] == [(0.9, "radial"), (0.8, "sta")]
    lines = keeping_lines(summary())
    assert lines[0] == (
        "at least 90% of the attention mass: radial, 2.00× as fast as dense, 92.0% kept, error 8.0%"
    )
    assert lines[-1] == "at 4,680 tokens, of a model"


def test_only_the_longest_length_counts() -> None:
    longer = of("sta", 400, 0.6, frames=9)
    (row,) = kept_rows(summary(longer), SWEEP)
    assert (row.mask, row.tokens) == ("sta", 14040)


def test_a_backend_that_chooses_blocks_is_named() -> None:
    rows = kept_rows(summary(of("sta", 30, 0.97, backend="topk_cpu")), SWEEP)
    assert fastest_keeping(rows)[0][1].backend == "topk_cpu"
    assert (
        "at least 95% of the attention mass: topk_cpu as sta, "
        in keeping_lines(summary(of("sta", 30, 0.97, backend="topk_cpu")))[0]
    )


def test_the_chart_has_a_point_a_mask_and_dense() -> None:
    with drawing():
        found = draw(summary(), SWEEP)
    assert found is not None
    figure, caption = found
    legend = figure.axes[-1].get_legend()
    assert legend is not None
    told = {text.get_text() for text in legend.get_texts()}
    assert told == {"radial", "sta", "waste", "tiny", "dense"}
    assert "at 4,680 tokens, of a model" in caption
    with drawing():
        assert draw(summarize([of("radial", 5, None)]), SWEEP) is None


def test_the_chart_stands_without_a_dense_time() -> None:
    with drawing():
        found = draw(summarize([of("radial", 5, 0.9), of("sta", 3, 0.8)]), SWEEP)
    assert found is not None
    assert found[0].axes[0].get_xlabel() == "ms"


def test_the_page_ranks_first_and_says_what_it_does_not_know() -> None:
    tables, unknown = ranks(summary())
    assert not unknown
    assert [tuple(row)[:4] for row in tables[0].rows] == [
        ("90%", "radial", "2.00×", "92.0%"),
        ("80%", "sta", "2.50×", "85.0%"),
    ]
    page = unescape(render(summary()))
    assert page.index("By speed at equal mass kept") < page.index("each mask on its fastest kernel")
    assert UNKNOWN not in page
    blind = summarize([of(DENSE, 100, None, backend="sdpa"), of("radial", 50, None)])
    assert ranks(blind) == ([], UNKNOWN)
    assert UNKNOWN in unescape(render(blind))
    assert ranks(summarize([of(DENSE, 100, None)])) == ([], "")


def test_heads_have_a_row_each(monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = heads(summary())
    assert table.headers == ("layer", "step", "sequence", "head", "tiny", "sta", "waste", "radial")
    rows = list(table.rows)
    assert len(rows) == 8
    assert rows[0][:4] == ("0", "–", "0", "0")
    monkeypatch.setattr("radialbench.reports.page.kept.MOST_HEADS", 3)
    (table,) = heads(summary())
    assert len(list(table.rows)) == 3
    assert table.caption.endswith("; 5 more are in the records")


def test_synthetic_inputs_are_said_to_be() -> None:
    generated: Fidelity = replace(kept(0.9), inputs=kept(0.9, kind="generated").inputs)
    lines = keeping_lines(summarize([replace(of("radial", 5, 0.9), fidelity=generated)]))
    assert lines[-1] == "at 4,680 tokens, of synthetic inputs, which are no model's"
