"""A front of head plans, as text and a table."""

from collections import Counter
from collections.abc import Sequence

from radialbench.records.front import BLOCKS, FrontPoint, Schedule
from radialbench.reports.text import format_percent, join_and, plural, terminal_table

HELP = (
    "cost: share of what dense attention costs, over all heads, steps and layers. worst head: the "
    "head, layer and step under masks that loses most. Plans are chosen by half of the rows, and "
    "what they keep is of the other half. No plan of the table keeps more for less."
)


def describe_front(points: Sequence[FrontPoint]) -> list[str]:
    """Return lines that say what was searched."""
    first = points[0]
    kind = "" if first.inputs.kind == "captured" else ", generated"
    cost = "executed blocks" if first.cost_kind == BLOCKS else "measured time"
    return [
        f"{first.inputs.source}{kind}: grid {first.grid.label}; {first.rows:,} rows a head",
        f"{plural(first.trials, 'mask')} tried, {plural(len(points), 'plan')} in the front; cost "
        f"by {cost}"
        + ("" if first.dense_ms is None else f", {first.dense_ms:.4g} ms for dense attention"),
    ]


def front_table(points: Sequence[FrontPoint], width: int | None = None) -> str:
    """Return a table with a line a plan, the cheapest first."""
    timed = points[0].masked_ms is not None
    lost = "mass kept" if points[0].loss_kind == "mass" else "error"
    body = [
        (
            point.number,
            format_percent(point.cost),
            *((f"{point.masked_ms:.4g}",) if timed and point.masked_ms is not None else ()),
            kept_text(point, point.loss),
            kept_text(point, point.worst_loss),
            schedule_text(point.schedule),
            masks_text(point),
        )
        for point in points
    ]
    times = ("ms under masks",) if timed else ()
    return terminal_table(
        ("plan", "cost", *times, lost, "worst head", "dense", "masks"),
        body,
        text_columns=("dense", "masks"),
        width=width,
        spare=("dense",) if all(point.schedule.share == 1 for point in points) else (),
    )


def describe_point(point: FrontPoint) -> str:
    """Return a sentence that says what a plan keeps, what it costs, and how it is meant to run."""
    verb = "Keeps" if point.loss_kind == "mass" else "Errs by"
    noun = "of the attention mass" if point.loss_kind == "mass" else "of the output"
    kept, worst = (kept_text(point, loss) for loss in (point.loss, point.worst_loss))
    words = schedule_words(point.schedule)
    return (
        f"{verb} {kept} {noun}, {worst} in the worst head, at {format_percent(point.cost)} of the "
        f"cost of dense attention{', with ' if words else ''}{join_and(words)}."
    )


def kept_text(point: FrontPoint, loss: float) -> str:
    """Format a loss as the mass that a plan keeps, or as its error."""
    return format_percent(1 - loss if point.loss_kind == "mass" else loss)


def schedule_text(schedule: Schedule) -> str:
    """Describe which steps and layers are dense; empty if none is."""
    if schedule.share == 1:
        return ""
    last = schedule.steps - schedule.dense_from_step
    parts = [
        f"{which} {noun if count == 1 else plural(count, noun)}"
        for which, noun, count in (
            ("first", "step", schedule.dense_steps),
            ("last", "step", last),
            ("first", "layer", schedule.dense_layers),
        )
        if count
    ]
    return join_and(parts)


def schedule_words(schedule: Schedule) -> list[str]:
    """Return the arguments of `apply_radial` for the steps and layers that are dense."""
    found = {"dense_steps": schedule.dense_steps, "dense_layers": schedule.dense_layers}
    if schedule.dense_from_step < schedule.steps:
        found["dense_from_step"] = schedule.dense_from_step
    return [f"{name}={value}" for name, value in found.items() if value]


def masks_text(point: FrontPoint) -> str:
    """Name a plan's mask, or the masks of how many heads it has, without their parameters."""
    labels = {one.mask.label for one in point.masks}
    if len(labels) == 1:
        return labels.pop()
    counts: Counter[str] = Counter()
    for one in point.masks:
        counts[one.mask.name] += len(one.heads)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
