"""From which length on a mask is faster than dense."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from radialbench.reports.rows import Row


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The length from which a mask stays faster than dense, token order included.

    Attributes:
        sweep: The sweep of the lengths.
        mask: The mask.
        backend: Its backend.
        place: Index of its environment in the summary.
        dense: Backends of the dense results it was compared with.
        shortest: Tokens of the shortest length compared.
        longest: Tokens of the longest length compared.
        below: Longest length at which it is not faster; None if there is none.
        above: The next length, from which it is faster; None if it is not at the longest.
        tokens: Where the two latencies are equal, interpolated between logarithms; None unless both
            lengths were measured.
        latency_ms: The latency there.
        interval: 95% interval of `tokens`: where the ends of the speed-ups' intervals are 1. 0 for
            below the shortest length, infinite for beyond the longest; None where the speed-ups
            have no intervals.
    """

    sweep: str
    mask: str
    backend: str
    place: int
    dense: tuple[str, ...]
    shortest: int
    longest: int
    below: int | None
    above: int | None
    tokens: float | None
    latency_ms: float | None
    interval: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """Description in words."""
        if self.shortest == self.longest:
            word = "faster" if self.above else "not faster"
            return f"{word} at the one length compared, {self.shortest:,} tokens"
        if self.above is None:
            return f"not within what was measured ({self.shortest:,} to {self.longest:,} tokens)"
        if self.below is None:
            return f"faster at every length measured, from {self.shortest:,} tokens on"
        text = f"between {self.below:,} and {self.above:,} tokens, at about {self.about}"
        return f"{text} ({self.interval_text})" if self.interval else text

    @property
    def interval_text(self) -> str:
        """The interval in words; empty without one."""
        if self.interval is None:
            return ""
        early, late = self.interval
        low, high = early > 0, late < math.inf
        if low and high:
            words = _format_tokens(early), _format_tokens(late)
            same = words[0] == words[1]
            return "95%: the same to two figures" if same else "95%: {} to {}".format(*words)
        if high:
            return f"95%: no later than {_format_tokens(late)}"
        if low:
            return f"95%: {_format_tokens(early)} to beyond {self.longest:,}"
        return f"95%: below {self.shortest:,} to beyond {self.longest:,}"

    @property
    def about(self) -> str:
        """Where the two latencies are equal, to two figures: an interpolation has no more."""
        return "?" if self.tokens is None else _format_tokens(self.tokens)


def _format_tokens(tokens: float) -> str:
    digits = 1 - math.floor(math.log10(tokens))
    return f"{round(tokens, digits):,.0f}"


def break_evens(rows: Iterable[Row]) -> tuple[BreakEven, ...]:
    """Return the break-even of every sparse mask and backend that was compared with dense."""
    compared = [row for row in rows if row.speedup is not None and not row.is_dense]
    order = {_key(row): place for place, row in reversed(list(enumerate(compared)))}
    compared.sort(key=lambda row: (order[_key(row)], row.tokens))
    return tuple(_break_even(list(group)) for _, group in groupby(compared, _key))


def _key(row: Row) -> tuple[object, ...]:
    return row.sweep, row.mask, row.backend, row.record.config, row.place


def _break_even(rows: list[Row]) -> BreakEven:
    slower = [i for i, row in enumerate(rows) if (row.speedup or 0) <= 1]
    first = slower[-1] + 1 if slower else 0
    below = rows[first - 1] if first else None
    above = rows[first] if first < len(rows) else None
    tokens, latency = _meeting(below, above) if below and above else (None, None)
    interval = _interval(rows)
    if interval and tokens is not None:
        interval = min(interval[0], tokens), max(interval[1], tokens)
    head = rows[0]
    return BreakEven(
        sweep=head.sweep,
        mask=head.mask,
        backend=head.backend,
        place=head.place,
        dense=tuple(sorted({row.dense.backend or "" for row in rows if row.dense})),
        shortest=head.tokens,
        longest=rows[-1].tokens,
        below=below.tokens if below else None,
        above=above.tokens if above else None,
        tokens=tokens,
        latency_ms=latency,
        interval=interval,
    )


def _meeting(below: Row, above: Row) -> tuple[float, float]:
    """Return where the speed-up is 1, with the latency there, interpolated between logarithms."""
    assert below.speedup and above.speedup and below.total_ms and above.total_ms
    low, high = math.log(below.speedup), math.log(above.speedup)
    part = -low / (high - low)
    return (
        below.tokens * (above.tokens / below.tokens) ** part,
        below.total_ms * (above.total_ms / below.total_ms) ** part,
    )


def _interval(rows: list[Row]) -> tuple[float, float] | None:
    """Return the break-evens of the upper and of the lower ends of the speed-ups."""
    found = [(row.tokens, row.speedup_interval) for row in rows]
    known = [(tokens, ratio.ends) for tokens, ratio in found if ratio and ratio.ends]
    if len(known) < len(rows):
        return None
    return (
        _crossing([(tokens, high) for tokens, (_, high) in known]),
        _crossing([(tokens, low) for tokens, (low, _) in known]),
    )


def _crossing(points: list[tuple[int, float]]) -> float:
    """Return where the speed-up passes 1 for the last time; 0 if always above, else infinite."""
    slower = [place for place, (_, speedup) in enumerate(points) if speedup <= 1]
    if not slower:
        return 0.0
    if slower[-1] + 1 == len(points):
        return math.inf
    (tokens, speedup), (more, faster) = points[slower[-1] : slower[-1] + 2]
    part = -math.log(speedup) / (math.log(faster) - math.log(speedup))
    return float(tokens * (more / tokens) ** part)
