"""A finished search as rows of words, for a table."""

from radialbench.autotune.importance import FEWEST
from radialbench.autotune.tuned import Tuned
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import Estimate


def study_table(tuned: Tuned) -> list[tuple[str, str]]:
    """Give what a search found as pairs of a heading and its words."""
    decision = tuned.decision
    rows = [("default", f"{config_words(tuned.default)}: {ms_words(decision.default_ms)}")]
    if decision.source == "tuned":
        rows.append(("best", f"{config_words(decision.config)}: {ms_words(decision.ms)}"))
        rows.append(("gain", f"{ratio_words(decision.ratio)} times as fast: {decision.reason}"))
    else:
        rows.append(("gain", f"none, the default stays: {decision.reason}"))
    rows.append(("trials", trials_words(tuned)))
    if tuned.rejections:
        counts = (f"{count} by {kind}" for kind, count in tuned.rejections.items())
        rows.append(("rejected", ", ".join(counts)))
    if tuned.edges:
        ends = (f"{name} {getattr(decision.config, name)}" for name in tuned.edges)
        rows.append(("edge", f"{', '.join(ends)} is an end of what was searched: try beyond it"))
    shares = [f"{name} {share:.0%}" for name, share in tuned.importance.items() if share >= 0.005]
    few = f"not told with fewer than {FEWEST} times"
    rows.append(("mattered", ", ".join(shares) or few))
    return rows


def trials_words(tuned: Tuned) -> str:
    """Count the trials by how they ended, with what proposed them."""
    outcomes = tuned.outcomes
    names = ("ok", "wrong", "crashed", "timeout", "compile_failed")
    counts = [(getattr(outcomes, name), name.replace("_", " ")) for name in names]
    told = ", ".join(f"{count} {name}" for count, name in counts if count)
    return f"{told or 'none'}; {tuned.search}, seed {tuned.seed}, {tuned.seconds:.0f} s"


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
