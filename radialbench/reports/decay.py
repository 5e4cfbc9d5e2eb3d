"""How attention decays, as text and tables."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median

from radialbench.records.decay import (
    MISFIT,
    MOST_NOISE,
    AveragedFit,
    AxisDecay,
    DecayReport,
    HeadDecay,
)
from radialbench.records.statistics import Estimate
from radialbench.reports.text import (
    EMPTY_CELL,
    first_few,
    format_percent,
    join_and,
    plural,
    terminal_table,
)

HELP = (
    "decay in time with the frames between two tokens, in space with the {space} between their "
    "places: exponential exp(-rate d), power (1 + d)^-rate, stretched exp(-rate d^exponent); the "
    "best predicts the rows that it was not fitted to best. misplaced: mass that it puts at wrong "
    "distances there, of the average and (by row) of each row. kind: by which of Sparse "
    "VideoGen's masks errs less; other where that keeps less than half of the mass. noise: "
    "standard deviation of logits at equal distances."
)

NAMED = 8
"""Heads that no law fits which are named."""

FORM_HEADINGS = ("decay", "form", "best for", "nats a row", "misplaced", "by row", "rate")
HEAD_HEADINGS = (
    *("layer", "step", "head", "kind", "in time", "misplaced in time"),
    *("in space", "misplaced in space", "noise", "sink", "text"),
)


def describe_decay(report: DecayReport) -> list[str]:
    """Return lines that say what was looked at, and what stands out."""
    kind = "" if report.inputs.kind == "captured" else ", generated"
    count = plural(len(report.heads), "head")
    for word in ("layer", "step"):
        numbers = {getattr(one, word) for one in report.heads}
        count += f" of {plural(len(numbers), word)}" if len(numbers) > 1 else ""
    lines = [
        f"{report.inputs.source}{kind}: grid {report.grid.label}, {count}; {report.rows:,} rows a "
        f"head, without {plural(report.sink_frames, 'sink frame')}"
    ]
    kinds = Counter(one.kind for one in report.heads if one.kind)
    if kinds:
        lines.append(f"heads: {join_and(f'{n} {name}' for name, n in sorted(kinds.items()))}")
    for axis in ("time", "space"):
        misfits = [_name(one) for one in report.heads if not getattr(one, axis).fits_well]
        if misfits:
            lines.append(
                f"no law fits in {axis} ({MISFIT:.0%} of the mass misplaced, or more): "
                f"{plural(len(misfits), 'head')} of {len(report.heads)}, "
                f"{first_few(misfits, NAMED)}"
            )
    noisy = [one for one in report.heads if one.noise is not None and one.noise > MOST_NOISE]
    if noisy:
        lines.append(
            "intervals that may be too narrow, as keys at equal distances differ by more than "
            f"{MOST_NOISE:g} in their logits: {plural(len(noisy), 'head')} of {len(report.heads)}, "
            f"{first_few([_name(one) for one in noisy], NAMED)}"
        )
    lines += [
        f"R² of exp(-a x + b) in {axis}: {_r2(getattr(report, axis))}" for axis in ("time", "space")
    ]
    return lines


def form_table(report: DecayReport, width: int | None = None) -> str:
    """Return a table with a line a form of decay in time and in space, over all heads."""
    body = []
    for axis in ("time", "space"):
        found: list[AxisDecay] = [getattr(one, axis) for one in report.heads]
        for number, form in enumerate(one.form for one in found[0].fits):
            fits = [one.fits[number] for one in found]
            best = sum(one.best.form == form for one in found)
            body.append(
                (
                    f"in {axis}",
                    form,
                    f"{best} of {len(found)}",
                    f"{round(fmean(one.gain for one in fits), 3) + 0:.3f}",
                    format_percent(fmean(one.misplaced for one in fits)),
                    format_percent(fmean(one.misplaced_by_row for one in fits)),
                    _range([one.rate.value for one in fits]),
                )
            )
    return terminal_table(
        FORM_HEADINGS, body, text_columns=("decay", "form"), width=width, spare=("by row",)
    )


def decay_table(report: DecayReport, width: int | None = None) -> str:
    """Return a table with a line a head: its kind, and the best form in time and in space."""
    body = [
        (
            *(EMPTY_CELL if place is None else place for place in (one.layer, one.step)),
            one.head,
            one.kind or EMPTY_CELL,
            *_best(one.time),
            *_best(one.space),
            EMPTY_CELL if one.noise is None else f"{one.noise:.2f}",
            format_percent(one.sink),
            format_percent(one.text),
        )
        for one in report.heads
    ]
    return terminal_table(
        HEAD_HEADINGS,
        body,
        text_columns=("kind", "in time", "in space"),
        width=width,
        spare=("text", "step", "layer", "sink", "noise", "misplaced in space", "misplaced in time"),
    )


def _best(axis: AxisDecay) -> tuple[str, str]:
    best = axis.best
    exponent = "" if best.exponent is None else f", exponent {_estimate(best.exponent)}"
    return f"{best.form} {_estimate(best.rate)}{exponent}", format_percent(best.misplaced)


def _estimate(number: Estimate) -> str:
    half = "" if number.ends is None else f" ± {(number.ends[1] - number.ends[0]) / 2:.1g}"
    return f"{number.value:.3g}{half}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _r2(fit: AveragedFit) -> str:
    return (
        f"{fit.averaged:.4f} of the average over heads ({fit.averaged_log:.4f} in logarithms); of "
        f"single heads {min(fit.heads):.4f} at worst, {median(fit.heads):.4f} in the middle "
        f"({min(fit.heads_log):.4f} and {median(fit.heads_log):.4f})"
    )


def _name(head: HeadDecay) -> str:
    place = [
        f"{word} {number}"
        for word, number in (("layer", head.layer), ("step", head.step))
        if number is not None
    ]
    return " ".join([*place, f"head {head.head}"])
