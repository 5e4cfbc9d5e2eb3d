"""Tables of searches for a terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from radialbench.autotune.space import format_config
from radialbench.reports.text import terminal_table, terminal_width

if TYPE_CHECKING:
    from radialbench.autotune.jobs import TuningEstimate
    from radialbench.autotune.replay import Replayed
    from radialbench.autotune.run import JobEnded, Verification
    from radialbench.autotune.tuner import Tuned

TEXT_COLUMNS = (
    "problem",
    "configuration",
    "at an edge",
    "mattered",
    "rejected",
    "gain now",
    "verdict",
)
SPARE = (
    *("mattered", "at an edge", "gain when tuned", "rejected", "default ms", "candidates"),
    *("best ms", "configuration"),
)
"""Columns that a narrow terminal leaves out, in this order."""

HEADINGS = ("default ms", "best ms", "gain", "configuration", "at an edge", "mattered")


def tuned_table(ends: Sequence["JobEnded"]) -> str:
    """Format a line for each search that ended."""
    rows = [(end.job.name, *_cells(end.tuned)) for end in ends if end.tuned is not None]
    return _table(("problem", *HEADINGS), rows)


def replayed_table(done: Sequence["Replayed"]) -> str:
    """Format a line for each search that was replayed, with its regret."""
    rows = [(one.name, *_cells(one.tuned), f"{one.share:.0%}", f"{one.regret:.2%}") for one in done]
    return _table(("problem", *HEADINGS, "measured", "regret"), rows)


def verdict_table(verdicts: Sequence["Verification"]) -> str:
    """Format a line for each record that was measured again."""
    rows = [
        (
            one.job.name,
            format_config(one.record.config),
            f"{one.record.ratio:.3f}",
            one.reason if one.now is None else f"{one.now:.3f}",
            one.state,
        )
        for one in verdicts
    ]
    return _table(("problem", "configuration", "gain when tuned", "gain now", "verdict"), rows)


def estimate_table(estimates: Sequence["TuningEstimate"]) -> str:
    """Format a line for each search that is estimated."""
    rows = [
        (
            one.job.name,
            one.candidates,
            ", ".join(f"{count} by {kind}" for kind, count in one.rejections.items()),
            one.trials,
            f"{one.seconds:,.0f} s",
        )
        for one in estimates
    ]
    return _table(("problem", "candidates", "rejected", "trials", "about"), rows)


def _cells(tuned: "Tuned") -> tuple[str, ...]:
    decision = tuned.decision
    stays = decision.source == "default"
    shares = [f"{name} {share:.0%}" for name, share in tuned.importance.items() if share >= 0.05]
    return (
        f"{decision.default_ms.value:.4g}",
        f"{decision.ms.value:.4g}",
        "none" if stays else f"{decision.ratio:.3f}",
        format_config(decision.config),
        ", ".join(tuned.edges),
        ", ".join(shares),
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return terminal_table(
        headings, rows, text_columns=TEXT_COLUMNS, width=terminal_width(), spare=SPARE
    )
