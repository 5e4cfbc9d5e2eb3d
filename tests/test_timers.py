"""The table of benchmarks/timers.py, and what docs/measurement.md says of it."""

import json
from statistics import median

import pytest

from benchmarks.pages import DOCS
from benchmarks.timers import STORED, Result, result_table, spans_of_calls


def test_a_call_lasts_from_its_first_kernel_to_its_last_without_the_flush() -> None:
    flush, first, second = (0.0, 1.0), (1.5, 3.0), (3.5, 5.0)
    later = [(begin + 10, end + 10.5) for begin, end in (flush, first, second)]
    assert spans_of_calls([second, *later, first, flush], 2) == (3.5, 4.0)


def test_spans_that_cannot_be_split_into_calls_are_refused() -> None:
    with pytest.raises(SystemExit, match="3 spans of 2 calls"):
        spans_of_calls([(0, 1), (1, 2), (2, 3)], 2)
    with pytest.raises(SystemExit, match="2 spans of 2 calls"):
        spans_of_calls([(0, 1), (1, 2)], 2)


def test_timers_are_compared_with_ours_in_the_same_cache() -> None:
    results = [
        Result("a", "ours", "cold", (1.0, 3.0)),
        Result("a", "ours", "cold", (2.0,)),
        Result("a", "ours", "warm", (1.0, 1.0)),
        Result("a", "other", "cold", (3.0, 3.0)),
        Result("a", "other", "warm", (3.0, 3.0)),
    ]
    ratios = {
        tuple(line.split(" | ")[1:3]): line.split("|")[-2].strip()
        for line in result_table(results).splitlines()[2:]
    }
    assert ratios[("other", "cold")] == "1.5000"
    assert ratios[("other", "warm")] == "3.0000"


def test_the_text_below_the_table_has_the_figures_of_its_samples() -> None:
    rows = json.loads(STORED.read_text(encoding="utf-8"))["results"]

    def cold(kernel: str, timer: str) -> list[float]:
        wanted = (f"radial, {kernel}", timer, "cold")
        found = [row for row in rows if (row["kernel"], row["timer"], row["cache"]) == wanted]
        return [ms for row in found for ms in row["samples_ms"]]

    medians = [
        median(cold("long", timer)) for timer in ("ours", "ours, graph", "do_bench", "cupti")
    ]
    less_us = 1e3 * (median(cold("short", "ours")) - median(cold("short", "cupti")))
    text = " ".join((DOCS / "measurement.md").read_text(encoding="utf-8").split())
    assert f"agree within {max(medians) / min(medians) - 1:.1%}." in text
    assert f"CUPTI reads {less_us:.1f} µs less" in text
