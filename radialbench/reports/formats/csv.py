"""Comma-separated values: a row a case, units in the names, nothing rounded away."""

from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render every case; what a case does not have is left empty."""
    import pandas as pd

    frame = pd.DataFrame([cells(row) for row in summary.rows], columns=COLUMNS, dtype=object)
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def cells(row: Row) -> dict[str, object]:
    """Give a row's values by column; None where there is none."""
    record, table = row.record, row.table
    timing, accuracy, memory = record.timing, record.accuracy, record.memory
    return {
        "suite": record.suite,
        "case": record.case,
        "measure": record.measure,
        "sweep": row.sweep,
        "mask": record.mask,
        "backend": record.backend,
        "block_m": row.blocks[0],
        "block_n": row.blocks[1],
        "frames": row.frames,
        "tokens": row.tokens,
        "pairs": table and table.pairs,
        "density": table and table.density,
        "block_density": table and table.block_density,
        "work_tflop": table and table.flops / 1e12,
        "executed_tflop": table and table.executed_flops / 1e12,
        "full_blocks": table and table.full,
        "partial_blocks": table and table.partial,
        "bitmaps": table and table.bitmaps,
        "table_bytes": table and table.nbytes,
        "compile_ms": table and table.compile_ms,
        "status": record.status.value,
        "median_ms": row.median_ms,
        "iqr_ms": timing and timing.iqr_ms,
        "samples": len(row.samples_ms),
        "order_ms": record.permute_ms,
        "total_ms": row.total_ms,
        "speedup": row.speedup,
        "dense_backend": row.dense and row.dense.backend,
        "gflops": row.gflops,
        "executed_gflops": row.executed_gflops,
        "plan_ms": record.plan_ms,
        "peak_bytes": memory and memory.peak_bytes,
        "max_abs_error": accuracy and accuracy.max_abs_error,
        "max_lse_error": accuracy and accuracy.max_lse_error,
        "tolerance": accuracy and accuracy.tolerance,
        "environment": row.place + 1,
        "reason": record.reason or row.uncompared,
    }


COLUMNS = (
    *("suite", "case", "measure", "sweep", "mask", "backend", "block_m", "block_n", "frames"),
    *("tokens", "pairs", "density", "block_density", "work_tflop", "executed_tflop"),
    *("full_blocks", "partial_blocks", "bitmaps", "table_bytes", "compile_ms", "status"),
    *("median_ms", "iqr_ms", "samples", "order_ms", "total_ms", "speedup", "dense_backend"),
    *("gflops", "executed_gflops", "plan_ms", "peak_bytes", "max_abs_error", "max_lse_error"),
    *("tolerance", "environment", "reason"),
)
