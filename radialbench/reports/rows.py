"""Records as rows: the last record of every case, its times, and what it is compared with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import quantiles
from typing import Any

from radialbench.maskgen.identity import distinct_names
from radialbench.records.fidelity import YARDSTICKS, Fidelity, Kept
from radialbench.records.measurement import Measurement, Telemetry
from radialbench.records.result import CEILING_FLOPS, Environment, Record, TableStats
from radialbench.records.statistics import Estimate, estimate_median, paired_ratio, unpaired_ratio


def total_ms(record: Record) -> Estimate:
    """Return the time of a case that went well: its median, and that of its token order."""
    assert record.timing is not None
    return estimate_median(record.timing.steady_ms).plus(record.permute_ms or 0.0)


def steady_pairs(above: Measurement, below: Measurement) -> list[tuple[float, float]]:
    """Return pairs of samples taken in turn; throttled ones only if all are."""
    both = list(zip(above.samples_ms, below.samples_ms, strict=False))
    flags = zip(above.throttled, below.throttled, strict=False)
    return [pair for pair, slow in zip(both, flags, strict=True) if not any(slow)] or both


def interleaved_ratio(above: Measurement, below: Measurement) -> Estimate:
    """Return the ratio of two times whose samples were taken in turn."""
    return paired_ratio(*zip(*steady_pairs(above, below), strict=True))


def speedup(dense: Record, own: Record) -> Estimate:
    """Return how many times as long the dense case takes, by pairs, token orders included."""
    assert dense.timing is not None and own.timing is not None
    pairs = steady_pairs(dense.timing, own.timing)
    above, below = dense.permute_ms or 0.0, own.permute_ms or 0.0
    return paired_ratio([ms + above for ms, _ in pairs], [ms + below for _, ms in pairs])


def ratio_of_totals(above: Record, below: Record) -> Estimate:
    """Return the ratio of two cases' times, token orders included.

    Samples of one group that were taken beside the same matmul were taken in turn: the interval is
    that of their pairs, widened to hold the ratio of the medians.
    """
    unpaired = unpaired_ratio(total_ms(above), total_ms(below))
    if above.ceiling and (above.ceiling, above.group) == (below.ceiling, below.group):
        return speedup(above, below).widened_to(unpaired.value)
    return unpaired


def fraction_of_ceiling(record: Record) -> Estimate | None:
    """Return the rate on the visited blocks as a share of the rate of the matmul beside it."""
    shares = ceiling_fractions(record)
    return estimate_median(shares) if shares else None


def ceiling_fractions(record: Record) -> list[float]:
    """Return that share for every round; empty if it was not measured."""
    timing, ceiling, table = record.timing, record.ceiling, record.table
    if record.measure != "attention" or not (timing and ceiling and table):
        return []
    work = table.executed_flops / CEILING_FLOPS
    return [work * beside / ms for ms, beside in steady_pairs(timing, ceiling)] if work else []


DENSE = "dense"
"""The library's mask every comparison is with."""

COMPARED_FIELDS = ("device", "cpu", "cores", "threads", "os", "python", "versions")
"""Fields that two environments must share for their times to be compared."""

BUSY = 1.3
"""How many times as long a call may take alone as in turn with others, which keep it cooler."""


def busy(record: Record) -> Telemetry | None:
    """Return the counters, if the GPU was busy while they were read.

    Calls that took much longer than their samples waited for the host or for something else: energy
    and clock are then not those of the calls.
    """
    telemetry, timing = record.telemetry, record.timing
    if telemetry is None or timing is None:
        return None
    call_ms = 1e3 * telemetry.seconds / telemetry.calls
    return telemetry if call_ms <= BUSY * timing.median_ms else None


@dataclass(frozen=True)
class Row:
    """One case; it has no slots, so that slow properties are cached.

    Attributes:
        record: Its last record.
        mask: The mask's label, with its file or fingerprint if another mask has the same label.
        place: Index of its environment in the summary.
        dense: The fastest dense result that it can be compared with, in the type of the inputs and
            not in 8 bits; None without one.
        uncompared: Why there is none, if the case itself is ok.
    """

    record: Record
    mask: str
    place: int
    dense: Record | None = None
    uncompared: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the case has a time."""
        return self.record.timing is not None

    @cached_property
    def sweep(self) -> str:
        """Name shared by cases that differ in frames, mask and backend alone."""
        return self.record.sweep

    @property
    def is_dense(self) -> bool:
        """Whether every pair attends by the mask's rule: the baseline of speed-ups."""
        return self.record.mask.dense

    @property
    def backend(self) -> str:
        """Its backend; `compile` where only a table was compiled."""
        return self.record.backend or "compile"

    @property
    def frames(self) -> int:
        """Latent frames."""
        return self.record.problem.frames

    @property
    def tokens(self) -> int:
        """Tokens of the sequence."""
        return self.record.problem.seq_len

    @property
    def blocks(self) -> tuple[int, int]:
        """Query and key tokens of a block."""
        return self.record.config.block_m, self.record.config.block_n

    @property
    def table(self) -> TableStats | None:
        """The block table's figures; None if it could not be compiled."""
        return self.record.table

    @property
    def fidelity(self) -> Fidelity | None:
        """What the mask keeps; None where it was not measured."""
        return self.record.fidelity

    @cached_property
    def yardsticks(self) -> dict[str, Kept]:
        """What other choices of as many blocks keep, by name; empty where it was not measured."""
        found = self.fidelity
        return {name: found.yardstick(name) for name in YARDSTICKS} if found else {}

    @property
    def samples_ms(self) -> tuple[float, ...]:
        """Times of all calls; empty for a case that is not ok."""
        return self.record.timing.samples_ms if self.record.timing else ()

    @cached_property
    def median_ms(self) -> float | None:
        """Median of the timed calls, which have q, k and v in the mask's order."""
        return self.record.timing.median_ms if self.record.timing else None

    @cached_property
    def total_ms(self) -> float | None:
        """Median plus the time of the token order, if the mask has one."""
        return total_ms(self.record).value if self.ok else None

    @property
    def iqr_share(self) -> float | None:
        """Distance between the quartiles as a share of the median; None for a single sample."""
        timing = self.record.timing
        if timing is None or len(timing.samples_ms) < 2:
            return None
        return timing.iqr_ms / timing.median_ms

    @property
    def quartiles_ms(self) -> tuple[float, float] | None:
        """Lower and upper quartile, with the time of the token order."""
        if self.total_ms is None:
            return None
        if len(self.samples_ms) == 1:
            return self.total_ms, self.total_ms
        low, _, high = quantiles(self.samples_ms, n=4, method="inclusive")
        order = self.record.permute_ms or 0
        return low + order, high + order

    @cached_property
    def speedup(self) -> float | None:
        """How many times as long the dense result takes, token order included on both sides."""
        if self.dense is None or self.total_ms is None:
            return None
        return total_ms(self.dense).value / self.total_ms

    @cached_property
    def interval_ms(self) -> Estimate | None:
        """`total_ms` with its 95% interval; None with too few samples."""
        found = total_ms(self.record) if self.ok else None
        return found if found and found.ends else None

    @cached_property
    def speedup_interval(self) -> Estimate | None:
        """`speedup` with its 95% interval; None with too few samples."""
        found = ratio_of_totals(self.dense, self.record) if self.dense and self.ok else None
        return found if found and found.ends else None

    @property
    def of_ceiling(self) -> float | None:
        """Rate on the visited blocks as a share of the rate of the matmul beside it."""
        found = fraction_of_ceiling(self.record)
        return found.value if found else None

    @property
    def ceiling_tflops(self) -> float | None:
        """Rate of the matmul that was timed beside the samples, in TFLOP/s."""
        ceiling = self.record.ceiling
        return CEILING_FLOPS / ceiling.median_ms / 1e9 if ceiling else None

    @property
    def counters(self) -> Telemetry | None:
        """The GPU's counters, if it was busy while they were read."""
        return busy(self.record)

    @property
    def energy_j(self) -> float | None:
        """Joules of a call."""
        return self.counters.energy_j if self.counters else None

    @property
    def effective_tflops(self) -> float | None:
        """Operations the mask asks for, in 10¹² per second of the median."""
        return self._rate(self.table.flops if self.table else None)

    @property
    def executed_tflops(self) -> float | None:
        """Operations of the visited blocks, computed whole, in 10¹² per second of the median."""
        return self._rate(self.table.executed_flops if self.table else None)

    @property
    def workspace_bytes(self) -> int | None:
        """Peak bytes of a call without its output and log-sum-exp."""
        memory, problem = self.record.memory, self.record.problem
        if memory is None or memory.peak_bytes is None:
            return None
        if memory.workspace_bytes is not None:
            return memory.workspace_bytes
        item = 4 if problem.dtype == "float32" else 2
        tokens = problem.batch * problem.heads * problem.q_len
        return max(0, memory.peak_bytes - tokens * (problem.head_dim * item + 4))

    def _rate(self, flops: int | None) -> float | None:
        if self.median_ms is None or flops is None or self.record.measure != "attention":
            return None
        return flops / self.median_ms / 1e6 / 1e3


def rows_of(records: Iterable[Record]) -> tuple[tuple[Row, ...], tuple[Environment, ...]]:
    """Return the rows and their different environments.

    A later record of a case replaces an earlier one. Rows are sorted by sweep and length, dense
    ones first, then in the order of the file.
    """
    latest = list({(record.suite, record.case): record for record in records}.values())
    environments: dict[tuple[object, ...], Environment] = {}
    for record in latest:
        environments.setdefault(_environment_key(record), record.environment)
    places = _places(environments)
    placed = [(places[_environment_key(record)], record) for record in latest]
    dense = _dense(placed)
    names = distinct_names(record.mask for record in latest)
    rows = [
        Row(
            record,
            names[record.mask.label, record.mask.fingerprint],
            place,
            *_baseline(place, record, dense),
        )
        for place, record in placed
    ]
    sweeps = _places(row.sweep for row in rows)
    masks = _places(row.mask for row in rows)
    rows.sort(
        key=lambda row: (
            sweeps[row.sweep],
            row.record.measure,
            row.tokens,
            not row.is_dense,
            masks[row.mask],
        )
    )
    return tuple(rows), tuple(environments.values())


def by_sweep(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each sweep, by its name."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.sweep, []).append(row)
    return found


def _places(names: Iterable[Any]) -> dict[Any, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def differing(environments: Sequence[Environment]) -> list[str]:
    """Describe how environments differ, as `threads: 2 and 4`."""
    found: dict[str, None] = {}
    for one, other in pairwise(environments):
        for name in COMPARED_FIELDS:
            before, after = getattr(one, name), getattr(other, name)
            if name == "versions":
                for library in sorted({*before, *after}):
                    was, now = before.get(library, "none"), after.get(library, "none")
                    if was != now:
                        found[f"{library}: {was} and {now}"] = None
            elif before != after:
                found[f"{name}: {before} and {after}"] = None
    return list(found)


def _environment_key(record: Record) -> tuple[object, ...]:
    values = (getattr(record.environment, name) for name in COMPARED_FIELDS)
    return tuple(tuple(v.items()) if isinstance(v, dict) else v for v in values)


Dense = dict[object, list[tuple[int, Record]]]
"""Dense results that have a time, with where they ran, by shape; the fastest first.

Of those that ran in one environment and were sampled in one way, only the fastest.
"""


def _dense(placed: Iterable[tuple[int, Record]]) -> Dense:
    found: Dense = {}
    for place, record in placed:
        comparable = record.measure == "attention" and record.timing and not record.fp8
        if record.mask.dense and comparable:
            found.setdefault(_shape(record), []).append((place, record))
    for shape, results in found.items():
        results.sort(key=lambda result: total_ms(result[1]).value)
        fastest: dict[object, tuple[int, Record]] = {}
        for place, record in results:
            assert record.timing is not None
            fastest.setdefault((place, record.timing.protocol), (place, record))
        found[shape] = list(fastest.values())
    return found


def _baseline(place: int, record: Record, dense: Dense) -> tuple[Record | None, str | None]:
    if record.timing is None or record.measure != "attention":
        return None, None
    found = dense.get(_shape(record), [])
    if not found:
        return None, "dense has no result at this length"
    here = [result for where, result in found if where == place]
    if not here:
        return None, "dense ran in another environment"
    differ = [result.timing.protocol_diff(record.timing) for result in here if result.timing]
    for result, difference in zip(here, differ, strict=True):
        if not difference:
            return result, None
    return None, f"dense was measured differently ({'; '.join(differ[0])})"


def _shape(record: Record) -> object:
    """Return what a case shares with the dense result that it is compared with."""
    return record.suite, record.group, replace(record.problem, mask_fingerprint=DENSE)
