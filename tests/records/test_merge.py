"""Merging loses and doubles no record, and says where two contradict each other."""

import errno
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.errors import RecordError
from radialbench.records.problem import KernelConfig
from radialbench.records.result import RETRYABLE, Record, Status
from radialbench.records.store import RESULTS, WriteError, append, merge, read
from tests.records.sample import RECORD, failed


def case(number: int, hour: int = 3) -> Record:
    created = f"2026-01-02T{hour:02}:04:05+00:00"
    return replace(RECORD, case=f"case{number}", created=created)


def broken(number: int, hour: int = 3) -> Record:
    return failed(case=f"case{number}", created=case(number, hour).created)


def written(folder: Path, name: str, records: Sequence[Record]) -> Path:
    path = folder / f"{name}.jsonl"
    for record in records:
        append(path, record)
    return path


def test_shards_become_one_file_with_the_very_lines_they_hold(tmp_path: Path) -> None:
    cases = [case(number) for number in range(50)]
    random.Random(0).shuffle(cases)
    parts = cases[:7], cases[7:30], cases[30:]
    files = [written(tmp_path, str(place), part) for place, part in enumerate(parts)]
    merged = merge(files, tmp_path / "new" / "out")
    assert merged.results == tmp_path / "new" / "out" / RESULTS
    assert merged.results.read_bytes() == b"".join(file.read_bytes() for file in files)
    assert read(merged.results).records == merged.records == tuple(cases)
    assert (merged.suite, merged.same, merged.replaced, merged.skipped) == ("smoke", 0, 0, ())
    assert [path.name for path in merged.results.parent.iterdir()] == [RESULTS]


def test_a_record_that_several_files_hold_is_kept_once(tmp_path: Path) -> None:
    one = written(tmp_path, "a", [case(1), broken(2)])
    other = written(tmp_path, "b", [broken(2), case(3), case(1)])
    merged = merge([one, other, one], tmp_path / "out")
    assert merged.records == (case(1), broken(2), case(3))
    assert (merged.same, merged.replaced) == (4, 0)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("status", RETRYABLE)
def test_a_later_record_counts_if_the_earlier_was_unsound(
    status: Status, turned: bool, tmp_path: Path
) -> None:
    early = written(tmp_path, "a", [replace(broken(1, 3), status=status), case(2)])
    late = written(tmp_path, "b", [case(1, 4)])
    merged = merge([late, early] if turned else [early, late], tmp_path / "out")
    assert set(merged.records) == {case(1, 4), case(2)}
    assert merged.replaced == 1


def test_later_is_reported_by_the_time_and_not_by_how_it_is_written(tmp_path: Path) -> None:
    early = replace(broken(1), created="2026-01-02T09:00:00+05:00")
    late = replace(case(1), created="2026-01-02T05:00:00+00:00")
    files = [written(tmp_path, "a", [late]), written(tmp_path, "b", [early])]
    assert merge(files, tmp_path / "out").records == (late,)


def test_a_case_that_failed_again_and_again_then_went_well(tmp_path: Path) -> None:
    files = [written(tmp_path, "a", [broken(1, 1), broken(1, 2), case(1, 3)])]
    merged = merge(files, tmp_path / "out")
    assert (merged.records, merged.replaced) == ((case(1, 3),), 2)


@pytest.mark.parametrize("later", [case(1, 4), broken(1, 4)])
def test_two_records_of_a_case_of_which_the_earlier_is_sound(later: Record, tmp_path: Path) -> None:
    one, other = written(tmp_path, "a", [case(1, 3)]), written(tmp_path, "b", [later])
    with pytest.raises(RecordError) as error:
        merge([other, one], tmp_path / "out")
    assert str(error.value) == (
        f"{one} and {other} both hold case1: ok at 2026-01-02T03:04:05+00:00, then {later.status} "
        "at 2026-01-02T04:04:05+00:00; merge shards that do not overlap, or leave one of the two "
        "out"
    )
    assert not (tmp_path / "out").exists()


def test_one_case_for_different_configurations(tmp_path: Path) -> None:
    one = written(tmp_path, "a", [broken(1)])
    other = written(tmp_path, "b", [replace(case(1, 4), config=KernelConfig(64, 64))])
    with pytest.raises(RecordError, match=r"a.jsonl and .*b.jsonl hold case1 for different masks"):
        merge([one, other], tmp_path / "out")


def test_results_of_different_suites(tmp_path: Path) -> None:
    one = written(tmp_path, "a", [case(1)])
    other = written(tmp_path, "b", [replace(case(2), suite="wan")])
    with pytest.raises(RecordError) as error:
        merge([one, other], tmp_path / "out")
    assert str(error.value) == (
        f"results of different suites, 'smoke' in {one} and 'wan' in {other}; merge those of one "
        "suite"
    )


def test_lines_that_are_no_records_are_reported(tmp_path: Path) -> None:
    one = written(tmp_path, "a", [case(1), case(2)])
    one.write_bytes(one.read_bytes()[:-9])
    merged = merge([one, written(tmp_path, "b", [case(2)])], tmp_path / "out")
    assert merged.records == (case(1), case(2))
    assert merged.skipped == (f"{one}: line 2: not JSON, or not all of it",)


def test_files_that_are_not_there_or_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot read .*none: No such file or directory"):
        merge([tmp_path / "none"], tmp_path / "out")
    (tmp_path / "empty").touch()
    with pytest.raises(RecordError, match=r"empty holds no records; leave it out"):
        merge([tmp_path / "empty"], tmp_path / "out")


def test_a_folder_that_holds_results_is_left_alone(tmp_path: Path) -> None:
    one = written(tmp_path, "a", [case(1)])
    merge([one], tmp_path / "out")
    with pytest.raises(RecordError, match=r"out/results.jsonl already holds results; choose"):
        merge([one], tmp_path / "out")
    with pytest.raises(
        RecordError, match=r"cannot write .*a.jsonl/x/results.jsonl: Not a directory"
    ):
        merge([one], one / "x")


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    one = written(tmp_path, "a", [case(1)])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"cannot write .*: No space left on device"):
        merge([one], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
