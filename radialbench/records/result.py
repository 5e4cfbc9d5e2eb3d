"""Record: what one case gave, with everything needed to believe it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from statistics import median, quantiles

from radialbench.errors import RecordError
from radialbench.records import _check
from radialbench.records.problem import KernelConfig, Problem

SCHEMA = 1
"""Version of the stored form. 1: the first."""

MEASURES = ("attention", "compile")
CACHES = ("cold", "warm")


class Status(StrEnum):
    """How a case ended."""

    OK = "ok"
    UNSUPPORTED = "unsupported"
    OOM = "oom"
    FAILED = "failed"
    INACCURATE = "inaccurate"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a case ran.

    Attributes:
        device: Where attention ran: a GPU's name, or `cpu`.
        cpu: The processor's name.
        cores: Cores this process may use.
        threads: Threads the arithmetic used.
        memory_bytes: Memory of the machine.
        os: Operating system and its version.
        python: Version of Python.
        versions: Versions of the libraries present, by name.
        commit: Commit of the source, `+` after it if changed; None outside a checkout.
        command: What was typed.
    """

    device: str
    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    os: str
    python: str
    versions: dict[str, str] = field(hash=False)
    commit: str | None
    command: str

    def __post_init__(self) -> None:
        _check.filled(self, "device")
        _check.whole(self, "cores", "threads", at_least=1)
        _check.whole(self, "memory_bytes", at_least=0)
        object.__setattr__(self, "versions", dict(sorted(self.versions.items())))


@dataclass(frozen=True, slots=True)
class Measurement:
    """Samples of a time, as they were taken.

    Attributes:
        samples_ms: Every timed call, in order.
        warmups: Calls before them.
        cache: `cold` (flushed before each sample) or `warm`.
        timer: What measured, such as `perf_counter`.
        clocks: What is known of the clocks.
    """

    samples_ms: tuple[float, ...]
    warmups: int
    cache: str
    timer: str
    clocks: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples_ms", tuple(self.samples_ms))
        if not self.samples_ms:
            raise RecordError("Measurement.samples_ms must hold at least one sample")
        for sample in self.samples_ms:
            if not _check.is_finite(sample, 0):
                raise RecordError(
                    f"Measurement.samples_ms must be finite numbers above 0, got {sample!r}"
                )
        _check.whole(self, "warmups", at_least=0)
        _check.one_of(self, "cache", CACHES)
        _check.filled(self, "timer")

    @property
    def median_ms(self) -> float:
        """The middle sample."""
        return median(self.samples_ms)

    @property
    def iqr_ms(self) -> float:
        """Distance between the quartiles; 0 for a single sample."""
        if len(self.samples_ms) == 1:
            return 0.0
        low, _, high = quantiles(self.samples_ms, n=4, method="inclusive")
        return high - low

    def unlike(self, other: "Measurement") -> list[str]:
        """Say why two measurements must not be compared; empty if they may."""
        return [
            f"{name}: {getattr(self, name)} and {getattr(other, name)}"
            for name in ("cache", "timer", "clocks")
            if getattr(self, name) != getattr(other, name)
        ]


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of a call.

    Attributes:
        peak_bytes: What the call added at its peak; None where that cannot be told.
        source: What was measured, and how.
    """

    peak_bytes: int | None
    source: str

    def __post_init__(self) -> None:
        _check.whole(self, "peak_bytes", at_least=0)
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
class TableStats:
    """What a block table holds, and what it costs.

    Attributes:
        pairs: Attending (query, key) pairs.
        density: Share of all pairs.
        block_density: Visited blocks as a share of all blocks.
        full: Blocks whose every pair attends.
        partial: Other visited blocks.
        bitmaps: Distinct bitmaps of the partial blocks.
        nbytes: Bytes of the table.
        flops: Operations the mask asks for, over all sequences and heads.
        executed_flops: Operations of the visited blocks, computed whole.
        compile_ms: Time to compile the table, once.
    """

    pairs: int
    density: float
    block_density: float
    full: int
    partial: int
    bitmaps: int
    nbytes: int
    flops: int
    executed_flops: int
    compile_ms: float

    def __post_init__(self) -> None:
        counts = ("pairs", "full", "partial", "bitmaps", "nbytes", "flops", "executed_flops")
        _check.whole(self, *counts, at_least=0)
        _check.finite(self, "density", "block_density", "compile_ms")


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of one case.

    Attributes:
        schema: Version of the stored form.
        suite: Name of the suite.
        case: The case's id, unique in its suite and the same in every run.
        measure: `attention`, or `compile` for the time to compile the mask's table.
        mask: The mask's label, for people.
        group: Cases to compare with one another share a group.
        problem: What was computed.
        backend: What computed it; None where only a table was compiled.
        config: How.
        config_source: Where the configuration comes from.
        table: The block table; None if it could not be compiled.
        status: How the case ended.
        reason: Why it did not end well; None exactly when it did.
        accuracy: Distance from the definition; None where it was not measured.
        timing: Samples; set exactly when the status is ok.
        permute_ms: Time to bring q, k, v into the mask's order and the output back.
        plan_ms: Time of the backend's planning.
        memory: Peak memory of a call.
        environment: Where it ran.
        created: When it ended, in ISO 8601 with its zone.
    """

    schema: int
    suite: str
    case: str
    measure: str
    mask: str
    group: str | None
    problem: Problem
    backend: str | None
    config: KernelConfig
    config_source: str
    table: TableStats | None
    status: Status
    reason: str | None
    accuracy: Accuracy | None
    timing: Measurement | None
    permute_ms: float | None
    plan_ms: float | None
    memory: Memory | None
    environment: Environment
    created: str

    def __post_init__(self) -> None:
        _check.whole(self, "schema", at_least=1)
        _check.filled(self, "suite", "case", "mask", "config_source")
        _check.one_of(self, "measure", MEASURES)
        _check.one_of(self, "status", Status)
        _check.finite(self, "permute_ms", "plan_ms")
        ok = self.status == Status.OK
        if ok != (self.timing is not None):
            raise RecordError(f"Record.timing is set exactly when a case is ok ({self.case})")
        if ok != (self.reason is None) or self.reason == "":
            raise RecordError(f"Record.reason is set exactly when a case is not ok ({self.case})")
        if self.measure == "compile" and (self.backend, self.accuracy) != (None, None):
            raise RecordError(f"compiling has no backend and no accuracy ({self.case})")
        if self.measure == "attention" and self.backend is None:
            raise RecordError(f"attention needs a backend ({self.case})")
        if ok and self.measure == "attention" and not (self.accuracy and self.accuracy.passed):
            raise RecordError(f"no time without an accurate result ({self.case})")
        _check_time(self.created)


def _check_time(text: str) -> None:
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except (TypeError, ValueError):
        zone = None
    if zone is None:
        raise RecordError(f"Record.created must be an ISO 8601 time with its zone, got {text!r}")
