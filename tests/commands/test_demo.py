"""`radialbench demo` measures, writes the page and tells the story; what is there is kept."""

import sys
from pathlib import Path

import pytest

from radialbench.cli import main
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite

TINY = """\
device: cpu
protocol: {min_samples: 1, max_samples: 2, min_seconds: 0, max_seconds: 1}
cases:
  - masks: [radial]
    grids: [{frames: 3, height: 4, width: 8}]
    heads: 1
    head_dim: 16
    dtype: float32
    backends: [cpu]
  - masks: [dense]
    grids: [{frames: 3, height: 4, width: 8}]
    heads: 1
    head_dim: 16
    dtype: float32
    backends: [sdpa]
"""


def test_it_tells_the_story_and_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("radialbench.commands.demo.SUITE", "tiny.yaml")
    monkeypatch.setattr("radialbench.kernels.measure.environment.gpus", lambda: ((), None))
    monkeypatch.setattr(sys, "argv", ["radialbench", "demo", "--quiet"])
    for kept in ("", ", 2 kept from before"):
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr().out
        assert end.value.code == 0, printed
        assert kept in printed
        assert "compared  radial beside dense attention (sdpa) at 96 tokens" in printed
        assert "page      results/demo/report.html\n" in printed
        assert "█" in printed.splitlines()[-1]
    assert (tmp_path / "results" / "demo" / "report.html").exists()


def test_its_suite_is_small_and_for_a_cpu() -> None:
    cases = plan(load_suite("demo"))
    assert len(cases) == 15
    assert {case.device for case in cases} == {"cpu"}
