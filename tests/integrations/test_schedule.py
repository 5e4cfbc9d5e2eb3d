"""Steps are counted by timesteps, not by calls."""

import pytest

from radialbench.errors import IntegrationError
from radialbench.integrations.module import DenseSchedule


def walked(schedule: DenseSchedule, timesteps: list[float]) -> list[tuple[int, bool]]:
    seen = []
    for timestep in timesteps:
        schedule.at(timestep)
        seen.append((schedule.step, schedule.dense))
    return seen


def test_calls_at_one_timestep_are_one_step() -> None:
    steps = walked(DenseSchedule(steps=2), [1000, 1000, 900, 900, 900, 899.5, 0])
    assert steps == [(0, True)] * 2 + [(1, True)] * 3 + [(2, False), (3, False)]


def test_more_noise_begins_another_video() -> None:
    schedule = DenseSchedule(steps=1)
    assert walked(schedule, [900, 500, 100]) == [(0, True), (1, False), (2, False)]
    assert walked(schedule, [950, 600]) == [(0, True), (1, False)]


def test_timesteps_may_rise() -> None:
    schedule = DenseSchedule(steps=1, rising=True)
    assert walked(schedule, [0, 0, 5, 400, 1]) == [
        *((0, True), (0, True), (1, False), (2, False), (0, True))
    ]


def test_last_steps_are_dense_from_one_on() -> None:
    schedule = DenseSchedule(steps=1, from_step=3)
    falling: list[float] = [900, 700, 500, 500, 300, 100, 900]
    dense = [True, False, False, False, True, True, True]
    assert [found for _, found in walked(schedule, falling)] == dense
    assert schedule.counts
    assert DenseSchedule(from_step=0).dense
    assert not DenseSchedule(layers=2).counts


def test_no_dense_steps() -> None:
    schedule = DenseSchedule()
    assert not schedule.dense
    assert walked(schedule, [1000, 900]) == [(0, False), (1, False)]


def test_dense_before_the_first_timestep() -> None:
    assert DenseSchedule(steps=1).dense


def test_layers() -> None:
    schedule = DenseSchedule(layers=2, steps=1)
    assert all(schedule.is_dense(layer) for layer in (None, 0, 5))
    walked(schedule, [1000, 900])
    assert [schedule.is_dense(layer) for layer in (None, 0, 1, 2)] == [False, True, True, False]


@pytest.mark.parametrize("count", [-1, 1.5, True])
def test_what_is_no_count(count: object) -> None:
    with pytest.raises(IntegrationError, match=f"dense_steps must be a whole .* got {count}"):
        DenseSchedule(steps=count)  # type: ignore[arg-type]
    with pytest.raises(IntegrationError, match=f"dense_from_step must be a whole .* got {count}"):
        DenseSchedule(from_step=count)  # type: ignore[arg-type]
