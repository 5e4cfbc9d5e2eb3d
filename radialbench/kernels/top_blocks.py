"""Top blocks: the key blocks of each query block with the greatest mean-pooled scores."""

import numpy as np
import torch
from torch import Tensor

from radialbench.maskgen.head_tables import HeadTables
from radialbench.maskgen.table import BlockTable, Csr


def top_blocks(q: Tensor, k: Tensor, kept: Tensor, most: int, block_m: int, block_n: int) -> Tensor:
    """Choose blocks by the products of mean queries and mean keys, for each head.

    This is the selection of VSA (arXiv 2505.13389) and, without its test of self-similarity, of
    SpargeAttn (arXiv 2502.18137).

    Args:
        q: [heads, q_len, head_dim].
        k: [kv_heads, k_len, head_dim].
        kept: [rows] blocks to choose for each query block.
        most: The greatest of `kept`.
        block_m: Query tokens of a block.
        block_n: Key tokens of a block.

    Returns:
        [heads, rows, columns] whether each block is chosen.
    """
    queries, keys = _means(q, block_m), _means(k, block_n)
    scores = queries @ keys.repeat_interleave(len(q) // len(k), dim=0).mT
    best = scores.topk(most, dim=-1, sorted=True).indices
    chosen = torch.arange(most, device=q.device) < kept[:, None]
    blocks = torch.zeros_like(scores, dtype=torch.bool)
    return blocks.scatter_(-1, best, chosen.expand(best.shape))


def selected_tables(blocks: Tensor, table: BlockTable) -> HeadTables:
    """Return chosen blocks, [heads, rows, columns], as tables like another one."""
    nothing = Csr(np.zeros(table.rows + 1, np.int64), np.zeros(0, np.int32))
    bitmaps = np.zeros((0, table.block_m, -(-table.block_n // 32)), np.uint32)
    tables = []
    for chosen in blocks.cpu().numpy():
        rows, columns = np.nonzero(chosen)
        full = Csr.from_sorted(rows, columns, table.rows)
        none = np.zeros(0, np.int32)
        tables.append(
            BlockTable(
                grid=table.grid,
                order=table.order,
                block_m=table.block_m,
                block_n=table.block_n,
                full=full,
                partial=nothing,
                bitmap_of=none,
                bitmaps=bitmaps,
            )
        )
    return HeadTables(tuple(tables), tuple(range(len(tables))))


def _means(x: Tensor, block: int) -> Tensor:
    """Return the mean of each block of tokens, [heads, blocks, head_dim] float32."""
    heads, tokens, head_dim = x.shape
    whole = tokens - tokens % block
    blocks = x[:, :whole].reshape(heads, -1, block, head_dim)
    means = [blocks.mean(dim=2, dtype=torch.float32)]
    if whole < tokens:
        means.append(x[:, whole:].mean(dim=1, keepdim=True, dtype=torch.float32))
    return torch.cat(means, dim=1)
