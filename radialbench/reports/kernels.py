"""Kernels beside their peers, as Markdown: cases of one shape that were sampled in turn."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from radialbench.records.result import CEILING_SIZE, Record
from radialbench.reports.formats._tables import NONE, table, text
from radialbench.reports.numbers import MIB, share, three, times
from radialbench.reports.ratio import Ratio, ratio
from radialbench.reports.rows import CEILING_FLOPS, DENSE, busy

OURS = ("hopper", "triton")


def shape_tables(records: Iterable[Record], titles: Mapping[str, str]) -> str:
    """A heading and a table for every group of cases; what has no time is listed below it.

    Args:
        records: Of one run on a GPU.
        titles: Headings of the groups, by their names.
    """
    parts = []
    records = list(records)
    for group in dict.fromkeys(record.group for record in records):
        of_group = [record for record in records if record.group == group]
        timed = [record for record in of_group if record.timing]
        heading = f"### {titles.get(group, group)}"
        tokens, heads = of_group[0].problem.seq_len, of_group[0].problem.heads
        ceiling = _ceiling(timed)
        told = f"{tokens:,} tokens, {heads} heads. {ceiling}"
        lines = [
            f"- {text(record.mask.label)} on {text(record.backend or '')}: {record.status.value}: "
            f"{text(record.reason or '')}"
            for record in of_group
            if not record.timing
        ]
        lines += filter(None, map(_throttled, timed))
        parts.append("\n\n".join(filter(None, (heading, told, _table(timed), "\n".join(lines)))))
    return "\n\n".join(parts)


def _throttled(record: Record) -> str:
    """Say how many samples heat or the hardware slowed, if there are any."""
    assert record.timing is not None
    flags = record.timing.throttled
    if not any(flags):
        return ""
    told = f"{sum(flags)} of {len(flags)} samples were taken while heat or the hardware held the"
    left = "no other were to be had" if all(flags) else "the figures are of the others"
    return (
        f"- {text(record.mask.label)} on {text(record.backend or '')}: {told} clocks back; {left}"
    )


def _ceiling(timed: list[Record]) -> str:
    for record in timed:
        if record.ceiling:
            rate = CEILING_FLOPS / record.ceiling.median_ms / 1e9
            return f"The matrix product of {CEILING_SIZE}³ in turn with them: {rate:,.0f} TFLOP/s."
    return ""


def _table(timed: list[Record]) -> str:
    headers = (
        *("mask", "backend", "blocks", "ms in turn (IQR; samples)", "TFLOP/s", "of the product"),
        *("against best peer", "ms alone", "ms isolated", "J", "SM MHz", "order ms"),
        *("error / tolerance", "MiB besides outputs"),
    )
    return table(headers, [_row(record, timed) for record in timed], words=2)


def _row(record: Record, timed: list[Record]) -> tuple[str, ...]:
    timing, accuracy, telemetry = record.timing, record.accuracy, busy(record)
    assert timing is not None and accuracy is not None and record.table is not None
    of_product = of_ceiling(record)
    peer = against_best_peer(record, timed)
    besides = besides_outputs(record)
    return (
        text(record.mask.label),
        text(record.backend or ""),
        share(record.table.block_density),
        f"{three(timing.median_ms)} ({three(timing.iqr_ms)}; {len(timing.samples_ms)})",
        f"{tflops(record):,.0f}",
        NONE if of_product is None else f"{of_product.median:.2f}",
        NONE if peer is None else f"{times(peer[1].median)} {text(peer[0])}",
        three(1e3 * telemetry.seconds / telemetry.calls) if telemetry else NONE,
        three(record.isolated.median_ms) if record.isolated else NONE,
        three(telemetry.energy_j) if telemetry and telemetry.energy_j else NONE,
        f"{telemetry.sm_mhz:,.0f}" if telemetry and telemetry.sm_mhz else NONE,
        three(record.permute_ms) if record.permute_ms else NONE,
        f"{accuracy.max_abs_error:.1e} / {accuracy.tolerance:.1e}",
        NONE if besides is None else f"{besides / MIB:.2f}",
    )


def tflops(record: Record) -> float:
    """TFLOP/s of the visited blocks, computed whole, at the median."""
    assert record.timing is not None and record.table is not None
    return record.table.executed_flops / record.timing.median_ms / 1e9


def of_ceiling(record: Record) -> Ratio | None:
    """Rate on the visited blocks as a share of the matrix product's, sample by sample."""
    if record.timing is None or record.ceiling is None or record.table is None:
        return None
    work = record.table.executed_flops / CEILING_FLOPS
    return ratio(record.ceiling, record.timing).times(work)


def against_best_peer(record: Record, timed: Iterable[Record]) -> tuple[str, Ratio] | None:
    """The fastest peer on the same mask, and how many times as long it takes as our kernel."""
    peers = [
        other
        for other in timed
        if other.timing
        and other.mask.fingerprint == record.mask.fingerprint
        and other.backend not in OURS
    ]
    if record.backend not in OURS or not peers or record.timing is None:
        return None
    best = min(peers, key=lambda other: other.timing.median_ms if other.timing else 0.0)
    assert best.timing is not None
    return best.backend or "", ratio(best.timing, record.timing)


def besides_outputs(record: Record) -> int | None:
    """Bytes that a call takes at its peak besides its output and lse."""
    if record.memory is None or record.memory.peak_bytes is None:
        return None
    if record.memory.workspace_bytes is not None:
        return record.memory.workspace_bytes
    problem = record.problem
    item = 4 if problem.dtype == "float32" else 2
    rows = problem.batch * problem.heads * problem.seq_len
    return max(0, record.memory.peak_bytes - rows * (problem.head_dim * item + 4))


def speedup_table(records: Sequence[Record], titles: Mapping[str, str]) -> str:
    """Every mask on its fastest kernel beside the fastest dense kernel of the same shape.

    The time of the mask's token order counts. Shapes without a dense result are left out.
    """
    headers = (
        *("shape", "mask", "kernel", "ms", "dense kernel", "dense ms", "speed-up"),
        *("pairs of dense", "blocks of dense"),
    )
    body = []
    for group, title in titles.items():
        timed = [record for record in records if record.timing and record.group == group]
        dense = min((r for r in timed if r.mask.dense), key=_median_ms, default=None)
        masks = dict.fromkeys(record.mask for record in timed if not record.mask.dense)
        for mask in masks if dense else ():
            best = min((r for r in timed if r.mask == mask), key=_median_ms)
            assert dense is not None and dense.timing and best.timing and best.table
            order_ms = best.permute_ms or 0.0
            own = replace(
                best.timing, samples_ms=tuple(ms + order_ms for ms in best.timing.samples_ms)
            )
            body.append(
                (
                    title,
                    text(mask.label),
                    text(best.backend or ""),
                    three(own.median_ms),
                    text(dense.backend or ""),
                    three(dense.timing.median_ms),
                    _speedup(ratio(dense.timing, own)),
                    share(best.table.density),
                    share(best.table.block_density),
                )
            )
    return table(headers, body, words=3)


def _speedup(found: Ratio) -> str:
    if found.low is None or found.high is None:
        return times(found.median)
    return f"{times(found.median)} ({times(found.low)} to {times(found.high)})"


def _median_ms(record: Record) -> float:
    assert record.timing is not None
    return record.timing.median_ms


@dataclass(frozen=True, slots=True)
class Target:
    """What a kernel should reach.

    Attributes:
        text: What is measured.
        bound: What it should be at least, or at most.
        of: Finds it in the records of one run; None if they do not hold it.
        at_most: Whether the bound is one from above.
    """

    text: str
    bound: float
    of: Callable[[Sequence[Record]], Ratio | None]
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Tell whether a value is on the right side."""
        return value <= self.bound if self.at_most else value >= self.bound


def target_table(records: Sequence[Record], targets: Iterable[Target]) -> str:
    """What was asked, and what was measured: the ratio with its 95% interval."""
    body = []
    for target in targets:
        value = target.of(records)
        shown = NONE if value is None else value.text
        met = NONE if value is None else "yes" if target.met(value.median) else "**no**"
        asked = f"at {'most' if target.at_most else 'least'} {target.bound:.2f}"
        body.append((target.text, asked, shown, met))
    return table(("what", "asked", "measured", "met"), body, words=1)


def find(records: Iterable[Record], group: str, mask: str, backend: str) -> Record | None:
    """Find a case that has a time; the mask by its name, any dense one by `dense`."""
    for record in records:
        name = DENSE if record.mask.dense else record.mask.name
        if record.timing and (record.group, name, record.backend) == (group, mask, backend):
            return record
    return None
