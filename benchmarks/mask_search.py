"""Compare how masks are proposed, and search the masks of a pretrained model on a real clip.

    python -m benchmarks.mask_search       # compare, about five minutes on two cores
    python -m benchmarks.clip clip         # q, k and v of a clip; see there
    FAMILIES="radial svg_spatial svg_temporal sta neighborhood power"
    HOW="-i clip --block-m 32 --block-n 32 --trials 240"
    radialbench mask search $FAMILIES $HOW --by head,layer -o clip-front
    radialbench mask search $FAMILIES $HOW -o clip-one --storage journal:clip-front/trials.journal
    cp clip-front/front.jsonl benchmarks/results/clip_front.jsonl
    cp clip-one/front.jsonl benchmarks/results/clip_front_one.jsonl
    python -m benchmarks.pages mask-search

benchmarks/results/mask_search.json holds what is compared.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory

import torch

from benchmarks.parts import RESULTS, described
from radialbench.fidelity.generator import Generated, mixed
from radialbench.kernels.measure.environment import environment
from radialbench.maskgen.grid import TokenGrid
from radialbench.masksearch import propose
from radialbench.masksearch.search import SearchSettings, search_masks
from radialbench.masksearch.space import DEFAULT_FAMILIES, read_families
from radialbench.records.front import FrontPoint, read_front
from radialbench.records.problem import KernelConfig
from radialbench.reports.front import schedule_text
from radialbench.reports.front_chart import Tried, pictures
from radialbench.reports.text import format_percent, markdown_table

STORED = RESULTS / "mask_search.json"
FRONT, ONE = RESULTS / "clip_front.jsonl", RESULTS / "clip_front_one.jsonl"

MADE = Generated(TokenGrid(9, 16, 16), mixed(4), 64)
TRIALS = (32, 64, 128)
SEEDS = range(4)
WAYS = {
    "in turn": {},
    "sampler alone": {"TURNS": 1},
    "random alone": {"STARTUP": 10**9},
}
"""Constants of `masksearch.propose` that make each way of proposing masks."""

SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Shares of the mass whose cheapest plans are shown."""


def area(points: Sequence[FrontPoint]) -> float:
    """Return the area between a front and what would keep all for nothing."""
    steps = sum((b.cost - a.cost) * a.loss for a, b in pairwise(points))
    return points[0].cost + steps


@contextmanager
def proposed(way: str) -> Iterator[None]:
    """Propose masks in a way."""
    before = {name: getattr(propose, name) for name in WAYS[way]}
    for name, value in WAYS[way].items():
        setattr(propose, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(propose, name, value)


def areas(way: str, by: Sequence[str], seed: int) -> list[float]:
    """Return the area after each number of trials."""
    found = []
    with proposed(way), TemporaryDirectory() as folder:
        for trials in TRIALS:
            settings = SearchSettings(
                by=by, trials=trials, rows=64, seed=seed, config=KernelConfig(32, 32)
            )
            searched = search_masks(
                [MADE],
                read_families(DEFAULT_FAMILIES),
                settings,
                environment("", device="cpu"),
                storage=f"journal:{folder}/trials",
            )
            found.append(area(searched.points))
    return found


def ways_table() -> str:
    """Return a table of the area that ways of proposing masks leave."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    body = [
        (
            "a mask for each head" if one["by"] else "one mask",
            one["way"],
            *(
                f"{fmean(found):.3f} ± {stdev(found):.3f}"
                for found in zip(*one["areas"], strict=True)
            ),
        )
        for one in stored["ways"]
    ]
    heads = ("search", "proposals", *(f"{trials} trials" for trials in TRIALS))
    about = f"{len(SEEDS)} seeds; {stored['versions']}; `python -m benchmarks.mask_search`."
    return f"{markdown_table(heads, body, text_columns=2)}\n\n{about}"


def cheapest(points: Sequence[FrontPoint], share: float) -> FrontPoint:
    """Return the cheapest plan that keeps a share."""
    return next(point for point in points if 1 - point.loss >= share)


def dense(point: FrontPoint) -> str:
    """Name the layers that are dense; empty if none is."""
    text = schedule_text(point.schedule)
    return f"; dense: {text}" if text else ""


def clip_table() -> str:
    """Return a table of the cheapest plans that keep shares of the mass of the clip."""
    several, one = read_front(FRONT), read_front(ONE)
    body = []
    for share in SHARES:
        single, best = cheapest(one, share), cheapest(several, share)
        names: Counter[str] = Counter()
        for chosen in best.masks:
            names[chosen.mask.name] += len(chosen.heads)
        body.append(
            (
                format_percent(share),
                f"{single.masks[0].mask.label}{dense(single)}",
                ", ".join(f"{count} {name}" for name, count in names.most_common()) + dense(best),
                *map(format_percent, (single.cost, 1 - single.worst_loss)),
                *map(format_percent, (best.cost, 1 - best.worst_loss)),
            )
        )
    what = ("mass kept", "one mask", "heads with masks of their own")
    heads = (*what, "its cost", "its worst head", "their cost", "their worst head")
    about = f"{several[0].rows} rows a head; {described(several[0].environment)}."
    return f"{markdown_table(heads, body, text_columns=3)}\n\n{about}"


def parts() -> dict[str, str]:
    """Return the generated parts of docs/mask-search.md by name."""
    return {"ways": ways_table(), "clip_plans": clip_table()}


def save_picture(path: Path) -> None:
    """Draw the clip's front, before the plans of one mask."""
    tried = [
        Tried(point.masks[0].mask.name, point.cost, point.loss)
        for point in read_front(ONE)
        if point.cost < 1
    ]
    path.write_bytes(pictures(read_front(FRONT), tried)["png"])


def main() -> None:
    """Compare the ways of proposing masks, and store the areas."""
    torch.set_num_threads(1)
    ways = [
        {"by": by, "way": way, "areas": [areas(way, by, seed) for seed in SEEDS]}
        for by in ([], ["head"])
        for way in WAYS
    ]
    import optuna

    versions = f"optuna {optuna.__version__}, torch {torch.__version__.partition('+')[0]}"
    STORED.write_text(json.dumps({"versions": versions, "ways": ways}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
