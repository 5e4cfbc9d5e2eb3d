"""What is measured of a call: times, memory, accuracy and the GPU's counters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import median, quantiles
from typing import Any

from radialbench.errors import RecordError
from radialbench.records import codec

POWER_CAP = "power cap"
"""A cause of lower clocks that is no fault: large GPUs run at this limit under load."""

COUNTERS = ("sm_mhz", "power_w", "temperature_c", "slowed_by")
"""What `Rounds` holds for each sample."""

COMPARED = ("cache", "timer", "clocks", "launches")
"""Settings of a measurement that two times must share to be compared."""

SHORTEST_MS, LONGEST_MS = 1e-9, 1e12
"""A picosecond and three decades: what a sample of a time can be."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """A GPU's counters beside each sample: one entry a sample, or none.

    Attributes:
        source: `nvml`, or why nothing was read.
        sm_mhz: Clock of the SMs.
        power_w: Watts drawn.
        temperature_c: Degrees Celsius.
        slowed_by: Why the clocks were throttled, `, ` between several; empty text for no reason.
    """

    source: str
    sm_mhz: tuple[float, ...] = ()
    power_w: tuple[float, ...] = ()
    temperature_c: tuple[float, ...] = ()
    slowed_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        codec.check_text(self, "source")
        codec.check_each(self, "sm_mhz", "power_w", "temperature_c")


@dataclass(frozen=True, slots=True)
class Measurement:
    """Samples of a time, as they were taken.

    Attributes:
        samples_ms: Every timed call, in order.
        warmups: Calls before them.
        cache: `cold` (flushed before each sample) or `warm`.
        timer: `perf_counter`, or a GPU's `cuda_event`.
        clocks: Limits of a GPU's clocks and power.
        launches: `sustained`, one right after the other, or `isolated`, each after a pause: a GPU
            at its power limit has a fresh budget then, and a clock that may have to rise first.
        stopped: Why no more samples were taken: `precise` (the median was known well enough),
            `samples` (there were as many as asked for) or `time`; None if not known.
        rounds: A GPU's counters beside the samples; None on a CPU.
        processes: How many samples each process took, in order; empty for a single process.
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
        if not self.samples_ms:
            raise RecordError("Measurement.samples_ms must hold at least one sample")
        codec.check_each(self, "samples_ms", low=SHORTEST_MS, high=LONGEST_MS)
        codec.check_ints(self, "warmups", at_least=0)
        codec.check_choice(self, "cache", ("cold", "warm"))
        codec.check_choice(self, "launches", ("sustained", "isolated"))
        codec.check_text(self, "timer")
        if self.stopped is not None:
            codec.check_choice(self, "stopped", ("precise", "samples", "time"))
        for name in COUNTERS:
            count = len(getattr(self.rounds, name, ()))
            if count not in (0, len(self.samples_ms)):
                raise RecordError(
                    f"Rounds.{name} must hold one entry for each of the {len(self.samples_ms)} "
                    f"samples, or none, got {count}"
                )
        counts, count = self.processes, len(self.samples_ms)
        if counts and (min(counts) < 1 or sum(counts) != count):
            raise RecordError(
                f"Measurement.processes must be counts above 0 of {count} samples, got {counts}"
            )

    @property
    def throttled(self) -> tuple[bool, ...]:
        """Whether each sample was throttled: by heat or hardware, not by the power limit."""
        slowed_by = self.rounds.slowed_by if self.rounds else ()
        if not slowed_by:
            return (False,) * len(self.samples_ms)
        return tuple(reason not in ("", POWER_CAP) for reason in slowed_by)

    @property
    def steady_ms(self) -> tuple[float, ...]:
        """The samples that were not throttled; all of them if there are none."""
        if self.rounds is None:
            return self.samples_ms
        flagged = zip(self.samples_ms, self.throttled, strict=True)
        return tuple(ms for ms, slow in flagged if not slow) or self.samples_ms

    @property
    def median_ms(self) -> float:
        """Median of the steady samples."""
        return median(self.steady_ms)

    @property
    def process_medians_ms(self) -> tuple[float, ...]:
        """Median of each process's steady samples, or of all of them if it has none."""
        samples = list(zip(self.samples_ms, self.throttled, strict=True))
        ends = list(accumulate(self.processes or (len(samples),), initial=0))
        parts = [samples[start:end] for start, end in pairwise(ends)]
        steady = ([ms for ms, slow in part if not slow] for part in parts)
        pairs = zip(steady, parts, strict=True)
        return tuple(median(kept or [ms for ms, _ in part]) for kept, part in pairs)

    @property
    def iqr_ms(self) -> float:
        """Interquartile range of the steady samples; 0 for a single one."""
        if len(self.steady_ms) == 1:
            return 0.0
        low, _, high = quantiles(self.steady_ms, n=4, method="inclusive")
        return high - low

    def at(self, places: Sequence[int]) -> "Measurement":
        """Return the samples at some places, with the counters beside them."""
        samples, rounds = tuple(self.samples_ms[place] for place in places), self.rounds
        if rounds is not None:
            chosen: dict[str, Any] = {}
            for name in COUNTERS:
                if column := getattr(rounds, name):
                    chosen[name] = tuple(column[place] for place in places)
            rounds = replace(rounds, **chosen)
        return replace(self, samples_ms=samples, rounds=rounds)

    @property
    def protocol(self) -> tuple[str | None, ...]:
        """Its values of `COMPARED`."""
        return tuple(getattr(self, name) for name in COMPARED)

    def protocol_diff(self, other: "Measurement") -> list[str]:
        """Return the settings that differ, which rule out a comparison."""
        pairs = zip(COMPARED, self.protocol, other.protocol, strict=True)
        return [f"{name}: {own} and {its}" for name, own, its in pairs if own != its]


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of a call.

    Attributes:
        peak_bytes: What the call added at its peak; None if not known.
        source: What was measured, and how.
        workspace_bytes: Of that, what was free again when it ended: all but its outputs; None if
            not known.
        process_bytes: GPU memory of the process, by NVML, with context, kernels and the allocator's
            cache; None on a CPU or if not known.
    """

    peak_bytes: int | None
    source: str
    workspace_bytes: int | None = None
    process_bytes: int | None = None

    def __post_init__(self) -> None:
        codec.check_ints(self, "peak_bytes", "workspace_bytes", "process_bytes", at_least=0)
        codec.check_text(self, "source")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Errors of a backend's result against the definition, on the tensors that are timed.

    Attributes:
        max_abs_error: Largest error of the output.
        rms_error: Root of the output's mean squared error.
        max_lse_error: Largest error of the log-sum-exp.
        tolerance: Bound of both largest errors.
        rows: Query rows that were compared.
        rows_total: All query rows.
        reference: What they were compared with.
        lse_tolerance: Bound of the log-sum-exp's, if it has another.
    """

    max_abs_error: float
    rms_error: float
    max_lse_error: float
    tolerance: float
    rows: int
    rows_total: int
    reference: str
    lse_tolerance: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_abs_error", "rms_error", "max_lse_error"):
            if getattr(self, name) < 0:  # nan and infinity are those of a result that is not finite
                codec.check_numbers(self, name)
        codec.check_numbers(self, "tolerance", "lse_tolerance", above=0)
        codec.check_ints(self, "rows", at_least=1)
        codec.check_ints(self, "rows_total", at_least=self.rows)
        codec.check_text(self, "reference")

    @property
    def passed(self) -> bool:
        """Whether both largest errors lie within their tolerance; nan does not."""
        return self.max_abs_error <= self.tolerance and self.max_lse_error <= self._of_lse

    @property
    def error_share(self) -> float:
        """The larger error as a share of its tolerance."""
        return max(self.max_abs_error / self.tolerance, self.max_lse_error / self._of_lse)

    @property
    def _of_lse(self) -> float:
        return self.tolerance if self.lse_tolerance is None else self.lse_tolerance


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A GPU's counters over repeated calls without pauses.

    Attributes:
        calls: How many calls.
        seconds: Time of all calls.
        energy_j: Joules per call, board and memory included; None if the GPU does not count them.
        power_w: Watts drawn, the mean of the readings.
        sm_mhz: Clock of the SMs, the median of the readings.
        memory_mhz: Clock of the memory, the median of the readings.
        temperature_c: Highest reading, in degrees Celsius.
        slowed_by: Why the clocks were throttled, such as `power cap`.
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
        codec.check_ints(self, "calls", at_least=1)
        codec.check_numbers(self, "seconds", above=0)
        codec.check_numbers(self, "energy_j", "power_w", "sm_mhz", "memory_mhz", "temperature_c")
