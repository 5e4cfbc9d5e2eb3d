"""Measure two versions in turn: in rounds, each in processes of its own."""

import glob
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median

from radialbench.errors import SuiteError
from radialbench.records.measurement import COUNTERS, Measurement, Rounds, Telemetry
from radialbench.records.result import Record, Status
from radialbench.records.store import RESULTS, read, write_whole
from radialbench.suites.plan import Case
from radialbench.suites.versus import Version, last_line

ROUNDS = 4
"""Processes of each version, if nothing else is asked for."""

NOW, BEFORE = "now", "before"


def measure_rounds(
    suite: Path,
    cases: Iterable[Case],
    versions: Mapping[str, Version],
    out: Path,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    on_round: Callable[[str], None] = lambda line: None,
) -> None:
    """Measure cases with several versions in turn, and write a record a case for each version.

    The versions measure the cases of a shape one right after the other, each in a process of its
    own. The order is random, and each version comes first as often as the other.

    Args:
        suite: The suite's file, which every version reads; it alone determines the inputs.
        cases: The cases of the suite to measure.
        versions: The versions by the names of their folders.
        out: Folder for their folders, and for `rounds`, where each process's own records are.
        rounds: Processes of each version for each shape.
        seed: Seed of the order.
        on_round: Called with a line on each process before it starts.

    Raises:
        SuiteError: A version cannot run the suite.
        RecordError: Its records cannot be read.
        OSError: The results cannot be written.
    """
    by_group: dict[str, list[Case]] = {}
    for case in cases:
        by_group.setdefault(case.group, []).append(case)
    shapes = list(by_group.values())
    draw = random.Random(seed)
    orders = [_orders(list(versions), rounds, draw) for _ in shapes]
    for turn in range(rounds):
        for place, shape in enumerate(shapes):
            for name in orders[place][turn]:
                on_round(f"round {turn + 1}/{rounds}, shape {place + 1}/{len(shapes)}, {name}")
                _measure(suite, shape, versions[name], _folder(out, name, turn))
    for name in versions:
        _write(out / name, [_folder(out, name, turn) for turn in range(rounds)])


def _orders(names: list[str], rounds: int, draw: random.Random) -> list[list[str]]:
    """Draw the order of each round; each version comes first as often as the other."""
    starts = [turn % len(names) for turn in range(rounds)]
    draw.shuffle(starts)
    return [names[start:] + names[:start] for start in starts]


def _folder(out: Path, name: str, turn: int) -> Path:
    return out / "rounds" / f"{name}-{turn + 1}"


def _measure(suite: Path, shape: Sequence[Case], version: Version, folder: Path) -> None:
    """Measure the cases of a shape with a version, by its own command line."""
    filters = [word for case in shape for word in ("-f", _pattern(case.id))]
    options: list[str | Path] = ["-o", folder, "--resume", "--quiet", *filters]
    code, _, errors = version.run(["-m", "radialbench", "run", suite, *options])
    results = folder / RESULTS
    ids = {case.id for case in shape}
    # A case that fails ends a run with 1, too.
    if code in (0, 1) and results.exists() and _records(results).keys() & ids:
        return
    raise SuiteError(
        f"{version.name} cannot run {suite}: {last_line(errors, code)}. The two "
        "versions are measured with one suite: give one that both can run, or another version"
    )


def _pattern(case: str) -> str:
    """Return a pattern for one id; without wildcards it would match longer ids, too."""
    return f"[{case[0]}]{glob.escape(case[1:])}"


def _records(results: Path) -> dict[str, Record]:
    stored = read(results)
    if stored.skipped:
        raise SuiteError(
            f"{results} holds lines that this version cannot read ({stored.skipped[0]}): the two "
            "versions differ too much to be compared this way"
        )
    return {record.case: record for record in stored.records}


def _write(out: Path, folders: Iterable[Path]) -> None:
    """Write the records of a version's processes, pooled into one for each case."""
    by_case: dict[str, list[Record]] = {}
    for folder in folders:
        for case, record in _records(folder / RESULTS).items():
            by_case.setdefault(case, []).append(record)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RESULTS, map(pooled, by_case.values()))


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
