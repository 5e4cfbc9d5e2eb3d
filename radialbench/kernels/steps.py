"""Steps of the portable backward kernels: the defaults, and why kernels cannot take others."""

from dataclasses import replace

import torch

from radialbench.kernels.arch import Target
from radialbench.records.problem import GradientSteps, KernelConfig, Steps


def gradient_steps(
    blocks: tuple[int, int], dtype: torch.dtype, columns: int, target: Target
) -> GradientSteps:
    """Return the steps where nothing was tuned, for tiles of some columns.

    dq keeps a row of all channels for each of its own tokens in registers, dk and dv two. So
    nothing spills on sm_80 and sm_90 at 16 bits, nor at 32 bits up to 128 channels, unless query
    heads share key heads.
    """
    if dtype == torch.float32:
        dq, dkdv = _SINGLE[columns > 128]
    else:
        dq, dkdv = (_LARGE if target.shared_bytes > 200_000 else _SMALL)[max(64, columns)]

    def fitted(steps: Steps) -> Steps:
        # Two tensors of its own, and three buffers of two others.
        needed = 2 * dtype.itemsize * columns * (steps.own + 3 * steps.step) + 1024
        return steps if needed <= target.shared_bytes else replace(steps, num_stages=2)

    return GradientSteps(_within(fitted(dq), *blocks), _within(fitted(dkdv), *blocks[::-1]))


def _within(steps: Steps, own: int, step: int) -> Steps:
    """Return the steps for blocks of `own` and `step` tokens: a warp for 16 rows or fewer."""
    small = min(steps.own, own)
    warps = max(1, min(steps.num_warps, steps.num_warps * small // steps.own))
    return replace(steps, own=small, step=min(steps.step, step), num_warps=warps)


# Five stages are three buffers. With two, a step's loads start at the end of the step before it.
_LARGE = {
    64: (Steps(128, 64, 8, 5), Steps(128, 64, 8, 5)),
    128: (Steps(128, 64, 8, 5), Steps(128, 32, 8, 5)),
    256: (Steps(64, 32, 8, 2), Steps(32, 32, 8, 5)),
}
"""Steps by the channels of a tile, of 16 bits, where a program may have 200 KB of shared memory."""

_SMALL = {
    64: (Steps(128, 64, 8, 5), Steps(128, 64, 8, 2)),
    128: (Steps(128, 32, 8, 5), Steps(64, 64, 8, 5)),
    256: (Steps(32, 32, 8, 5), Steps(32, 32, 8, 5)),
}
"""The same for other GPUs."""

_SINGLE = (
    (Steps(32, 32, 8, 2), Steps(32, 16, 8, 2)),
    (Steps(32, 16, 8, 1), Steps(16, 16, 8, 1)),
)
"""Steps for numbers of 32 bits, up to 128 channels and beyond."""


def steps_reasons(config: KernelConfig) -> list[str]:
    """Return why the portable kernels cannot take the steps of a configuration in its blocks."""
    reasons: list[str] = []
    if config.gradients is None:
        return reasons
    blocks = config.block_m, config.block_n
    for name, steps, sides in (
        ("dq", config.gradients.dq, blocks),
        ("dk and dv", config.gradients.dkdv, blocks[::-1]),
    ):
        for size, block in zip((steps.own, steps.step), sides, strict=True):
            if size < 16 or size & (size - 1) or size > block:
                reasons.append(
                    f"steps of {name} are powers of two from 16 to the block's {block}, got {size}"
                )
        if steps.num_warps not in (1, 2, 4, 8, 16):
            reasons.append(f"warps of {name} are 1, 2, 4, 8 or 16, got {steps.num_warps}")
    return reasons
