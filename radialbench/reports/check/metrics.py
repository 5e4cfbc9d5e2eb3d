"""What is compared of a record, one value a metric, and the least change of it that counts."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import geometric_mean

from radialbench.errors import RecordError, ReportError
from radialbench.records.fidelity import Fidelity
from radialbench.records.gate import Gate, gate_text, read_gate, setting_of
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate, effective_size, estimate_median
from radialbench.reports.rows import busy, ceiling_fractions
from radialbench.reports.text import MIB, format_mib, format_sig3, printable

RUNS_GPU = 0.02
"""How much two processes of the same code on one GPU differ by, as a standard deviation of the
ratio: samples of one process do not show it. Above that of processes on an H100 and on an H200,
recorded by `radialbench noise` (docs/check.md); the two below are assumed, not measured."""

RUNS_CPU = 0.03
RUNS_ENERGY = 0.02

RESIDENT, RESIDENT_BYTES = 0.1, 8 << 20
"""What the high-water mark of a resident set differs by from run to run, as a share and in bytes:
two runs of 24 cases of `smoke` had it up to 2.3 MiB apart. PyTorch's allocator counts exactly."""


ALL_CASES = "all cases"

NoiseFloor = float | Mapping[str, float] | None
"""What two processes of the same code are known to differ by, as the standard deviation of the
ratio: of every case, or by case and for `ALL_CASES`; None if it is not known."""


def known_noise(floor: NoiseFloor, case: str) -> float | None:
    """Return what two processes are known to differ by in a case."""
    return floor.get(case, floor[ALL_CASES]) if isinstance(floor, Mapping) else floor


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A value of one record, as a cost: more is worse.

    Attributes:
        value: In the metric's unit.
        runs: What two processes of the same code are assumed to differ by, as a share; 0 for an
            exact metric.
        slack: The same, in the metric's unit.
        interval: The value with its interval, from its samples; None if they are too few.
        samples: How many independent samples it is worth; None for a metric without samples.
        processes: The value in each process that measured it.
        source: What was measured; values of two sources are not compared.
    """

    value: float
    runs: float = 0.0
    interval: Estimate | None = None
    samples: float | None = None
    source: str = ""
    slack: float = 0.0
    processes: tuple[float, ...] = ()


def latency(record: Record) -> MetricValue | None:
    """Return the time of a call in ms, without that of the token order."""
    return _timed(record) if record.measure == "attention" else None


def compiling(record: Record) -> MetricValue | None:
    """Return the time to compile a mask's table, in ms."""
    return _timed(record) if record.measure == "compile" else None


def cycles(record: Record) -> MetricValue | None:
    """Return the cycles of the GPU's SMs that a call takes, in thousands."""
    timing = record.timing
    clocks = timing.rounds.sm_mhz if timing and timing.rounds else ()
    if timing is None or not clocks or min(clocks) <= 0:
        return None
    counts = tuple(ms * mhz for ms, mhz in zip(timing.samples_ms, clocks, strict=True))
    return sampled_value(replace(timing, samples_ms=counts), RUNS_GPU)


def ceiling(record: Record) -> MetricValue | None:
    """Return the matmul's rate over that of the visited blocks, timed in turn."""
    shares = ceiling_fractions(record)
    if not shares or record.timing is None:
        return None
    costs = tuple(1 / share for share in shares)
    # Throttled pairs are left out, so that what is left of each process is not known.
    whole = len(costs) == len(record.timing.samples_ms)
    processes = record.timing.processes if whole else ()
    return sampled_value(
        replace(record.timing, samples_ms=costs, rounds=None, processes=processes), RUNS_GPU
    )


def energy(record: Record) -> MetricValue | None:
    """Return the joules of a call."""
    counters = busy(record)
    energy_j = counters.energy_j if counters else None
    return MetricValue(energy_j, RUNS_ENERGY) if energy_j else None


def memory(record: Record) -> MetricValue | None:
    """Return what a call adds to memory at its peak, in bytes."""
    usage = record.memory
    if usage is None or usage.peak_bytes is None or record.timing is None:
        return None
    resident = "resident set" in usage.source
    runs, slack = (RESIDENT, float(RESIDENT_BYTES)) if resident else (0.0, 0.0)
    return MetricValue(usage.peak_bytes, runs, source=usage.source, slack=slack)


def accuracy(record: Record) -> MetricValue | None:
    """Return the largest error, as a share of the tolerance."""
    errors = record.accuracy
    if errors is None:
        return None
    return MetricValue(errors.error_share, source=errors.reference)


def mass_kept(record: Record) -> MetricValue | None:
    """Return the mean share of attention mass that the mask loses."""
    found = record.fidelity
    return MetricValue(1 - found.mass_kept.value, source=_looked_at(found)) if found else None


def output_error(record: Record) -> MetricValue | None:
    """Return the mean relative error of the output that the mask makes."""
    found = record.fidelity
    return MetricValue(found.output_error.value, source=_looked_at(found)) if found else None


def _looked_at(fidelity: Fidelity) -> str:
    parts = (fidelity.inputs.digest, fidelity.rows, fidelity.method)
    return f"{', '.join(map(str, parts))}"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is compared.

    Attributes:
        value_of: Returns its value in a record; None where the record has none.
        worse: What more of it is called.
        better: What less of it is called.
        unit: Of the value as it is shown.
        sampled: Whether it varies from run to run, so that a change may be chance.
        share: Whether it is shown as one over the cost, as a share.
        kept: Whether it is shown as one minus the cost, as a share.
    """

    value_of: Callable[[Record], MetricValue | None]
    worse: str
    better: str
    unit: str = ""
    sampled: bool = True
    share: bool = False
    kept: bool = False

    def shown(self, cost: float) -> float:
        """Return a value as it is shown."""
        if self.kept:
            return 1 - cost
        return 1 / cost if self.share else cost

    def shown_interval(self, cost: Estimate | None) -> Estimate | None:
        """Return an interval, of a value or of a ratio, as it is shown."""
        return cost.inverse() if cost and self.share else cost


METRICS: dict[str, Metric] = {
    "latency": Metric(latency, "slower", "faster", "ms"),
    "ceiling": Metric(ceiling, "less of the ceiling", "more of the ceiling", share=True),
    "energy": Metric(energy, "more energy", "less energy", "J"),
    "memory": Metric(memory, "more memory", "less memory", sampled=False),
    "accuracy": Metric(accuracy, "more error", "less error", sampled=False),
    "compile": Metric(compiling, "slower to compile", "faster to compile", "ms"),
    "mass_kept": Metric(mass_kept, "more mass lost", "less mass lost", sampled=False, kept=True),
    "output_error": Metric(output_error, "more error", "less error", sampled=False),
}


def format_value(metric: str, value: float) -> str:
    """Format a metric's value with its unit: `1.05 ms`, `12.0 MiB`, `71.3%`."""
    if metric == "memory":
        return f"{format_mib(value)} MiB"
    if metric == "ceiling":
        return f"{value:.1%}"
    if metric in ("mass_kept", "output_error"):
        return f"{value:.2%}"
    return f"{format_sig3(value)} {METRICS[metric].unit if metric in METRICS else ''}".rstrip()


def cases_without_interval(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the ids of cases whose times have too few samples for a check to judge them."""
    timed = {record.case: value for record in records if (value := _timed(record))}
    return tuple(case for case, value in timed.items() if value.interval is None)


def _timed(record: Record) -> MetricValue | None:
    timing = record.timing
    if timing is None:
        return None
    return sampled_value(timing, RUNS_CPU if _on_cpu(record) else RUNS_GPU)


def _on_cpu(record: Record) -> bool:
    return record.measure == "compile" or record.environment.device == "cpu"


def sampled_value(timing: Measurement, runs: float) -> MetricValue:
    """Return a time that was sampled, with what two processes are assumed to differ by."""
    samples = timing.steady_ms
    # What lasts in one process shows in the samples, and in several in what they differ by.
    processes = timing.process_medians_ms
    several = len(processes) > 1
    size = len(samples) if several else effective_size(samples)
    estimate = estimate_median(samples, size)
    value = geometric_mean(processes) if several else estimate.value
    return MetricValue(
        value=value,
        runs=runs,
        interval=estimate.widened_to(value) if estimate.ends else None,
        samples=size,
        source=", ".join((timing.cache, timing.timer, timing.launches)),
        processes=processes,
    )


Gates = Mapping[str, Gate | None]
"""Gates by metric; None switches one off. Others keep their suite's or default."""

GATES: dict[str, Gate | None] = {
    "latency": Gate(0.02),
    "ceiling": Gate(0.03),
    "energy": Gate(0.10),
    "memory": Gate(0.01, MIB),
    "accuracy": Gate(0.5, 0.05),
    "compile": Gate(0.10),
    "mass_kept": Gate(0.0, 0.005),
    "output_error": Gate(0.05, 0.001),
    "scaling": Gate(0.0, 0.05),
}
"""The defaults. A change that is caught nine times in ten has to be larger than the gate, by 1.3
times what two runs of the same code differ by: hence 2% and not 3% for latency."""

CPU_LATENCY = Gate(0.10)
"""The default for the latency on a CPU, where two runs differ by 3%."""

NO_GATES: dict[str, Gate | None] = {}
"""Those of the suite, or the defaults."""


def set_gates(gates: Gates, settings: Iterable[str]) -> Gates:
    """Return gates in which some are set, as `latency=5%`, `memory=1%,4MiB` or `energy=off`.

    Raises:
        ReportError: There is no such metric, or the size cannot be read.
    """
    try:
        return {**gates, **dict(map(read_gate, settings))}
    except RecordError as error:
        raise ReportError(str(error)) from None


def choose_gates(path: Path | None, settings: Iterable[str] | None) -> Gates:
    """Return the gates of a file, and settings, which take precedence.

    Raises:
        ReportError: One cannot be read.
    """
    return set_gates(read_gates(path) if path else NO_GATES, settings or ())


def read_gates(path: Path) -> Gates:
    """Read gates from a YAML file of lines such as `latency: 5%`.

    Raises:
        ReportError: The file cannot be read, or holds something else.
    """
    from radialbench.maskgen.document import DocumentError, read_document

    try:
        document = read_document(path)
    except DocumentError as error:
        raise ReportError(str(error)) from None
    if not isinstance(document.value, dict):
        raise ReportError(f"{path} must hold lines such as `latency: 5%`")
    gates: Gates = NO_GATES
    for name, size in document.value.items():
        try:
            gates = set_gates(gates, [setting_of(name, size)])
        except ReportError as error:
            raise ReportError(document.message((), str(error), at=(name,))) from None
    return gates


def gates_of(record: Record, asked: Gates) -> Gates:
    """Return every metric's gate for a case: the one asked for, else the suite's, else the default.

    Raises:
        ReportError: The record holds a gate that cannot be read.
    """
    default = {**GATES, "latency": CPU_LATENCY} if _on_cpu(record) else GATES
    try:
        return {**default, **_of_suite(record.gates), **asked}
    except ReportError as error:
        raise ReportError(f"the suite's gates in the results of {record.case}: {error}") from None


def describe_gates(records: Iterable[Record], asked: Gates) -> tuple[str, ...]:
    """Describe the gates that are not the default ones, as `latency 5% (suite, 3 cases)`."""
    counts: Counter[str] = Counter()
    latest = list({(one.measure, one.case): one for one in records}.values())
    for record in latest:
        for metric, gate in _of_suite(record.gates).items():
            if metric not in asked:
                counts[f"{metric} {gate_text(metric, gate)}"] += 1
    lines = [f"{metric} {gate_text(metric, gate)} (asked for)" for metric, gate in asked.items()]
    for text, count in counts.items():
        cases = f", {count} case{'s' * (count != 1)}" if count < len(latest) else ""
        lines.append(f"{text} (suite{cases})")
    return tuple(map(printable, lines))


@lru_cache(maxsize=64)
def _of_suite(settings: tuple[str, ...]) -> Gates:
    return set_gates(NO_GATES, settings)
