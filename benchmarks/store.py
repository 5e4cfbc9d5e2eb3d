"""How quickly a file of results is read: `python -m benchmarks.store`.

Writes records like those of a run, reads them back a few times, and prints the median beside what
the standard library's JSON alone takes for the same lines.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from radialbench.records.codec import to_json
from radialbench.records.measurement import Memory
from radialbench.records.result import Record
from radialbench.records.store import read

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "results" / "sweep.jsonl"


def write(path: Path, count: int, samples: int) -> None:
    """Write records that differ in all that is measured, as many runs of one suite would."""
    draw = random.Random(0)
    timed = [record for record in read(RECORDS).records if record.timing]
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


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How quickly a file of results is read.")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        write(path, options.records, options.samples)
        size = path.stat().st_size / options.records
        took = seconds(lambda: read(path), options.repeats)
        lines = path.read_bytes().splitlines()
        plain = seconds(lambda: [json.loads(line) for line in lines], options.repeats)
    print(
        f"{options.records:,} records of {size:,.0f} bytes: {took:.2f} s, "
        f"{1e6 * took / options.records:.1f} µs a record; json.loads alone: {plain:.2f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
