"""Configurations, times and ratios in words."""

from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import Estimate


def config_words(config: KernelConfig) -> str:
    """Say a configuration in a few words; what it leaves open is left out."""
    words = [f"{config.block_m}×{config.block_n}"]
    for count, name in ((config.num_warps, "warp"), (config.num_stages, "stage")):
        words += [f"{count} {name}{'s' * (count > 1)}"] if count else []
    return ", ".join(words)


def ms_words(time: Estimate) -> str:
    """Say a time, with half the width of its interval if there is one."""
    if time.low is None or time.high is None:
        return f"{time.median:.4g} ms"
    return f"{time.median:.4g} ms ±{(time.high - time.low) / 2 / time.median:.1%}"


def ratio_words(ratio: Estimate) -> str:
    """Say a ratio, with its interval if there is one."""
    if ratio.low is None or ratio.high is None:
        return f"{ratio.median:.3f}"
    return f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
