"""What a user writes, for mypy --strict and pyright: every public name, with what it returns."""

# pyright: strict

from collections.abc import Mapping
from typing import assert_type

import torch

import radialbench
from radialbench import (
    BlockTable,
    RadialBenchError,
    SequenceParallel,
    Summary,
    TokenGrid,
    block_sparse_attention,
    compile_mask,
    load_mask,
    load_summary,
    parse_mask,
    summarize,
)
from radialbench.integrations.module import RadialAttention


def of_a_mask(grid: TokenGrid) -> BlockTable:
    mask = load_mask("radial", decay=0.5)
    mapping: Mapping[str, object] = {"name": "near", "mask": "dt <= 1"}
    table = compile_mask(parse_mask(mapping), grid, block_m=64, block_n=64)
    assert_type(table, BlockTable)
    assert_type(table.density, float)
    assert_type(mask.fingerprint, str)
    return compile_mask(mask, grid)


def of_attention(table: BlockTable, q: torch.Tensor) -> torch.Tensor:
    out = block_sparse_attention(q, q, q, table)
    assert_type(out, torch.Tensor)
    out, lse = block_sparse_attention(q, q, q, table, return_lse=True)
    assert_type(lse, torch.Tensor)
    return out


def of_results(path: str) -> Summary:
    summary = load_summary(path)
    assert_type(summary, Summary)
    for row in summary.rows:
        assert_type(row.speedup, float | None)
    print(summary.frame().columns)
    return summarize([row.record for row in summary.rows])


def of_processes(table: BlockTable) -> SequenceParallel:
    return SequenceParallel(table, heads=4)


def main() -> None:
    grid = TokenGrid.for_model("wan2.1-1.3b", "832x480x81")
    try:
        table = of_a_mask(grid)
    except RadialBenchError as error:
        print(radialbench.__version__, error)
        return
    q = torch.randn(1, 2, table.seq_len, 64)
    module: torch.nn.Module = RadialAttention(grid, "radial")
    print(of_attention(table, q).shape, module(q, q, q))
