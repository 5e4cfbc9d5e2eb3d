"""The parts of docs/tuning.md, on made-up kernels; stored regrets are of the stored sweep."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

import pytest

from benchmarks import tuning
from benchmarks.pages import DOCS
from benchmarks.parts import ROOT, file_hash, target_table
from benchmarks.tuning import (
    SWEEP,
    Pair,
    bound_text,
    distance_table,
    most,
    pairs_of,
    rates_of,
    searched,
    suggested,
    transfers_of,
    whole_problems,
)
from radialbench.autotune.jobs import tunable_cases
from radialbench.autotune.trials import SweepTrial, TrialOutcome, read_sweep
from radialbench.autotune.tuner import TRIALS
from radialbench.records.lookup import FARTHEST, distance
from radialbench.records.problem import GradientSteps, KernelConfig, Steps
from radialbench.records.store import write_whole
from radialbench.records.tuning import TuningKey, key_of
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from tests.autotune import landscape
from tests.records.tuned import kept, tuned

SUITE = ROOT / "benchmarks" / "tuning_sweep.yaml"
TEXT = (DOCS / "tuning.md").read_text(encoding="utf-8")
SHAPES = [replace(landscape.shape(seed), head_dim=128) for seed in range(3)]
SUITES = ("scaling", "wan", "hunyuan", "mochi", "smoke_gpu", "paper", "peers")


@cache
def made() -> tuple[SweepTrial, ...]:
    """A whole sweep of three made-up kernels."""
    return tuple(landscape.sweep(SHAPES, noise=0.002))


def rows(table: str) -> list[list[str]]:
    """Return the cells of the first table of a part, without its headings."""
    lines = [line for line in table.split("\n\n")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_rates_are_those_of_the_sweep() -> None:
    check_rates(tuning.RATES, SWEEP)


def check_rates(stored: Path, sweep: Path) -> None:
    """Replay two searches of one problem, and compare them with what is stored."""
    rates = json.loads(stored.read_text(encoding="utf-8"))
    assert rates["sweep"] == file_hash(sweep), "run: python -m benchmarks.tuning"
    every = searched(whole_problems(read_sweep(sweep)).values())
    assert len(rates["rows"]) == len(every) * sum(map(len, tuning.COSTS.values()))
    again = rates_of(every[-1], range(2))
    kept = [row for row in rates["rows"] if row["problem"] == again[0]["problem"]]
    assert [row | {"regrets": row["regrets"][:2]} for row in kept] == again


@pytest.mark.slow
def test_a_sweep_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, stored = tmp_path / "sweep.jsonl", tmp_path / "rates.json"
    write_whole(sweep, made())
    for name, value in (("SWEEP", sweep), ("RATES", stored), ("SEEDS", 3)):
        monkeypatch.setattr(tuning, name, value)
    assert tuning.main() == 0
    check_rates(stored, sweep)
    problems = list(whole_problems(made()).values())
    parts = tuning.parts()
    table = {(name, share): cells for name, share, *cells in rows(parts["searches"])}
    assert table["`exhaustive`", "100%"][0] == str(len(problems[0]))
    assert table["`exhaustive`", "100%"][1:] == ["0.00%"] * 3
    assert table["`tpe`", "10%"][0] == str(round(0.1 * len(problems[0])))
    # 3 problems with 3 seeds: the 95th percentile of nine is the worst.
    assert all(cells[2] == cells[3] for cells in table.values())
    assert (
        "3 problems, 540 configurations, 3 seeds; NVIDIA H100; triton 3.7.1;" in (parts["searches"])
    )
    tuning.save_picture(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")


def test_problems_that_were_cut_off_are_left_out() -> None:
    whole = whole_problems(made()[:-1])
    assert [key.frames for key in whole] == [5, 6]
    rates = {"sweep": "", "seeds": 1, "rows": []}
    found = tuning.measured_parts(made()[:-1], rates)["searches"]
    assert "2 problems, 360 configurations" in found
    assert found.endswith(" 1 more were cut off and are left out.")
    assert "cut off" not in tuning.measured_parts(made(), rates)["searches"]


def test_problems_whose_candidates_are_all_tried_need_no_search() -> None:
    few = [one for recorded in whole_problems(made()).values() for one in recorded[:TRIALS]]
    problems = whole_problems([replace(one, key=replace(one.key, head_dim=64)) for one in few])
    assert searched(problems.values()) == []
    assert len(searched(whole_problems(made()).values())) == 3
    rejected = [
        replace(one, outcome=TrialOutcome.REJECTED, reason="spills", samples_ms=())
        for one in next(iter(problems.values()))
    ]
    assert searched([made()[: TRIALS + 1], [*few[:5], *rejected]]) == [made()[: TRIALS + 1]]
    page = tuning.measured_parts(few, {"sweep": "", "seeds": 1, "rows": []})["searches"]
    assert page.startswith("3 of 3 problems have no more candidates than a search has trials")


def test_the_table_of_transfers_and_the_worst() -> None:
    page = tuning.measured_parts(made(), {"sweep": "", "seeds": 1, "rows": []})["transfer"]
    found = list(transfers_of(whole_problems(made())))
    assert [cells[-2:] for cells in rows(page)] == [
        [f"{row.regret:.2%}", f"{row.default:.2%}"] for row in found
    ]
    worst = max(found, key=lambda row: row.regret)
    assert f"The worst is radial on {worst.key.frames} × 1,024 tokens with 8 heads" in page
    assert f"`triton`: {worst.regret:.2%} slower than the best (tuned for this mask on" in page
    half = median(row.regret for row in found)
    (middle, highest) = rows(page.split("\n\n")[2])
    assert middle == ["transfer, `triton`, median", "at most 2%", f"{half:.3%}", "yes"]
    assert highest == ["transfer, `triton`, worst", "at most 5%", f"{worst.regret:.3%}", "yes"]


def test_targets_are_met_up_to_the_bound() -> None:
    table = target_table([most("one", 0.02, 0.02), most("other", 0.02, 0.0204)])
    assert [cells[1:] for cells in rows(table)] == [
        ["at most 2%", "2.000%", "yes"], ["at most 2%", "2.040%", "**no**"]
    ]  # fmt: skip


def test_pairs_are_all_that_lookups_may_bring_together() -> None:
    other = replace(SHAPES[0], head_dim=64)
    problems = whole_problems(landscape.sweep([*SHAPES[:2], other], noise=0.002))
    first, second, _ = problems
    pairs = pairs_of(problems)
    # The third has another head dimension.
    assert [pair.distance for pair in pairs] == [distance(first, second)] * 2
    assert all(pair.same_mask for pair in pairs)
    found = list(transfers_of(problems))
    assert [pair.regret for pair in pairs] == [found[1].regret, found[0].regret]
    assert [pair.default for pair in pairs] == [found[1].default, found[0].default]


def step(far: float, over: float, count: int = 6) -> list[Pair]:
    """Pairs at a distance, slower than the default by some."""
    return [Pair(far, bool(place % 2), 0.02 + over, 0.02) for place in range(count)]


@pytest.mark.parametrize(
    ("pairs", "bound"),
    [
        (step(1, -0.01) + step(2.5, 0.01), 2.0),
        (step(1, -0.01) + step(2.5, 0.01) + step(7, -0.01), 2.0),
        (step(1, -0.01) + step(2.5, 0.0), None),
        # Too few to say something.
        (step(1, -0.01) + step(2.5, 0.01, 5), None),
        (step(0, 0.01), 0.0),
        (step(FARTHEST, -0.01) + step(FARTHEST + 0.1, 0.01), FARTHEST),
        ([], None),
    ],
)
def test_the_bound_that_the_data_suggests(pairs: list[Pair], bound: float | None) -> None:
    assert suggested(pairs) == bound
    text = bound_text(pairs)
    assert text.startswith(f"The bound on distances, `FARTHEST`, is {FARTHEST:g}. ")
    if bound is not None:
        assert f"is better beyond {'it' if bound == FARTHEST else f'{bound:g}'}." in text
    else:
        most = max((pair.distance for pair in pairs), default=0)
        assert f"beyond {most:.1f} nothing was measured." in text


def test_regrets_by_distance_and_mask() -> None:
    table = distance_table([*step(0, 0.01, 3), *step(1, -0.01, 1), *step(1.5, 0, 2)])
    assert rows(table) == [
        ["0 to 1", "same", "1", "3.00%", "3.00%", "2.00%", "1"],
        ["0 to 1", "other", "3", "3.00%", "3.00%", "2.00%", "2"],
        ["1 to 2", "same", "1", "2.00%", "2.00%", "2.00%", "0"],
        ["1 to 2", "other", "1", "2.00%", "2.00%", "2.00%", "0"],
    ]


def test_gains_count_only_what_is_faster() -> None:
    records = [tuned(), kept(frames=9), tuned(backend="hopper", device="Other GPU")]
    first, summary, second, other = tuning.gains(records).split("\n\n")
    one, two = rows(first)
    assert one[:5] == ["radial", "9 × 1,560", "12", "`triton`", "nothing"]
    assert one[7] == "none"
    assert two[4:] == [
        "block_n 128 → 64, num_stages 2 → 3", "10", "8", "1.250 (1.240 to 1.260)"
    ]  # fmt: skip
    assert summary == (
        "1 of 2 run faster than with the default, 1.25 times as fast at most. "
        "Example GPU; torch 2.13.0, triton 3.7.1; 2026-01-02."
    )
    assert len(rows(second)) == 1
    assert other.startswith("1 of 1 run faster")
    assert "1 of 1" not in tuning.gains([kept()])


def test_what_changed() -> None:
    assert tuning.changed(KernelConfig(), KernelConfig()) == ""
    assert tuning.changed(KernelConfig(), KernelConfig(num_warps=4)) == "num_warps None → 4"
    steps = GradientSteps(Steps(64, 32, 4, 5), Steps(64, 32, 4, 5))
    other = GradientSteps(Steps(64, 32, 4, 5), Steps(32, 32, 4, 5))
    told = tuning.changed(KernelConfig(gradients=steps), KernelConfig(gradients=other))
    assert told == "dkdv.own 64 → 32"


def keys_of(suite: str) -> list[TuningKey]:
    cases = tunable_cases(plan(load_suite(suite)), "cuda")
    return [key_of(case.problem, case.backend or "", "a GPU") for case in cases]


def test_every_problem_of_the_shipped_suites_has_a_tuned_one_near_it() -> None:
    """Of its own mask, where two suites have that mask."""
    own = [*keys_of(str(SUITE)), *keys_of(str(SUITE.with_name("tuned.yaml")))]
    suites: dict[str, set[str]] = defaultdict(set)
    wanted: dict[TuningKey, None] = {}
    for name in (*SUITES, str(SUITE.with_name("kernels.yaml"))):
        for key in keys_of(name):
            suites[key.mask_fingerprint].add(name)
            wanted[key] = None
    for key in wanted:
        assert _nearest(key, own) <= FARTHEST, key
        if len(suites[key.mask_fingerprint]) > 1:
            same = [one for one in own if one.mask_fingerprint == key.mask_fingerprint]
            assert _nearest(key, same) <= FARTHEST, key


def _nearest(key: TuningKey, tuned: Sequence[TuningKey]) -> float:
    found = [one for one in tuned if (one.backend, one.head_dim) == (key.backend, key.head_dim)]
    return min((distance(one, key) for one in found), default=float("inf"))


def test_aims_are_those_of_the_page() -> None:
    assert (tuning.COST, tuning.MEDIAN, tuning.HIGH, tuning.WORST) == (0.1, 0.02, 0.05, 0.05)
    assert f"replayed with {tuning.SEEDS} seeds" in TEXT
