"""What `radialbench run --dry-run` prints."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radialbench.suites.estimate import Rate, RunEstimate


def forecast_facts(name: str, told: "RunEstimate") -> dict[str, Any]:
    """Give a forecast for programs."""
    from dataclasses import asdict

    from radialbench.suites.estimate import METHOD

    return {
        "suite": name,
        "seconds": told.seconds,
        "bytes": told.nbytes,
        "free_bytes": told.free_bytes,
        "missing": told.missing,
        "as_dense": told.as_dense,
        "rates": [asdict(rate) for rate in told.rates],
        "method": METHOD,
        "cases": [
            {
                "case": one.case.id,
                "seconds": one.seconds,
                "bytes": one.nbytes,
                "config": asdict(one.case.config),
                "config_source": one.case.config_source,
                "config_reason": one.case.config_reason,
            }
            for one in told.estimates
        ],
    }


def forecast_lines(name: str, told: "RunEstimate") -> list[str]:
    """Format a forecast for people: a line a case, then the sum and what it rests on."""
    from radialbench.reports.text import terminal_table, terminal_width
    from radialbench.suites.estimate import METHOD

    cases = [
        (f"{one.seconds:,.1f}", f"{one.nbytes / 2**30:.2f}", one.case.config_source, one.case.id)
        for one in told.estimates
    ]
    lines = [
        terminal_table(
            ("seconds", "GiB", "configuration", "case"),
            cases,
            text_columns=("configuration", "case"),
            width=terminal_width(),
            spare=("configuration",),
        )
    ]
    free = f" of {told.free_bytes / 2**30:,.1f} free" if told.free_bytes is not None else ""
    lines.append(
        f"{name}: {len(told.estimates)} cases, at most {lasting(told.seconds)}, "
        f"up to {told.nbytes / 2**30:,.2f} GiB{free}"
    )
    lines.append(METHOD)
    if told.rates:
        lines.append(f"Rates: {', '.join(map(_rate, told.rates))}.")
    if told.as_dense:
        lines.append(f"{told.as_dense} tables took too long to compile and are taken as dense.")
    if told.missing:
        lines.append(
            f"This machine has no {told.missing} device: here the cases of attention would be "
            "unsupported; the figures are for a default one."
        )
    return lines


def lasting(seconds: float) -> str:
    """Write a time, such as `1 h 5 min` or `12 s`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _rate(rate: "Rate") -> str:
    plural = "s" * (rate.records > 1)
    source = f"median of {rate.records} record{plural}" if rate.records else "default"
    return f"{rate.backend} {rate.flops_per_s / 1e9:,.0f} GFLOP/s ({source})"
