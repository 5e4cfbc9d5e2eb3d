"""The plug-in of vLLM-Omni: the server's video layers attend under a mask that a variable names.

vLLM-Omni finds `register` by its entry point, in each of its processes. Without the variable it
changes nothing; with it, the host's registry has our backend as `RAINFUSION_ATTN`, the one name
of a block-sparse backend that its configuration knows and that no GPU of NVIDIA runs:

    RADIALBENCH_MASK=radial vllm-omni serve MODEL --omni \
        --diffusion-attention-config.per_role.self.backend RAINFUSION_ATTN
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from radialbench.errors import IntegrationError, RadialBenchError
from radialbench.maskgen.language.schedule import MaskSchedule, ScheduleRule
from radialbench.maskgen.library import as_spec, is_head_plan, load_head_plan, load_schedule

MASK, SCHEDULE = "RADIALBENCH_MASK", "RADIALBENCH_SCHEDULE"
NAME = "RAINFUSION_ATTN"
BACKEND = "radialbench.integrations.vllm_omni_backend.RadialBackend"


def register() -> None:
    """Register our backend if a variable names a mask or a schedule; may be called again.

    Raises:
        IntegrationError: The mask or the schedule cannot be read, or both are named.
    """
    if not (os.environ.get(MASK) or os.environ.get(SCHEDULE)):
        return
    schedule_of_environment()
    from vllm_omni.diffusion.attention.backends.registry import (
        DiffusionAttentionBackendEnum,
        register_diffusion_backend,
    )

    register_diffusion_backend(DiffusionAttentionBackendEnum[NAME], BACKEND)


@cache
def schedule_of_environment() -> MaskSchedule:
    """Read the mask of `RADIALBENCH_MASK`, or the schedule of `RADIALBENCH_SCHEDULE`.

    Raises:
        IntegrationError: It cannot be read, or both are named.
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
    layers = [one for rule in found.rules for one in rule.layers or ()]
    if unknown := [one for one in layers if isinstance(one, str) or one < 0]:
        raise IntegrationError(
            f"{variable}: {found.name} has the layer {unknown[0]!r}, and the host says neither "
            "names nor how many layers there are; number them from 0"
        )
    return found


def with_dense(
    schedule: MaskSchedule, *, first_steps: int = 0, layers: tuple[int, ...] = ()
) -> MaskSchedule:
    """Return a schedule with steps and layers that are dense before anything else."""
    rules = [ScheduleRule(None, layers=layers)] if layers else []
    rules += [ScheduleRule(None, steps=(0, first_steps - 1))] if first_steps else []
    return replace(schedule, rules=(*rules, *schedule.rules))
