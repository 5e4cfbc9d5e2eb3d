"""The kernels on tables that were cut, joined as in a ring, are the kernels on the whole table."""

from itertools import pairwise

import pytest
import torch

from radialbench.kernels.backward import block_sparse_attention_backward
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.maskgen.compiler import compile_heads
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import HeadTables
from radialbench.maskgen.library import parse_head_plan
from radialbench.parallel.cut import cut_table
from radialbench.parallel.ring import join
from tests.kernels.test_op import DEVICE

EDGES = (0, 23, 40)
"""Shards of 23 and 17 tokens: none is a multiple of a block."""


@pytest.mark.parametrize("lengths", [None, (30, 9)], ids=["all", "some"])
def test_parts_are_the_whole(lengths: tuple[int, int] | None) -> None:
    """Forward and backward, with grouped heads, empty rows, and shards behind all valid keys."""
    window = {"name": "sliding_window", "params": {"window": 9, "sink": 4}}
    plan = parse_head_plan({"name": "two", "heads": {"0,3": window, "1-2": "radial"}})
    table = compile_heads(plan, TokenGrid(3, 2, 6, text_tokens=4), 16, 16)
    generator = torch.Generator().manual_seed(0)
    q, k, v, dout = (
        torch.randn((2, heads, 40, 16), generator=generator).to(DEVICE) for heads in (4, 2, 2, 4)
    )
    key_len = None
    if lengths is not None:
        key_len = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    shards = [range(a, b) for a, b in pairwise(EDGES)]
    whole_out, whole_lse = block_sparse_attention(
        q, k, v, table, key_len=key_len, return_lse=True, backend="triton"
    )
    grads = block_sparse_attention_backward(
        dout, q, k, v, whole_out, whole_lse, device_table(table, DEVICE), key_len=key_len
    )
    sums = [torch.zeros_like(x) for x in (q, k, v)]
    for queries in shards:
        own = slice(queries.start, queries.stop)
        out = torch.zeros_like(q[:, :, own])
        lse = torch.full_like(whole_lse[:, :, own], -torch.inf)
        parts = []
        for keys in shards:
            cut = tuple(cut_table(one, queries, keys, EDGES[1]) for one in table.tables)
            part = HeadTables(cut, table.group_of_head)
            there = slice(keys.start, keys.stop)
            padded = [
                torch.nn.functional.pad(x[:, :, there], (0, 0, 0, EDGES[1] - len(keys)))
                for x in (k, v)
            ]
            valid = None
            if key_len is not None:
                valid = (key_len - keys.start).clamp(0, len(keys)).to(torch.int32)
            parts.append((part, there, padded, valid))
            one = block_sparse_attention(
                q[:, :, own],
                padded[0],
                padded[1],
                part,
                key_len=valid,
                return_lse=True,
                backend="triton",
            )
            out, lse = join(out, lse, *one)
        torch.testing.assert_close(out, whole_out[:, :, own], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(lse, whole_lse[:, :, own], rtol=1e-5, atol=1e-5)
        for part, there, padded, valid in parts:
            dq, dk, dv = block_sparse_attention_backward(
                dout[:, :, own],
                q[:, :, own],
                padded[0],
                padded[1],
                out,
                lse,
                device_table(part, DEVICE),
                key_len=valid,
            )
            sums[0][:, :, own] += dq
            sums[1][:, :, there] += dk[:, :, : there.stop - there.start]
            sums[2][:, :, there] += dv[:, :, : there.stop - there.start]
    for found, wanted in zip(sums, grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
