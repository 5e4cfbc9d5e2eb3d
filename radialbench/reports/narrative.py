"""Growth in plain sentences: what a sweep shows, and what it cannot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from radialbench.reports import scaling as sweeps
from radialbench.reports.text import format_mib, format_ratio, join_and, printable

WIDE = 0.2
"""Width of an interval around 1 that is too wide to call two quantities proportional."""


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences on one topic.

    Attributes:
        topic: Its heading.
        lines: One or two sentences each.
    """

    topic: str
    lines: tuple[str, ...]


Names = Mapping[str, str]
"""Words for each sweep: what distinguishes it from the others."""


def describe_scaling(scaling: sweeps.Scaling, names: Names) -> tuple[Section, ...]:
    """Describe how work, latency and memory grow, without topics that have no sentence.

    Args:
        scaling: The growth.
        names: What distinguishes each sweep from the others, in words.
    """
    topics = {
        "Growth of the work, exact from the tables": work_lines(scaling.works, names),
        "Latency against executed work": _latencies(scaling.latencies, names),
        "Memory": _memory(scaling, names),
        "Resolution": _resolutions(scaling.resolutions),
    }
    return tuple(Section(topic, tuple(lines)) for topic, lines in topics.items() if lines)


def work_lines(works: Iterable[sweeps.Work], names: Names) -> list[str]:
    """Describe how the exact and executed work of masks grows, masks with equal work together."""
    works = [work for work in works if len(work.tables) > 1]
    lines = []
    groups: dict[tuple[object, ...], list[sweeps.Work]] = {}
    for work in works:
        groups.setdefault((work.sweep, work.exact.tokens, work.exact.values), []).append(work)
    for group in groups.values():
        work, masks = group[0], dict.fromkeys(printable(work.mask) for work in group)
        where = _where(work.sweep, names)
        sentences = [_exact(work)]
        if not work.every_pair:
            sentences += [_executed(one) for one in {one.blocks: one for one in group}.values()]
        lines.append(f"{join_and(masks)}{where}: {' '.join(sentences)}")
    about = (
        "n tokens, F frames; a and b are fitted to the logarithms, so that every length counts "
        "equally. a may be negative: the ends of a video have neighbours on one side only."
    )
    return [about, *lines] if lines else []


def _where(sweep: str, names: Names) -> str:
    """Return what follows the name of a mask: nothing where there is one sweep."""
    return f" ({printable(words)})" if (words := names.get(sweep)) else ""


def _exact(work: sweeps.Work) -> str:
    if work.every_pair:
        return "every pair attends: n² by definition."
    exact = work.exact
    frames = exact.frames[exact.start :] or exact.frames
    over = f"over {frames[0]} to {frames[-1]} frames of {work.frame_tokens:,} tokens"
    if exact.verdict is sweeps.FitOutcome.NONE_FITS:
        return f"{over} no form fits the exact work: {exact.why}. It grows {_ends(exact)}."
    if exact.verdict is sweeps.FitOutcome.CANNOT_TELL:
        return f"{exact.why}. The exact work grows {_ends(exact)}."
    best, *others = exact.fits
    rest = join_and(f"{fit.form} leaves {_small(fit.residual)}" for fit in others)
    line = (
        f"{over} the exact work follows {best.form} (RMS log-residual {_small(best.residual)}; "
        f"{rest}), {_ends(exact)}."
    )
    if best.form == sweeps.SQUARE:
        line += f" Quadratic, as dense is, with {work.tables[-1].density:.1%} of its pairs."
    return line


def _small(residual: float) -> str:
    return f"{residual:.2g}" if residual >= 0.001 else "under 0.001"


def _executed(work: sweeps.Work) -> str:
    sizes = "{}×{}".format(*work.blocks)
    first, last = (work.tables[end].executed_flops / work.tables[end].flops for end in (0, -1))
    frames = work.exact.frames
    line = (
        f"Blocks of {sizes}, computed whole, execute {format_ratio(first)} that work at "
        f"{frames[0]} frames and {format_ratio(last)} at {frames[-1]}"
    )
    exact, executed = work.exact, work.executed
    if exact.verdict is not sweeps.FitOutcome.FOLLOWS:
        return f"{line}."
    if executed.verdict is sweeps.FitOutcome.NONE_FITS:
        last = executed.exponents[-1]
        return f"{line}; what is executed follows no form and ends with n^{last:.2f}."
    if executed.verdict is sweeps.FitOutcome.CANNOT_TELL:
        return f"{line}; the form of what is executed cannot be told."
    if executed.fits[0].form != exact.fits[0].form:
        return f"{line}; what is executed follows {executed.fits[0].form}."
    return f"{line}, and follow the same form."


def _ends(growth: sweeps.Growth) -> str:
    first, last, frames = growth.exponents[0], growth.exponents[-1], growth.frames
    if len(growth.exponents) == 1:
        return f"like n^{last:.2f} from {frames[0]} to {frames[1]} frames"
    return (
        f"from n^{first:.2f} between {frames[0]} and {frames[1]} frames to "
        f"n^{last:.2f} between {frames[-2]} and {frames[-1]}"
    )


def _latencies(latencies: Iterable[sweeps.Latency], names: Names) -> list[str]:
    latencies = [latency for latency in latencies if latency.executed]
    places = len({latency.place for latency in latencies}) > 1
    lines = [_latency(latency, names, places=places) for latency in latencies]
    if lines:
        lines.insert(
            0,
            "Exponents of the median latency, token order apart, against the work the blocks "
            "execute, with bootstrap 95% intervals over samples and lengths; 1 is in proportion. "
            "Behind them the exponents in n, between the two shortest and the two longest lengths.",
        )
    if any(latency.executed and not latency.sampled for latency in latencies):
        lines.append(
            "Where a case has one sample, the interval covers the scatter of the lengths about the "
            "line alone, not the spread of repeated calls."
        )
    return lines


def _latency(latency: sweeps.Latency, names: Names, *, places: bool) -> str:
    found = latency.executed
    assert found is not None and found.ends is not None
    low, high = found.ends
    if not found.holds(1):
        verdict = "less than in proportion" if found.value < 1 else "more than in proportion"
    elif high - low > WIDE:
        verdict = "too uncertain to say more"
    else:
        verdict = "in proportion"
    where = _where(latency.sweep, names)
    where += f", environment {latency.place + 1}" if places else ""
    return (
        f"{printable(latency.mask)} on {printable(latency.backend)}{where}: {found:.2f}, "
        f"{verdict}; n^{latency.exponents[0]:.2f}, n^{latency.exponents[-1]:.2f}; "
        f"{len(latency.tokens)} lengths."
    )


def _memory(scaling: sweeps.Scaling, names: Names) -> list[str]:
    lines = []
    calls = [latency for latency in scaling.latencies if len(latency.peaks) > 1]
    if calls:
        lines.append(
            "The output and the log-sum-exp are head_dim + 1 numbers a token and head: attention's "
            "own memory is linear in n for every mask. Exponents are between the two longest "
            "lengths."
        )
    for sweep in dict.fromkeys(latency.sweep for latency in calls):
        lines.append(_peaks([one for one in calls if one.sweep == sweep], names))
    for sweep in dict.fromkeys(work.sweep for work in scaling.works):
        works = [work for work in scaling.works if work.sweep == sweep and len(work.tables) > 1]
        lines += [_tables(works, names)] if works else []
    return lines


def _peaks(calls: Sequence[sweeps.Latency], names: Names) -> str:
    longest = max(latency.peaks[-1][0] for latency in calls)
    sizes = [
        f"{printable(one.mask)} on {printable(one.backend)} {format_mib(one.peaks[-1][1])} MiB "
        f"(n^{one.peak_exponents[-1]:.2f})"
        for one in calls
        if one.peaks[-1][0] == longest
    ]
    where = _where(calls[0].sweep, names)
    return f"A call at {longest:,} tokens{where} adds at its peak: {join_and(sizes)}."


def _tables(works: Sequence[sweeps.Work], names: Names) -> str:
    longest = max(work.exact.tokens[-1] for work in works)
    sizes = [
        f"{printable(one.mask)} {format_mib(one.tables[-1].nbytes)} MiB "
        f"(n^{one.table_exponents[-1]:.2f})"
        for one in works
        if one.exact.tokens[-1] == longest
    ]
    where = _where(works[0].sweep, names)
    return f"Tables at {longest:,} tokens{where}: {join_and(sizes)}."


def _resolutions(found: Iterable[sweeps.Resolution]) -> list[str]:
    lines = []
    masks: dict[str, list[sweeps.Resolution]] = {}
    for one in found:
        masks.setdefault(one.mask, []).append(one)
    for mask, several in masks.items():
        exponents = [value for one in several for value in one.exponents]
        low, high = f"{min(exponents):.2f}", f"{max(exponents):.2f}"
        power = f"n^{low}" if low == high else f"n^{low} to n^{high}"
        sizes = sorted({size for one in several for size in one.frame_tokens})
        lengths = join_and(f"{size:,}" for size in sizes)
        lines.append(f"{printable(mask)}, {lengths} tokens a frame: {power}.")
    about = (
        "With the frames fixed, a mask whose widths follow the frame's size or a density keeps "
        "its share of the pairs: it is quadratic by construction, which says nothing about "
        "longer videos. Windows of a fixed number of tokens grow more slowly."
    )
    return [about, *lines] if lines else []
