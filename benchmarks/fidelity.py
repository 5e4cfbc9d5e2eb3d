"""Time what it takes to measure fidelity, and kernels on other numbers.

    python -m benchmarks.fidelity -o results/   # on an NVIDIA GPU two minutes, without a minute
    python -m benchmarks.pages fidelity         # the tables of docs/fidelity.md

On a GPU `fidelity_cost.jsonl` gets the times of dense attention, of a mask's, and of both with the
comparison of all rows, in turn, at 75,600 tokens × 40 heads; and of kernels on normal inputs and on
generated ones whose attention decays. `fidelity.jsonl` gets what the masks keep of the latter, with
the kernel's own error. Without a GPU `fidelity_cpu.jsonl` gets the time of sampled rows at 32,760
tokens × 12 heads.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.parts import RESULTS, Timed, described, measured_here, read_lines, source_of
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.fidelity.generator import Generated, mixed
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.kernel import kernel_rows, plan_attention
from radialbench.fidelity.measure import measure
from radialbench.fidelity.run import measure_fidelity
from radialbench.fidelity.settings import SAMPLED_ROWS, How
from radialbench.kernels.measure.clocks import EventClock, HostClock
from radialbench.kernels.measure.timing import measure_together
from radialbench.maskgen.table import BlockTable
from radialbench.records.fidelity_record import FidelityRecord, read_fidelity, write_fidelity
from radialbench.records.measurement import Measurement
from radialbench.records.statistics import paired_ratio
from radialbench.records.store import append
from radialbench.reports.rows import DENSE
from radialbench.reports.text import format_percent, markdown_table

COST = "fidelity_cost.jsonl"
KEPT = "fidelity.jsonl"
CPU = "fidelity_cpu.jsonl"
MASKS = ("radial", "sta", "svg_spatial", "svg_temporal")
BACKEND = "hopper"
NORMAL, DECAYING = "normal", "decaying"
TURNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTime(Timed):
    """The time of a call.

    Attributes:
        mask: The mask; None for the dense one.
        call: `attention`, `all rows` (both launches and the comparison), `kernel` (under load), or
            `sampled rows` (the definition and all yardsticks).
        inputs: `normal` or `decaying` numbers.
        tokens: Length of the sequence.
        heads: Number of heads.
        peak_bytes: Most memory that the call takes beside its inputs; None if not measured.
    """

    mask: str | None
    call: str
    inputs: str
    tokens: int
    heads: int
    peak_bytes: int | None = None


def main() -> int:
    """Measure, write records and print their tables."""
    parser = argparse.ArgumentParser(description="Time what measuring fidelity costs on a GPU.")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not torch.cuda.is_available():
        sampled = on_the_cpu(Generated(TokenGrid(21, 30, 52), mixed(12)))
        append(options.out / CPU, sampled)
        print(sampled_line(sampled))
        return 0
    source = Generated(TokenGrid(21, 45, 80), mixed(40), dtype="bfloat16")
    inputs = source.load("cuda")
    times = [*cost(inputs), *on_other_numbers(inputs)]
    for time in times:
        append(options.out / COST, time)
    here = measured_here("benchmarks.fidelity")["environment"]
    masks = [(load_mask(name).identity, load_mask(name)) for name in MASKS]
    kept = measure_fidelity([source], masks, How(backend=BACKEND, device="cuda"), here)
    write_fidelity(options.out / KEPT, kept)
    print(cost_table(times), numbers_table(times), kept_table(kept), sep="\n\n")
    return 0


def cost(inputs: AttentionInputs) -> list[CallTime]:
    """Time dense attention, a mask's, and the comparison of all rows of both, in turn."""
    tables = {name: compile_mask(load_mask(name), inputs.grid) for name in (DENSE, *MASKS[:2])}
    found = []
    for name in MASKS[:2]:
        calls = {
            (None, "attention"): attention(inputs, tables[DENSE]),
            (name, "attention"): attention(inputs, tables[name]),
            (name, "all rows"): all_rows(inputs, tables[name]),
        }
        timings = measure_together(
            list(calls.values()), max_samples=20, max_seconds=30, warmups=3, clock=HostClock()
        )
        for (mask, call), timing in zip(calls, timings, strict=True):
            peak = peak_bytes(calls[mask, call])
            found.append(time_of(inputs, mask, call, DECAYING, timing, peak))
    return found


def on_the_cpu(source: Generated) -> CallTime:
    """Time the definition on sampled rows, with all yardsticks, from inputs in memory."""
    inputs = source.load()
    of_mask = compile_mask(load_mask(MASKS[0]), source.grid)
    (timing,) = measure_together(
        [lambda: measure(inputs, [of_mask])], min_samples=5, max_samples=5, max_seconds=60
    )
    return time_of(inputs, MASKS[0], "sampled rows", DECAYING, timing)


def sampled_line(time: CallTime) -> str:
    """Say how long sampled rows take."""
    seconds = [ms / 1e3 for ms in samples(time)]
    what = f"{SAMPLED_ROWS} rows of {time.heads} heads of {time.tokens:,} tokens under {time.mask}"
    spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
    return f"{what} take {median(seconds):.1f} s, {spread} of {len(seconds)} samples"


def time_of(
    inputs: AttentionInputs,
    mask: str | None,
    call: str,
    kind: str,
    timing: Measurement,
    peak: int | None = None,
) -> CallTime:
    """Return a timing with what was timed."""
    return CallTime(
        mask=mask,
        call=call,
        inputs=kind,
        tokens=inputs.grid.seq_len,
        heads=inputs.q.shape[1],
        peak_bytes=peak,
        timing=timing,
        **measured_here("benchmarks.fidelity", inputs.q.device.type),
    )


def attention(inputs: AttentionInputs, table: BlockTable) -> Callable[[], None]:
    """Return a call of a kernel that ends when the GPU has finished."""
    call = plan_attention(inputs, table, BACKEND)

    def run() -> None:
        call()
        torch.cuda.synchronize()

    return run


def all_rows(inputs: AttentionInputs, table: BlockTable) -> Callable[[], None]:
    """Return a call that compares all rows with those of dense attention, and waits for them."""

    def run() -> None:
        for rows, _ in kernel_rows(inputs, [table], BACKEND):
            assert len(rows) == inputs.q.shape[1]
        torch.cuda.synchronize()

    return run


def peak_bytes(call: Callable[[], None]) -> int:
    """Return the most memory that a call takes, over what is taken before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() - before


def on_other_numbers(inputs: AttentionInputs) -> list[CallTime]:
    """Time kernels under load on normal numbers and on decaying inputs, by turns of seconds."""
    q, k, v = (torch.randn_like(x) for x in (inputs.q, inputs.k, inputs.v))
    normal = AttentionInputs(q, k, v, inputs.header)
    found = []
    for name in (None, *MASKS[:2]):
        of_mask = compile_mask(load_mask(name or DENSE), inputs.grid)
        calls = {
            kind: plan_attention(one, of_mask, BACKEND)
            for kind, one in ((NORMAL, normal), (DECAYING, inputs))
        }
        for kind, call in list(calls.items()) * TURNS:
            (timing,) = measure_together(
                [call], max_samples=1000, min_seconds=2, max_seconds=2, clock=EventClock()
            )
            found.append(time_of(inputs, name, "kernel", kind, timing))
    return found


def cost_table(times: Sequence[CallTime]) -> str:
    """Compare the time of all rows with that of both launches, and say how much memory it takes."""
    rows = []
    for mask in MASKS[:2]:
        of_mask = [one for one in times if one.call != "kernel" and one.mask in (None, mask)]
        place = next(n for n, one in enumerate(of_mask) if one.mask == mask)
        dense, sparse, compared = of_mask[place - 1 : place + 2]
        launches = [a + b for a, b in zip(samples(dense), samples(sparse), strict=True)]
        over = paired_ratio(samples(compared), launches)
        rows.append(
            {
                "mask": mask,
                "dense ms": f"{median(samples(dense)):.1f}",
                "mask ms": f"{median(samples(sparse)):.1f}",
                "all rows ms": f"{median(samples(compared)):.1f}",
                "over both launches": f"{over.value:.3f} ({over.low:.3f} to {over.high:.3f})",
                "GiB": f"{(compared.peak_bytes or 0) / 2**30:.1f}",
                "rounds": str(len(launches)),
            }
        )
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows], text_columns=1)


def samples(time: CallTime) -> tuple[float, ...]:
    """Return the samples of a call in ms."""
    return time.timing.samples_ms


def numbers_table(times: Sequence[CallTime]) -> str:
    """Compare kernels on normal numbers with those on inputs whose attention decays."""
    rows = []
    for mask in (None, *MASKS[:2]):
        own = {
            kind: [t.timing for t in times if (t.call, t.mask, t.inputs) == ("kernel", mask, kind)]
            for kind in (NORMAL, DECAYING)
        }
        ms = {kind: [t.median_ms for t in timings] for kind, timings in own.items()}
        ratios = [a / b for a, b in zip(ms[DECAYING], ms[NORMAL], strict=True)]
        row = [mask or DENSE]
        for kind, timings in own.items():
            counters = [t.rounds for t in timings if t.rounds]
            row.append(f"{median(ms[kind]):.1f}")
            row.append(f"{median(mhz for one in counters for mhz in one.sm_mhz):.0f}")
            row.append(f"{median(watts for one in counters for watts in one.power_w):.0f}")
        rows.append([*row, f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"])
    each = [f"{kind} {unit}" for kind in (NORMAL, DECAYING) for unit in ("ms", "MHz", "W")]
    return markdown_table(["mask", *each, "time, decaying over normal"], rows, text_columns=1)


def kept_table(records: Sequence[FidelityRecord]) -> str:
    """Say what each mask keeps, and the kernel's own error beside the mask's."""
    rows = []
    for record in records:
        kept = record.fidelity
        own = f"{kept.kernel_error:.4f}" if kept.kernel_error is not None else ""
        shares = [kept.mass_kept.value, *(kept.yardstick(n).mass for n in ("best", "random"))]
        rows.append(
            [
                record.mask.name,
                format_percent(record.table.block_density),
                *map(format_percent, shares),
                f"{kept.output_error.value:.3f}",
                own,
                f"{record.seconds:.1f}",
            ]
        )
    headings = ("mask", "blocks", "mass kept", "best", "random", "error", "kernel's error", "s")
    return markdown_table(headings, rows, text_columns=1)


def parts() -> dict[str, str]:
    """Return the generated parts of docs/fidelity.md by name."""
    times = read_lines(RESULTS / COST, CallTime)
    kept = read_fidelity(RESULTS / KEPT)
    sampled = read_lines(RESULTS / CPU, CallTime)[-1]
    where = f"{described(times[-1].environment)}; {times[-1].created[:10]}."
    return {
        "cost": f"{cost_table(times)}\n\n{where}",
        "numbers": numbers_table(times),
        "kept": kept_table(kept),
        "sampled": f"{sampled_line(sampled)} ({source_of(sampled)[:-1]}).",
    }


if __name__ == "__main__":
    sys.exit(main())
