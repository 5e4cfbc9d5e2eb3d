"""What a mask brings in a pipeline: times of calls and of videos, and what Amdahl's law allows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from radialbench.errors import ReportError
from radialbench.records.pipeline import SCHEMA, PipelineTime
from radialbench.records.statistics import Estimate, estimate_median, paired_ratio
from radialbench.records.store import read_every
from radialbench.reports.rows import interleaved_ratio
from radialbench.reports.text import (
    EMPTY_CELL,
    format_interval,
    format_percent,
    format_ratio,
    format_sig3,
    terminal_table,
)

STOCK = "stock"
"""The attention that a pipeline has, as a dense kernel."""

COLUMNS = (
    *("steps", "sparse layers", "dense layers", "call ms", "attention", "peak GiB", "J", "over"),
    *("at density", "at most"),
)
TEXT = ("sparse layers", "dense layers", "over")


@dataclass(frozen=True)
class PipelineTimes:
    """The times of one measurement of a pipeline.

    Attributes:
        records: All calls, dense ones first; their samples were taken in turn.
        left_out: Why a dense kernel was not measured, by its name.
    """

    records: tuple[PipelineTime, ...]
    left_out: dict[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.records:
            raise ReportError("a pipeline's times are those of at least one call, got none")

    @property
    def dense_kernels(self) -> tuple[str, ...]:
        """Dense kernels whose calls were timed."""
        return tuple(one.dense_kernel or "" for one in self.records if one.is_dense and one.timing)

    @property
    def masked(self) -> tuple[PipelineTime, ...]:
        """Calls with masks."""
        return tuple(one for one in self.records if not one.is_dense)

    def dense(self, kernel: str) -> PipelineTime | None:
        """Return the dense call by a kernel; None if it was not timed."""
        found = (one for one in self.records if one.is_dense and one.dense_kernel == kernel)
        return next((one for one in found if one.timing), None)

    def speedup(self, own: PipelineTime, kernel: str) -> Estimate | None:
        """Return how many times as long a dense call takes; None if either was not timed."""
        dense = self.dense(kernel)
        if dense is None or dense.timing is None or own.timing is None:
            return None
        return interleaved_ratio(dense.timing, own.timing)

    def video_s(self, kernel: str, *, masked: bool) -> Estimate | None:
        """Return the seconds of a video's transformer calls, dense layers and steps by a kernel."""
        samples = self._video_ms(kernel, masked=masked)
        return estimate_median([ms / 1e3 for ms in samples]) if samples else None

    def video_speedup(self, kernel: str) -> Estimate | None:
        """Return how many times as long a video takes with dense attention in all steps."""
        above, below = (self._video_ms(kernel, masked=masked) for masked in (False, True))
        return paired_ratio(above, below) if above and below else None

    def _video_ms(self, kernel: str, *, masked: bool) -> list[float]:
        """Return the milliseconds of a video by each round of samples; none if one is missing."""
        dense = self.dense(kernel)
        if dense is None or dense.timing is None:
            return []
        every = dense.steps * dense.calls
        if not masked:
            return [every * ms for ms in dense.timing.samples_ms]
        parts = [one for one in self.masked if one.dense_kernel in (None, kernel)]
        steps = dense.steps - sum(one.count for one in parts)
        total = [steps * dense.calls * ms for ms in dense.timing.samples_ms]
        for one in parts:
            if one.timing is None:
                return []
            times = one.timing.samples_ms
            total = [
                sum_ms + one.count * one.calls * ms for sum_ms, ms in zip(total, times, strict=True)
            ]
        return total

    def __str__(self) -> str:
        """Format as a table for a terminal, and sentences."""
        table = terminal_table(COLUMNS, call_rows(self), text_columns=TEXT)
        return "\n".join([*sentences(self)[:1], table, *sentences(self)[1:]])


def attention_share(record: PipelineTime) -> float | None:
    """Return the share of a call that is self-attention; None if it is not known."""
    if record.timing is None or not record.attention_ms:
        return None
    pairs = zip(record.attention_ms, record.timing.samples_ms, strict=True)
    return min(1.0, median(attention / whole for attention, whole in pairs))


def amdahl(record: PipelineTime, density: float) -> float | None:
    """Return the speed-up of a dense call whose attention took a share of its time.

    That is Amdahl's law: all else takes as long as before.
    """
    share = attention_share(record)
    if share is None:
        return None
    rest = 1 - share + share * density
    return 1 / rest if rest > 0 else None


def read_pipeline(path: Path) -> tuple[PipelineTimes, ...]:
    """Read the measurements in a file of `radialbench pipeline`.

    Raises:
        RecordError: The file cannot be read, or a line is no such record.
    """
    hint = "Measure again, or remove the line"
    groups: dict[tuple[str, str | None], list[PipelineTime]] = {}
    for one in read_every(path, PipelineTime, SCHEMA, what="a pipeline's time", hint=hint):
        groups.setdefault((one.created, one.environment.host), []).append(one)
    return tuple(PipelineTimes(tuple(group)) for group in groups.values())


def call_rows(times: PipelineTimes) -> list[tuple[str, ...]]:
    """Return the cells of `COLUMNS` for each call, and for masked ones over each dense kernel."""
    rows = []
    for one in times.records:
        over: Sequence[str | None] = [None] if one.is_dense else times.dense_kernels or [None]
        if not one.is_dense and one.dense_kernel in over:
            over = [one.dense_kernel]
        for kernel in over:
            rows.append(_call_row(times, one, kernel))
    return rows


def _call_row(times: PipelineTimes, one: PipelineTime, kernel: str | None) -> tuple[str, ...]:
    sparse = EMPTY_CELL
    if one.kernel:
        sparse = (
            f"{one.sparse_layers} × {', '.join(mask.label for mask in one.masks)} ({one.kernel})"
        )
    dense = (
        f"{one.layers - one.sparse_layers} × {one.dense_kernel}" if one.dense_kernel else EMPTY_CELL
    )
    if one.timing is None:
        return (str(one.count), sparse, dense, "wrong", *[EMPTY_CELL] * (len(COLUMNS) - 4))
    share = attention_share(one)
    limits: tuple[float | None, ...] = (None, None)
    ratio, base = None, times.dense(kernel) if kernel else None
    if base is not None and kernel is not None:
        ratio = times.speedup(one, kernel)
        limits = amdahl(base, one.density), amdahl(base, 1 - one.sparse_layers / one.layers)
    memory = one.memory.peak_bytes if one.memory else None
    joules = one.telemetry.energy_j if one.telemetry else None
    return (
        str(one.count),
        sparse,
        dense,
        format_sig3(one.timing.median_ms),
        EMPTY_CELL if share is None else format_percent(share),
        EMPTY_CELL if memory is None else format_sig3(memory / 2**30),
        EMPTY_CELL if not joules else format_sig3(joules),
        EMPTY_CELL if ratio is None else f"{kernel}: {_ratio(ratio)}",
        *(EMPTY_CELL if limit is None else format_ratio(limit) for limit in limits),
    )


def _ratio(ratio: Estimate) -> str:
    interval = format_interval(ratio, format_ratio)
    return format_ratio(ratio.value) + (f" ({interval})" if interval else "")


def sentences(times: PipelineTimes) -> list[str]:
    """Return what was measured, what a video takes, and what is missing, a sentence each."""
    first = times.records[0]
    found = [
        f"{first.title}, {first.weights} weights, {first.dtype}, {first.grid.label}: "
        f"{first.grid.seq_len:,} tokens, {first.layers} layers of {first.heads} heads of "
        f"{first.head_dim}; {first.schedule}, density {format_percent(_density(times))}"
    ]
    plan = f"{first.steps} steps of {first.calls} call{'s' * (first.calls > 1)}"
    for kernel in times.dense_kernels:
        dense, own = (times.video_s(kernel, masked=masked) for masked in (False, True))
        ratio = times.video_speedup(kernel)
        if dense and own and ratio:
            found.append(
                f"a video of {plan}: {format_sig3(dense.value)} s dense by {kernel}, "
                f"{format_sig3(own.value)} s with the mask, {_ratio(ratio)}"
            )
    found += [
        f"{one.kernel or one.dense_kernel}: {one.accuracy.reason}: not timed"
        for one in times.records
        if one.timing is None
    ]
    found += [f"without {name}: {reason}" for name, reason in times.left_out.items()]
    return found


def _density(times: PipelineTimes) -> float:
    return min((one.density for one in times.masked), default=1.0)
