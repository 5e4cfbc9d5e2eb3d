from dataclasses import replace

from radialbench.records.measurement import Memory
from radialbench.records.result import Status
from radialbench.reports.readme import compile_table, growth_lines, sweep_table
from radialbench.reports.rows import DENSE
from radialbench.reports.summarize import summarize
from tests.reports.factory import ended, made, swept


def test_compile_times() -> None:
    records = [
        replace(
            made("radial", 21, backend=None, share=0.5, samples=(30.0, 50.0, 40.0)),
            memory=Memory(3 << 20, "rss"),
        ),
        ended(Status.OOM, "too big", made("sta", 21, backend=None)),
        made("radial", 21),
    ]
    head, _, radial, sta = compile_table(records).splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == [
        *("mask", "grid", "tokens", "first ms", "ms (IQR; samples)", "peak MiB", "full", "partial")
    ]
    assert [cell.strip() for cell in radial.split("|")[1:-1]] == [
        *("radial", "21×30×52", "32,760", "32.8", "40.0 (10.0; 3)", "3.00", "32,768", "16,384")
    ]
    assert [cell.strip() for cell in sta.split("|")[5:7]] == ["oom", "–"]


def test_the_sweep() -> None:
    records = [
        made(DENSE, 5, samples=(100.0,), backend="sdpa", share=1.0),
        made(DENSE, 5, samples=(120.0,), share=1.0),
        made("radial", 5, samples=(40.0,), share=0.4, order=10.0),
        made("radial", 9, samples=(90.0,), share=0.3),
        made("sta", 5, samples=(10.0,)),
    ]
    lines = sweep_table(summarize(records)).splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[::2]] == [
        [
            "dense on",
            "frames",
            "tokens",
            "dense ms (IQR; samples)",
            "radial ms (IQR; samples)",
            "speed-up",
            "pairs of dense",
            "executed of dense",
        ],
        ["sdpa", "5", "7,800", "100 (0; 1)", "50.0 (0; 1)", "2.00×", "40.0%", "60.0%"],
    ]
    assert "sta ms (IQR; samples)" in sweep_table(summarize(records), "sta")
    assert len(sweep_table(summarize(records), DENSE).splitlines()) == 2


def test_growth() -> None:
    shares = dict.fromkeys((5, 9, 17, 33, 65, 129), 0.25)
    records = [*swept(DENSE, dict.fromkeys(shares, 1.0)), *swept("band_a", shares)]
    summary = summarize(records)
    about, dense, band = growth_lines(summary).splitlines()
    assert about.startswith("- n tokens, F frames")
    assert dense == "- dense: every pair attends: n² by definition."
    assert "follows a·n + b·n² (RMS log-residual under 0.001;" in band
    assert "Quadratic, as dense is, with 25.0% of its pairs." in band
    assert growth_lines(summarize([])) == ""
