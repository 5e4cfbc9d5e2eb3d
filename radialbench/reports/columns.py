"""Columns of a case, each declared once: name with unit, value, meaning, and form for people.

Frames and files take all of them; a table for people is a `View`, which names the ones it shows.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any

from radialbench.maskgen.identity import value_text
from radialbench.reports.check.verdict import Verdict
from radialbench.reports.rows import Row, total_ms
from radialbench.reports.text import (
    EMPTY_CELL,
    MIB,
    format_mib,
    format_percent,
    format_ratio,
    format_sig3,
)

Value = str | int | float | None
"""A value of a case; None where it has none."""

UNITS = {
    "_ms": "ms",
    "_bytes": "bytes",
    "_tflop": "10¹² operations",
    "_tflop_per_s": "TFLOP/s",
    "_j": "J",
    "_w": "W",
    "_mhz": "MHz",
    "_c": "°C",
}
"""Units by the endings of names; a column without one is a text, a count or a share."""


@dataclass(frozen=True, slots=True)
class Column:
    """A value of a case.

    Attributes:
        name: Its name in frames and files, with the unit.
        dtype: Its pandas type, which knows missing values: `string`, `Int64` or `float64`.
        get: Reads it from a row; None where the row has none.
        help: Description in Markdown without a full stop.
        format: Formats it for people, without the unit.
    """

    name: str
    dtype: str
    get: Callable[[Any], Value]
    help: str
    format: Callable[[Any], str]

    @property
    def unit(self) -> str:
        """Unit of the name; empty for a text, a count or a share."""
        return next((unit for end, unit in UNITS.items() if self.name.endswith(end)), "")


Get = str | Callable[[Row], Value]
"""Reads a value: a dotted path of attributes, any of which may be None, or a function."""


def _text(name: str, get: Get, help: str, format: Callable[[str], str] = str) -> Column:
    return Column(name, "string", _getter(get), help, format)


def _count(name: str, get: Get, help: str, format: Callable[[int], str] = "{:,}".format) -> Column:
    return Column(name, "Int64", _getter(get), help, format)


def _number(name: str, get: Get, help: str, format: Callable[[float], str] = format_sig3) -> Column:
    return Column(name, "float64", _getter(get), help, format)


def _getter(get: Get) -> Callable[[Any], Value]:
    if callable(get):
        return get
    names = get.split(".")

    def value_of(source: Any) -> Any:
        for name in names:
            source = None if source is None else getattr(source, name)
        return source

    return value_of


def _over(get: str, unit: float) -> Callable[[Row], float | None]:
    """Read a number in a larger unit."""
    value_of: Callable[[Row], Any] = _getter(get)

    def scaled(row: Row) -> float | None:
        value = value_of(row)
        return None if value is None else value / unit

    return scaled


def _mask_params(row: Row) -> str | None:
    params = row.record.mask.params
    return ", ".join(f"{name}={value_text(value)}" for name, value in params.items()) or None


def _yardstick(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.yardsticks[name].mass if row.yardsticks else None


def _error_share(row: Row) -> float | None:
    accuracy = row.record.accuracy
    return accuracy.error_share if accuracy else None


_exponent = "{:.1e}".format

COLUMNS = (
    # Which case
    _text("suite", "record.suite", "name of the suite"),
    _text("case", "record.case", "id of the case, unique in its suite"),
    _text("measure", "record.measure", "`attention`, or `compile` for a table"),
    _text("sweep", "sweep", "name of the cases that differ in frames, mask and backend alone"),
    _text("mask", "mask", "label of the mask, with its file where another has the same"),
    _text("mask_name", "record.mask.name", "name of the mask, without parameters"),
    _text("mask_params", _mask_params, "its parameters, defaults included, as `name=value`"),
    _text("mask_fingerprint", "record.mask.fingerprint", "hash of what it means"),
    _text("backend", "record.backend", "what computed it; missing where a table was compiled"),
    _count("block_m", "record.config.block_m", "query tokens of a block"),
    _count("block_n", "record.config.block_n", "key tokens of a block"),
    _count("num_warps", "record.config.num_warps", "warps of a thread block, if it is configured"),
    _count("num_stages", "record.config.num_stages", "pipeline stages, if they are configured"),
    _text("config_source", "record.config_source", "where the configuration comes from"),
    _text("model", "record.model", "preset of the grid, if it has one"),
    _text("grid", "record.problem.grid.label", "label of the token grid",
          lambda label: label.replace("x", "×")),
    _count("frames", "frames", "latent frames", str),
    _count("height", "record.problem.grid.height", "tokens of a frame from top to bottom"),
    _count("width", "record.problem.grid.width", "tokens of a frame from left to right"),
    _count("text_tokens", "record.problem.grid.text_tokens", "tokens of the text"),
    _count("tokens_per_frame", "record.problem.tokens_per_frame", "video tokens of a frame"),
    _count("tokens", "tokens", "length of the sequence, text included"),
    _count("batch", "record.problem.batch", "sequences"),
    _count("heads", "record.problem.heads", "attention heads"),
    _count("kv_heads", "record.problem.key_heads", "heads of k and v"),
    _count("head_dim", "record.problem.head_dim", "numbers per head and token"),
    _text("dtype", "record.problem.dtype", "type of q, k and v"),
    _text("direction", "record.problem.direction", "`forward`, `backward` or `both`"),
    # Its block table
    _count("pairs", "table.pairs", "(query, key) pairs that attend"),
    _number("density", "table.density", "share of all pairs that attend", format_percent),
    _number("block_density", "table.block_density", "share of all blocks that are visited",
            format_percent),
    _number("effective_tflop", _over("table.flops", 1e12), "operations of the pairs that attend"),
    _number("executed_tflop", _over("table.executed_flops", 1e12),
            "operations of the visited blocks, computed whole"),
    _count("full_blocks", "table.full", "blocks whose every pair attends"),
    _count("partial_blocks", "table.partial", "other visited blocks"),
    _count("bitmaps", "table.bitmaps", "distinct bitmaps of the partial blocks"),
    _count("table_bytes", "table.nbytes", "size of the table", format_mib),
    _number("compile_ms", "table.compile_ms", "first compilation of the table in the run"),
    # How it ended, and its time
    _text("status", "record.status.value", "how the case ended"),
    _text("reason", lambda row: row.record.reason or row.uncompared,
          "why it has no time, or no speed-up"),
    _number("latency_ms", "total_ms", "`median_ms` and `order_ms` together"),
    _number("latency_low_ms", "interval_ms.low", "lower end of its 95% interval"),
    _number("latency_high_ms", "interval_ms.high", "upper end"),
    _number("median_ms", "median_ms",
            "median of the timed calls, with q, k and v in the mask's token order"),
    _number("iqr_ms", "record.timing.iqr_ms", "distance between the quartiles of the calls"),
    _number("iqr_share", "iqr_share", "the same over `median_ms`; missing for one call",
            "{:.0%}".format),
    _count("samples", lambda row: len(row.samples_ms), "timed calls", str),
    _number("order_ms", "record.permute_ms",
            "time to bring q, k and v into the token order, and the output back"),
    _number("plan_ms", "record.plan_ms", "time of the backend's planning"),
    # Beside dense
    _text("dense_backend", "dense.backend", "the fastest dense kernel it may be compared with"),
    _number("dense_ms", lambda row: total_ms(row.dense).value if row.dense else None,
            "that one's `latency_ms`"),
    _number("dense_iqr_ms", "dense.timing.iqr_ms", "its `iqr_ms`"),
    _count("dense_samples", lambda row: len(row.dense.timing.samples_ms)
           if row.dense and row.dense.timing else None, "its `samples`", str),
    _number("speedup", "speedup", "`dense_ms` over `latency_ms`", format_ratio),
    _number("speedup_low", "speedup_interval.low", "lower end of its 95% interval", format_ratio),
    _number("speedup_high", "speedup_interval.high", "upper end", format_ratio),
    # Rates, and what a GPU's counters said
    _number("effective_tflop_per_s", "effective_tflops", "`effective_tflop` over `median_ms`"),
    _number("executed_tflop_per_s", "executed_tflops",
            "`executed_tflop` over `median_ms`"),
    _number("ceiling_tflop_per_s", "ceiling_tflops", "rate of the matmul timed in turn"),
    _number("of_ceiling", "of_ceiling",
            "`executed_tflop_per_s` as a share of that rate: median of the rounds", format_percent),
    _number("isolated_ms", "record.isolated.median_ms",
            "median of launches that each follow a pause"),
    _number("alone_ms", lambda row: 1e3 * row.counters.seconds / row.counters.calls
            if row.counters else None,
            "mean of calls one after the other, while counters were read"),
    _number("energy_j", "energy_j", "energy of one of those calls"),
    _number("power_w", "counters.power_w", "mean power meanwhile"),
    _number("sm_mhz", "counters.sm_mhz", "median clock meanwhile", "{:,.0f}".format),
    _number("temperature_c", "counters.temperature_c", "highest temperature meanwhile"),
    _text("slowed_by", lambda row: ", ".join(row.counters.slowed_by)
          if row.counters else None, "what held the clocks back meanwhile"),
    # Memory and accuracy
    _count("peak_bytes", "record.memory.peak_bytes", "what a call adds to memory at its peak",
           format_mib),
    _count("workspace_bytes", "workspace_bytes",
           "the same without the output and the log-sum-exp", format_mib),
    _number("max_abs_error", "record.accuracy.max_abs_error",
            "largest error of the output against the definition", _exponent),
    _number("max_lse_error", "record.accuracy.max_lse_error",
            "largest error of the log-sum-exp", _exponent),
    _number("tolerance", "record.accuracy.tolerance", "bound of both", _exponent),
    _number("error_share", _error_share, "the larger one over `tolerance`", "{:.2g}".format),
    # What the mask keeps
    _text("inputs", "record.inputs.source", "what made q, k and v; missing for normal numbers"),
    _text("fidelity_inputs", "fidelity.inputs.source", "what the mask's fidelity was measured on"),
    _number("mass_kept", "fidelity.mass_kept.value",
            "share of attention mass on the mask's keys, mean over heads", format_percent),
    _number("mass_kept_low", "fidelity.mass_kept.low", "lower end of its 95% interval",
            format_percent),
    _number("mass_kept_high", "fidelity.mass_kept.high", "upper end", format_percent),
    _number("best_mass", _yardstick("best"), "mass on the best choice of as many blocks",
            format_percent),
    _number("random_mass", _yardstick("random"), "mass on as many random blocks", format_percent),
    _number("window_mass", _yardstick("window"), "mass on as many of the nearest blocks",
            format_percent),
    _number("mass_kept_p10", "fidelity.mass_p10", "what a tenth of the heads keeps less than",
            format_percent),
    _number("place", "fidelity.place", "of the mask between random (0) and best (1)",
            "{:.2f}".format),
    _number("output_error", "fidelity.output_error.value",
            "error of the output that the mask makes, relative to dense attention",
            format_percent),
    _number("output_error_low", "fidelity.output_error.low", "lower end of its 95% interval",
            format_percent),
    _number("output_error_high", "fidelity.output_error.high", "upper end", format_percent),
    # Where it ran
    _number("output_error_p90", "fidelity.error_p90", "what a tenth of the heads exceeds",
            format_percent),
    _count("environment", lambda row: row.place + 1,
           "number of the environment; times are compared within one only"),
    _text("device", "record.environment.device", "a GPU's name, or `cpu`"),
    _text("commit", "record.environment.commit", "commit that was measured"),
    _text("created", "record.created", "when it ended, ISO 8601"),
)  # fmt: skip
"""Columns of a row, in the order of frames and files."""

BASELINE_COLUMNS = (
    _number("baseline_ms", "before", "the baseline's time, as `radialbench check` compares it"),
    _number("baseline_ratio", "ratio", "time now over `baseline_ms`; above 1 is slower",
            format_ratio),
    _number("baseline_low", "interval.low", "lower end of its 95% interval", format_ratio),
    _number("baseline_high", "interval.high", "upper end", format_ratio),
    _text("baseline_verdict", "outcome.value",
          "verdict of `radialbench check` on the time, or on the status"),
)  # fmt: skip
"""Columns of a case's check against a baseline; they follow the others."""


def case_values(row: Row, verdict: Verdict | None) -> dict[str, Value]:
    """Return a case's values by column, the baseline's included if it was checked."""
    checked = {one.name: one.get(verdict) for one in BASELINE_COLUMNS}
    return {column.name: column.get(row) for column in COLUMNS} | checked


Cell = str | tuple[str, ...] | Callable[[Row], str]
"""Content of a cell of a table for people.

A pattern names columns in braces: `{median_ms} ({iqr_ms}; {samples})`. After a colon it may name a
format other than the column's own, from `FORMS` or a Python format spec: `{sm_mhz:,.0f}`. The cell
is the first pattern whose columns all have values. A function is for cells that depend on other
rows.
"""

View = Mapping[str, Cell]
"""A table for people: its cells by their headings."""


def named(*names: str) -> View:
    """Return a view of columns under their own names: `block_density` under `block density`."""
    return {name.replace("_", " "): f"{{{name}}}" for name in names}


FORMS: dict[str, Callable[[Any], str]] = {
    "giga": lambda tera: format_sig3(1e3 * tera),
    "MiB": lambda count: f"{count / MIB:.2f}",
    "above 0": lambda value: format_sig3(value) if value else EMPTY_CELL,
}
"""Formats of a number that a pattern may name."""


def show(
    view: View,
    rows: Iterable[Row],
    *,
    escape: Callable[[str], str] = str,
    optional: Collection[str] = (),
) -> tuple[list[str], list[list[str]]]:
    """Return the headings of a table for people, and its cells row by row.

    Args:
        view: The table's cells by heading.
        rows: Its cases.
        escape: Escapes stored text.
        optional: Headings that are left out where no row has anything.
    """
    body = [[cell(row, one, escape=escape) for one in view.values()] for row in rows]
    kept = [
        place
        for place, heading in enumerate(view)
        if heading not in optional or any(cells[place] != EMPTY_CELL for cells in body)
    ]
    headings = list(view)
    return [headings[place] for place in kept], [[cells[p] for p in kept] for cells in body]


def cell(row: Row, shown: Cell, *, escape: Callable[[str], str] = str) -> str:
    """Return the text of a row's cell; a dash where the row has no value."""
    if callable(shown):
        return shown(row)
    for pattern in (shown,) if isinstance(shown, str) else shown:
        parts: list[str] = []
        for literal, column, form in _parsed(pattern):
            parts.append(literal)
            if column is None:
                continue
            value = column.get(row)
            if value is None:
                break
            parts.append(escape(form(value)) if column.dtype == "string" else form(value))
        else:
            return "".join(parts)
    return EMPTY_CELL


@lru_cache
def _parsed(pattern: str) -> tuple[tuple[str, Column | None, Callable[[Any], str]], ...]:
    """Split a pattern into its literals, each with the column behind it and that one's form."""
    columns = {column.name: column for column in COLUMNS}
    parts: list[tuple[str, Column | None, Callable[[Any], str]]] = []
    for literal, name, spec, _ in Formatter().parse(pattern):
        column = None if name is None else columns[name]
        form = column.format if column else str
        parts.append((literal, column, FORMS.get(spec, f"{{:{spec}}}".format) if spec else form))
    return tuple(parts)
