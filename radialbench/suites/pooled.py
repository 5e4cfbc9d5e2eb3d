"""One record of what several processes measured of a case."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from statistics import median

from radialbench.records.measurement import Accuracy, Measurement, Memory, Rounds, Telemetry
from radialbench.records.result import Record, Status

BESIDE = ("sm_mhz", "power_w", "temperature_c", "slowed_by")
"""What `Rounds` holds for each sample."""


def pooled(records: Sequence[Record]) -> Record:
    """Put a case's records together: all samples, one process after the other.

    One that did not go well in some process did not go well: its record is the first of those, and
    its reason says in how many it was so.

    Args:
        records: Of one case, at least one, each of a process of its own.
    """
    bad = [record for record in records if record.status != Status.OK]
    if bad:
        told = f" (in {len(bad)} of {len(records)} processes)" if len(records) > 1 else ""
        return replace(bad[0], reason=f"{bad[0].reason}{told}")
    timing = [record.timing for record in records if record.timing]
    ceiling = [record.ceiling for record in records if record.ceiling]
    if len(ceiling) == len(timing):
        # A pair is what was sampled side by side: what has no partner would shift those after it.
        timing, ceiling = _paired(timing, ceiling)
    else:
        ceiling = []
    return replace(
        records[-1],
        timing=_joined(timing),
        ceiling=_joined(ceiling),
        isolated=_joined([record.isolated for record in records if record.isolated]),
        permute_ms=_middle([record.permute_ms for record in records]),
        plan_ms=_middle([record.plan_ms for record in records]),
        accuracy=_worst([record.accuracy for record in records if record.accuracy]),
        memory=_memory([record.memory for record in records if record.memory]),
        telemetry=_telemetry([record.telemetry for record in records if record.telemetry]),
    )


def _joined(parts: Sequence[Measurement]) -> Measurement | None:
    if not parts:
        return None
    return replace(
        parts[-1],
        samples_ms=tuple(chain.from_iterable(part.samples_ms for part in parts)),
        warmups=sum(part.warmups for part in parts),
        rounds=_rounds(parts),
        processes=tuple(len(part.samples_ms) for part in parts),
    )


def _paired(
    above: Sequence[Measurement], below: Sequence[Measurement]
) -> tuple[list[Measurement], list[Measurement]]:
    counts = [min(len(a.samples_ms), len(b.samples_ms)) for a, b in zip(above, below, strict=True)]
    first, second = (
        [_first(part, count) for part, count in zip(parts, counts, strict=True)]
        for parts in (above, below)
    )
    return first, second


def _first(part: Measurement, count: int) -> Measurement:
    """Give the first samples, with what was read beside them."""
    rounds = part.rounds
    if rounds is not None:
        rounds = replace(rounds, **{name: getattr(rounds, name)[:count] for name in BESIDE})
    return replace(part, samples_ms=part.samples_ms[:count], rounds=rounds)


def _rounds(parts: Sequence[Measurement]) -> Rounds | None:
    """What a GPU's counters said beside all samples; nothing of what one process was not told."""
    every = [part.rounds for part in parts if part.rounds]
    if len(every) < len(parts):
        return None
    joined = {}
    for name in BESIDE:
        values = [getattr(rounds, name) for rounds in every]
        joined[name] = tuple(chain.from_iterable(values)) if all(values) else ()
    return Rounds(every[-1].source, **joined)


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _worst(found: Sequence[Accuracy]) -> Accuracy | None:
    return max(found, key=lambda one: max(one.max_abs_error, one.max_lse_error), default=None)


def _memory(found: Sequence[Memory]) -> Memory | None:
    """Give the one in the middle: a resident set differs from process to process."""
    known = sorted(found, key=lambda one: one.peak_bytes or 0)
    return known[len(known) // 2] if known else None


def _telemetry(found: Sequence[Telemetry]) -> Telemetry | None:
    if not found:
        return None

    def middle(of: Callable[[Telemetry], float | None]) -> float | None:
        return _middle([of(one) for one in found])

    hottest = [one.temperature_c for one in found if one.temperature_c is not None]
    return Telemetry(
        calls=sum(one.calls for one in found),
        seconds=sum(one.seconds for one in found),
        energy_j=middle(lambda one: one.energy_j),
        power_w=middle(lambda one: one.power_w),
        sm_mhz=middle(lambda one: one.sm_mhz),
        memory_mhz=middle(lambda one: one.memory_mhz),
        temperature_c=max(hottest, default=None),
        slowed_by=tuple(dict.fromkeys(word for one in found for word in one.slowed_by)),
    )
