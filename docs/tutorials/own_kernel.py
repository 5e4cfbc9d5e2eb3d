"""Add a Triton kernel of thirty lines, hold it to the contract, and measure it beside the others.

python own_kernel.py      # under a minute on two cores; writes into the current folder
pytest own_kernel.py      # the contract alone

Without a GPU Triton interprets the kernel: its results are the same, its times mean nothing.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

HERE = "cuda" if torch.cuda.is_available() else "cpu"
if HERE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # Before Triton is imported.

import triton
import triton.language as tl
from torch import Tensor

from radialbench import BlockTable, load_summary
from radialbench.kernels.backends import Run
from radialbench.records.problem import KernelConfig, Problem
from radialbench.testing import BackendContract


# A program computes one block of queries of one head. A table says which blocks of keys it visits:
# those of query block b are Columns[First[b]] to Columns[First[b + 1] - 1]. Which pairs attend
# inside of a block is read from a mask of all tokens, which is the simplest way, not the fastest.
@triton.jit
def attend(Q, K, V, Out, Lse, First, Columns, Pairs, tokens, scale,
           D: tl.constexpr, M: tl.constexpr, N: tl.constexpr):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1)
    row, dim = block * M + tl.arange(0, M), tl.arange(0, D)
    place = (head * tokens + row)[:, None] * D + dim
    q = tl.load(Q + place, mask=row[:, None] < tokens, other=0.0)
    top = tl.full([M], -1e30, tl.float32)
    total, acc = tl.zeros([M], tl.float32), tl.zeros([M, D], tl.float32)
    for visit in range(tl.load(First + block), tl.load(First + block + 1)):
        key = tl.load(Columns + visit) * N + tl.arange(0, N)
        at = (head * tokens + key)[:, None] * D + dim
        k = tl.load(K + at, mask=key[:, None] < tokens, other=0.0)
        v = tl.load(V + at, mask=key[:, None] < tokens, other=0.0)
        inside = (row[:, None] < tokens) & (key < tokens)
        attends = tl.load(Pairs + row[:, None] * tokens + key, mask=inside, other=0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(attends != 0, scores, float("-inf"))
        new = tl.maximum(top, tl.max(scores, 1))
        old, weights = tl.exp(top - new), tl.exp(scores - new[:, None])
        total = total * old + tl.sum(weights, 1)
        acc = acc * old[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        top = new
    out = acc / tl.maximum(total, 1e-30)[:, None]  # Zeros for a query without keys.
    tl.store(Out + place, out.to(Out.dtype.element_ty), mask=row[:, None] < tokens)
    lse = tl.where(total > 0, top + tl.log(tl.maximum(total, 1e-30)), float("-inf"))
    tl.store(Lse + head * tokens + row, lse, mask=row < tokens)


# A backend says what it cannot run, and prepares everything that does not depend on q, k and v.
class Mine:
    """Block-sparse attention in thirty lines."""

    name = "mine"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        reasons = [] if device == HERE else [f"runs on {HERE} here, got device {device!r}"]
        if problem.kv_heads is not None:
            reasons.append("takes as many key heads as heads")
        if problem.direction != "forward":
            reasons.append("computes the forward pass only")
        if problem.q_len != problem.seq_len or problem.seq_len > 16384:
            reasons.append("takes all tokens as queries, and at most 16,384 of them")
        if problem.head_dim not in (16, 32, 64, 128):
            reasons.append("head_dim is 16, 32, 64 or 128")
        return reasons

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        pairs = torch.from_numpy(table.to_dense()).to(HERE, torch.int8)
        rows, columns = np.nonzero(table.any_blocks())
        first = np.searchsorted(rows, np.arange(table.rows + 1))
        to_visit = [torch.tensor(x, dtype=torch.int32, device=HERE) for x in (first, columns)]
        grid = (table.rows, problem.batch * problem.heads)
        blocks = (table.block_m, table.block_n)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            q, k, v = (x.contiguous() for x in (q, k, v))
            out, lse = torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
            tensors = (q, k, v, out, lse, *to_visit, pairs)
            attend[grid](*tensors, problem.seq_len, problem.scale, problem.head_dim, *blocks)
            return out, lse

        return run

    def needs(self) -> str:
        return f"triton {triton.__version__}"


# The tests that our own backends pass: masks of every kind, ragged lengths, text, rows without a
# key, several sequences, inputs that stay as they are. What Mine refuses in words is skipped.
class TestMine(BackendContract):
    backend = f"{__name__}:Mine"
    device = HERE


# A suite names it as module:Class; a package would give it a plain name by an entry point.
SUITE = """\
name: own_kernel
protocol: {min_samples: 6, max_samples: 6, min_seconds: 0, max_seconds: 2}
cases:
  - masks: [radial, dense]
    grids: [{frames: 3, height: 6, width: 8}]
    heads: 2
    head_dim: 16
    dtype: float32
    block_m: 32
    block_n: 32
    backends: [cpu, triton, "own_kernel:Mine"]
"""

if __name__ == "__main__":
    Path("own_kernel.yaml").write_text(SUITE)
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "radialbench", "run", "own_kernel.yaml", "-o", "measured"]
    assert subprocess.run(command, check=False).returncode == 0
    frame = load_summary("measured").frame()
    columns = ["mask", "backend", "status", "latency_ms", "max_abs_error", "tolerance"]
    print(frame[columns].to_string(index=False))
    if HERE == "cpu":
        print("Interpreted: right or wrong can be told here, fast or slow on a GPU.")
