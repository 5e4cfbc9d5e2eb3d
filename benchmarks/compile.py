"""Time the mask compiler against its targets, and beside FlexAttention's `create_block_mask`.

    python benchmarks/compile.py [--quick] [--out FILE]

Every row runs in new processes, so that its first call and its peak memory are its own. Prints two
tables and writes the first as records. Exits with 1 when a target is missed, or FlexAttention finds
other blocks. Wants the machine for itself.
"""

import argparse
import json
import resource
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from tabulate import tabulate

from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.measurement import Measurement, Memory
from radialbench.records.problem import KernelConfig, Problem, group_id
from radialbench.records.result import SCHEMA, Environment, Record, Status, TableStats
from radialbench.records.store import append

Facts = dict[str, Any]

HERE = Path(__file__).parent
FRAME = (45, 80)
MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Row:
    """A mask to compile on some frames of 45×80 tokens, and what that may take."""

    mask: str
    frames: int
    target_s: float
    target_bytes: int | None = None
    empty_rows: str = "error"


ROWS = (
    Row("radial", 21, 0.1),
    Row("radial", 33, 0.3),
    Row("radial", 161, 2.0, target_bytes=GIB),
    Row("radial_blocks", 21, 0.05, empty_rows="keep"),
    Row("radial_blocks", 33, 0.1, empty_rows="keep"),
    Row("radial_blocks", 129, 0.5, empty_rows="keep"),
    Row("sta", 21, 0.3),
    *(Row(f"svg_{kind}", 21, 0.3) for kind in ("spatial", "temporal", "blocks", "profile")),
    Row("neighborhood", 21, 1.0),
)
FLEX_GRIDS = ((3, 15, 26), (5, 15, 26), (5, 30, 52))


def main() -> int:
    """Measure everything, print it, and say which target is missed."""
    parser = argparse.ArgumentParser(description="Time the mask compiler against its targets.")
    parser.add_argument("--quick", action="store_true", help="few samples, no records unless --out")
    parser.add_argument("--out", type=Path, help="records (benchmarks/results/compile.jsonl)")
    parser.add_argument("--row", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(compiled(ROWS[options.row[0]], options.row[1])))
        return 0
    processes, calls = (1, 4) if options.quick else (5, 8)
    found = [measured(number, processes, calls) for number in range(len(ROWS))]
    flex = [ask("flex_block_mask.py", *grid, max(1, calls - 3)) for grid in FLEX_GRIDS]
    print(row_table(found), flex_table(flex, found[0]), sep="\n\n", end="\n\n")
    out = options.out or (None if options.quick else HERE / "results" / "compile.jsonl")
    if out:
        write(out, found)
    wrong = [line for facts in found for line in facts["missed"]]
    wrong += [f"FlexAttention has other blocks on {f['grid']}" for f in flex if not f["equal"]]
    print(*(wrong or ["Every target is met."]), sep="\n")
    return int(bool(wrong))


def compiled(row: Row, calls: int) -> Facts:
    """Compile a mask again and again in a process that has done nothing else."""
    from radialbench import TokenGrid, compile_mask, load_mask

    grid, spec = TokenGrid(row.frames, *FRAME), load_mask(row.mask, empty_rows=row.empty_rows)
    before, peak, samples = peak_bytes(), 0, []
    for _ in range(calls):
        start = perf_counter()
        table = compile_mask(spec, grid)
        samples.append((perf_counter() - start) * 1e3)
        peak = peak or peak_bytes()

    from radialbench.suites.tables import table_stats

    problem = Problem(spec.fingerprint, grid, batch=1, heads=1, head_dim=128, dtype="float32")
    return {
        "mask": to_dict(spec.identity),
        "problem": to_dict(problem),
        "table": to_dict(table_stats(table, problem, samples[0])),
        "samples_ms": samples[1:],
        "peak_bytes": peak,
        "added_bytes": peak - before,
    }


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def ask(script: str, *arguments: object) -> Facts:
    """Have a new process answer."""
    print("python", script, *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    facts: Facts = json.loads(done.stdout)
    return facts


def measured(number: int, processes: int, calls: int) -> Facts:
    """Measure a row in some processes: the median first call, all later calls, the worst peak."""
    row = ROWS[number]
    title = f"{row.mask} on {row.frames} frames"
    print(title, file=sys.stderr, flush=True)
    replies = [ask("compile.py", "--row", number, calls) for _ in range(processes)]
    facts = max(replies, key=lambda reply: int(reply["peak_bytes"]))
    facts["table"]["compile_ms"] = median(reply["table"]["compile_ms"] for reply in replies)
    samples = tuple(sample for reply in replies for sample in reply["samples_ms"])
    facts["timing"] = Measurement(samples, 1, "warm", "perf_counter", None)
    times = {"first call": facts["table"]["compile_ms"], "median": facts["timing"].median_ms}
    facts["missed"] = [
        f"{title}: the {name} is {ms / 1e3:.3f} s, target {row.target_s} s"
        for name, ms in times.items()
        if ms > 1e3 * row.target_s
    ]
    if row.target_bytes and facts["peak_bytes"] > row.target_bytes:
        facts["missed"].append(f"{title}: the process takes {facts['peak_bytes'] / MIB:.0f} MiB")
    return facts


def row_table(found: list[Facts]) -> str:
    """Draw the table of the rows."""
    head = "mask, grid, tokens, first call (s), median (s), IQR (s), target (s), "
    head += "process (MiB), compiling (MiB), full, partial, bitmaps, "
    lines = []
    for row, facts in zip(ROWS, found, strict=True):
        table, timing = facts["table"], facts["timing"]
        seconds = (table["compile_ms"] / 1e3, timing.median_ms / 1e3, timing.iqr_ms / 1e3)
        memory = (facts["peak_bytes"] / MIB, facts["added_bytes"] / MIB)
        counts = (table["full"], table["partial"], table["bitmaps"])
        problem = from_dict(Problem, facts["problem"])
        cells = [facts["mask"]["name"], problem.grid.label, f"{problem.seq_len:,}"]
        cells += [*(f"{s:.3f}" for s in seconds), f"{row.target_s:g}"]
        cells += [*(f"{size:.0f}" for size in memory), *(f"{count:,}" for count in counts)]
        lines.append([*cells, "MISSED" if facts["missed"] else "ok"])
    return tabulate(lines, head.split(", "), stralign="right", disable_numparse=True)


def flex_table(flex: list[Facts], large: Facts) -> str:
    """Draw the table beside FlexAttention; what does not fit into memory is computed, not run."""
    head = "radial on, tokens, compile_mask (s), create_block_mask (s), adding (GiB), blocks"
    lines = []
    for facts in flex:
        cells = [facts["grid"], f"{facts['tokens']:,}", f"{facts['ours_s']:.3f}"]
        cells += [f"{facts['theirs_s']:.3f}", f"{facts['added_bytes'] / GIB:.2f}"]
        lines.append([*cells, "equal" if facts["equal"] else "DIFFER"])
    grid, seconds = from_dict(Problem, large["problem"]).grid, large["timing"].median_ms / 1e3
    tokens = grid.seq_len
    # Distances in frames and in places are both held, for every pair of tokens, as int64.
    needed = f"computed: over {2 * 8 * tokens**2 / GIB:.0f}"
    cells = [grid.label, f"{tokens:,}", f"{seconds:.3f}"]
    lines.append([*cells, "not run", needed, "not compared"])
    return tabulate(lines, head.split(", "), stralign="right", disable_numparse=True)


def write(out: Path, found: list[Facts]) -> None:
    """Write one record a row, in place of the file that was there."""
    from radialbench.kernels.environment import environment

    here = environment(shlex.join(["python", *sys.argv]))
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    part.unlink(missing_ok=True)
    for facts in found:
        append(part, record(facts, here))
    part.replace(out)


def record(facts: Facts, here: Environment) -> Record:
    """Make the record of a row."""
    problem = from_dict(Problem, facts["problem"])
    mask = from_dict(MaskIdentity, facts["mask"])
    return Record(
        schema=SCHEMA,
        suite="compile-targets",
        case=f"{mask.label}/{group_id(problem, None)}/compile",
        measure="compile",
        mask=mask,
        model=None,
        problem=problem,
        backend=None,
        config=KernelConfig(),
        config_source="default",
        table=from_dict(TableStats, facts["table"]),
        status=Status.OK,
        reason=None,
        accuracy=None,
        timing=facts["timing"],
        permute_ms=None,
        plan_ms=None,
        memory=Memory(facts["added_bytes"], "growth of the process's peak over its first call"),
        environment=here,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


if __name__ == "__main__":
    sys.exit(main())
