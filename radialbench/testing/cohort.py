"""Whether what was stored is of this machine and of these versions."""

from radialbench.records.result import Environment
from radialbench.reports.check.baseline import machine_of, version_diff
from radialbench.reports.text import printable


def cohort_diff(stored: Environment, now: Environment) -> str:
    """Return how machine, system and libraries differ; empty if they do not."""
    machines = (machine_of(stored), machine_of(now))
    differ = [] if machines[0] == machines[1] else [f"machine: {machines[0]} and {machines[1]}"]
    return printable("; ".join([*differ, *version_diff(stored, now)]))
