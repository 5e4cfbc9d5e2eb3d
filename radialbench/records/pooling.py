"""Records of a case from several processes, as one with all of their samples."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise
from statistics import median

from radialbench.records.measurement import COUNTERS, Measurement, Rounds, Telemetry
from radialbench.records.result import Record, Status


def pooled(records: Sequence[Record]) -> Record:
    """Pool a case's records, each of a process of its own, into one with all samples.

    If the case failed in some process, the result is the first of those records, with the number
    of such processes in its reason.
    """
    bad = [record for record in records if record.status != Status.OK]
    if bad:
        count = f" (in {len(bad)} of {len(records)} processes)" if len(records) > 1 else ""
        return replace(bad[0], reason=f"{bad[0].reason}{count}")
    timing = [record.timing for record in records if record.timing]
    ceiling = [record.ceiling for record in records if record.ceiling]
    if len(ceiling) == len(timing):
        # Pairs were sampled side by side: a sample without its partner would shift those after it.
        pairs = zip(timing, ceiling, strict=True)
        counts = [min(len(one.samples_ms), len(beside.samples_ms)) for one, beside in pairs]
        timing, ceiling = (
            [part.at(range(count)) for part, count in zip(parts, counts, strict=True)]
            for parts in (timing, ceiling)
        )
    else:
        ceiling = []
    accuracies = [record.accuracy for record in records if record.accuracy]
    memories = [record.memory for record in records if record.memory]
    memories.sort(key=lambda one: one.peak_bytes or 0)
    return replace(
        records[-1],
        timing=_joined(timing),
        ceiling=_joined(ceiling),
        isolated=_joined([record.isolated for record in records if record.isolated]),
        permute_ms=_median([record.permute_ms for record in records]),
        plan_ms=_median([record.plan_ms for record in records]),
        accuracy=max(accuracies, key=lambda a: max(a.max_abs_error, a.max_lse_error), default=None),
        # The middle one by peak: a resident set differs from process to process.
        memory=memories[len(memories) // 2] if memories else None,
        telemetry=_telemetry([record.telemetry for record in records if record.telemetry]),
    )


def by_process(record: Record) -> list[Record]:
    """Return a record of each process that a pooled one has samples of; what they share is kept."""
    timing = record.timing
    if timing is None or len(timing.processes) < 2:
        return [record]
    count = len(timing.processes)
    times, ceilings, isolated = (
        [None] * count if one is None else _parts(one, count)
        for one in (timing, record.ceiling, record.isolated)
    )
    return [
        replace(record, timing=own, ceiling=beside, isolated=alone)
        for own, beside, alone in zip(times, ceilings, isolated, strict=True)
    ]


def _parts(one: Measurement, count: int) -> Sequence[Measurement | None]:
    """Return the samples of each process; none where they cannot be told apart."""
    if len(one.processes) != count:
        return [None] * count
    alone = replace(one, processes=(), warmups=one.warmups // count)
    return [alone.at(range(*end)) for end in pairwise(accumulate(one.processes, initial=0))]


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


def _rounds(parts: Sequence[Measurement]) -> Rounds | None:
    """Join a GPU's counters beside all samples; none that one process could not read."""
    every = [part.rounds for part in parts if part.rounds]
    if len(every) < len(parts):
        return None
    joined = {}
    for name in COUNTERS:
        values = [getattr(rounds, name) for rounds in every]
        joined[name] = tuple(chain.from_iterable(values)) if all(values) else ()
    return Rounds(every[-1].source, **joined)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _telemetry(parts: Sequence[Telemetry]) -> Telemetry | None:
    if not parts:
        return None
    medians = {
        name: _median([getattr(one, name) for one in parts])
        for name in ("energy_j", "power_w", "sm_mhz", "memory_mhz")
    }
    temperatures = [one.temperature_c for one in parts if one.temperature_c is not None]
    return Telemetry(
        calls=sum(one.calls for one in parts),
        seconds=sum(one.seconds for one in parts),
        temperature_c=max(temperatures, default=None),
        slowed_by=tuple(dict.fromkeys(word for one in parts for word in one.slowed_by)),
        **medians,
    )
