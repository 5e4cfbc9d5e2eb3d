"""What is compared of a record: one figure a metric, as a cost, with what its samples say of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import median, stdev

from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate, estimate_median
from radialbench.reports.rows import busy, ceiling_fractions
from radialbench.reports.text import format_mib, format_sig3

RUNS_GPU = 0.005
"""How much two runs of the same code on one GPU differ by, as a standard deviation of the ratio:
samples of one run do not show it. Above what runs on an H100 did, which `radialbench
noise` recorded and docs/check.md tells; the two below are taken, not measured."""

RUNS_CPU = 0.03
RUNS_ENERGY = 0.02

RESIDENT, RESIDENT_BYTES = 0.1, 8 << 20
"""What the high-water mark of a resident set differs by from run to run, as a share and in bytes:
two runs of 24 cases of `smoke` had it up to 2.3 MiB apart. PyTorch's allocator counts exactly."""


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A figure of one record, as a cost: more is worse.

    Attributes:
        value: In the metric's unit.
        runs: What two runs of the same code differ by, as a share; 0 for what is the same.
        slack: The same, in the metric's unit.
        interval: The value with its interval, from its samples; None if they are too few.
        samples: How many there are; None for what has none.
        source: What was measured; figures of two sources are not compared.
    """

    value: float
    runs: float = 0.0
    interval: Estimate | None = None
    samples: int | None = None
    source: str = ""
    slack: float = 0.0


def latency(record: Record) -> MetricValue | None:
    """Time of a call, in ms, token order apart."""
    return _timed(record) if record.measure == "attention" else None


def compiling(record: Record) -> MetricValue | None:
    """Time to compile a mask's table, in ms."""
    return _timed(record) if record.measure == "compile" else None


def cycles(record: Record) -> MetricValue | None:
    """Cycles of the GPU's processors that a call takes, in thousands."""
    timing = record.timing
    clocks = timing.rounds.sm_mhz if timing and timing.rounds else ()
    if timing is None or not clocks or min(clocks) <= 0:
        return None
    taken = zip(timing.samples_ms, clocks, timing.throttled, strict=True)
    every = [(ms * mhz, slow) for ms, mhz, slow in taken]
    return _sampled([count for count, slow in every if not slow] or [c for c, _ in every], RUNS_GPU)


def ceiling(record: Record) -> MetricValue | None:
    """The matrix product's rate over that of the visited blocks, timed in turn."""
    shares = ceiling_fractions(record)
    return _sampled([1 / share for share in shares], RUNS_GPU) if shares else None


def energy(record: Record) -> MetricValue | None:
    """Joules of a call."""
    counters = busy(record)
    if counters is None or not counters.energy_j:
        return None
    return MetricValue(counters.energy_j, RUNS_ENERGY)


def memory(record: Record) -> MetricValue | None:
    """What a call adds to memory at its peak, in bytes."""
    found = record.memory
    if found is None or found.peak_bytes is None or record.timing is None:
        return None
    if "resident set" in found.source:
        return MetricValue(
            found.peak_bytes, RESIDENT, source=found.source, slack=float(RESIDENT_BYTES)
        )
    return MetricValue(found.peak_bytes, source=found.source)


def accuracy(record: Record) -> MetricValue | None:
    """The largest error, as a share of the tolerance."""
    found = record.accuracy
    if found is None:
        return None
    return MetricValue(
        max(found.max_abs_error, found.max_lse_error) / found.tolerance, source=found.reference
    )


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is compared.

    Attributes:
        value_of: Finds it in a record; None where the record has none.
        worse: What more of it is called.
        better: What less of it is called.
        sampled: Whether it varies from run to run, so that a change needs to be told from chance.
        share: Whether people read one over the cost, as a share.
    """

    value_of: Callable[[Record], MetricValue | None]
    worse: str
    better: str
    sampled: bool = True
    share: bool = False


METRICS: dict[str, Metric] = {
    "latency": Metric(latency, "slower", "faster"),
    "ceiling": Metric(ceiling, "less of the ceiling", "more of the ceiling", share=True),
    "energy": Metric(energy, "more energy", "less energy"),
    "memory": Metric(memory, "more memory", "less memory", sampled=False),
    "accuracy": Metric(accuracy, "more error", "less error", sampled=False),
    "compile": Metric(compiling, "slower to compile", "faster to compile"),
}


UNITS = {"latency": "ms", "compile": "ms", "energy": "J"}


def format_value(metric: str, value: float) -> str:
    """Format a metric's value with its unit: `1.05 ms`, `12.0 MiB`, `71.3%`."""
    if metric == "memory":
        return f"{format_mib(value)} MiB"
    if metric == "ceiling":
        return f"{value:.1%}"
    return f"{format_sig3(value)} {UNITS.get(metric, '')}".rstrip()


def _timed(record: Record) -> MetricValue | None:
    timing = record.timing
    if timing is None:
        return None
    on_gpu = record.measure == "attention" and record.environment.device != "cpu"
    return _sampled(timing.steady_ms, RUNS_GPU if on_gpu else RUNS_CPU, timing)


def _sampled(
    samples: Sequence[float], runs: float, timing: Measurement | None = None
) -> MetricValue:
    found = estimate_median(samples)
    return MetricValue(
        value=found.value,
        runs=max(runs, _drift(samples), _apart(timing) if timing else 0.0),
        interval=found if found.ends else None,
        samples=len(samples),
        source=", ".join((timing.cache, timing.timer, timing.launches)) if timing else "",
    )


def _drift(samples: Sequence[float]) -> float:
    """Half of what the medians of a run's halves differ by: a run that drifts knows itself less."""
    half = len(samples) // 2
    if half < 10:
        return 0.0
    return abs(log(median(samples[:half]) / median(samples[half:]))) / 2


def _apart(timing: Measurement) -> float:
    """What two such figures differ by for what their processes do: the processes are the units."""
    middles = [log(ms) for ms in timing.process_medians_ms]
    return stdev(middles) * sqrt(2 / len(middles)) if len(middles) > 1 else 0.0
