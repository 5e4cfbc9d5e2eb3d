"""What is measured of a call: times, memory, accuracy, and what the GPU said meanwhile."""

from dataclasses import dataclass
from statistics import median, quantiles

from radialbench.errors import RecordError
from radialbench.records import _check

CACHES = ("cold", "warm")
LAUNCHES = ("sustained", "isolated")
STOPS = ("precise", "samples", "time")

POWER_CAP = "power cap"
"""What holds a GPU's clocks back without being a fault: large ones run at that limit under load."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What a GPU's counters said beside each sample: one entry a sample, or none if not told.

    Attributes:
        source: `nvml`, or why nothing was read.
        sm_mhz: Clock of the processors.
        power_w: Watts drawn.
        temperature_c: Degrees Celsius.
        slowed_by: What held the clocks back, `, ` between several; empty text for nothing.
    """

    source: str
    sm_mhz: tuple[float, ...] = ()
    power_w: tuple[float, ...] = ()
    temperature_c: tuple[float, ...] = ()
    slowed_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sm_mhz", "power_w", "temperature_c", "slowed_by"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check.filled(self, "source")


@dataclass(frozen=True, slots=True)
class Measurement:
    """Samples of a time, as they were taken.

    Attributes:
        samples_ms: Every timed call, in order.
        warmups: Calls before them.
        cache: `cold` (flushed before each sample) or `warm`.
        timer: What measured: `perf_counter`, or a GPU's `cuda_event`.
        clocks: What is known of the clocks.
        launches: `sustained`, one right after the other, or `isolated`, each after a pause: a GPU
            that its power limits has a fresh budget then, and a clock that may have to rise first.
        stopped: Why no more samples were taken: `precise` (the median was known well enough),
            `samples` (there were as many as asked for) or `time`; None where that is not known.
        rounds: What a GPU's counters said beside the samples; None on a CPU.
        processes: How many samples each process took, in order, where several did; empty for one.
    """

    samples_ms: tuple[float, ...]
    warmups: int
    cache: str
    timer: str
    clocks: str | None
    launches: str = "sustained"
    stopped: str | None = None
    rounds: Rounds | None = None
    processes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples_ms", tuple(self.samples_ms))
        object.__setattr__(self, "processes", tuple(self.processes))
        if not self.samples_ms:
            raise RecordError("Measurement.samples_ms must hold at least one sample")
        _check.all_above_0(self, "samples_ms")
        _check.whole(self, "warmups", at_least=0)
        _check.one_of(self, "cache", CACHES)
        _check.one_of(self, "launches", LAUNCHES)
        _check.filled(self, "timer")
        if self.stopped is not None:
            _check.one_of(self, "stopped", STOPS)
        if self.rounds is not None:
            self._check_rounds(self.rounds)
        counts, count = self.processes, len(self.samples_ms)
        if counts and (min(counts) < 1 or sum(counts) != count):
            raise RecordError(
                f"Measurement.processes must be counts above 0 of {count} samples, got {counts}"
            )

    def _check_rounds(self, rounds: Rounds) -> None:
        for name in ("sm_mhz", "power_w", "temperature_c", "slowed_by"):
            if len(getattr(rounds, name)) not in (0, len(self.samples_ms)):
                raise RecordError(
                    f"Rounds.{name} must hold one entry for each of the {len(self.samples_ms)} "
                    f"samples, or none, got {len(getattr(rounds, name))}"
                )

    @property
    def throttled(self) -> tuple[bool, ...]:
        """For each sample, whether heat or the hardware held the GPU's clocks back beside it."""
        slowed_by = self.rounds.slowed_by if self.rounds else ()
        if not slowed_by:
            return (False,) * len(self.samples_ms)
        return tuple(words not in ("", POWER_CAP) for words in slowed_by)

    @property
    def steady_ms(self) -> tuple[float, ...]:
        """The samples that were not throttled; all of them if there are none."""
        if self.rounds is None:
            return self.samples_ms
        flagged = zip(self.samples_ms, self.throttled, strict=True)
        return tuple(ms for ms, slow in flagged if not slow) or self.samples_ms

    @property
    def median_ms(self) -> float:
        """The middle of the steady samples."""
        return median(self.steady_ms)

    @property
    def process_medians_ms(self) -> tuple[float, ...]:
        """The middle of each process's steady samples, or of all of them if it has none."""
        found, start, throttled = [], 0, self.throttled
        for count in self.processes or (len(self.samples_ms),):
            part = slice(start, start + count)
            flagged = zip(self.samples_ms[part], throttled[part], strict=True)
            steady = [ms for ms, slow in flagged if not slow]
            found.append(median(steady or self.samples_ms[part]))
            start += count
        return tuple(found)

    @property
    def iqr_ms(self) -> float:
        """Distance between the quartiles of the steady samples; 0 for a single one."""
        if len(self.steady_ms) == 1:
            return 0.0
        low, _, high = quantiles(self.steady_ms, n=4, method="inclusive")
        return high - low

    def unlike(self, other: "Measurement") -> list[str]:
        """Say why two measurements must not be compared; empty if they may."""
        return [
            f"{name}: {getattr(self, name)} and {getattr(other, name)}"
            for name in ("cache", "timer", "clocks", "launches")
            if getattr(self, name) != getattr(other, name)
        ]


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of a call.

    Attributes:
        peak_bytes: What the call added at its peak; None where that cannot be told.
        source: What was measured, and how.
        workspace_bytes: Of that, what the call had given back when it ended: all but its outputs;
            None where that cannot be told.
        process_bytes: Memory of the GPU that the process held then, by NVML: context, kernels and
            what the allocator keeps included; None on a CPU or where it is not told.
    """

    peak_bytes: int | None
    source: str
    workspace_bytes: int | None = None
    process_bytes: int | None = None

    def __post_init__(self) -> None:
        _check.whole(self, "peak_bytes", "workspace_bytes", "process_bytes", at_least=0)
        _check.filled(self, "source")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far a backend's result is from the definition, on the tensors that are timed.

    Attributes:
        max_abs_error: Largest error of the output.
        rms_error: Root of the output's mean squared error.
        max_lse_error: Largest error of the log-sum-exp.
        tolerance: Bound of both largest errors.
        rows: Query rows compared.
        rows_total: Query rows there are.
        reference: What it was compared with.
    """

    max_abs_error: float
    rms_error: float
    max_lse_error: float
    tolerance: float
    rows: int
    rows_total: int
    reference: str

    def __post_init__(self) -> None:
        _check.finite(self, "tolerance", above=0)
        _check.whole(self, "rows", at_least=1)
        _check.whole(self, "rows_total", at_least=self.rows)
        _check.filled(self, "reference")

    @property
    def passed(self) -> bool:
        """Whether both largest errors lie within the tolerance; nan does not."""
        return self.max_abs_error <= self.tolerance and self.max_lse_error <= self.tolerance


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a GPU's own counters said while one call was made again and again, without pauses.

    Attributes:
        calls: How many were made.
        seconds: How long they took together.
        energy_j: Joules of one call, board and memory included; None where the GPU does not count.
        power_w: Watts drawn, the mean of the readings.
        sm_mhz: Clock of the processors, the median of the readings.
        memory_mhz: Clock of the memory, likewise.
        temperature_c: Highest temperature read, in degrees Celsius.
        slowed_by: What held the clocks back during the stretch, such as `power cap`.
    """

    calls: int
    seconds: float
    energy_j: float | None
    power_w: float | None
    sm_mhz: float | None
    memory_mhz: float | None
    temperature_c: float | None
    slowed_by: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "slowed_by", tuple(self.slowed_by))
        _check.whole(self, "calls", at_least=1)
        _check.finite(self, "seconds", above=0)
        _check.finite(self, "energy_j", "power_w", "sm_mhz", "memory_mhz", "temperature_c")
