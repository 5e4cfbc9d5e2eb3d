"""Simulate what `radialbench decay` and `radialbench fidelity` estimate, where the truth is known.

    python -m benchmarks.decay          # simulate, about eight minutes on two cores
    python -m benchmarks.pages decay    # docs/decay.md

- Fits of decay to generated inputs: are they near the law, and do their intervals hold it?
- Intervals of means over heads, layers and steps (`benchmarks/means.py`).
- Are masks ranked by the mass they keep as the laws rank them?
- How well does an exponential fit the average over heads, and how well each head?

benchmarks/results/decay.json holds the results.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from multiprocessing import get_context
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks import means
from benchmarks.parts import RESULTS
from radialbench.fidelity.decay import averaged_decay
from radialbench.fidelity.fit import fit_axis, fit_law
from radialbench.fidelity.generator import SPATIAL, TEMPORAL, WIDE, Generated, HeadLaw
from radialbench.fidelity.law import Law
from radialbench.fidelity.mass import Floats, HeadMass, mass_by_distance, sample_rows
from radialbench.fidelity.sampled import SampledRows
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.statistics import Estimate
from radialbench.reports.text import format_percent, markdown_table

STORED = RESULTS / "decay.json"

DRAWS = 1000
PROCESSES = 2

GRID = TokenGrid(12, 8, 8)
HEADS = (
    HeadLaw(Law(rate=0.4), 0.3),
    HeadLaw(Law("power", 1.0), 0.15),
    HeadLaw(Law("stretched", 0.7, 0.6), 0.6),
)
NOISES = (0.5, 1.0, 1.5)
"""Standard deviations of the noise of logits: weights vary by e to their power."""

ROWS = (64, 256)
CHOSEN = 200
"""Draws in which all forms are fitted, and the best is chosen."""

RANK_GRID = TokenGrid(16, 16, 24)
RANKED: Mapping[str, Mapping[str, Any]] = {
    "radial": {"decay": 0.25},
    "sta": {"tile_t": 2, "tile_h": 4},
    "svg_spatial": {},
    "svg_temporal": {},
    "neighborhood": {},
}
"""Masks that are ranked, with their parameters: all fit the grid, and leave pairs out."""

RANK_DRAWS = 100
RANK_BLOCK = 64

AVERAGE_GRID = TokenGrid(21, 10, 16)
AVERAGE_NOISE = 0.5


def exponentials(*rates: float) -> list[HeadLaw]:
    """Return a head for each rate in time, of one decay in space."""
    return [HeadLaw(Law(rate=rate), 0.3) for rate in rates]


AVERAGED: Mapping[str, Sequence[HeadLaw]] = {
    "12 of one exponential": 12 * exponentials(0.8),
    "9 of one exponential, 3 of a power law": [
        *(9 * exponentials(0.8)),
        *(3 * [HeadLaw(Law("power", 0.5), 0.3)]),
    ],
    "10 of one exponential, 2 without decay": [*(10 * exponentials(0.8)), *exponentials(0, 0)],
    "12 exponentials, rates 0.05 to 1.5": exponentials(*np.geomspace(0.05, 1.5, 12).tolist()),
    "12 of a power law": 12 * [HeadLaw(Law("power", 1.5), 0.3)],
}
"""Heads of which an exponential is fitted to the average, as the paper does."""


@dataclass(frozen=True, slots=True)
class FitStudy:
    """What fits of one number gave over many draws.

    Attributes:
        what: The number.
        noise: Standard deviation of the noise of logits.
        rows: Query rows of each draw.
        true: The number's true value.
        held: Share of draws whose interval holds it.
        held_plain: That of fits to the shares of mass as they are, which noise makes fall less.
        near: Share of draws within 5% of it.
        bias: Mean relative error.
        deviation: Standard deviation of the relative error.
        chosen: Share of draws in which the law's form was chosen, of its first number.
    """

    what: str
    noise: float
    rows: int
    true: float
    held: float
    held_plain: float
    near: float
    bias: float
    deviation: float
    chosen: float | None


def true_values() -> dict[str, float]:
    """Return the numbers that are fitted by name: rates in time, an exponent, rates in space."""
    found = {}
    for law in HEADS:
        found[f"time: {law.time.form}, rate"] = law.time.rate
        if law.time.form == "stretched":
            found[f"time: {law.time.form}, exponent"] = law.time.exponent
    return found | {f"space: exponential, rate {law.space:g}": law.space for law in HEADS}


def fit_draw(seed: int, noise: float, rows: int) -> tuple[list[tuple[float, ...]], list[bool]]:
    """Fit the laws of one draw.

    Returns:
        Value, low and high of each number in the order of `true_values`, then low and high of fits
        to shares as they are; and, for the first draws, whether the form in time was chosen rightly
        for each head.
    """
    heads = tuple(replace(law, noise=noise) for law in HEADS)
    inputs = Generated(GRID, heads, 64, seed=seed).load()
    masses = mass_by_distance(inputs, sample_rows(inputs, rows, seed))
    found, plain = _fits(heads, masses, 1.0), _fits(heads, masses, 0.0)
    numbers = [
        (one.value, *(one.ends or ()), *(other.ends or ()))
        for one, other in zip(found, plain, strict=True)
    ]
    if seed >= CHOSEN:
        return numbers, []
    axes = [fit_axis(one.mass.time, one.pairs.time, one.noise.time) for one in masses]
    right = [axis.best.form == law.time.form for axis, law in zip(axes, heads, strict=True)]
    return numbers, right


def _fits(heads: Sequence[HeadLaw], masses: Sequence[HeadMass], share: float) -> list[Estimate]:
    """Return each number in the order of `true_values`, fitted with a share of the noise known."""
    in_time: list[Estimate | None] = []
    in_space: list[Estimate | None] = []
    for law, one in zip(heads, masses, strict=True):
        time = one.mass.time, one.pairs.time, share * one.noise.time
        space = one.mass.space, one.pairs.space, share * one.noise.space
        in_time += fit_law(law.time.form, *time)
        in_space.append(fit_law("exponential", *space)[0])
    return [one for one in in_time + in_space if one is not None]


def study_fits(draws: int = DRAWS) -> Iterator[FitStudy]:
    """Yield what fits gave of each number, by noise and number of rows."""
    first = [f"time: {law.time.form}, rate" for law in HEADS]
    with get_context("spawn").Pool(PROCESSES, torch.set_num_threads, (1,)) as pool:
        for noise in NOISES:
            for rows in ROWS:
                jobs = [(seed, noise, rows) for seed in range(draws)]
                found = pool.starmap(fit_draw, jobs, chunksize=20)
                chosen = np.mean([right for _, right in found if right], axis=0).tolist()
                forms = dict(zip(first, chosen, strict=True))
                numbers = np.array([values for values, _ in found])
                for place, (what, true) in enumerate(true_values().items()):
                    value, *ends = numbers[:, place].T
                    away = value / true - 1
                    yield FitStudy(
                        what=what,
                        noise=noise,
                        rows=rows,
                        true=true,
                        held=_share_held(ends[0], ends[1], true),
                        held_plain=_share_held(ends[2], ends[3], true),
                        near=float((np.abs(away) <= 0.05).mean()),
                        bias=float(away.mean()),
                        deviation=float(away.std()),
                        chosen=forms.get(what),
                    )


def _share_held(low: Floats, high: Floats, true: float) -> float:
    return float(((low <= true) & (true <= high)).mean())


@dataclass(frozen=True, slots=True)
class RankStudy:
    """How masks are ranked in one kind of head.

    Attributes:
        heads: The kind.
        kept: Mass that each mask keeps without noise, by name, most first.
        pairs: Share of pairs of masks that are in this order, of draws with noise.
        all: Share of draws in which all are.
    """

    heads: str
    kept: dict[str, float]
    pairs: float
    all: float


def study_ranks(draws: int = RANK_DRAWS) -> list[RankStudy]:
    """Rank masks by the mass they keep, with all rows without noise and 256 rows with it."""
    kinds = {"spatial": SPATIAL, "temporal": TEMPORAL, "wide": WIDE}
    tables = [
        compile_mask(load_mask(name, **params), RANK_GRID, RANK_BLOCK, RANK_BLOCK)
        for name, params in RANKED.items()
    ]
    quiet = tuple(replace(law, noise=0.0) for law in kinds.values())
    true = _mass_kept(Generated(RANK_GRID, quiet, 64), tables, RANK_GRID.video_tokens)
    measured = [
        _mass_kept(Generated(RANK_GRID, tuple(kinds.values()), 64, seed=seed), tables, 256)
        for seed in range(draws)
    ]
    found = []
    for number, name in enumerate(kinds):
        order = np.argsort(-true[number])
        of_draws = np.array(measured)[:, number, order]
        pairs = [of_draws[:, a] > of_draws[:, b] for a, b in combinations(range(len(order)), 2)]
        kept = {[*RANKED][place]: float(true[number, place]) for place in order}
        whole = np.all(pairs, axis=0)
        found.append(RankStudy(name, kept, float(np.mean(pairs)), float(whole.mean())))
    return found


def _mass_kept(source: Generated, tables: Sequence[BlockTable], rows: int) -> Floats:
    """Return the mean share of the mass that masks keep of rows, [heads, masks]."""
    lost = SampledRows([source], rows, seed=source.seed).losses(tables)
    return np.asarray(1 - lost.mean(axis=0))


@dataclass(frozen=True, slots=True)
class AverageStudy:
    """R² of an exponential in time, of the average over heads and of each.

    Attributes:
        heads: The heads.
        averaged: Of the average, by least squares.
        averaged_log: By least squares of logarithms.
        worst: The least of a single head.
        middle: Their median.
    """

    heads: str
    averaged: float
    averaged_log: float
    worst: float
    middle: float


def study_averages() -> Iterator[AverageStudy]:
    """Yield how well an exponential fits averages over heads."""
    for name, heads in AVERAGED.items():
        noisy = tuple(replace(law, noise=AVERAGE_NOISE) for law in heads)
        inputs = Generated(AVERAGE_GRID, noisy, 128).load()
        fit = averaged_decay(mass_by_distance(inputs, sample_rows(inputs, 256)), "time")
        own = min(fit.heads), median(fit.heads)
        yield AverageStudy(name, fit.averaged, fit.averaged_log, *own)


def fit_table(found: Sequence[FitStudy]) -> str:
    """Return a table of how often intervals hold the truth, and how near fits are."""
    body = []
    for what in dict.fromkeys(one.what for one in found):
        for rows in dict.fromkeys(one.rows for one in found):
            own = [one for one in found if (one.what, one.rows) == (what, rows)]
            cells = [f"{one.held:.1%} ({one.held_plain:.0%}), {one.near:.0%}" for one in own]
            body.append((what, f"{own[0].true:g}", str(rows), *cells))
    heads = ("number", "truth", "rows", *(f"noise {noise:g}" for noise in NOISES))
    return markdown_table(heads, body, text_columns=1)


def form_table(found: Sequence[FitStudy]) -> str:
    """Return a table of how often the law's own form is chosen."""
    body = []
    chosen = [one for one in found if one.chosen is not None]
    for what in dict.fromkeys(one.what for one in chosen):
        form = what.removeprefix("time: ").removesuffix(", rate")
        for rows in dict.fromkeys(one.rows for one in chosen):
            own = [one for one in chosen if (one.what, one.rows) == (what, rows)]
            body.append((form, str(rows), *(f"{one.chosen:.0%}" for one in own)))
    heads = ("law in time", "rows", *(f"noise {noise:g}" for noise in NOISES))
    return markdown_table(heads, body, text_columns=1)


def rank_table(found: Sequence[RankStudy]) -> str:
    """Return a table of masks in their order, and how often it was measured."""
    body = []
    for one in found:
        order = ", ".join(f"{name} {format_percent(kept)}" for name, kept in one.kept.items())
        body.append((one.heads, order, f"{one.pairs:.1%}", f"{one.all:.0%}"))
    heads = ("heads", "mass kept without noise", "pairs in order", "all in order")
    return markdown_table(heads, body, text_columns=2)


def average_table(found: Sequence[AverageStudy]) -> str:
    """Return a table of R² of averages and of heads."""
    body = [
        (
            one.heads,
            *(f"{r2:.3f}" for r2 in (one.averaged, one.averaged_log, one.worst, one.middle)),
        )
        for one in found
    ]
    heads = ("heads", "R² of the average", "in logarithms", "worst head", "median head")
    return markdown_table(heads, body, text_columns=1)


def read_rows(stored: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """Return the rows of a study."""
    return [from_dict(kind, row) for row in stored[name]]


def parts() -> dict[str, str]:
    """Return the generated parts of docs/decay.md by name."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    fits = read_rows(stored, "fits", FitStudy)
    found = {
        "fits": f"{fit_table(fits)}\n\n{form_table(fits)}",
        "means": means.head_table(read_rows(stored, "heads", means.Held)),
        "layers": means.layer_table(read_rows(stored, "layers", means.Held)),
        "ranks": rank_table(read_rows(stored, "ranks", RankStudy)),
        "averages": average_table(read_rows(stored, "averages", AverageStudy)),
    }
    source = f"{stored['draws']:,} draws; {stored['versions']}; `python -m benchmarks.decay`."
    return found | {"fits": f"{found['fits']}\n\n{source}"}


def main() -> None:
    """Run every study, and store the results."""
    torch.set_num_threads(1)
    studies = {
        "fits": study_fits(),
        "heads": means.study_heads(DRAWS),
        "layers": means.study_layers(DRAWS),
        "ranks": study_ranks(),
        "averages": study_averages(),
    }
    stored: dict[str, Any] = {
        "draws": DRAWS,
        "versions": f"numpy {np.__version__}, torch {torch.__version__.partition('+')[0]}",
    }
    for name, found in studies.items():
        stored[name] = [to_dict(one) for one in found]
    STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
