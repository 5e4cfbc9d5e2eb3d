"""Many records like those of a run, for tests of reading."""

import random
from dataclasses import replace
from pathlib import Path

from benchmarks.parts import RESULTS
from radialbench.records.codec import to_json
from radialbench.records.measurement import Memory
from radialbench.records.result import Record
from radialbench.records.store import read


def write(path: Path, count: int, samples: int) -> None:
    """Write records that differ in all that is measured, as many runs of one suite would."""
    draw = random.Random(0)
    timed = [record for record in read(RESULTS / "sweep.jsonl").records if record.timing]
    with path.open("w", encoding="utf-8") as file:
        for place in range(count):
            file.write(_line(timed[place % len(timed)], place, samples, draw))


def _line(record: Record, place: int, samples: int, draw: random.Random) -> str:
    assert record.timing is not None and record.table is not None
    middle = record.timing.median_ms
    times = tuple(round(middle * draw.uniform(0.98, 1.02), 6) for _ in range(samples))
    record = replace(
        record,
        case=f"{record.case}/{place}",
        table=replace(record.table, compile_ms=draw.uniform(1, 100)),
        timing=replace(record.timing, samples_ms=times),
        permute_ms=draw.uniform(0, 1),
        plan_ms=draw.uniform(0, 10),
        memory=Memory(draw.randrange(1 << 30), "growth of the resident set's high-water mark"),
    )
    return to_json(record) + "\n"
