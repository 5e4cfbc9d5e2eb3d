"""Rows beside a baseline's: what fails, what is told, and what passes."""

from dataclasses import replace
from typing import Any

import pytest

from radialbench.errors import ReportError
from radialbench.records.offline import KernelFigures, MaskFigures, Offline, OfflineRow
from radialbench.reports.offline_diff import (
    OfflineOutcome,
    OfflineVerdict,
    compare_offline,
    counted_outcomes,
    offline_exit_code,
)
from tests.records.offline import ABSENT, HEAD, KERNEL, MASK, OFFLINE


def of(*rows: OfflineRow) -> Offline:
    return Offline(replace(HEAD, rows=len(rows)), rows)


def changed(row: OfflineRow, **figures: Any) -> OfflineRow:
    """Give a row with other figures."""
    if isinstance(row.figures, MaskFigures):
        return replace(row, mask=replace(row.figures, **figures))
    assert isinstance(row.figures, KernelFigures)
    return replace(row, kernel=replace(row.figures, **figures))


def verdict(old: OfflineRow, new: OfflineRow) -> OfflineVerdict:
    (found,) = compare_offline(of(old), of(new))
    return found


def test_equal_rows_pass() -> None:
    found = compare_offline(OFFLINE, OFFLINE)
    assert {one.outcome for one in found} == {OfflineOutcome.PASS}
    assert counted_outcomes(found) == "3 pass"
    assert offline_exit_code(found) == 0


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"spills": 12}, "it spills"),
        ({"wgmma": 0, "mma": 384}, "it lost the warp group's matmuls (wgmma)"),
        ({"copy_loads": 0, "global_loads": 80}, "it lost TMA loads"),
        ({"copy_stores": 0}, "it lost TMA stores"),
    ],
)
def test_spills_and_lost_paths_fail(figures: dict[str, int], reason: str) -> None:
    found = verdict(KERNEL, changed(KERNEL, **figures))
    assert found.outcome == OfflineOutcome.REGRESSED
    assert found.reason == reason
    assert {change.figure: change.now for change in found.changes} == figures
    assert offline_exit_code([found]) == 1


def test_more_spills_fail_and_fewer_are_told() -> None:
    some, more = changed(KERNEL, spills=4), changed(KERNEL, spills=5)
    assert verdict(some, more).text == "it spills more; spills 4 → 5"
    assert verdict(more, some).outcome == OfflineOutcome.CHANGED


def test_matrix_products_of_another_kind_are_no_loss() -> None:
    plain = changed(KERNEL, wgmma=0, mma=384)
    assert verdict(plain, KERNEL).outcome == OfflineOutcome.CHANGED
    assert "lost all matmuls" in verdict(plain, changed(plain, mma=0)).reason


def test_other_figures_are_told_with_before_and_now() -> None:
    found = verdict(KERNEL, changed(KERNEL, shared_bytes=98_664, code="0" * 16))
    assert found.outcome == OfflineOutcome.CHANGED
    assert found.name == "hopper@128x128/d128bf16/sm_90"
    assert found.text == ("shared_bytes 164,200 → 98,664, code 552f5052d0c2ecdc → 0000000000000000")
    assert offline_exit_code([found]) == 0


def test_a_masks_pairs_may_not_change_but_its_blocks_may() -> None:
    for figures in ({"pairs": 449}, {"attends": "0" * 16}):
        assert verdict(MASK, changed(MASK, **figures)).reason == "other pairs attend"
    assert verdict(MASK, changed(MASK, nbytes=416)).outcome == OfflineOutcome.CHANGED


def test_a_kernel_that_is_gone_fails_and_one_that_came_is_told() -> None:
    gone = replace(KERNEL, kernel=None, reason="the process was ended by SIGABRT")
    assert verdict(KERNEL, gone).outcome == OfflineOutcome.REGRESSED
    assert "SIGABRT" in verdict(KERNEL, gone).text
    assert verdict(gone, KERNEL).outcome == OfflineOutcome.CHANGED
    assert verdict(ABSENT, replace(ABSENT, reason="other")).outcome == OfflineOutcome.CHANGED


def test_rows_come_and_go() -> None:
    found = compare_offline(of(ABSENT, KERNEL), of(KERNEL, MASK))
    assert [one.outcome.value for one in found] == ["missing", "new", "pass"]
    assert offline_exit_code(found) == 2
    assert offline_exit_code(found, allow_missing=True) == 0
    with pytest.raises(ReportError, match="no row of this suite"):
        compare_offline(of(ABSENT), of(MASK))


@pytest.mark.parametrize(
    "other", [{"suite": "wan"}, {"compiler": "triton 3.6.0"}, {"processors": 108}]
)
def test_unlike_baselines_are_refused(other: dict[str, Any]) -> None:
    (figure,) = other
    with pytest.raises(ReportError, match=f"of {figure} .*: their figures differ for that alone"):
        compare_offline(Offline(replace(HEAD, **other), OFFLINE.rows), OFFLINE)
