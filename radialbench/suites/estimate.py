"""Estimate what a run takes before it runs, with a simple model of rates and counts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from radialbench.errors import BackendError, RecordError
from radialbench.kernels.arch import find_device
from radialbench.kernels.measure.environment import environment
from radialbench.records.result import Environment, Record
from radialbench.records.store import RESULTS, read
from radialbench.suites.plan import Case, batches, plan, tuned
from radialbench.suites.resources import ROWS, Tables, available_bytes, needed_bytes
from radialbench.suites.run import check_same_suite, is_done
from radialbench.suites.schema import SuiteSpec

RATES = {"cpu": 5e10, "cuda": 4e14}
"""FLOP/s where nothing was measured: of each core of a server's CPU in float32, and of an H100 in
16 bits."""

CASE_S = 0.5
"""Overhead of a case: planning, making inputs, writing the record."""

KERNEL_S = 10.0
"""Overhead of a backend's first case on a GPU, in which its kernel is compiled."""

FLOAT64 = {"cpu": 2, "cuda": 8}
"""Time of an operation of the comparison in float64, in times of one of a call."""

PAUSED_S = 0.2
"""Overhead of an isolated launch."""

COMPILE_S = 20.0
"""Time for compiling tables; after it the others are taken as dense."""

BLOCK_S = 2e-7
"""Time of compiling a block of a dense table."""

METHOD = (
    "An estimate, and an upper one: of each case the operations of the blocks it visits over a "
    "rate, times the calls its protocol allows at most, and the time to compile its table and to "
    "compare its result. Sampling that is precise sooner ends sooner."
)


@dataclass(frozen=True, slots=True)
class Rate:
    """The assumed speed of a backend in visited blocks.

    It is the median of `records` records of this machine, or a default if there are none.
    """

    backend: str
    flops_per_s: float
    records: int


@dataclass(frozen=True, slots=True)
class CaseEstimate:
    """The time and the memory (tensors, comparison, table) that a case takes at most."""

    case: Case
    seconds: float
    nbytes: int


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run takes at most.

    Attributes:
        estimates: One for each case, in order.
        rates: The rates behind them.
        missing: The device that the suite needs and this machine lacks; its cases would be
            unsupported, and the figures are for a default one.
        free_bytes: Free memory of the device; None where it is not known.
        as_dense: Tables that were taken as dense, because compiling took too long.
    """

    estimates: tuple[CaseEstimate, ...]
    rates: tuple[Rate, ...]
    missing: str | None
    free_bytes: int | None
    as_dense: int

    @property
    def seconds(self) -> float:
        """Time of all cases."""
        return sum(estimate.seconds for estimate in self.estimates)

    @property
    def nbytes(self) -> int:
        """Peak memory over the cases."""
        return max((estimate.nbytes for estimate in self.estimates), default=0)


def estimate_run(
    spec: SuiteSpec,
    out: Path,
    *,
    resume: bool = False,
    filter: Iterable[str] = (),
    shard: str | None = None,
) -> RunEstimate:
    """Estimate what a run takes: compile its tables, and run and write nothing.

    Arguments are as of `run`. The rates of backends come from records of this machine in the folder
    of results, and in the folders beside it.

    Raises:
        SuiteError: Nothing is planned, or the folder holds results of another suite.
        RecordError: The folder's results or the tuned configurations cannot be read.
    """
    cases, results = plan(spec, filter, shard=shard), out / RESULTS
    own = read(results).records if results.exists() else ()
    if resume:
        check_same_suite(spec, own, results)
        earlier = {record.case: record for record in own}
        cases = tuple(c for c in cases if not is_done(c, earlier.get(c.id), results))
    return estimate_cases(spec, cases, (*own, *_records_beside(out)))


def _records_beside(out: Path) -> Iterator[Record]:
    for path in out.resolve().parent.glob(f"*/{RESULTS}"):
        if path.parent != out.resolve():
            with suppress(RecordError, OSError):
                yield from read(path).records


def estimate_cases(
    spec: SuiteSpec, cases: Sequence[Case], records: Iterable[Record] = ()
) -> RunEstimate:
    """Estimate what cases of a suite take; rates come from records of this machine."""
    missing = None
    try:
        device = find_device(spec.device)
    except BackendError:
        device = missing = spec.device
    here = environment("", device="cpu" if missing else device)
    cases = tuned(cases, None if missing else here.processor)
    measured: dict[str, list[float]] = {}
    for record in records if missing is None else ():
        if (
            record.backend
            and record.table
            and record.timing
            and _same_machine(record.environment, here)
        ):
            rate = record.table.executed_flops / record.timing.median_ms * 1e3
            measured.setdefault(record.backend, []).append(rate)
    default = RATES[device] * (here.cores if device == "cpu" else 1)
    names = dict.fromkeys(case.backend for case in cases if case.backend)
    rates = {
        name: Rate(name, median(measured.get(name) or [default]), len(measured.get(name, ())))
        for name in names
    }
    model = _Model(rates, device)
    estimates = tuple(one for batch in batches(cases) for one in model.batch(batch))
    free = None if missing else available_bytes(device)
    return RunEstimate(estimates, tuple(rates.values()), missing, free, model.as_dense)


def _same_machine(one: Environment, other: Environment) -> bool:
    if one.device != other.device:
        return False
    return one.device != "cpu" or (one.cpu, one.threads) == (other.cpu, other.threads)


class _Model:
    """Goes through the cases of a run, and notes what they share with earlier ones."""

    def __init__(self, rates: dict[str, Rate], device: str) -> None:
        self.rates = rates
        self.device = device
        self.tables = Tables()
        self.known: dict[object, tuple[float, float, int]] = {}
        self.compiled_s = 0.0
        self.shared: set[object] = set()
        self.as_dense = 0

    def batch(self, batch: Sequence[Case]) -> list[CaseEstimate]:
        """Estimate cases that are sampled together."""
        protocol, gpu = batch[0].protocol, self.device == "cuda"
        parts = [self.parts(case) for case in batch]
        once = sum(call for call, _, _ in parts)
        most = min(protocol.max_samples * once, protocol.max_seconds + once)
        estimates = []
        for case, (call, before, nbytes) in zip(batch, parts, strict=True):
            seconds = before + call * max(protocol.warmups, 1) + most * call / (once or 1)
            if gpu and case.in_turn:
                seconds += protocol.isolated_samples * (PAUSED_S + call)
                seconds += protocol.telemetry_seconds + call
            estimates.append(CaseEstimate(case, seconds, nbytes))
        return estimates

    def parts(self, case: Case) -> tuple[float, float, int]:
        """Return a case's seconds a call, its seconds before the samples, and its bytes."""
        problem, config = case.problem, case.config
        share, compile_s, table_bytes = self.table(case)
        if case.measure == "compile":
            return compile_s, compile_s, table_bytes
        table = (problem.mask_fingerprint, problem.grid, config.block_m, config.block_n)
        before = CASE_S + self.first(table, compile_s)
        heads = problem.batch * problem.heads
        work = 16 * ROWS[self.device] * problem.seq_len * problem.head_dim
        rate = self.rates[case.backend or ""].flops_per_s
        before += self.first((case.group, table), FLOAT64[self.device] * work / rate)
        if self.device == "cuda":
            before += self.first(case.backend, KERNEL_S)
        pairs = problem.q_len * problem.seq_len * share
        call = 2 * problem.matmuls * heads * problem.head_dim * pairs / rate
        permuted = case.mask.permuted
        return call, before, needed_bytes(problem, permuted=permuted) + table_bytes

    def first(self, what: object, seconds: float) -> float:
        """Return the seconds of something that is done once; 0 when it was done before."""
        if what in self.shared:
            return 0.0
        self.shared.add(what)
        return seconds

    def table(self, case: Case) -> tuple[float, float, int]:
        """Return a table's share of visited blocks, its seconds to compile, and its bytes."""
        config, problem = case.config, case.problem
        key = (problem.mask_fingerprint, case.grid, config.block_m, config.block_n)
        if key in self.known:
            return self.known[key]
        rows = -(-problem.q_len // config.block_m)
        columns = -(-problem.seq_len // config.block_n)
        cost = 1.0, BLOCK_S * rows * columns, 4 * rows * columns
        if not case.mask.identity.dense:
            if self.compiled_s < COMPILE_S:
                table, ms = self.tables.table(case.mask, case.grid, config)
                cost = table.block_density, ms / 1e3, table.nbytes
                self.compiled_s += ms / 1e3
            else:
                self.as_dense += 1
        self.known[key] = cost
        return cost
