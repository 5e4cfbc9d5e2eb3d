"""Gates: the least change of a metric that counts, read from text and written as text."""

import math
import re
from dataclasses import dataclass, replace

from radialbench.errors import RecordError, unknown

UNITS: dict[str, dict[str, float]] = {
    "latency": {"ms": 1.0, "us": 1e-3},
    "ceiling": {},
    "energy": {"J": 1.0, "mJ": 1e-3},
    "memory": {"GiB": 2.0**30, "MiB": 2.0**20, "KiB": 1024.0, "bytes": 1.0},
    "accuracy": {"tolerance": 1.0},
    "compile": {"s": 1e3, "ms": 1.0},
    "mass_kept": {"points": 0.01},
    "output_error": {"points": 0.01},
    "scaling": {"": 1.0},
}
"""Every metric, and the units of the absolute part of its gate, the largest first."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The least change that counts; it must reach both.

    Attributes:
        share: As a share of the value before: 0.02 is 2%.
        least: In the metric's own unit.
    """

    share: float
    least: float = 0.0


def read_gate(setting: str) -> tuple[str, Gate | None]:
    """Read a gate such as `latency=5%`, `memory=1%,4MiB` or `energy=off`.

    Returns:
        The metric, and its gate; None switches it off.

    Raises:
        RecordError: There is no such metric, or the size cannot be read.
    """
    metric, equals, text = (part.strip() for part in setting.partition("="))
    if not equals:
        raise RecordError(f"a gate is set as metric=size, such as latency=5%, got {setting[:40]!r}")
    if metric not in UNITS:
        raise RecordError(unknown("metric", metric, UNITS))
    if text.lower() == "off":
        return metric, None
    # A size in one unit is the whole gate: a former size in the other no longer holds.
    gate = Gate(0.0)
    for part in text.split(","):
        gate = _part(gate, metric, part.strip())
    return metric, gate


def gate_text(metric: str, gate: Gate | None) -> str:
    """Write a gate as `read_gate` reads its size."""
    if gate is None:
        return "off"
    parts = [f"{100 * gate.share:.12g}%"] if gate.share else []
    if gate.least:
        fitting = [pair for pair in UNITS[metric].items() if gate.least >= pair[1]]
        unit, size = (fitting or list(UNITS[metric].items())[-1:])[0]
        parts.append(f"{gate.least / size:.12g}{unit}")
    return ", ".join(parts)


def setting_of(metric: str, size: object) -> str:
    """Return a metric's size in YAML as a setting: YAML reads `off` as false."""
    return f"{metric}={'off' if size is False else size}"


def _part(gate: Gate, metric: str, text: str) -> Gate:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?|\.\d{1,15})\s*([a-zA-Z%×]*)", text, re.ASCII)
    size = float(match[1]) if match else math.nan
    unit = match[2].lower() if match else ""
    sizes = {name.lower(): each for name, each in UNITS[metric].items()}
    if unit == "%" and 0 < size < 1000:
        return replace(gate, share=size / 100)
    if unit in ("x", "×") and 1 < size < 1000:
        return replace(gate, share=size - 1)
    if unit in sizes and size > 0:
        return replace(gate, least=size * sizes[unit])
    known = ", ".join(["5%", "1.5x", *(f"2{name}" for name in UNITS[metric])])
    raise RecordError(f"a gate of {metric} is {known} or off, got {text[:40]!r}")
