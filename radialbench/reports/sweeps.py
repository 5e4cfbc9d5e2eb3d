"""Names of sweeps for people: what is computed, in words."""

from collections.abc import Iterable

from radialbench.records.result import Record
from radialbench.reports.rows import Row


def sweep_texts(rows: Iterable[Row]) -> dict[str, str]:
    """Describe each sweep: `wan2.1-14b, frames of 45×80 tokens, 40 heads of 128, bfloat16`."""
    return {sweep: ", ".join(filter(None, parts)) for sweep, parts in _parts(rows).items()}


def sweep_differences(rows: Iterable[Row]) -> dict[str, str]:
    """Describe what distinguishes each sweep from the others; empty for a single one."""
    found = _parts(rows)
    if len(found) < 2:
        return dict.fromkeys(found, "")
    differ = [len(set(values)) > 1 for values in zip(*found.values(), strict=True)]
    shown = {
        sweep: [part for part, shown in zip(parts, differ, strict=True) if part and shown]
        for sweep, parts in found.items()
    }
    # One that only lacks what the others have is named by its frames.
    return {sweep: ", ".join(parts or [found[sweep][1]]) for sweep, parts in shown.items()}


def _parts(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    records = {row.sweep: row.record for row in rows}
    return {sweep: _words(record) for sweep, record in records.items()}


def _words(record: Record) -> tuple[str, ...]:
    """Describe what the cases of a sweep share; an empty text for what is as usual."""
    problem, grid = record.problem, record.problem.grid
    text = queries = ""
    if grid.segments:
        sizes = ("" if one.name == "video" else one.label for one in grid.segments)
        names = (one.name for one in grid.segments)
        text = " + ".join(f"{name} {size}".strip() for name, size in zip(names, sizes, strict=True))
    elif grid.text_tokens:
        padding = grid.text_tokens - grid.real_text
        text = f"{grid.text_tokens} text tokens" + (" before them" if grid.text_first else "")
        text += f" ({padding} of them padding)" if padding else ""
    if grid.query_frames is not None:
        queries = "queries of frames {} to {}".format(*grid.query_frames)
    return (
        record.model or "",
        f"frames of {grid.height}×{grid.width} tokens",
        text,
        queries,
        f"{problem.heads_text} of {problem.head_dim}",
        problem.dtype,
        f"batch of {problem.batch}" if problem.batch > 1 else "",
        f"on {record.inputs.source}" if record.inputs else "",
    )
