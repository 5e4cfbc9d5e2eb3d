"""The results in six lines and bars."""

import re
from pathlib import Path

import pytest

from radialbench.reports.rows import DENSE
from radialbench.reports.story import BAR, story
from radialbench.reports.summary import Summary, summarize
from tests.reports.factory import kept, made

NAMES = ["compared", "where", "speed-up", "keeps", "pays", "page"]


def run(count: int = 6, hostile: str = "radial") -> Summary:
    """Two masks over two lengths: sta is faster from between them on, and keeps too little."""
    times = {DENSE: (9.0, 32.0), "sta": (10.0, 8.0), hostile: (12.0, 20.0)}
    fidelity = {DENSE: None, "sta": kept(0.7), hostile: kept(0.95)}
    records = [
        made(
            *(mask, frames),
            samples=[ms * (1 + call / 1000) for call in range(count)],
            backend="sdpa" if mask == DENSE else "cpu",
            fidelity=fidelity[mask],
        )
        for mask, both in times.items()
        for frames, ms in zip((2, 4), both, strict=True)
    ]
    return summarize(records)


def lines_of(told: str) -> dict[str, str]:
    parts = re.split(r"^([a-z-]+) {2,}(?=\S)", told.partition("\n\n")[0], flags=re.M)[1:]
    return {
        name: " ".join(fact.split()) for name, fact in zip(parts[::2], parts[1::2], strict=True)
    }


def test_six_lines_say_it() -> None:
    found = lines_of(story(run(), Path("results/demo/report.html")))
    assert list(found) == NAMES
    assert found["compared"].startswith(
        "radial, sta beside dense attention (sdpa) at 3,120–6,240 tokens: frames of 30×52 tokens"
    ) or found["compared"].startswith("sta, radial beside dense attention (sdpa)")
    assert re.fullmatch(
        r"a CPU, Example 3000, 2 threads; \d{4}-\d\d-\d\d; commit \w+", found["where"]
    )
    assert re.fullmatch(
        r"sta is 4\.00× as fast as dense at 6,240 tokens \(95%: 3\.9\d× to 4\.0\d×\)",
        found["speed-up"],
    )
    assert found["keeps"].startswith("it keeps 70.0% of the attention mass of")
    assert "The fastest that keeps at least 90% of that mass is radial (95.0%)" in found["keeps"]
    assert found["pays"].startswith("faster from about 3,")
    assert found["page"] == "results/demo/report.html"


def test_bars_are_in_proportion() -> None:
    bars = story(run()).partition("\n\n")[2].splitlines()
    assert bars[0] == "speed-up over dense at 6,240 tokens"
    lengths = {line.split()[0]: line.count("█") for line in bars[1:]}
    assert lengths == {"sta": BAR, "radial": round(BAR * 1.6 / 4), "dense": BAR // 4}
    assert [line.split()[-1] for line in bars[1:]] == ["4.00×", "1.60×", "1.00×"]


def test_few_samples_have_no_interval() -> None:
    assert "(no interval: fewer than six samples)" in lines_of(story(run(2)))["speed-up"]


@pytest.mark.parametrize("width", [50, 80, 200])
def test_it_fits_the_terminal(width: int) -> None:
    assert max(map(len, story(run(), Path("page.html"), width=width).splitlines())) <= width


def test_names_from_files_do_nothing() -> None:
    assert "\x1b" not in story(run(hostile="a\x1b[31m\nb"))


def test_without_dense_it_says_so() -> None:
    assert "no speed-up to tell" in story(summarize([made()]))
