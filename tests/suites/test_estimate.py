"""What a run will take is estimated from blocks, rates and the protocol, and nothing is run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.errors import SuiteError
from radialbench.kernels.measure.environment import environment
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.language.heads import AnyMask
from radialbench.records.measurement import Measurement
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment, Record
from radialbench.records.store import RESULTS, append
from radialbench.suites import estimate as cost
from radialbench.suites.estimate import Rate, RunEstimate, estimate_cases, estimate_run
from radialbench.suites.plan import plan
from radialbench.suites.resources import Tables
from radialbench.suites.run import run
from tests.records.sample import RECORD
from tests.suites import small

HERE = environment("")
GRID = {"frames": 40, "height": 24, "width": 32}


class Steady(Tables):
    """Compiles in a millisecond, whatever it took."""

    def table(self, mask: AnyMask, grid: TokenGrid, config: KernelConfig) -> tuple[AnyTable, float]:
        return super().table(mask, grid, config)[0], 1.0


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "Tables", Steady)


def told(*records: Record, **fields: Any) -> RunEstimate:
    """Estimate the small suite with other entries in its matrix."""
    spec = small.matrix(**fields)
    return estimate_cases(spec, plan(spec), records)


def record(gigaflops: float, here: Environment = HERE) -> Record:
    """A record of this machine, or of another, at a rate."""
    assert RECORD.table
    table = replace(RECORD.table, executed_flops=10**9)
    timing = Measurement((1e3 / gigaflops,), 1, "warm", "perf_counter", None)
    return replace(RECORD, table=table, timing=timing, environment=here)


def seconds(samples: int, limit: float = 86400, warmups: int = 1, **fields: Any) -> list[float]:
    """Estimate cases at 1 GFLOP/s."""
    protocol = {"max_samples": samples, "max_seconds": limit, "warmups": warmups} | fields
    found = told(record(1), grids=[GRID], masks=["sta", "dense"], protocol=protocol)
    return [one.seconds for one in found.estimates]


def test_calls_take_the_operations_of_the_visited_blocks_over_the_rate() -> None:
    cases = small.cases(grids=[GRID], masks=["sta", "dense"])
    for case, one, two in zip(cases, seconds(1), seconds(2), strict=True):
        table = compile_any(case.mask, case.grid, 16, 16)
        flops = table.block_density * 4 * 2 * 8 * case.problem.seq_len**2
        assert two - one == pytest.approx(flops / 1e9)


def test_sampling_ends_when_its_time_is_up() -> None:
    call = seconds(2)[1] - seconds(1)[1]
    assert seconds(10**6, limit=50)[1] - seconds(1)[1] == pytest.approx(50)
    assert seconds(10**6, limit=1e-3)[1] - seconds(1)[1] == pytest.approx(1e-3)
    assert seconds(1, warmups=4)[1] - seconds(1)[1] == pytest.approx(3 * call)


def test_cases_sampled_in_turn_share_their_time() -> None:
    alone = sum(seconds(10**6, limit=50)) - sum(seconds(1))
    together = sum(seconds(10**6, limit=50, interleave=True)) - sum(seconds(1))
    assert alone == pytest.approx(100)
    assert together == pytest.approx(50)


def test_rates_are_medians_of_the_records_of_this_machine() -> None:
    other = replace(HERE, cpu="Another 3000")
    records = [record(rate) for rate in (1, 3, 2)] + [record(100, other)]
    (rate,) = told(*records).rates
    assert (rate.backend, rate.records) == ("cpu", 3)
    assert rate.flops_per_s == pytest.approx(2e9)


def test_rates_of_what_was_never_measured_are_defaults() -> None:
    default = cost.RATES["cpu"] * HERE.cores
    found = told(record(3), backends=["cpu", "sdpa"])
    assert [rate.records for rate in found.rates] == [1, 0]
    assert found.rates[1] == Rate("sdpa", default, 0)
    assert told(record(3, replace(HERE, device="H100"))).rates == (Rate("cpu", default, 0),)


def test_compiling_is_estimated_by_compiling() -> None:
    protocol = {"min_samples": 1, "max_samples": 4, "max_seconds": 9}
    found = told(measure="compile", backends=None, masks=["radial", "sta"], protocol=protocol)
    assert found.rates == ()
    # One to measure its memory, one to warm up, four samples.
    assert [one.seconds for one in found.estimates] == [pytest.approx(6e-3)] * 4


def test_tables_that_take_too_long_are_taken_as_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = told(masks=["sta"], grids=[GRID])
    monkeypatch.setattr(cost, "COMPILE_S", 0.0)
    bound = told(masks=["sta"], grids=[GRID])
    assert (exact.as_dense, bound.as_dense) == (0, 1)
    assert bound.seconds > exact.seconds


def test_memory_is_that_of_the_largest_case() -> None:
    found = told()
    assert found.nbytes == max(one.nbytes for one in found.estimates) > 0
    assert found.free_bytes is None or found.free_bytes > found.nbytes


def test_a_device_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    spec = small.suite(lambda d: d.update(device="cuda"))
    found = estimate_cases(spec, plan(spec), [record(1)])
    assert (found.missing, found.free_bytes) == ("cuda", None)
    assert found.rates == (Rate("cpu", cost.RATES["cuda"], 0),)


def test_nothing_is_run_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("a backend was asked for")

    monkeypatch.setattr("radialbench.kernels.backends.load_backend", never)
    found = estimate_run(small.suite(), tmp_path / "out", filter=["dense"], shard="1/1")
    assert [one.case.id for one in found.estimates] == [
        case.id for case in plan(small.suite(), ["dense"])
    ]
    assert list(tmp_path.iterdir()) == []


def test_going_on_leaves_out_what_is_done(tmp_path: Path) -> None:
    run(small.suite(), tmp_path / "own", filter=["dense"], in_process=True)
    whole = estimate_run(small.suite(), tmp_path / "own")
    assert (len(whole.estimates), whole.rates[0].records) == (4, 2)
    rest = estimate_run(small.suite(), tmp_path / "own", resume=True)
    assert {one.case.identity.label for one in rest.estimates} == {"radial"}
    beside = estimate_run(small.suite(), tmp_path / "other")
    assert (len(beside.estimates), beside.rates[0].records) == (4, 2)
    with pytest.raises(SuiteError, match="for another mask or shape; the suite has changed"):
        estimate_run(
            small.matrix(head_dim=8, masks=[{"name": "sta", "label": "dense"}]),
            tmp_path / "own",
            resume=True,
        )


def test_results_beside_it_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / RESULTS).write_text('{"schema": 999}\n')
    (tmp_path / "good").mkdir()
    append(tmp_path / "good" / RESULTS, record(2))
    assert estimate_run(small.suite(), tmp_path / "own").rates[0].records == 1
