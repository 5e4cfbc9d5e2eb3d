"""Time the same kernels with our events and with other timers, in one run.

    python -m benchmarks.timers                  # about two minutes on an H100
    python -m benchmarks.timers -o timers.json   # the samples too
    python -m benchmarks.pages measurement       # the table of docs/measurement.md

benchmarks/results/timers.json holds the samples behind the page's table.

The other timers are `triton.testing`, CUPTI's records of each kernel (through torch.profiler,
without the flush), and replay of a CUDA graph. Every timer measures twice, which shows drift.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median, quantiles

import torch

from benchmarks.parts import RESULTS, described
from radialbench import TokenGrid, block_sparse_attention, compile_mask, load_mask
from radialbench.kernels.measure.clocks import EventClock
from radialbench.kernels.measure.environment import environment
from radialbench.kernels.measure.inputs import ceiling_matmul
from radialbench.kernels.measure.timing import measure
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.result import Environment

Call = Callable[[], object]
Timer = Callable[[Call], tuple[float, ...]]
STORED = RESULTS / "timers.json"
SECONDS = 0.5
SHAPES = {"short": (TokenGrid(4, 32, 32), 4), "middle": (TokenGrid(21, 30, 52), 12)}


@dataclass(frozen=True, slots=True)
class Result:
    """One timer's samples of a kernel, with the L2 cache `cold` or `warm`."""

    kernel: str
    timer: str
    cache: str
    samples_ms: tuple[float, ...]


def kernels() -> dict[str, Call]:
    """Return the kernels to time, from microseconds to tens of milliseconds."""
    calls: dict[str, Call] = {f"radial, {name}": _attention(*at) for name, at in SHAPES.items()}
    calls["matmul"] = ceiling_matmul(torch.bfloat16, "cuda")
    calls["radial, long"] = _attention(TokenGrid(21, 45, 80), 12)
    for call in calls.values():
        call()
    torch.cuda.synchronize()
    return calls


def _attention(grid: TokenGrid, heads: int) -> Call:
    table = compile_mask(load_mask("radial"), grid)
    shape = (1, heads, grid.seq_len, 128)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    return lambda: block_sparse_attention(q, k, v, table)


def ours(call: Call, *, cold: bool) -> tuple[float, ...]:
    """Time with events, the launch held back, as suites measure."""
    clock = EventClock(cold=cold)
    return measure(call, target=0.0, max_samples=300, max_seconds=SECONDS, clock=clock).samples_ms


def graph(call: Call) -> tuple[float, ...]:
    """Time the replay of a CUDA graph of the call, with the same events."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        call()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        call()
    return ours(captured.replay, cold=True)


def triton_timer(name: str, call: Call, **options: int) -> tuple[float, ...]:
    """Time with a function of `triton.testing`."""
    bench = getattr(import_module("triton.testing"), name)
    return tuple(bench(call, rep=1000 * SECONDS, return_mode="all", **options))


def cupti(call: Call) -> tuple[float, ...]:
    """Time from the start of a call's first kernel to the end of its last, as CUPTI records."""
    from torch.profiler import ProfilerActivity, profile

    size = 2 * torch.cuda.get_device_properties().L2_cache_size
    other = torch.empty(size, dtype=torch.uint8, device="cuda")
    once = ours(call, cold=True)
    count = max(10, min(300, int(1000 * SECONDS / median(once))))
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(count):
            other.zero_()
            call()
        torch.cuda.synchronize()
    spans = [
        (event.time_range.start / 1e3, event.time_range.end / 1e3)
        for event in profiled.events() or ()
        if event.device_type.name == "CUDA"
    ]
    return spans_of_calls(spans, count)


def spans_of_calls(spans: Iterable[tuple[float, float]], calls: int) -> tuple[float, ...]:
    """Return the time of each call in ms: its kernels' spans, without the flush before them."""
    ordered = sorted(spans)
    each, rest = divmod(len(ordered), calls)
    if rest or each < 2:
        raise SystemExit(f"CUPTI recorded {len(ordered)} spans of {calls} calls: cannot split them")
    groups = [ordered[place + 1 : place + each] for place in range(0, len(ordered), each)]
    return tuple(max(end for _, end in group) - group[0][0] for group in groups)


TIMERS: tuple[tuple[str, str, Timer], ...] = (
    ("ours", "cold", partial(ours, cold=True)),
    ("ours, graph", "cold", graph),
    ("do_bench", "cold", partial(triton_timer, "do_bench", warmup=200)),
    ("cupti", "cold", cupti),
    ("ours", "warm", partial(ours, cold=False)),
    ("do_bench_cudagraph", "warm", partial(triton_timer, "do_bench_cudagraph")),
)


def measured(calls: dict[str, Call]) -> list[Result]:
    """Time every kernel with every timer."""
    return [
        Result(name, timer, cache, time_it(call))
        for name, call in calls.items()
        for timer, cache, time_it in TIMERS
    ]


def result_table(results: Sequence[Result]) -> str:
    """Format each timer's median, IQR, and ratio to our median with the same cache."""
    lines = ["| kernel | timer | L2 | ms | IQR | samples | over ours |", "|-|-|-|-:|-:|-:|-:|"]
    for kernel, timer, cache in dict.fromkeys((r.kernel, r.timer, r.cache) for r in results):
        samples = _samples(results, kernel, timer, cache)
        own = _samples(results, kernel, "ours", cache)
        low, _, high = quantiles(samples, n=4) if len(samples) > 1 else (0.0, 0.0, 0.0)
        over = f"{median(samples) / median(own):.4f}"
        lines.append(
            f"| {kernel} | {timer} | {cache} | {median(samples):.4f} | {high - low:.4f} "
            f"| {len(samples)} | {over} |"
        )
    return "\n".join(lines)


def _samples(results: Iterable[Result], kernel: str, timer: str, cache: str) -> list[float]:
    wanted = (kernel, timer, cache)
    return [ms for r in results if (r.kernel, r.timer, r.cache) == wanted for ms in r.samples_ms]


def parts() -> dict[str, str]:
    """Return the generated part of the page by its name."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    results = [from_dict(Result, result) for result in stored["results"]]
    where = from_dict(Environment, stored["environment"])
    return {"timers": f"{result_table(results)}\n\n{described(where)}."}


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Time the same kernels with several timers.")
    parser.add_argument("-o", "--out", type=Path, help="write the samples, as JSON")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a CUDA device")
        return 2
    where = environment("python -m benchmarks.timers", device="cuda")
    print(f"{where.device}; {where.clocks or 'clocks unknown'}")
    calls = kernels()
    results = [*measured(calls), *measured(calls)]
    print(result_table(results))
    if options.out:
        stored = {"environment": to_dict(where), "results": [to_dict(r) for r in results]}
        options.out.write_text(json.dumps(stored), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
