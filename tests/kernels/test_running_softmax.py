"""One query block, tile after tile: the result is the softmax over all keys, whatever the steps."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench.kernels.backends.cpu import RunningSoftmax, cut_tiles
from radialbench.maskgen.table import BlockTable
from tests.kernels.tables import Bool, table_of

HEAD_DIM = 8


def drawn(seq_len: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(seq_len, HEAD_DIM, generator=generator) for _ in range(3))
    return q, k, v


def stepped(
    table: BlockTable, q: Tensor, k: Tensor, v: Tensor, *, tile_tokens: int, finite: bool = True
) -> tuple[Tensor, Tensor]:
    """Attend with a scale of 1, one tile after the other."""
    rows = cut_tiles(table, tile_tokens)
    widest = max((tile.width for row in rows for tile in row), default=0)
    softmax = RunningSoftmax(table, HEAD_DIM, widest)
    out, lse = torch.full_like(q, math.nan), torch.full((len(q),), math.nan)
    for number, tiles in enumerate(rows):
        block = slice(number * table.block_m, (number + 1) * table.block_m)
        softmax.begin(q[block], 1.0, finite=finite)
        for tile in tiles:
            softmax.add(tile, k.T, v)
        softmax.end(out[block], lse[block])
    return out, lse


def defined(mask: Bool, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scores = (q.double() @ k.double().T).masked_fill(~torch.from_numpy(mask), -math.inf)
    return scores.softmax(-1).nan_to_num(nan=0.0) @ v.double(), scores.logsumexp(-1)


def check(mask: Bool, *inputs: Tensor, block: int = 16, finite: bool = True) -> None:
    table = table_of(mask, block, block)
    expected = defined(mask, *inputs)
    for tile_tokens in (1, 48, 10_000):
        got = stepped(table, *inputs, tile_tokens=tile_tokens, finite=finite)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_the_largest_score_may_come_first_last_or_between() -> None:
    mask = np.ones((64, 64), np.bool_)
    for place in (0, 31, 63):
        q, k, v = drawn(64)
        k[place] *= 30
        check(mask, q, k, v)


def test_a_row_whose_keys_come_in_one_tile_only() -> None:
    mask = np.eye(64, dtype=np.bool_)
    check(mask, *drawn(64))


def test_a_row_without_keys_among_rows_with_some() -> None:
    mask = np.ones((40, 40), np.bool_)
    mask[[0, 7, 39]] = False
    q, k, v = drawn(40)
    check(mask, q, k, v)
    out, lse = stepped(table_of(mask, 16, 16), q, k, v, tile_tokens=16)
    assert torch.all(out[[0, 7, 39]] == 0)
    assert torch.all(lse[[0, 7, 39]] == -math.inf)


def test_a_block_of_rows_without_any_tile() -> None:
    mask = np.ones((48, 48), np.bool_)
    mask[16:32] = False
    check(mask, *drawn(48))


@pytest.mark.parametrize("factor", [1e3, 1e4, 1e6])
def test_scores_far_from_one_another(factor: float) -> None:
    q, k, v = drawn(48)
    out, lse = stepped(
        table_of(np.ones((48, 48), np.bool_), 16, 16), q * factor, k, v, tile_tokens=16
    )
    exact = defined(np.ones((48, 48), np.bool_), q * factor, k, v)
    assert torch.all(torch.isfinite(out))
    torch.testing.assert_close(lse.double(), exact[1], rtol=1e-6, atol=0)


def test_scores_far_below_zero_still_count() -> None:
    q = torch.full((32, HEAD_DIM), -40.0)
    k = torch.full((32, HEAD_DIM), 40.0)
    check(np.ones((32, 32), np.bool_), q, k, drawn(32)[2])


def test_a_masked_key_that_is_not_finite_is_put_aside() -> None:
    mask = np.ones((48, 48), np.bool_)
    mask[:, 20] = False
    q, k, v = drawn(48)
    expected = defined(mask, q, k, v)
    for number in (math.nan, math.inf, -math.inf):
        k[20] = number
        got = stepped(table_of(mask, 16, 16), q, k, v, tile_tokens=16, finite=False)
        torch.testing.assert_close(got[0].double(), expected[0], rtol=1e-5, atol=1e-5)


def test_buffers_carry_nothing_from_one_block_to_the_next() -> None:
    mask = np.ones((70, 70), np.bool_)
    mask[32:48, ::2] = False
    q, k, v = drawn(70)
    q[:16] *= 100
    check(mask, q, k, v)


@pytest.mark.parametrize("block", [1, 5, 33, 64, 100])
def test_blocks_of_any_size(block: int) -> None:
    check(np.tri(70, dtype=np.bool_), *drawn(70), block=block)
