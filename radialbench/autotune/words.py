"""Configurations, times and ratios in words."""

from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import Estimate


def config_words(config: KernelConfig) -> str:
    """Say a configuration in a few words; what it leaves open is left out."""
    words = [f"{config.block_m}×{config.block_n}"]
    for count, name in ((config.num_warps, "warp"), (config.num_stages, "stage")):
        words += [f"{count} {name}{'s' * (count > 1)}"] if count else []
    return ", ".join(words)


def ms_words(time: Estimate) -> str:
    """Say a time, with half the width of its interval if there is one."""
    return f"{time.value:.4g} ms" + (f" ±{time.half_width:.1%}" if time.ends else "")


def ratio_words(ratio: Estimate) -> str:
    """Say a ratio, with its interval if there is one."""
    return f"{ratio:.3f}"
