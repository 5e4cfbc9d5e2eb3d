"""How long a call takes on the CPU, and how much memory it adds."""

import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from radialbench.records.result import Measurement, Memory

T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def measure(
    run: Callable[[], object],
    *,
    target: float = 0.01,
    min_samples: int = 5,
    max_samples: int = 100,
    max_seconds: float = 10.0,
    warmups: int = 1,
) -> Measurement:
    """Time a call again and again, until its median is known well enough or the time is up.

    The caches stay as the call before left them ("warm").

    Args:
        run: The call.
        target: Once there are `min_samples`, stop when the half-width of the median's 95% interval
            is below this share of the median.
        min_samples: Samples to take before that, if the time allows.
        max_samples: Samples after which to stop in any case.
        max_seconds: When this much time is spent on samples no other is begun. The first is
            always taken.
        warmups: Calls that are not timed.
    """
    for _ in range(warmups):
        run()
    samples: list[float] = []
    spent_ms = 0.0
    while not samples or (spent_ms < 1000 * max_seconds and len(samples) < max_samples):
        start = time.perf_counter_ns()
        run()
        samples.append((time.perf_counter_ns() - start) / 1e6)
        spent_ms += samples[-1]
        if len(samples) >= min_samples and median_half_width(samples) < target:
            break
    return Measurement(tuple(samples), warmups, "warm", "perf_counter", None)


def median_half_width(samples: Sequence[float]) -> float:
    """Give half the width of the median's 95% interval, as a share of the median.

    The interval lies between two order statistics, found from the binomial distribution, and
    assumes nothing about the samples' own. With fewer than six samples no such interval reaches
    95%: infinite.
    """
    count, ordered = len(samples), sorted(samples)
    below = _rank(count)
    if below == 0:
        return math.inf
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return (ordered[count - below] - ordered[below - 1]) / 2 / middle


@cache
def _rank(count: int) -> int:
    """Count the samples on either side of the interval's ends, the ends included.

    The largest r with P(fewer than r of `count` fair coins show heads) ≤ 2.5%; exact.
    """
    rank, ways, sum_of_ways = 0, 1, 1
    while 40 * sum_of_ways <= 2**count:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        sum_of_ways += ways
    return rank


def peak_memory(run: Callable[[], T]) -> tuple[T, Memory]:
    """Call once, and measure what that adds to the process's resident memory, at its peak.

    Uses Linux's own high-water mark, reset just before the call; memory that the allocator keeps
    for reuse is given back first, where the C library can.
    """
    _trim()
    before = _resident_bytes()
    result = run()
    if before is None:
        return result, Memory(None, "not measured: the system has no resettable high-water mark")
    source = "growth of the resident set's high-water mark (/proc/self) over one call"
    return result, Memory(max(0, _status_bytes("VmHWM") - before), source)


def _resident_bytes() -> int | None:
    """Reset the high-water mark to what is resident, and tell how much that is."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
        return _status_bytes("VmRSS")
    except (OSError, KeyError):
        return None


def _status_bytes(key: str) -> int:
    pairs = (line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return int(dict(pair for pair in pairs if len(pair) == 2)[key].split()[0]) * 1024


def _trim() -> None:
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
