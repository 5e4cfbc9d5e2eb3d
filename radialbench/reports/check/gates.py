"""Which gate holds for a metric of a case: the default, the suite's, or what is asked for."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from radialbench.errors import RecordError, ReportError
from radialbench.records.gate import Gate, gate_text, read_gate, setting_of
from radialbench.records.result import Record
from radialbench.reports.text import MIB, printable

Gates = Mapping[str, Gate | None]
"""Gates by metric; None switches one off, and a metric that is not there keeps what else holds."""

GATES: dict[str, Gate | None] = {
    "latency": Gate(0.02),
    "ceiling": Gate(0.03),
    "energy": Gate(0.10),
    "memory": Gate(0.01, MIB),
    "accuracy": Gate(0.5, 0.05),
    "compile": Gate(0.10),
    "scaling": Gate(0.0, 0.05),
}
"""Where nothing else is asked for. A change that is caught nine times in ten has to be larger than
the gate, by 1.3 times what two runs of the same code differ by: hence 2% and not 3% for latency."""

NO_GATES: dict[str, Gate | None] = {}
"""Nothing is asked for."""


def set_gates(gates: Gates, settings: Iterable[str]) -> Gates:
    """Return gates in which some are set, as `latency=5%`, `memory=1%,4MiB` or `energy=off`.

    Raises:
        ReportError: There is no such metric, or the size cannot be read.
    """
    try:
        return {**gates, **dict(map(read_gate, settings))}
    except RecordError as error:
        raise ReportError(str(error)) from None


def choose_gates(path: Path | None, settings: Iterable[str] | None) -> Gates:
    """Return the gates that are asked for: those of a file, and settings, which come before them.

    Raises:
        ReportError: One cannot be read.
    """
    return set_gates(read_gates(path) if path else NO_GATES, settings or ())


def read_gates(path: Path) -> Gates:
    """Read gates from a YAML file of lines such as `latency: 5%`.

    Raises:
        ReportError: The file cannot be read, or holds something else.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise ReportError(f"{path} must hold lines such as `latency: 5%`")
    try:
        return set_gates(NO_GATES, [setting_of(str(name), size) for name, size in found.items()])
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from None


def gates_of(record: Record, asked: Gates) -> Gates:
    """Return every metric's gate for a case: what is asked for, else the suite's, else the default.

    Raises:
        ReportError: The record holds a gate that cannot be read.
    """
    try:
        return {**GATES, **_of_suite(record.gates), **asked}
    except ReportError as error:
        raise ReportError(f"the suite's gates in the results of {record.case}: {error}") from None


def describe_gates(records: Iterable[Record], asked: Gates) -> tuple[str, ...]:
    """Describe the gates that are not the default ones, as `latency 5% (suite, 3 cases)`."""
    found: dict[str, int] = {}
    latest = list({(one.measure, one.case): one for one in records}.values())
    for record in latest:
        for metric, gate in _of_suite(record.gates).items():
            if metric not in asked:
                words = f"{metric} {gate_text(metric, gate)}"
                found[words] = found.get(words, 0) + 1
    told = [f"{metric} {gate_text(metric, gate)} (asked for)" for metric, gate in asked.items()]
    for words, count in found.items():
        told.append(f"{words} (suite{_cases(count) if count < len(latest) else ''})")
    return tuple(map(printable, told))


@lru_cache(maxsize=64)
def _of_suite(settings: tuple[str, ...]) -> Gates:
    return set_gates(NO_GATES, settings)


def _cases(count: int) -> str:
    return f", {count} case{'s' * (count != 1)}"
