import math

import pytest

from radialbench.records.result import Status
from radialbench.reports.breakeven import BreakEven, break_evens
from radialbench.reports.rows import DENSE, rows_of
from tests.reports.factory import elsewhere, ended, made

FRAMES = (2, 4, 8, 16)


def found(times: dict[int, float], order: float = 0.0) -> BreakEven:
    """Break-even of a mask with these times, where dense takes 1, 4, 16, 64."""
    dense = [made(DENSE, f, samples=(float(f * f / 4),), backend="sdpa") for f in FRAMES]
    masks = [made("radial", f, samples=(time,), order=order) for f, time in times.items()]
    (one,) = break_evens(rows_of([*dense, *masks])[0])
    return one


def test_between_two_lengths() -> None:
    # Twice as slow at 4 frames and twice as fast at 8: half way between on a logarithmic axis.
    one = found({2: 3.0, 4: 8.0, 8: 8.0, 16: 9.0})
    assert (one.below, one.above) == (4 * 1560, 8 * 1560)
    assert one.tokens == pytest.approx(math.sqrt(4 * 8) * 1560)
    assert one.latency_ms == pytest.approx(8.0)
    assert one.text == "between 6,240 and 12,480 tokens, at about 8,800"


def test_it_must_stay_faster() -> None:
    one = found({2: 0.5, 4: 2.0, 8: 20.0, 16: 32.0})
    assert (one.below, one.above) == (8 * 1560, 16 * 1560)


def test_equal_is_not_faster() -> None:
    one = found({2: 1.0, 4: 2.0})
    assert (one.below, one.tokens) == (2 * 1560, 2 * 1560)


def test_below_the_shortest() -> None:
    one = found({2: 0.5, 4: 2.0})
    assert (one.below, one.tokens) == (None, None)
    assert one.text == "below the shortest measured, 3,120 tokens"


@pytest.mark.parametrize("times", [{2: 2.0}, {2: 0.5, 4: 1.0, 8: 17.0}])
def test_not_within_what_was_measured(times: dict[int, float]) -> None:
    one = found(times)
    assert (one.above, one.tokens) == (None, None)
    longest = max(times) * 1560
    assert one.text == f"not within what was measured (3,120 to {longest:,} tokens)"


def test_the_token_order_counts() -> None:
    assert found({2: 0.5, 4: 2.0}, order=1.0).below == 2 * 1560
    assert found({2: 0.5, 4: 2.0}).below is None


def test_only_lengths_with_both_results_count() -> None:
    dense = [made(DENSE, f, samples=(float(f * f / 4),)) for f in (2, 8)]
    radial = [made("radial", f, samples=(0.5,)) for f in (4, 8)]
    radial.append(ended(Status.FAILED, "killed", made("radial", 2)))
    (one,) = break_evens(rows_of([*dense, *radial])[0])
    assert (one.shortest, one.longest, one.below) == (8 * 1560, 8 * 1560, None)


def test_one_for_each_mask_backend_and_environment() -> None:
    here = [
        *(made(DENSE, 2, samples=(1.0,)), made("radial", 2), made("sta", 2)),
        made("sta", 2, backend="other"),
    ]
    there = elsewhere([made(DENSE, 4, samples=(1.0,)), made("radial", 4)], cpu="Other")
    evens = break_evens(rows_of([*here, *there])[0])
    assert [(one.mask, one.backend, one.place) for one in evens] == [
        *(("radial", "cpu", 0), ("sta", "cpu", 0), ("sta", "other", 0)),
        ("radial", "cpu", 1),
    ]


def test_nothing_to_compare_with() -> None:
    assert break_evens(rows_of([made("radial", 2)])[0]) == ()
    assert break_evens(()) == ()
