"""Times of a call beside those of another one, or beside those that were stored."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from radialbench.errors import RecordError
from radialbench.kernels.measure.clocks import clock_of
from radialbench.kernels.measure.environment import environment
from radialbench.kernels.measure.timing import measure_together
from radialbench.records.codec import to_json
from radialbench.records.gate import Gate, read_gate, setting_of
from radialbench.records.measurement import Measurement
from radialbench.records.result import Environment
from radialbench.records.statistics import Estimate, paired_ratio
from radialbench.records.store import read_every, write_errors
from radialbench.reports.check.metrics import RUNS_CPU, RUNS_GPU, sampled_value
from radialbench.reports.check.significance import benjamini_hochberg, change_of
from radialbench.reports.check.verdict import Outcome, apply_gate, format_size
from radialbench.testing.cohort import cohort_diff
from radialbench.writing import write_files

STORED_SCHEMA = 1
"""Version of the stored form of times."""


@dataclass(frozen=True, slots=True)
class StoredTimes:
    """Times of a call, as a file holds them.

    Attributes:
        schema: Version of the stored form.
        created: When they were taken.
        environment: Where.
        timing: The samples.
    """

    schema: int
    created: str
    environment: Environment
    timing: Measurement


@dataclass(frozen=True, slots=True)
class Times:
    """Samples of a call, and of what it is compared with.

    Attributes:
        own: Samples of the call.
        other: Samples of the other call, or the stored ones.
        ratio: How many times as long the call takes, with its 95% interval.
        verdict: `pass`, `faster`, `regressed` or `inconclusive`.
        text: The verdict in a sentence.
    """

    own: Measurement
    other: Measurement
    ratio: Estimate
    verdict: str
    text: str


def compare_times(
    call: Callable[[], object],
    against: Callable[[], object] | str | Path,
    *,
    gate: str = "5%",
    device: str = "cpu",
    **sampling: Any,
) -> Times:
    """Time a call, and say whether it is slower by a gate than another one, or than it was.

    Two calls are sampled in turn, as suites do: the first has `regressed` if the whole interval of
    the ratio is beyond the gate, and passes if the whole interval is within it. Stored times are
    judged as `radialbench check` judges two runs, and are inconclusive beside those of another
    machine or other versions.

    Args:
        call: What is judged; on a GPU it launches and does not wait.
        against: What it is compared with, such as the fastest kernel so far; or a file that
            `save_times` wrote.
        gate: The least change that counts, as `5%`, `1.5x`, `2ms` or `5%, 20us`.
        device: `cpu` or `cuda`.
        **sampling: As those of `radialbench.kernels.measure.timing.measure_together`.

    Raises:
        RecordError: The gate or the file cannot be read.
    """
    _, size = read_gate(setting_of("latency", gate))
    if callable(against):
        own, other = measure_together([call, against], clock=clock_of(device), **sampling)
        return _in_turn(own, other, gate, size or Gate(math.inf))
    stored = read_times(Path(against))
    (own,) = measure_together([call], clock=clock_of(device), **sampling)
    return _beside_stored(own, stored, environment("", device=device), gate, size)


def save_times(
    call: Callable[[], object], path: str | Path, *, device: str = "cpu", **sampling: Any
) -> None:
    """Time a call and store the samples, with machine and versions, for `compare_times`.

    Arguments are those of `compare_times`.

    Raises:
        RecordError: The file cannot be written.
    """
    (timing,) = measure_together([call], clock=clock_of(device), **sampling)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    stored = StoredTimes(STORED_SCHEMA, now, environment("", device=device), timing)
    file = Path(path)
    with write_errors(file, "choose another file"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_files({file: f"{to_json(stored)}\n".encode()})


def read_times(path: Path) -> StoredTimes:
    """Read what `save_times` wrote.

    Raises:
        RecordError: There is no such file, or it holds something else.
    """
    hint = "Choose another file, or write it again"
    found = read_every(path, StoredTimes, STORED_SCHEMA, what="the times of a call", hint=hint)
    if len(found) != 1:
        raise RecordError(f"{path} holds the times of {len(found)} calls, not of one. {hint}")
    return found[0]


def _in_turn(own: Measurement, other: Measurement, gate: str, size: Gate) -> Times:
    ratio = paired_ratio(own.samples_ms, other.samples_ms)
    most = 1 + max(size.share, size.least / other.median_ms)
    ends = ratio.ends or (0.0, math.inf)
    verdict = "pass" if ends[1] <= most else "regressed" if ends[0] > most else "inconclusive"
    text = (
        f"{_medians(own, other)}: {ratio.value:.3f} times (95% {ends[0]:.3f} to {ends[1]:.3f}), "
        f"the gate is {gate}"
    )
    return Times(own, other, ratio, verdict, text)


def _beside_stored(
    own: Measurement, stored: StoredTimes, now: Environment, gate: str, size: Gate | None
) -> Times:
    other = stored.timing
    ratio = Estimate(own.median_ms / other.median_ms)
    said = f"{_medians(own, other)} stored"

    def judged(verdict: str, text: str) -> Times:
        return Times(own, other, ratio, verdict, f"{said}: {text}")

    if size is None:
        return judged("pass", "the gate is off")
    if differ := cohort_diff(stored.environment, now):
        return judged("inconclusive", f"these were taken elsewhere ({differ})")
    if protocol := other.protocol_diff(own):
        return judged("inconclusive", f"these were measured differently ({'; '.join(protocol)})")
    runs = RUNS_CPU if now.device == "cpu" else RUNS_GPU
    change = change_of(sampled_value(other, runs), sampled_value(own, runs))
    if change is None:
        return judged("inconclusive", "too few samples to tell, an interval takes six of both")
    ratio = change.estimate
    ends = ratio.ends or (0.0, math.inf)
    words = f"{ratio.value:.3f} times (95% {ends[0]:.3f} to {ends[1]:.3f})"
    ((worse,), (better,)) = (
        benjamini_hochberg([chance]) for chance in (change.worse_p, change.better_p)
    )
    least = math.log1p(max(size.share, size.least / other.median_ms))
    outcome, why = apply_gate(change, least, (worse, better), words, format_size)
    return judged(
        {Outcome.FASTER: "faster"}.get(outcome, outcome.value), f"{why}; the gate is {gate}"
    )


def _medians(own: Measurement, other: Measurement) -> str:
    return f"{own.median_ms:.4g} ms against {other.median_ms:.4g}"
