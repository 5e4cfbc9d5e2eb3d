"""What `radialbench tune` prints in the end."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radialbench.autotune.jobs import TuningEstimate
    from radialbench.autotune.replay import Replayed
    from radialbench.autotune.run import JobEnded, Verification

WORDS = ("problem", "configuration", "at an edge", "mattered", "rejected", "gain now", "verdict")
SPARE = (
    *("mattered", "at an edge", "gain when tuned", "rejected", "default ms", "candidates"),
    *("best ms", "configuration"),
)
"""Columns that a narrow terminal does without, in this order."""

HEADINGS = ("default ms", "best ms", "gain", "configuration", "at an edge", "mattered")


def tuned_table(ends: Sequence["JobEnded"]) -> str:
    """Give a line for each search that came to an end."""
    done = [(end.job.name, end.tuned) for end in ends if end.tuned is not None]
    return _table(("problem", *HEADINGS), [(name, *_cells(tuned)) for name, tuned in done])


def replayed_table(done: Sequence["Replayed"]) -> str:
    """Give a line for each search that was replayed, with how far it is from the best there is."""
    rows = [(one.name, *_cells(one.tuned), f"{one.share:.0%}", f"{one.regret:.2%}") for one in done]
    return _table(("problem", *HEADINGS, "measured", "regret"), rows)


def verdict_table(verdicts: Sequence["Verification"]) -> str:
    """Give a line for each record that was measured again."""
    from radialbench.autotune.space import format_config

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


def estimate_table(told: Sequence["TuningEstimate"]) -> str:
    """Give a line for each search that would be."""
    rows = [
        (
            one.job.name,
            one.candidates,
            ", ".join(f"{count} by {kind}" for kind, count in one.rejections.items()),
            one.trials,
            f"{one.seconds:,.0f} s",
        )
        for one in told
    ]
    return _table(("problem", "candidates", "rejected", "trials", "about"), rows)


def _cells(tuned: Any) -> tuple[str, ...]:
    from radialbench.autotune.space import format_config

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
    from radialbench.reports.terminal_tables import terminal_table, terminal_width

    return terminal_table(headings, rows, words=WORDS, width=terminal_width(), spare=SPARE)
