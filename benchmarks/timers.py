"""Time the same kernels by our events and by other timers, in one run.

    python -m benchmarks.timers                  # about two minutes on an H100
    python -m benchmarks.timers -o timers.json   # the samples too
    python -m benchmarks.pages measurement       # the table of docs/measurement.md

benchmarks/results/timers.json holds the samples that the page's table is made from.

Beside ours: `triton.testing`, CUPTI's records of each kernel (through torch.profiler, flush left
out), replay of a CUDA graph, and NVBench where `cuda-bench` is installed. Every timer but NVBench,
which runs once a process, measures before and after the others: the two differ by what drifts.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from benchmarks.parts import RESULTS, described
from radialbench import TokenGrid, block_sparse_attention, compile_mask, load_mask
from radialbench.kernels.measure.clocks import EventClock
from radialbench.kernels.measure.environment import environment
from radialbench.kernels.measure.timing import ceiling_matmul, measure_together
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.result import Environment

Call = Callable[[], object]
STORED = RESULTS / "timers.json"
SECONDS = 0.5
SHAPES = {"short": (TokenGrid(4, 32, 32), 4), "middle": (TokenGrid(21, 30, 52), 12)}


@dataclass(frozen=True, slots=True)
class Result:
    """What a timer said of a kernel, with the L2 cache `cold` or `warm`."""

    kernel: str
    timer: str
    cache: str
    samples_ms: tuple[float, ...]


def kernels() -> dict[str, Call]:
    """Give what is timed, from microseconds to some ten milliseconds."""
    calls: dict[str, Call] = {}
    for name, (grid, heads) in SHAPES.items():
        calls[f"radial, {name}"] = _attention(grid, heads)
    calls["matrix product"] = ceiling_matmul(torch.bfloat16, "cuda")
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
    """Events with the launch held back, as suites measure."""
    clock = EventClock(cold=cold)
    (timing,) = measure_together(
        [call], target=0.0, max_samples=300, max_seconds=SECONDS, clock=clock
    )
    return timing.samples_ms


def graph(call: Call) -> tuple[float, ...]:
    """The same around the replay of a CUDA graph that holds the call."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        call()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        call()
    return ours(captured.replay, cold=True)


def do_bench(call: Call) -> tuple[float, ...]:
    """Triton's: events, the cache cleared before each call, launches not held back."""
    from triton.testing import do_bench as bench

    return tuple(bench(call, warmup=200, rep=1000 * SECONDS, return_mode="all"))


def do_bench_cudagraph(call: Call) -> tuple[float, ...]:
    """Triton's: calls unrolled in a graph, the cache warm."""
    from triton.testing import do_bench_cudagraph as bench

    return tuple(bench(call, rep=1000 * SECONDS, return_mode="all"))


def cupti(call: Call) -> tuple[float, ...]:
    """CUPTI's begin and end of every kernel of a call."""
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
    """Give each call's time, from the begin of its first kernel to the end of its last.

    Before each call the GPU did one thing that is not of it, the flush. Times are milliseconds.

    Raises:
        SystemExit: The calls did not all do the same number of things.
    """
    ordered = sorted(spans)
    each, rest = divmod(len(ordered), calls)
    if rest or each < 2:
        raise SystemExit(f"CUPTI recorded {len(ordered)} spans of {calls} calls: cannot tell them")
    groups = [ordered[place + 1 : place + each] for place in range(0, len(ordered), each)]
    return tuple(max(end for _, end in group) - group[0][0] for group in groups)


def nvbench(calls: dict[str, Call], missing: list[str]) -> list[Result]:
    """NVBench's cold measurement of all kernels; said to be missing where it is not installed."""
    try:
        from cuda import bench
        from cuda.bench.results import BenchmarkResult
    except ImportError as error:
        missing.append(f"nvbench: not measured: {error}")
        return []

    def entry(call: Call) -> Callable[[Any], None]:
        def benchmark(state: Any) -> None:
            def launch(launched: Any) -> None:
                stream = torch.cuda.ExternalStream(launched.get_stream().addressof())
                with torch.cuda.stream(stream):
                    call()

            # What the allocator needs on this stream it gets now: an allocation while NVBench's
            # own kernel holds the stream back would wait for ever.
            stream = torch.cuda.ExternalStream(state.get_stream().addressof())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    call()
            torch.cuda.synchronize()
            state.exec(launch, batched=False)

        return benchmark

    for name, call in calls.items():
        bench.register(entry(call)).set_name(name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nvbench.json"
        options = ["--min-time", str(SECONDS), "--timeout", "20", "--quiet"]
        bench.run_all_benchmarks([sys.argv[0], "--jsonbin", str(file), *options])
        found = BenchmarkResult.from_json(file)
        return [
            Result(name, "nvbench", "cold", tuple(1e3 * s for s in state.samples))
            for name in calls
            for state in found[name]
            if state.samples
        ]


TIMERS: tuple[tuple[str, str, Callable[[Call], tuple[float, ...]]], ...] = (
    ("ours", "cold", lambda call: ours(call, cold=True)),
    ("ours, graph", "cold", graph),
    ("do_bench", "cold", do_bench),
    ("cupti", "cold", cupti),
    ("ours", "warm", lambda call: ours(call, cold=False)),
    ("do_bench_cudagraph", "warm", do_bench_cudagraph),
)


def measured(calls: dict[str, Call], missing: list[str]) -> list[Result]:
    """Let every timer but NVBench measure every kernel; one that fails is said to be missing."""
    found = []
    for name, call in calls.items():
        for timer, cache, time_it in TIMERS:
            try:
                found.append(Result(name, timer, cache, time_it(call)))
            except Exception as error:
                missing.append(f"{timer} on {name}: not measured: {type(error).__name__}: {error}")
    return found


def result_table(results: Sequence[Result]) -> str:
    """A table: each timer's median, spread, and median over that of ours in the same cache."""
    lines = ["| kernel | timer | L2 | ms | IQR | samples | over ours |", "|-|-|-|-:|-:|-:|-:|"]
    for kernel, timer, cache in dict.fromkeys((r.kernel, r.timer, r.cache) for r in results):
        samples = _samples(results, kernel, timer, cache)
        own = _samples(results, kernel, "ours", cache)
        low, _, high = quantiles(samples, n=4) if len(samples) > 1 else (0.0, 0.0, 0.0)
        over = f"{median(samples) / median(own):.4f}" if own else "–"
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
    where, missing = from_dict(Environment, stored["environment"]), stored["missing"]
    lines = [result_table(results), "", f"{described(where)}."]
    lines += ["", *(f"- {line}" for line in missing)] if missing else []
    return {"timers": "\n".join(lines)}


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="The same kernels by several timers.")
    parser.add_argument("-o", "--out", type=Path, help="write the samples, as JSON")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a CUDA device")
        return 2
    where = environment("python -m benchmarks.timers", device="cuda")
    print(f"{where.device}; {where.clocks or 'clocks unknown'}")
    calls = kernels()
    missing: list[str] = []
    results = [*measured(calls, missing), *nvbench(calls, missing), *measured(calls, missing)]
    print(result_table(results), *missing, sep="\n")
    if options.out:
        rows = [to_dict(result) for result in results]
        stored = {"environment": to_dict(where), "missing": missing, "results": rows}
        options.out.write_text(json.dumps(stored), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
