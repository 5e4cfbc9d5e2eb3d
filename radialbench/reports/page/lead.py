"""The first sentences of the page: what was compared, where, and what came of it."""

from radialbench.reports import text
from radialbench.reports.breakeven import BreakEven
from radialbench.reports.fidelity import inputs_text, kept_rows, name_of
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary, protocol

ENOUGH = 0.9
"""Share of the attention mass that most readers want kept."""


def lead(summary: Summary, best: Row | None, even: BreakEven | None) -> tuple[str, str]:
    """Return what came of the comparison, and what was measured and how.

    Args:
        summary: The results.
        best: The fastest sparse case at the longest length that has a dense result.
        even: From which length on its mask is faster than dense; None if not known.
    """
    how = _how(summary) or "Nothing was measured."
    if best is None:
        return how, ""
    return " ".join([_finding(summary, best, even), *keeping(summary, best)]), how


def _how(summary: Summary) -> str:
    sentences = []
    if summary.timed:
        masks = list(dict.fromkeys(row.mask for row in summary.timed))
        kernels = list(dict.fromkeys(row.backend for row in summary.timed))
        lengths = text.format_range([row.tokens for row in summary.timed])
        devices = dict.fromkeys(env.device for env in summary.environments)
        sentences.append(
            f"{text.plural(len(masks), 'mask')} on {text.plural(len(kernels), 'kernel')} at "
            f"{lengths} tokens on {text.join_and(devices)}: {protocol(summary.timed)}."
        )
    if summary.compiled:
        lengths = text.format_range([row.tokens for row in summary.compiled])
        sentences.append(f"Block tables compiled at {lengths} tokens.")
    return " ".join(sentences)


def _finding(summary: Summary, best: Row, even: BreakEven | None) -> str:
    assert best.speedup
    masks = {name_of(row) for row in summary.timed if not row.is_dense and row.ok}
    env, model = best.record.environment, best.record.model
    device = f"a CPU, {env.cpu}" if env.device == "cpu" else env.device
    among = f"is the fastest of {len(masks)} sparse masks" if len(masks) > 1 else "ran"
    interval = text.format_interval(best.speedup_interval, text.format_ratio)
    known = f"95%: {interval}" if interval else "no interval: fewer than six samples"
    pays = f", and {pays_text(even)}" if even and even.shortest < even.longest else ""
    return (
        f"On {device} ({best.record.created[:10]}, commit {env.commit or 'unknown'}), "
        f"{name_of(best)} {among} at {best.tokens:,} tokens{f' of {model}' if model else ''}: "
        f"{text.format_ratio(best.speedup)} as fast as dense attention ({known})"
        f"{pays}; {kept_text(summary, best)}."
    )


def pays_text(even: BreakEven) -> str:
    """Describe from which length on the mask is faster, of several lengths."""
    if even.above is None:
        return f"not faster up to {even.longest:,} tokens"
    if even.below is None:
        return f"faster at every length measured, from {even.shortest:,} tokens on"
    known = f" ({even.interval_text})" if even.interval else ""
    return f"faster from about {even.about} tokens on{known}"


def kept_text(summary: Summary, best: Row) -> str:
    """Describe what it keeps: at its own length, or else at the longest that is known."""
    known = [row for row in summary.timed if row.fidelity and name_of(row) == name_of(best)]
    if not known:
        return "what it keeps of a model's attention was not measured"
    row = max(
        known, key=lambda row: (row.sweep == best.sweep, row.tokens == best.tokens, row.tokens)
    )
    assert row.fidelity
    where = "" if row.tokens == best.tokens else f"at {row.tokens:,} tokens "
    mass = text.format_percent(row.fidelity.mass_kept.value)
    return f"{where}it keeps {mass} of the attention mass of {inputs_text(row.fidelity)}"


def keeping(summary: Summary, best: Row) -> list[str]:
    """Name the fastest that keeps enough, if that is another one."""
    rows = kept_rows(summary, best.sweep)
    enough = [row for row in rows if row.fidelity and row.fidelity.mass_kept.value >= ENOUGH]
    if not rows or any(name_of(row) == name_of(best) for row in enough):
        return []
    if not enough:
        return [f"No mask keeps {ENOUGH:.0%} of that mass."]
    row = min(enough, key=lambda row: row.total_ms or 0)
    assert row.fidelity
    speed = f", {text.format_ratio(row.speedup)} as fast as dense" if row.speedup else ""
    mass = text.format_percent(row.fidelity.mass_kept.value)
    return [
        f"The fastest that keeps at least {ENOUGH:.0%} of that mass is {name_of(row)} ({mass}) at "
        f"{row.tokens:,} tokens{speed}."
    ]
