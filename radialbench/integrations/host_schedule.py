"""The masks that a user names for a host: by variables of the environment, and what hosts allow."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from radialbench.errors import IntegrationError, RadialBenchError
from radialbench.maskgen.language.schedule import MaskSchedule, ScheduleRule
from radialbench.maskgen.library import as_spec, is_head_plan, load_head_plan, load_schedule

MASK, SCHEDULE = "RADIALBENCH_MASK", "RADIALBENCH_SCHEDULE"


@cache
def schedule_of_environment() -> MaskSchedule:
    """Read the mask of `RADIALBENCH_MASK`, or the schedule of `RADIALBENCH_SCHEDULE`.

    Raises:
        IntegrationError: It cannot be read, none or both are named, or it has a layer that hosts
            do not number.
    """
    mask, schedule = os.environ.get(MASK, ""), os.environ.get(SCHEDULE, "")
    if bool(mask) == bool(schedule):
        raise IntegrationError(
            f"{MASK} names a mask, or {SCHEDULE} a file of masks by layer and step; set one of them"
        )
    variable = MASK if mask else SCHEDULE
    try:
        if schedule:
            found = load_schedule(Path(schedule))
        else:
            found = MaskSchedule.of(load_head_plan(mask) if is_head_plan(mask) else as_spec(mask))
    except RadialBenchError as error:
        raise IntegrationError(f"{variable}: {error}") from None
    return numbered_from_zero(found, variable)


def numbered_from_zero(schedule: MaskSchedule, where: str) -> MaskSchedule:
    """Return a schedule if it numbers layers from 0, as a host does with each call.

    Args:
        schedule: The schedule.
        where: What named it.

    Raises:
        IntegrationError: It names layers, or counts them from the end.
    """
    layers = [one for rule in schedule.rules for one in rule.layers or ()]
    if unknown := [one for one in layers if isinstance(one, str) or one < 0]:
        raise IntegrationError(
            f"{where}: {schedule.name} has the layer {unknown[0]!r}, and the host says neither "
            "names nor how many layers there are; number them from 0"
        )
    return schedule


def with_dense(
    schedule: MaskSchedule, *, first_steps: int = 0, layers: tuple[int, ...] = ()
) -> MaskSchedule:
    """Return a schedule with steps and layers that are dense before anything else."""
    rules = [ScheduleRule(None, layers=layers)] if layers else []
    rules += [ScheduleRule(None, steps=(0, first_steps - 1))] if first_steps else []
    return replace(schedule, rules=(*rules, *schedule.rules))
