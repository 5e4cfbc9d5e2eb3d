"""Comma-separated values: a row a case, units in the names, nothing rounded away."""

from radialbench.reports.compare import Compared
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render every case; what a case does not have is left empty."""
    import pandas as pd

    frame = pd.DataFrame(all_cells(summary), columns=COLUMNS, dtype=object)
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def all_cells(summary: Summary) -> list[dict[str, object]]:
    """Give the values of every row by column; None where there is none."""
    compared = summary.comparison.by_case if summary.comparison else {}
    return [_cells(row, compared.get((row.record.suite, row.record.case))) for row in summary.rows]


def _cells(row: Row, compared: Compared | None) -> dict[str, object]:
    record, table = row.record, row.table
    timing, accuracy, memory = record.timing, record.accuracy, record.memory
    interval, ratio, counters = row.interval_ms, row.speedup_interval, row.counters
    before = compared and compared.interval
    return {
        "suite": record.suite,
        "case": record.case,
        "measure": record.measure,
        "sweep": row.sweep,
        "mask": row.mask,
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
        "low_ms": interval and interval.low,
        "high_ms": interval and interval.high,
        "samples": len(row.samples_ms),
        "order_ms": record.permute_ms,
        "total_ms": row.total_ms,
        "speedup": row.speedup,
        "speedup_low": ratio and ratio.low,
        "speedup_high": ratio and ratio.high,
        "dense_backend": row.dense and row.dense.backend,
        "gflops": row.gflops,
        "executed_gflops": row.executed_gflops,
        "ceiling_tflops": row.ceiling_tflops,
        "of_ceiling": row.of_ceiling,
        "isolated_ms": record.isolated and record.isolated.median_ms,
        "energy_j": row.energy_j,
        "power_w": counters and counters.power_w,
        "sm_mhz": counters and counters.sm_mhz,
        "temperature_c": counters and counters.temperature_c,
        "slowed_by": ", ".join(counters.slowed_by) if counters else None,
        "plan_ms": record.plan_ms,
        "peak_bytes": memory and memory.peak_bytes,
        "max_abs_error": accuracy and accuracy.max_abs_error,
        "max_lse_error": accuracy and accuracy.max_lse_error,
        "tolerance": accuracy and accuracy.tolerance,
        "baseline_ms": compared and compared.before_ms,
        "baseline_ratio": compared and compared.ratio,
        "baseline_low": before and before.low,
        "baseline_high": before and before.high,
        "environment": row.place + 1,
        "reason": record.reason or row.uncompared,
    }


COLUMNS = (
    *("suite", "case", "measure", "sweep", "mask", "backend", "block_m", "block_n", "frames"),
    *("tokens", "pairs", "density", "block_density", "work_tflop", "executed_tflop"),
    *("full_blocks", "partial_blocks", "bitmaps", "table_bytes", "compile_ms", "status"),
    *("median_ms", "iqr_ms", "low_ms", "high_ms", "samples", "order_ms", "total_ms", "speedup"),
    *("speedup_low", "speedup_high", "dense_backend", "gflops", "executed_gflops"),
    *("ceiling_tflops", "of_ceiling", "isolated_ms", "energy_j", "power_w", "sm_mhz"),
    *("temperature_c", "slowed_by", "plan_ms", "peak_bytes", "max_abs_error", "max_lse_error"),
    *("tolerance", "baseline_ms", "baseline_ratio", "baseline_low", "baseline_high"),
    *("environment", "reason"),
)
