from collections.abc import Sequence
from dataclasses import replace

import pytest

from radialbench.records.problem import KernelConfig
from radialbench.records.result import Record, Status
from radialbench.reports.compare import Comparison, compare
from radialbench.reports.rows import rows_of
from tests.reports.factory import elsewhere, ended, made, on_gpu

STEADY = (1.98, 1.99, 2.0, 2.0, 2.01, 2.02)
TWICE = tuple(2 * sample for sample in STEADY)


def compared(now: Sequence[Record], before: Sequence[Record]) -> Comparison:
    return compare(rows_of(now)[0], before, "before")


@pytest.mark.parametrize(
    ("now", "before", "ratio", "verdict"),
    [
        (STEADY, TWICE, 2.0, "faster"),
        (TWICE, STEADY, 0.5, "slower"),
        (STEADY, STEADY, 1.0, "no difference shown"),
        (STEADY[:3], TWICE, 4 / 1.99, "too few samples to tell"),
    ],
)
def test_both_times_and_their_ratio(
    now: tuple[float, ...], before: tuple[float, ...], ratio: float, verdict: str
) -> None:
    found = compared([made(samples=now)], [made(samples=before)])
    (one,) = found.cases
    assert one.ratio == pytest.approx(ratio)
    assert one.verdict == verdict
    assert found.counted == f"1 {verdict}"
    assert not found.apart
    if one.interval:
        assert one.interval.holds(one.ratio)


def test_the_token_order_counts() -> None:
    (one,) = compared([made(order=3.0)], [made(order=1.0)]).cases
    assert (one.before_ms, one.ratio) == (3.0, 3 / 5)


def test_the_interval_is_said() -> None:
    (one,) = compared([made(samples=STEADY)], [made(samples=TWICE)]).cases
    assert one.text == "2.00× (1.97× to 2.03×), faster"
    other = replace(made(samples=TWICE), config=KernelConfig(block_n=64))
    (one,) = compared([made(samples=STEADY)], [other]).cases
    assert one.text.endswith("faster; block_n: 64 and 128")


def test_records_of_two_runs_are_never_pairs() -> None:
    now, before = (on_gpu([made(samples=(1, 2, 3, 4, 5, 6))], ceiling_ms=ms) for ms in (1.4, 1.5))
    (one,) = compared(now, before).cases
    assert one.interval is not None
    assert one.interval.holds(0.49)
    assert one.interval.holds(2.01)


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (elsewhere([made()], device="Other GPU")[0], "another device (device: Other GPU and cpu)"),
        (elsewhere([made()], threads=1)[0], "another machine (threads: 1 and 2)"),
        (
            replace(made(), problem=replace(made().problem, heads=7)),
            "another problem (heads: 7 and 1)",
        ),
        (ended(Status.OOM, "too big", made()), "oom in the baseline, ok in this file"),
        (made("sta"), "only in this file"),
        (
            replace(made(), timing=replace(made().timing, cache="cold")),  # type: ignore[type-var]
            "measured differently (cache: cold and warm)",
        ),
    ],
)
def test_what_cannot_be_compared_is_named(before: Record, why: str) -> None:
    found = compared([made()], [before])
    assert not found.cases
    assert found.apart[why] == (made().case,)
    if before.case != made().case:
        assert found.apart["only in the baseline"] == (before.case,)


def test_the_same_scale_written_twice_is_the_same_problem() -> None:
    problem = made().problem
    before = replace(made(), problem=replace(problem, sm_scale=problem.scale))
    assert len(compared([made()], [before]).cases) == 1


def test_libraries_may_differ_and_are_named() -> None:
    before = elsewhere([made()], versions={"torch": "2.0", "numpy": "2.3.5"}, commit="beef")
    found = compared([made()], before)
    assert len(found.cases) == 1
    assert found.changed == ("torch: 2.0 and 2.13.0", "commit: beef and 0123abc")


def test_the_last_record_of_a_baseline_counts() -> None:
    (one,) = compared([made()], [made(samples=(9.0,)), made(samples=(4.0,))]).cases
    assert one.before_ms == 4.0


def test_suites_may_have_other_names() -> None:
    before = replace(made(), suite="other")
    assert len(compared([made()], [before]).cases) == 1


def test_nothing_to_compare() -> None:
    assert compared([], []).counted == "nothing to compare"
