"""A sweep's file: what it holds of the kernels as they are, and what it says if it is none."""

from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.autotune.trials import current_trials, read_sweep, reopen_sweep
from radialbench.errors import AutotuneError, RecordError
from radialbench.kernels.sources import compiler_version, source_hash
from radialbench.records.store import write_whole
from tests.autotune import landscape

VERSION = compiler_version("triton")


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
    assert current_trials(now, [replace(first, device="Other GPU")]) == {}


def test_a_file_that_is_no_sweep_says_where(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    path.write_text('{"schema": 1, "key": 3}\n', encoding="utf-8")
    with pytest.raises(RecordError, match=r"sweep\.jsonl:1: not a trial of a sweep: "):
        read_sweep(path)
    with pytest.raises(RecordError, match="cannot read .*: No such file"):
        read_sweep(tmp_path / "none.jsonl")


def test_a_sweep_is_reopened_without_what_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "sweep.jsonl"
    reopen_sweep(path)
    assert path.parent.is_dir() and not path.exists()
    trials = landscape.sweep([landscape.shape(0)])[:3]
    write_whole(path, trials)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    reopen_sweep(path)
    assert path.read_bytes() == whole
