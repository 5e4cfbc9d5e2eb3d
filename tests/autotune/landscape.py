"""A made-up kernel whose times are known: what small and large blocks cost, and odd exceptions."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log2

from radialbench.autotune.space import SPACES, Candidates
from radialbench.autotune.trials import SWEEP_SCHEMA, SweepTrial, TrialOutcome
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey

ROUGHNESS = 0.015
"""How far a configuration lies from the formula, as a standard deviation of its logarithm."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the times depend on.

    Attributes:
        head_dim: Numbers per head and token.
        waste_m: What a query block of 128 adds to the work, as blocks are computed whole.
        waste_n: Likewise for keys.
        latency: What is lost where too little is under way.
        seed: Of the exceptions.
    """

    head_dim: int
    waste_m: float
    waste_n: float
    latency: float
    seed: int


def shape(seed: int) -> Shape:
    """Draw a shape."""
    draw = random.Random(seed)
    return Shape(
        head_dim=draw.choice((64, 128)),
        waste_m=draw.uniform(0.02, 0.5),
        waste_n=draw.uniform(0.02, 0.5),
        latency=draw.uniform(0.1, 0.6),
        seed=seed,
    )


def true_ms(config: KernelConfig, shape: Shape) -> float:
    """Give the time of a configuration."""
    m, n = config.block_m, config.block_n
    warps, stages = config.num_warps or 4, config.num_stages or 2
    work = 1 + shape.waste_m * m / 128 + shape.waste_n * n / 128
    # Keys are loaded anew for every query block; a step has its own price.
    traffic = 0.35 * 64 / m + 0.12 * 64 / n
    held = m * (shape.head_dim + n) / (32 * warps)
    spills = 1 + 0.6 * max(0.0, log2(held / 160))
    idle = shape.latency * exp(-held * warps * min(stages, 3) / 1200)
    scheduling = 0.02 * log2(warps * 16 / m) ** 2
    late = 0.02 * (stages == 1) + 0.01 * (stages == 5)
    rough = random.Random(f"{shape.seed} {config}").gauss(0, ROUGHNESS)
    return 2.0 * (work + traffic) * spills * (1 + idle + scheduling + late) * exp(rough)


def candidates(shape: Shape) -> Candidates:
    """Give what can be tried: about 180 configurations of the portable kernel's space."""
    space = SPACES["triton"]
    feasible, rejected = [], {}
    for config in space.configs():
        held = config.block_m * (shape.head_dim + config.block_n) / (32 * (config.num_warps or 4))
        if held > 255:
            rejected[config] = ("registers", f"takes {held:.0f} registers")
        else:
            feasible.append(config)
    return Candidates(space, DEFAULT, tuple(feasible), rejected)


def sweep(shapes: Iterable[Shape], *, noise: float = 0.01, samples: int = 10) -> list[SweepTrial]:
    """Record every configuration of some shapes, the default first."""
    trials = []
    for place, one in enumerate(shapes):
        draw = random.Random(f"samples {one.seed}")
        among = candidates(one)
        for config in sorted(among.feasible, key=lambda config: config != DEFAULT):
            time = true_ms(config, one)
            times = tuple(time * max(0.5, draw.gauss(1, noise)) for _ in range(samples))
            trials.append(recorded(key(place, one), config, times))
    return trials


def recorded(
    of: TuningKey,
    config: KernelConfig,
    samples_ms: tuple[float, ...],
    outcome: TrialOutcome = TrialOutcome.OK,
    reason: str | None = None,
) -> SweepTrial:
    """Make a line of a sweep."""
    return SweepTrial(
        schema=SWEEP_SCHEMA,
        key=of,
        mask=MaskIdentity("radial", of.mask_fingerprint),
        config=config,
        outcome=outcome,
        reason=reason,
        samples_ms=samples_ms,
        block_density=None,
        registers=None,
        stack_bytes=None,
        shared_bytes=None,
        kernel="0" * 16,
        versions={"triton": "3.7.1"},
    )


def key(place: int, shape: Shape) -> TuningKey:
    """Name the problem of a shape."""
    return TuningKey(
        backend="triton",
        device="NVIDIA H100",
        mask_fingerprint="0123456789abcdef",
        frames=5 + place,
        tokens_per_frame=1024,
        seq_len=(5 + place) * 1024,
        batch=1,
        heads=8,
        head_dim=shape.head_dim,
        dtype="bfloat16",
    )


DEFAULT = KernelConfig(128, 128, num_warps=8, num_stages=2)
