"""Compare intervals for the ratio of two times that were sampled in turn.

    python -m benchmarks.intervals           # simulate, about five minutes
    python -m benchmarks.pages measurement   # docs/measurement.md

A 95% interval has to hold the true median of the ratios in 95 of 100 cases under any noise, since
the noise of the next machine is unknown. The shortest interval that does is the best, and
`radialbench.records.statistics` uses it. benchmarks/results/intervals.json holds the results.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from itertools import accumulate, combinations
from math import comb, exp, log, sqrt

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.parts import RESULTS
from radialbench.records.statistics import drawn_ranks, interval_rank
from radialbench.records.store import read
from radialbench.reports.text import markdown_table

STORED = RESULTS / "intervals.json"

PAIRS = (5, 6, 8, 10, 15, 20, 30, 60)
TRIALS = 40_000
CHUNK = 1_000
MISS = 0.05
"""The share of trials in which a 95% interval may miss the truth."""

Floats = NDArray[np.float64]
Draw = Callable[[Generator, tuple[int, int]], Floats]
"""Draws logarithms of ratios, [trials, pairs]."""


def both(noise: Draw) -> Draw:
    """Return the noise of a ratio of two times with the same noise."""
    return lambda rng, shape: noise(rng, shape) - noise(rng, shape)


def normal(rng: Generator, shape: tuple[int, int]) -> Floats:
    """Draw calls that vary by 1%."""
    return rng.normal(0, 0.01, shape)


def delayed(rng: Generator, shape: tuple[int, int]) -> Floats:
    """Draw calls with lognormal delays."""
    return 0.01 * rng.lognormal(0, 1, shape)


def held_up(rng: Generator, shape: tuple[int, int]) -> Floats:
    """Draw calls; one in ten takes a third longer."""
    return normal(rng, shape) + 0.3 * (rng.random(shape) < 0.1)


def two_clocks(rng: Generator, shape: tuple[int, int]) -> Floats:
    """Draw ratios that depend on the random order of the two calls."""
    return rng.normal(0, 0.003, shape) + 0.01 * rng.choice([-1.0, 1.0], shape)


def drifting(rng: Generator, shape: tuple[int, int]) -> Floats:
    """Draw ratios of calls that drift together, as with a clock."""
    common = np.cumsum(rng.normal(0, 0.02, shape), axis=1)
    return (common + normal(rng, shape)) - (common + normal(rng, shape))


def lasting(rng: Generator, shape: tuple[int, int]) -> Floats:
    """Draw ratios that depend on the ratio before."""
    found = normal(rng, shape)
    for place in range(1, shape[1]):
        found[:, place] = 0.5 * found[:, place - 1] + sqrt(0.75) * found[:, place]
    return found


@cache
def recorded_ratios() -> Floats:
    """Return centred logarithms of 30 ratios for each pair of cases sampled in turn on a GPU."""
    groups: dict[object, list[tuple[float, ...]]] = {}
    for name in ("kernels_h100", "peers", "scaling"):
        for record in read(RESULTS / f"{name}.jsonl").records:
            if record.timing and record.ceiling and len(record.timing.steady_ms) == 30:
                key = (record.group, record.ceiling)
                groups.setdefault(key, []).append(record.timing.steady_ms)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    logs = np.stack([np.log(np.divide(above, below)) for above, below in pairs])
    return np.asarray(logs - np.median(logs, axis=1, keepdims=True))


def recorded(rng: Generator, shape: tuple[int, int]) -> Floats:
    """Draw from the recorded ratios of one pair of cases per trial."""
    known = recorded_ratios()
    cases = rng.integers(0, len(known), (shape[0], 1))
    drawn: Floats = known[cases, rng.integers(0, known.shape[1], shape)]
    return drawn


NOISES: dict[str, Draw] = {
    "normal": both(normal),
    "Student's t, 3 degrees": both(lambda rng, shape: 0.01 * rng.standard_t(3, shape)),
    "Student's t, 2 degrees": both(lambda rng, shape: 0.01 * rng.standard_t(2, shape)),
    "lognormal delays": both(delayed),
    "lognormal delays of one": lambda rng, shape: delayed(rng, shape) - normal(rng, shape),
    "one call in ten held up": both(held_up),
    "one in ten of one held up": lambda rng, shape: held_up(rng, shape) - normal(rng, shape),
    "two modes": two_clocks,
    "drift of both": drifting,
    "recorded on GPUs": recorded,
}
"""Noise with independent pairs, under which an interval must hold its 95%."""

SKEWED = ("lognormal delays of one", "one in ten of one held up")
"""Noise with a true median other than 0, which four million draws estimate."""

LASTING = "each like the one before"
"""Noise with dependent pairs, under which no interval here holds 95%."""

Interval = Callable[[Floats], tuple[Floats, Floats] | None]
"""Computes both ends from sorted logarithms, [trials, pairs]; None for too few pairs."""


def order_statistics(logs: Floats) -> tuple[Floats, Floats] | None:
    """Return two of the ratios, by inverting the sign test (Thompson 1936)."""
    rank = interval_rank(logs.shape[1])
    return (logs[:, rank - 1], logs[:, -rank]) if rank else None


def midpoints(logs: Floats) -> tuple[Floats, Floats] | None:
    """Return midpoints to the next ratios inwards, where these hold 95% too (Guilbaud 1979).

    Under any noise they hold the median as often as both pairs of ratios do on average.
    """
    rank = interval_rank(logs.shape[1])
    if not rank or sum(_misses(logs.shape[1], rank)) > 2 * MISS:
        return order_statistics(logs)
    return _inwards(logs, rank, 0.5)


def interpolated(logs: Floats) -> tuple[Floats, Floats] | None:
    """Interpolate to 95% for nearly any smooth noise (Hettmansperger, Sheather 1986)."""
    count = logs.shape[1]
    rank = interval_rank(count)
    if not rank:
        return None
    outer, inner = _misses(count, rank)
    share = (MISS - outer) / (inner - outer)
    return _inwards(logs, rank, (count - rank) * share / (rank + (count - 2 * rank) * share))


def _misses(count: int, rank: int) -> tuple[float, float]:
    """Return how often the median is outside the samples of a rank, and of the next rank."""
    outer, inner = (2 * sum(comb(count, k) for k in range(r)) / 2**count for r in (rank, rank + 1))
    return outer, inner


def _inwards(logs: Floats, rank: int, part: float) -> tuple[Floats, Floats]:
    low, high = (
        (1 - part) * logs[:, end] + part * logs[:, inwards]
        for end, inwards in ((rank - 1, rank), (-rank, -rank - 1))
    )
    return low, high


def bootstrap(logs: Floats) -> tuple[Floats, Floats] | None:
    """Return the percentile bootstrap of the median, with the same ranks for all samples."""
    lower, upper = drawn_ranks(logs.shape[1], 2000)
    low, high = np.quantile((logs[:, lower] + logs[:, upper]) / 2, (MISS / 2, 1 - MISS / 2), axis=1)
    return low, high


def signed_rank(logs: Floats) -> tuple[Floats, Floats] | None:
    """Return two of the means of pairs of ratios (Hodges and Lehmann 1963)."""
    count = logs.shape[1]
    cut = _signed_rank_cut(count)
    if cut is None:
        return None
    left, right = np.triu_indices(count)
    means = np.sort((logs[:, left] + logs[:, right]) / 2, axis=1)
    return means[:, cut], means[:, -1 - cut]


INTERVALS: dict[str, Interval] = {
    "order statistics": order_statistics,
    "midpoints": midpoints,
    "interpolated": interpolated,
    "bootstrap": bootstrap,
    "signed rank": signed_rank,
}


@cache
def _signed_rank_cut(count: int) -> int | None:
    """Return how many means to leave out on either side; None for too few ratios."""
    ways = [1]  # Subsets of the ranks by their sum, as the coefficients of a polynomial.
    for rank in range(1, count + 1):
        zeros = [0] * rank
        ways = [a + b for a, b in zip(ways + zeros, zeros + ways, strict=True)]
    cut = sum(2 * sums <= MISS * 2**count for sums in accumulate(ways)) - 1
    return cut if cut >= 0 else None


Results = Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]
"""The share of trials that held the truth and the mean width, by noise, pairs and interval."""


def simulate(noise: str, pairs: int, trials: int = TRIALS) -> dict[str, tuple[float, float]]:
    """Try every interval on the same samples."""
    names = [*NOISES, LASTING]
    draw, rng = NOISES.get(noise, lasting), np.random.default_rng([names.index(noise), pairs])
    truth = float(np.median(draw(rng, (1 << 22, 1)))) if noise in SKEWED else 0.0
    held, width = dict.fromkeys(INTERVALS, 0), dict.fromkeys(INTERVALS, 0.0)
    for _ in range(trials // CHUNK):
        logs = np.sort(draw(rng, (CHUNK, pairs)), axis=1)
        for name, interval in INTERVALS.items():
            if ends := interval(logs):
                held[name] += int(((ends[0] <= truth) & (truth <= ends[1])).sum())
                width[name] += float((ends[1] - ends[0]).sum())
    return {
        name: (round(held[name] / trials, 5), float(f"{width[name] / trials:.4g}"))
        for name in INTERVALS
        if width[name]
    }


def coverage_table(results: Results) -> str:
    """Format the lowest share of trials that held the truth, and its number of pairs."""
    rows = []
    for noise, by_pairs in results.items():
        cells = []
        for interval in INTERVALS:
            found = [(by_pairs[n][interval][0], n) for n in by_pairs if interval in by_pairs[n]]
            worst, pairs = min((held, n) for held, n in found if n != "5")
            cells.append(f"{worst:.1%} ({pairs})")
        rows.append((noise, *cells))
    return markdown_table(("noise of the ratios", *INTERVALS), rows, text_columns=1)


def width_table(results: Results) -> str:
    """Format widths over those of order statistics: geometric means over the noises."""
    others = [name for name in INTERVALS if name != "order statistics"]
    rows = []
    for pairs in map(str, PAIRS[1:]):
        found = [results[noise][pairs] for noise in NOISES]
        held = {each["order statistics"][0] for each in found}
        cells = [
            f"{exp(np.mean([log(one[name][1] / one['order statistics'][1]) for one in found])):.2f}"
            for name in others
        ]
        rows.append((pairs, f"{min(held):.1%}", *cells))
    return markdown_table(("pairs", "order statistics hold", *others), rows, text_columns=0)


def parts() -> dict[str, str]:
    """Return the generated part of the page by its name."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    source = (
        f"{stored['trials']:,} trials each; numpy {stored['numpy']}; "
        "`python -m benchmarks.intervals`."
    )
    tables = coverage_table(stored["results"]), width_table(stored["results"])
    return {"intervals": "\n\n".join((*tables, source))}


def main() -> None:
    """Simulate every interval under every noise, and store the results."""
    results = {
        noise: {str(pairs): simulate(noise, pairs) for pairs in PAIRS}
        for noise in (*NOISES, LASTING)
    }
    stored = {"trials": TRIALS, "numpy": np.__version__, "results": results}
    STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
