"""Our kernels under NVIDIA's compute-sanitizer, on small shapes: `python -m tests.sanitize`.

Runs memcheck, initcheck and racecheck, each on a process that launches every kernel in its variants
(short last blocks, partial blocks, groups of heads, key lengths, shared key heads, fewer queries
than keys, head dimensions), then those of the gradients, and compares the results with the
definition. Exits with 1 if a tool
reports an error or a result is wrong, with 2 if one cannot run. Needs a GPU and
`compute-sanitizer`, of CUDA's toolkit or from `pip install nvidia-cuda-sanitizer-api`; takes
minutes. --launch does the launches alone.

racecheck needs release 2026.1 or later: earlier ones report hazards of specialized warps on Hopper
that the barriers between them rule out (2025.3 reports hundreds where 2026.4 reports none).
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product

import numpy as np
import torch

from radialbench.kernels.arch import target_of
from radialbench.kernels.backward import block_sparse_attention_backward
from radialbench.kernels.device_table import DeviceTable, upload
from radialbench.kernels.select import kernel_reasons
from radialbench.kernels.triton.launch import PREPARE, layout_of
from radialbench.records.problem import KernelConfig
from tests.kernels.tables import mixed_mask, rows_of, table_of

TOOLS = ("memcheck", "initcheck", "racecheck")
RACECHECK = (2026, 1)
KERNELS = ("hopper", "triton")


def main() -> int:
    """Run the tools, or launch."""
    if "--launch" in sys.argv[1:]:
        return launch_all()
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        print("compute-sanitizer is not on the path; it comes with CUDA's toolkit")
        return 2
    release = _release(sanitizer)
    print(f"compute-sanitizer {'.'.join(map(str, release))}")
    failed, missing = False, False
    for tool in TOOLS:
        if tool == "racecheck" and release < RACECHECK:
            print(f"racecheck: not run, needs {'.'.join(map(str, RACECHECK))} or later")
            missing = True
            continue
        # PyTorch's allocator hides reads past an allocation's end, unless every one is its own.
        command = [sanitizer, "--tool", tool, "--error-exitcode", "1", "--print-limit", "5"]
        launch = [sys.executable, "-m", "tests.sanitize", "--launch"]
        code = subprocess.run(
            ["env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1", *command, *launch], check=False
        ).returncode
        print(f"{tool}: {'clean' if code == 0 else f'exit code {code}'}")
        failed = failed or code != 0
    return 1 if failed else 2 if missing else 0


def _release(sanitizer: str) -> tuple[int, ...]:
    output = subprocess.run([sanitizer, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"Version (\d+)\.(\d+)", output.stdout)
    return tuple(map(int, found.groups())) if found else (0, 0)


def launch_all() -> int:
    """Launch every kernel in every variant; return 1 if a result is wrong."""
    wrong = 0
    for kernel in KERNELS:
        for head_dim in (64, 128):
            blocks = (128, 128)
            if kernel_reasons(kernel, torch.bfloat16, head_dim, blocks, target_of("cuda")):
                continue
            for (label, table, mask, key_len), kv_heads in product(tables(blocks), (2, 1)):
                # This fills the tensors of torch.empty: initcheck does not see what TMA writes.
                torch.use_deterministic_algorithms(True)
                right = launch(kernel, head_dim, kv_heads, table, mask, key_len)
                # In a fixed order the portable kernels compute gradients, else that for Hopper.
                torch.use_deterministic_algorithms(kernel == "triton")
                gradients = launch_gradients(head_dim, kv_heads, table, mask, key_len)
                wrong += not right or not gradients
                told = f"{kernel} {head_dim} {kv_heads} {label}"
                print(f"{told}: {'right' if right else 'WRONG'}")
                print(f"{told}, gradients: {'right' if gradients else 'WRONG'}")
    return int(wrong > 0)


def tables(
    blocks: tuple[int, int],
) -> Iterator[tuple[str, DeviceTable, torch.Tensor, torch.Tensor | None]]:
    """Yield variants: label, table, mask [batch, heads, queries, keys], and key lengths."""
    for seq_len in (1, 129, 384):
        mask = mixed_mask(seq_len)
        uploaded = upload([table_of(mask, *blocks)], "cuda")
        yield f"{seq_len} tokens", uploaded, torch.from_numpy(mask)[None, None], None
    whole = np.ones((256, 256), np.bool_)
    uploaded = upload([table_of(whole, *blocks)], "cuda")
    yield "whole blocks", uploaded, torch.from_numpy(whole)[None, None], None
    masks = [mixed_mask(300, seed=seed) for seed in (1, 2)]
    grouped = upload([table_of(mask, *blocks) for mask in masks], "cuda", [1, 0])
    by_head = torch.from_numpy(np.stack(masks[::-1]))[None]
    yield "groups of heads", grouped, by_head, None
    key_len = torch.tensor([0, 177], dtype=torch.int32)
    there = (torch.arange(300) < key_len[:, None])[:, None, None]
    yield "key lengths", grouped, by_head & there, key_len
    some = upload([rows_of(table_of(mask, *blocks), 1, 150) for mask in masks], "cuda", [1, 0])
    yield "fewer queries", some, (by_head & there)[:, :, 128:278], key_len


def launch(
    kernel: str,
    head_dim: int,
    kv_heads: int,
    table: DeviceTable,
    mask: torch.Tensor,
    key_len: torch.Tensor | None,
) -> bool:
    """Launch once and compare with the definition."""
    shape, keys = (2, 2, table.q_len, head_dim), (2, kv_heads, table.k_len, head_dim)
    q, k, v = (torch.randn(size).bfloat16() for size in (shape, keys, keys))
    out = torch.full(shape, torch.nan, dtype=torch.bfloat16).cuda()
    lse = torch.full(shape[:3], torch.nan).cuda()
    inputs, lengths = (q.cuda(), k.cuda(), v.cuda()), None if key_len is None else key_len.cuda()
    run = PREPARE[kernel](
        *map(layout_of, inputs),
        table=table.key,
        config=KernelConfig(table.block_m, table.block_n),
        target=target_of("cuda"),
        key_lens=key_len is not None,
    )
    run(*inputs, out, lse, table.tensors(), lengths, head_dim**-0.5)
    k, v = (x.expand(-1, 2, -1, -1) for x in (k, v))
    scores = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) * head_dim**-0.5
    scores = scores.masked_fill(~mask, -torch.inf)
    exact_lse = scores.logsumexp(-1)
    weights = (scores - exact_lse.masked_fill(exact_lse.isinf(), 0.0)[..., None]).exp()
    exact = torch.einsum("bhqk,bhkd->bhqd", weights, v.double())
    found_lse = lse.cpu().double()
    near = (found_lse - exact_lse).abs().masked_fill(exact_lse.isinf() & found_lse.isinf(), 0.0)
    return bool((out.cpu().double() - exact).abs().max() < 0.03 and near.max() < 0.03)


def launch_gradients(
    head_dim: int,
    kv_heads: int,
    table: DeviceTable,
    mask: torch.Tensor,
    key_len: torch.Tensor | None,
) -> bool:
    """Launch the gradients of an exact result once, and compare with the definition."""
    shape, keys = (2, 2, table.q_len, head_dim), (2, kv_heads, table.k_len, head_dim)
    q, k, v, dout = (torch.randn(size).bfloat16() for size in (shape, keys, keys, shape))
    x, y, z = leaves = [t.double().requires_grad_() for t in (q, k, v)]
    y, z = (t.repeat_interleave(2 // kv_heads, dim=1) for t in (y, z))
    scores = (x @ y.mT * head_dim**-0.5).masked_fill(~mask, -torch.inf)
    lse = scores.logsumexp(-1)
    exact = (scores - lse.masked_fill(lse.isinf(), 0.0)[..., None]).exp() @ z
    wanted = torch.autograd.grad(exact, leaves, dout.double())
    given = [t.cuda() for t in (dout, q, k, v, exact.detach().bfloat16(), lse.detach().float())]
    lengths = None if key_len is None else key_len.cuda()
    grad, a, b, c, out, sums = given
    found = block_sparse_attention_backward(grad, a, b, c, out, sums, table, key_len=lengths)
    # Where exact gradients cancel to 0, sums leave some rounding.
    floor = 0.1 * dout.double().norm()
    return all(
        bool((got.cpu().double() - right).norm() <= 0.02 * (right.norm() + floor))
        for got, right in zip(found, wanted, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
