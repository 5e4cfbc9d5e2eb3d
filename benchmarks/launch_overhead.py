"""Time the host overhead of a call of block_sparse_attention over the bare launch.

    python -m benchmarks.launch_overhead   # on an NVIDIA GPU, a second for each kernel

The bare launch is `kernel[grid](...)` of the Triton or Gluon kernel with the call's arguments. Both
are timed in turn, in batches on one small problem, so that the host never waits for the GPU. Exits
with 1 if the difference of the medians is above 25 µs.
"""

import sys
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from radialbench import TokenGrid, block_sparse_attention, compile_mask, load_mask
from radialbench.kernels.arch import target_of
from radialbench.kernels.op import config_for, device_table
from radialbench.kernels.select import kernel_reasons
from radialbench.kernels.triton.launch import PREPARE, layout_of

MOST_US = 25.0
CALLS, BATCHES = 20, 500
KERNELS = {
    "hopper": ("radialbench.kernels.triton.forward_hopper", "block_sparse_fwd_hopper"),
    "triton": ("radialbench.kernels.triton.forward", "block_sparse_fwd"),
}


class Recorder:
    """Stands in for a kernel, and keeps the arguments of its launch."""

    arg_names = ()

    def __getitem__(self, grid: tuple[int, int]) -> Callable[..., None]:
        """Return the launcher of a grid."""

        def record(*arguments: Any, **options: Any) -> None:
            self.launched = (grid, arguments, options)

        return record


def main() -> int:
    """Time the kernels that the GPU can run."""
    if not torch.cuda.is_available():
        raise SystemExit("needs an NVIDIA GPU: PyTorch finds none on this machine")
    print(torch.cuda.get_device_name(), f"torch {torch.__version__}", sep=", ")
    worst = 0.0
    for backend in KERNELS:
        reasons = kernel_reasons(backend, torch.bfloat16, 64, (128, 128), target_of("cuda"))
        if reasons:
            print(f"{backend:8} not timed: {'; '.join(reasons)}")
            continue
        calls, bare = times_us(*pair(backend))
        worst = max(worst, calls - bare)
        print(f"{backend:8} {calls:6.1f} µs a call, {bare:6.1f} bare, {calls - bare:6.1f} more")
    return int(worst > MOST_US)


def pair(backend: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a call of block_sparse_attention, and the bare launch that it makes."""
    table = compile_mask(load_mask("radial"), TokenGrid(2, 8, 8), 128, 128)
    shape = (1, 1, table.seq_len, 64)
    q, k, v, out = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    lse, uploaded = torch.empty(shape[:3], device="cuda"), device_table(table, "cuda")
    module, name = KERNELS[backend]
    kernel, recorder = getattr(import_module(module), name), Recorder()
    with patch(f"{module}.{name}", recorder):
        run = PREPARE[backend](
            *map(layout_of, (q, k, v)),
            table=uploaded.key,
            config=config_for(q, table, backend=backend).config,
            target=target_of("cuda"),
            key_lens=False,
        )
        run(q, k, v, out, lse, uploaded.tensors(), None, shape[3] ** -0.5)
    grid, arguments, options = recorder.launched
    return (
        lambda: block_sparse_attention(q, k, v, table, backend=backend),
        lambda: kernel[grid](*arguments, **options),
    )


def times_us(*calls: Callable[[], object]) -> list[float]:
    """Return each call's median time on the host, in µs."""
    found: list[list[float]] = [[] for _ in calls]
    for batch in range(BATCHES + 2):
        for call, times in zip(calls, found, strict=True):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            if batch >= 2:  # The first compile, and warm up.
                times.append((time.perf_counter() - start) / CALLS * 1e6)
    return [median(times) for times in found]


if __name__ == "__main__":
    sys.exit(main())
