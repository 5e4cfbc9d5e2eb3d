"""A sweep is on the disk trial by trial, and goes on where it ended."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import tuning_sweep
from radialbench.autotune.evaluator import Outcome
from radialbench.autotune.space import SPACES, Axis, Space
from radialbench.autotune.sweep import current_trials, read_sweep
from radialbench.errors import AutotuneError, RecordError
from radialbench.kernels.sources import compiler_version, source_hash
from radialbench.records.problem import KernelConfig
from tests.autotune import landscape
from tests.suites import small

SPACE = Space((Axis("block_m", (64, 128)), Axis("block_n", (32, 64, 128))))
VERSION = compiler_version("triton")


def swept(monkeypatch: pytest.MonkeyPatch, suite: Path, out: Path, *options: str) -> int:
    words = ["tuning_sweep", "--suite", str(suite), "-o", str(out), "--filter", "dense", *options]
    monkeypatch.setattr(sys, "argv", words)
    return tuning_sweep.main()


@pytest.mark.slow
def test_a_sweep_that_is_cut_off_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SPACES, "cpu", SPACE)
    suite, out = small.written(tmp_path), tmp_path / "deep" / "sweep.jsonl"
    assert swept(monkeypatch, suite, out, "--dry-run") == 0
    assert "12 trials are missing" in capsys.readouterr().out
    assert swept(monkeypatch, suite, out, "--seconds", "0") == 0
    assert ", 12 left, " in capsys.readouterr().out
    assert swept(monkeypatch, suite, out) == 0
    lines = out.read_bytes().splitlines(keepends=True)
    assert len(lines) == 12
    out.write_bytes(b"".join(lines[:7]) + lines[7][:100])
    assert swept(monkeypatch, suite, out) == 0
    trials = read_sweep(out)
    assert len({(trial.key, trial.config) for trial in trials}) == len(trials) == 12
    assert out.read_bytes().splitlines(keepends=True)[:7] == lines[:7]
    first = trials[0]
    assert first.config == KernelConfig()
    assert first.trial.outcome == Outcome.OK
    assert first.block_density == 1
    assert (first.mask.label, first.key.backend, first.registers) == ("dense", "cpu", None)


@pytest.mark.slow
def test_trials_of_another_kernel_are_not_mixed_with_new_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SPACES, "cpu", SPACE)
    suite, out = small.written(tmp_path), tmp_path / "sweep.jsonl"
    assert swept(monkeypatch, suite, out, "--filter", "2x3x5") == 0
    line = json.loads(out.read_bytes().splitlines()[0]) | {"kernel": "another"}
    out.write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert swept(monkeypatch, suite, out) == 2
    assert "holds trials of another version of the cpu kernel" in capsys.readouterr().err


def test_trials_of_a_sweep_are_given_while_the_kernels_are_the_same() -> None:
    here = landscape.sweep([landscape.shape(0), landscape.shape(1)])[::60]
    now = [replace(one, kernel=source_hash("triton"), versions=VERSION) for one in here]
    first, second = dict.fromkeys(one.key for one in now)
    found = current_trials(now, [first])
    assert found == {first: [one.trial for one in now if one.key == first]}
    assert current_trials([*now, here[-1]], [first]) == found
    for other in (replace(now[-1], kernel="another"), replace(now[-1], versions={"triton": "0"})):
        with pytest.raises(AutotuneError, match="of another version of the triton kernel"):
            current_trials([*now, other], [first, second])
    with pytest.raises(AutotuneError, match="the sweep holds nothing of what is to be tuned"):
        current_trials(now, [replace(first, device="Other GPU")])


def test_a_file_that_is_no_sweep_says_where(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    path.write_text('{"schema": 1, "key": 3}\n', encoding="utf-8")
    with pytest.raises(RecordError, match=r"sweep\.jsonl:1: not a trial of a sweep: "):
        read_sweep(path)
    with pytest.raises(RecordError, match="cannot read .*: No such file"):
        read_sweep(tmp_path / "none.jsonl")


def test_the_default_comes_first_then_its_neighbours() -> None:
    configs = [
        KernelConfig(m, n, num_warps=w, num_stages=s)
        for m in (16, 64, 128) for n in (16, 128) for w in (4, 8) for s in (1, 2, 3)
    ]  # fmt: skip
    default = KernelConfig(128, 128, num_warps=8, num_stages=2)
    ordered = tuning_sweep.in_order(configs, default)
    assert sorted(map(repr, ordered)) == sorted(map(repr, configs))
    assert ordered[0] == default
    assert {ordered[1].num_stages, ordered[2].num_stages} == {1, 3}
    assert ordered[-1] in (KernelConfig(16, 16, 4, 1), KernelConfig(16, 16, 4, 3))
