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
    assert one.text == "faster at every length measured, from 3,120 tokens on"


@pytest.mark.parametrize("times", [{2: 2.0}, {2: 0.5, 4: 1.0, 8: 17.0}])
def test_not_within_what_was_measured(times: dict[int, float]) -> None:
    one = found(times)
    assert (one.above, one.tokens) == (None, None)
    longest = max(times) * 1560
    told = {
        3120: "not faster at the one length compared, 3,120 tokens",
        12480: "not within what was measured (3,120 to 12,480 tokens)",
    }
    assert one.text == told[longest]


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


def spread(middle: float, part: float) -> tuple[float, ...]:
    """Seven samples; the interval of their median goes from the least to the largest."""
    return tuple(middle * (1 + part * step) for step in (-1, -0.5, -0.2, 0, 0.2, 0.5, 1))


def sampled(times: dict[int, float], part: float) -> BreakEven:
    """As `found`, with samples that vary by a part of the time on both sides."""
    dense = [made(DENSE, f, samples=spread(f * f / 4, part), backend="sdpa") for f in FRAMES]
    masks = [made("radial", f, samples=spread(time, part)) for f, time in times.items()]
    (one,) = break_evens(rows_of([*dense, *masks])[0])
    return one


def test_the_interval_is_where_the_ends_of_the_speed_ups_pass_one() -> None:
    one = sampled({2: 3.0, 4: 8.0, 8: 8.0, 16: 9.0}, 0.01)
    assert one.interval is not None
    assert one.tokens is not None
    low, high = one.interval
    assert 4 * 1560 < low < one.tokens < high < 8 * 1560
    # Speed-ups of 1/2 and 2 with the same interval move the meeting by its share of their distance.
    reach = math.hypot(math.log(1.01), math.log(1 / 0.99)) / math.log(4) * math.log(2)
    assert math.log(high / one.tokens) == pytest.approx(reach, rel=0.02)
    assert one.text == ("between 6,240 and 12,480 tokens, at about 8,800 (95%: 8,800 to 8,900)")


def test_wide_samples_leave_the_ends_open() -> None:
    one = sampled({2: 0.98, 4: 3.9, 8: 15.8, 16: 63.0}, 0.1)
    assert one.interval == (0, math.inf)
    assert one.interval_text == "95%: below 3,120 to beyond 24,960"


def test_an_interval_that_rounds_to_one_number_is_said_to() -> None:
    one = sampled({2: 3.0, 4: 8.0, 8: 8.0, 16: 9.0}, 0.001)
    assert one.interval_text == "95%: the same to two figures"


def test_few_samples_have_no_interval() -> None:
    assert found({2: 3.0, 4: 2.0}).interval is None
    assert found({2: 3.0, 4: 2.0}).interval_text == ""
