"""What a record says of a block table."""

from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.records.result import TableStats


def table_stats(
    table: AnyTable, heads: int, head_dim: int, compile_ms: float, *, matmuls: int = 2
) -> TableStats:
    """Return the statistics of a table that a record stores; of tables by head, means and sums.

    Args:
        table: The table, or those of the heads.
        heads: Heads of all sequences together.
        head_dim: Numbers per head and token.
        compile_ms: Milliseconds that compiling it took.
        matmuls: Matmuls of a pair of blocks: `Problem.matmuls`.
    """
    parts = table.tables if isinstance(table, HeadTables) else (table,)
    return TableStats(
        pairs=table.pairs // (table.heads if isinstance(table, HeadTables) else 1),
        density=table.density,
        block_density=table.block_density,
        full=sum(part.full.nnz for part in parts),
        partial=sum(part.partial.nnz for part in parts),
        bitmaps=sum(len(part.bitmaps) for part in parts),
        nbytes=table.nbytes,
        flops=table.flops(heads, head_dim) * matmuls // 2,
        executed_flops=table.executed_flops(heads, head_dim) * matmuls // 2,
        compile_ms=compile_ms,
    )
