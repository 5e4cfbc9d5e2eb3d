"""Time how long blocks that are chosen at run time take to become a launch.

    python -m benchmarks.run_time_tables   # on an NVIDIA GPU, or a CPU; a few seconds

At 591×591 blocks of 128×128 tokens (Wan 2.1 at 720p: 75,600 tokens), shared by 40 heads and chosen
by each of them: the choice from q and k (`top_blocks`), the table of it (`table_of_blocks`), with
and without a known number of blocks, and on a GPU attention with the table at hand and made anew.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

from radialbench.kernels.device_table import DeviceTable, table_of_blocks
from radialbench.kernels.op import block_sparse_attention
from radialbench.kernels.top_blocks import top_blocks

TOKENS, BLOCK, HEADS, KEPT = 75_600, 128, 40, 118
CALLS = 20


def main() -> None:
    """Print the medians."""
    gpu = torch.cuda.is_available()
    print(torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads")
    for heads in (1, HEADS):
        times(heads, "cuda" if gpu else "cpu")


def times(heads: int, device: str) -> None:
    """Print the medians of a choice for some heads."""
    rows = -(-TOKENS // BLOCK)
    kept = torch.full((rows,), KEPT, device=device)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    q, k = torch.randn(2, heads, TOKENS, 128, device=device, dtype=dtype).unbind()

    def choice() -> torch.Tensor:
        return top_blocks(q, k, kept, KEPT, BLOCK, BLOCK)

    blocks = choice()[0] if heads == 1 else choice()

    def table(nnz: int | None = None) -> DeviceTable:
        return table_of_blocks(blocks, BLOCK, BLOCK, TOKENS, TOKENS, nnz=nnz)

    title = "shared" if heads == 1 else f"{heads} heads"
    known = heads * rows * KEPT
    report(f"{title}: choice", choice)
    report(f"{title}: table", table)
    report(f"{title}: table, number known", lambda: table(known))
    if device == "cuda":
        a, b, c = torch.randn(3, 1, HEADS, TOKENS, 128, device=device, dtype=dtype).unbind()
        made = table(known)
        report(f"{title}: attention", lambda: block_sparse_attention(a, b, c, made))
        report(
            f"{title}: table and attention", lambda: block_sparse_attention(a, b, c, table(known))
        )


def report(what: str, call: Callable[[], object]) -> None:
    """Print the median time of a call, to the end of its work."""
    times = []
    for number in range(CALLS + 2):
        wait()
        start = perf_counter()
        call()
        wait()
        if number >= 2:
            times.append(perf_counter() - start)
    print(f"{what:32} {median(times) * 1e3:9.3f} ms")


def wait() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
