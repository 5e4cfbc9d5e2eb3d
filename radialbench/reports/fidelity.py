"""What masks keep beside what they cost, as tables."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from radialbench.records.fidelity import DEFINITION, Fidelity, HeadFidelity
from radialbench.records.fidelity_record import FidelityRecord
from radialbench.records.problem import KERNEL_OF as CHOOSERS
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary
from radialbench.reports.text import (
    EMPTY_CELL,
    format_percent,
    format_ratio,
    join_and,
    plural,
    printable,
    terminal_table,
)

HEADINGS = (
    "mask",
    "pairs",
    "blocks",
    "mass kept",
    "95%",
    "p10",
    "best",
    "nearest",
    "random",
    "place",
    "error",
    "p90",
)
HEAD_HEADINGS = (
    "layer",
    "step",
    "head",
    "mass kept",
    "least",
    "best",
    "nearest",
    "random",
    "error",
    "cosine",
)
HELP = (
    "mass kept: attention mass on the mask's keys, mean of the heads, and p10: a tenth of them "
    "keeps less; best, nearest, random: on as many blocks, the best there are, those nearest in "
    "the sequence, and random ones; place: of the mask between random (0) and best (1); error: of "
    "the output, relative to dense attention, and p90: a tenth of the heads exceeds it."
)


def fidelity_table(records: Sequence[FidelityRecord], width: int | None = None) -> str:
    """Return a table with a line a mask, those that visit fewer blocks first."""
    body = [
        (
            record.mask.label,
            format_percent(record.table.density),
            format_percent(record.table.block_density),
            *_kept(record.fidelity),
        )
        for record in sorted(records, key=lambda one: one.table.block_density)
    ]
    spare = ("p90", "p10", "95%", "nearest", "pairs", "random", "best", "place")
    return terminal_table(HEADINGS, body, text_columns=("mask",), width=width, spare=spare)


def head_table(record: FidelityRecord, width: int | None = None) -> str:
    """Return a table with a line a head of a mask."""
    body = [
        (
            *(EMPTY_CELL if place is None else place for place in (one.layer, one.step)),
            one.head,
            *map(format_percent, (one.kept.mass, one.worst_mass)),
            *map(format_percent, (one.best.mass, one.window.mass, one.random.mass)),
            format_percent(one.kept.error),
            f"{one.cosine:.4f}",
        )
        for one in record.fidelity.heads
    ]
    spare = ("nearest", "random", "least", "cosine", "best")
    return terminal_table(HEAD_HEADINGS, body, text_columns=(), width=width, spare=spare)


def describe_inputs(records: Sequence[FidelityRecord]) -> list[str]:
    """Return lines that say which inputs were looked at, and how."""
    lines = []
    for record in {one.grid: one for one in records}.values():
        fidelity = record.fidelity
        layers, steps = _numbers(fidelity.heads, "layer"), _numbers(fidelity.heads, "step")
        parts = [plural(len({one.head for one in fidelity.heads}), "head")]
        parts += [plural(len(layers), "layer")] if layers else []
        parts += [plural(len(steps), "step")] if steps else []
        rows = f"{fidelity.rows:,} of {record.grid.q_len:,} rows a head"
        kind = "" if fidelity.inputs.kind == "captured" else ", generated"
        lines.append(
            f"{fidelity.inputs.source}{kind}: grid {record.grid.label}, {join_and(parts)}; {rows}, "
            f"by {_method(fidelity)}"
        )
    return lines


def _method(fidelity: Fidelity) -> str:
    if fidelity.method == DEFINITION:
        return "the definition in float64"
    error = f", whose own error is {fidelity.kernel_error:.1e}" * (
        fidelity.kernel_error is not None
    )
    return f"the backend {fidelity.method}{error}"


def _kept(fidelity: Fidelity) -> Iterable[str]:
    mass, error, place = fidelity.mass_kept, fidelity.output_error, fidelity.place
    yield format_percent(mass.value)
    yield EMPTY_CELL if mass.ends is None else "–".join(f"{end:.1%}" for end in mass.ends)
    yield format_percent(fidelity.mass_p10)
    for name in ("best", "window", "random"):
        yield format_percent(fmean(getattr(one, name).mass for one in fidelity.heads))
    yield EMPTY_CELL if place is None else f"{place:.2f}"
    yield format_percent(error.value)
    yield format_percent(fidelity.error_p90)


def _numbers(heads: Iterable[HeadFidelity], name: str) -> set[int]:
    return {getattr(one, name) for one in heads} - {None}


def inputs_text(fidelity: Fidelity) -> str:
    """Name the inputs for people; synthetic ones are said to be."""
    synthetic = fidelity.inputs.kind == "generated"
    return "synthetic inputs, which are no model's" if synthetic else fidelity.inputs.source


def kept_rows(summary: Summary, sweep: str) -> list[Row]:
    """Return the fastest kernel of each mask at the longest length whose fidelity is known."""
    rows = [row for row in summary.timed_of(sweep) if row.fidelity and row.total_ms]
    longest = max((row.tokens for row in rows), default=0)
    fastest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.total_ms or 0):
        if row.tokens == longest and not row.is_dense:
            fastest.setdefault(name_of(row), row)
    return list(fastest.values())


def name_of(row: Row) -> str:
    """Name what keeps: the mask, or a backend that chooses as many blocks from q and k."""
    return f"{row.backend} as {row.mask}" if row.backend in CHOOSERS else row.mask


LEVELS = (0.99, 0.95, 0.9, 0.8, 0.65, 0.5)
"""Shares of the attention mass at which the fastest mask is looked for."""


def fastest_keeping(rows: Sequence[Row]) -> list[tuple[float, Row]]:
    """Return the levels of mass that a mask keeps, each with the fastest that keeps as much.

    A level whose fastest mask is that of the one above is left out.

    Args:
        rows: As `kept_rows` returns them.
    """
    found: list[tuple[float, Row]] = []
    for level in LEVELS:
        enough = [row for row in rows if row.fidelity and row.fidelity.mass_kept.value >= level]
        best = min(enough, key=lambda row: row.total_ms or 0, default=None)
        if best is not None and (not found or found[-1][1] is not best):
            found.append((level, best))
    return found


def keeping_lines(summary: Summary) -> list[str]:
    """Return sentences on which mask is fastest at equal mass kept, for each sweep."""
    lines = []
    for sweep in summary.sweeps:
        rows = kept_rows(summary, sweep)
        for level, row in fastest_keeping(rows):
            assert row.fidelity is not None
            speed = f"{format_ratio(row.speedup)} as fast as dense, " if row.speedup else ""
            lines.append(
                f"at least {level:.0%} of the attention mass: {printable(name_of(row))}, {speed}"
                f"{row.fidelity.mass_kept.value:.1%} kept, error "
                f"{row.fidelity.output_error.value:.1%}"
            )
        if rows and rows[0].fidelity:
            of = inputs_text(rows[0].fidelity)
            lines.append(f"at {rows[0].tokens:,} tokens, of {printable(of)}")
    return lines


UNKNOWN = (
    "What the masks keep of a model's attention was not measured: a mask may be fast because it "
    "leaves out what matters. A suite measures it with the key fidelity."
)
