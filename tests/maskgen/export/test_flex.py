"""FlexAttention itself reads the arrays: its block mask, mask_mod and result fit the table."""

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_mask, flex_attention

from radialbench.maskgen.export.flex import FlexTable
from tests.kernels.tables import mixed_mask, table_of


def block_mask_of(flex: FlexTable) -> BlockMask:
    count, indices, full_count, full_indices = map(torch.from_numpy, flex.block_arrays().values())
    return BlockMask.from_kv_blocks(
        count,
        indices,
        full_count,
        full_indices,
        BLOCK_SIZE=flex.block_size,
        mask_mod=flex.mask_mod(torch.from_numpy),
        seq_lengths=(flex.q_len, flex.k_len),
    )


@pytest.mark.parametrize(("seq_len", "block_m", "block_n"), [(64, 16, 16), (100, 16, 32)])
def test_block_mask(seq_len: int, block_m: int, block_n: int) -> None:
    table = table_of(mixed_mask(seq_len), block_m, block_n)
    mask = block_mask_of(FlexTable.of(table))
    assert mask.seq_lengths == (seq_len, seq_len)
    np.testing.assert_array_equal(mask.to_dense()[0, 0].bool().numpy(), table.any_blocks())


@pytest.mark.parametrize(("seq_len", "block_n"), [(100, 32), (100, 40), (63, 16)])
def test_mask_mod(seq_len: int, block_n: int) -> None:
    mask = mixed_mask(seq_len)
    attends = FlexTable.of(table_of(mask, 16, block_n)).mask_mod(torch.from_numpy)
    dense = create_mask(attends, None, None, seq_len, seq_len, device="cpu")
    np.testing.assert_array_equal(dense[0, 0].numpy(), mask)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_attention() -> None:
    mask = mixed_mask(100, empty=False)
    np.fill_diagonal(mask, True)
    block_mask = block_mask_of(FlexTable.of(table_of(mask, 16, 32)))
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 100, 16, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=torch.from_numpy(mask)
    )
    torch.testing.assert_close(flex_attention(q, k, v, block_mask=block_mask), expected)
