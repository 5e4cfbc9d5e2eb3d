"""What the page says first."""

import pytest

from radialbench.reports.page.overview import headline_tables, headlines, overview
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import Summary, summarize
from tests.reports.factory import kept, made

SWEEP = ("Fx30x52 h1d128f32", 0)


def test_each_mask_has_its_fastest_kernel_at_its_longest_length() -> None:
    records = [
        *(made(DENSE, frames, samples=(8.0 * frames,)) for frames in (3, 5)),
        made("sta", 3, samples=(0.1,), backend="a"),
        made("sta", 5, samples=(10.0,), backend="a", share=0.1),
        made("sta", 5, samples=(8.0,), backend="b", share=0.1),
        made("radial", 5, samples=(4.0,), share=0.2),
    ]
    found = headlines(summarize(records))
    assert list(found) == [SWEEP]
    sta, radial = sorted(found[SWEEP], key=lambda line: line.row.speedup or 0)
    assert found[SWEEP] == (radial, sta)
    assert (radial.row.mask, radial.row.speedup) == ("radial", 10.0)
    assert (sta.row.backend, sta.row.tokens, sta.row.speedup) == ("b", 5 * 1560, 5.0)
    assert radial.ideal == pytest.approx(5.0)
    assert radial.reached == pytest.approx(2.0)
    assert sta.even is not None
    assert (sta.even.backend, sta.even.shortest) == ("b", 5 * 1560)


def test_without_dense_there_is_none() -> None:
    assert headlines(summarize([made()])) == {}
    assert headlines(summarize([made(DENSE)])) == {}


def test_the_longest_length_comes_first_and_leads() -> None:
    records = [
        *(made(mask, 5, samples=[ms]) for mask, ms in ((DENSE, 8.0), ("sta", 4.0))),
        *(made(mask, 3, samples=[ms]) for mask, ms in ((DENSE, 8.0), ("sta", 5.0), ("tiny", 1.0))),
    ]
    summary = summarize(records)
    assert [line.row.mask for line in headlines(summary)[SWEEP]] == ["sta", "tiny"]
    assert "sta is the fastest of 2 sparse masks at 7,800 tokens" in first(summary)
    (table,) = headline_tables(summary, headlines(summary))
    assert [row[0] for row in table.rows] == ["sta", "tiny at 4,680 tokens"]


def run(fast: float = 2.0, *, count: int = 6, known: float | None = None) -> Summary:
    """Two sparse masks over two lengths; the fastest is faster than dense from about 3,400 on."""
    times = {DENSE: (9.0, 32.0), "sta": (10.0, 32.0 / fast), "radial": (12.0, 40.0 / fast)}
    fidelity = {
        "sta": known and kept(known),
        "radial": known and kept(min(known + 0.2, 1.0)),
        DENSE: None,
    }
    return summarize(
        [
            made(
                mask,
                frames,
                samples=[ms * (1 + call / 1000) for call in range(count)],
                fidelity=fidelity[mask] or None,
            )
            for mask, both in times.items()
            for frames, ms in zip((2, 4), both, strict=True)
        ]
    )


def first(summary: Summary) -> str:
    return str(overview(summary)["lead"])


def test_the_first_sentence_says_what_was_found_where_and_when() -> None:
    assert first(run()) == (
        "On a CPU, Example 3000 (2026-01-02, commit 0123abc), sta is the fastest of 2 sparse masks "
        "at 6,240 tokens: 2.00× as fast as dense attention (95%: 1.99× to 2.01×), and faster from "
        "about 3,400 tokens on (95%: the same to two figures); what it keeps of a model's "
        "attention was not measured."
    )


def test_it_says_what_is_kept_and_which_mask_keeps_enough() -> None:
    text = first(run(known=0.75))
    assert "; it keeps 75.0% of the attention mass of a model. The fastest that keeps" in text
    assert text.endswith(
        "at least 90% of that mass is radial (95.0%) at 6,240 tokens, 1.60× as fast as dense."
    )
    assert first(run(known=0.5)).endswith("No mask keeps 90% of that mass.")
    assert first(run(known=0.95)).endswith("it keeps 95.0% of the attention mass of a model.")


def test_it_does_not_claim_what_was_not_found() -> None:
    text = first(run(0.5, count=2))
    assert "0.50× as fast as dense attention (no interval: fewer than six samples)" in text
    assert "and not faster up to 6,240 tokens" in text
    assert first(summarize([made(DENSE), made("sta")])).count("from") == 0
    assert first(summarize([])) == "Nothing was measured."
    assert first(summarize([made("sta")])).startswith("1 mask on 1 kernel at 4,680 tokens on")


def test_headlines_have_captions_and_cells_in_words() -> None:
    summary = run()
    (table,) = headline_tables(summary, headlines(summary))
    assert table.caption == (
        "frames of 30×52 tokens, 1 head of 128, float32: each mask on its fastest kernel at 6,240 "
        "tokens, beside dense on cpu, which takes 32.1 ms."
    )
    cells = dict(zip(table.headers, next(iter(table.rows)), strict=True))
    assert cells["faster than dense"] == (
        "from about 3,400 tokens on (95%: the same to two figures)"
    )
    assert cells["share of ideal"] == "100%"
