"""T4, the interchange format of auto-tuners: trials in the JSON that Kernel Tuner writes.

The format is that of the Lorentz Center workshop on generic autotuning (2022); Kernel Tuner
publishes its schema. Times are milliseconds. What the format has no place for, the reason of a
trial that did not end well, stands among its measurements.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from radialbench.autotune.evaluator import Outcome, Trial
from radialbench.errors import RecordError, unknown
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment
from radialbench.records.tuning import TuningKey

VERSION = "1.0.0"
TIME_UNIT = "milliseconds"

INVALIDITY = {
    Outcome.OK: "correct",
    Outcome.WRONG: "correctness",
    Outcome.REJECTED: "constraints",
    Outcome.COMPILE_FAILED: "compile",
    Outcome.CRASHED: "runtime",
    Outcome.TIMEOUT: "timeout",
}
"""The format's words for how a trial ended."""


def to_t4(trials: Iterable[Trial], key: TuningKey) -> dict[str, Any]:
    """Give trials as a document of results.

    Args:
        trials: The trials.
        key: What was tuned, for the document's metadata.
    """
    return {
        "schema_version": VERSION,
        "metadata": {"timeunit": TIME_UNIT, "problem": to_dict(key)},
        "results": [_result(trial) for trial in trials],
    }


def metadata_to_t4(environment: Environment) -> dict[str, Any]:
    """Give where trials ran as a document of metadata."""
    requirements = [f"{name}=={version}" for name, version in environment.versions.items()]
    told = ("cpu", "cores", "memory_bytes", "clocks")
    machine = {name: getattr(environment, name) for name in told}
    return {
        "schema_version": VERSION,
        "metadata": {
            "hardware": {
                "hardware_description": [{"device": environment.processor} | machine],
                "operating_system": environment.os,
            },
            "environment": {"device_query": {}, "requirements": requirements},
        },
    }


def from_t4(document: object) -> tuple[Trial, ...]:
    """Read trials from a document of results.

    Raises:
        RecordError: It is none, or its configurations are not ours; the message names the result.
    """
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(results, list):
        raise RecordError("not a T4 document: it has no list of results")
    metadata = document.get("metadata")
    unit = metadata.get("timeunit", TIME_UNIT) if isinstance(metadata, dict) else TIME_UNIT
    if unit != TIME_UNIT:
        raise RecordError(f"times of a T4 document must be {TIME_UNIT}, got {unit!r:.80}")
    trials = []
    for place, result in enumerate(results):
        try:
            trials.append(_trial(result))
        except RecordError as error:
            raise RecordError(f"results[{place}]: {error}") from None
    return tuple(trials)


def write_t4(path: Path, document: dict[str, Any]) -> None:
    """Write a document.

    Raises:
        RecordError: It cannot be written, or holds a number that is not finite.
    """
    try:
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    except ValueError as error:
        raise RecordError(f"cannot write {path}: {error}") from None
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror or error}") from None


def read_t4(path: Path) -> tuple[Trial, ...]:
    """Read the trials of a file.

    Raises:
        RecordError: It cannot be read, or holds no document of results with our configurations.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise RecordError(f"{path}: not JSON, or not all of it") from None
    try:
        return from_t4(document)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None


def _result(trial: Trial) -> dict[str, Any]:
    config = {name: value for name, value in to_dict(trial.config).items() if value is not None}
    measured = {"name": "time", "value": trial.ms, "unit": "ms"}
    if trial.reason is not None:
        measured = {"name": "reason", "value": trial.reason, "unit": ""}
    return {
        "configuration": config,
        "objectives": ["time"],
        "times": {"runtimes": list(trial.samples_ms)},
        "invalidity": INVALIDITY[trial.outcome],
        "correctness": int(trial.outcome == Outcome.OK),
        "measurements": [measured],
    }


def _trial(result: object) -> Trial:
    if not isinstance(result, dict):
        raise RecordError(f"expected a mapping, got {result!r:.80}")
    word = result.get("invalidity")
    outcomes = [outcome for outcome, known in INVALIDITY.items() if known == word]
    if not outcomes:
        raise RecordError(f"invalidity: {unknown('value', word, INVALIDITY.values())}")
    config = from_dict(KernelConfig, result.get("configuration"))
    if outcomes[0] != Outcome.OK:
        reason = _measured(result, "reason")
        return Trial(config, outcomes[0], reason if isinstance(reason, str) and reason else word)
    return Trial(config, Outcome.OK, None, _samples(result))


def _samples(result: dict[str, Any]) -> tuple[float, ...]:
    """Give the times of a trial: each, or the one measurement where only that is told."""
    times = result.get("times")
    samples = times.get("runtimes") if isinstance(times, dict) else None
    samples = samples or [_measured(result, "time")]
    numbers = isinstance(samples, list) and all(type(one) in (int, float) for one in samples)
    if not numbers or not all(0 < one < 1e300 for one in samples):
        raise RecordError(f"times.runtimes must be numbers above 0, got {samples!r:.80}")
    return tuple(map(float, samples))


def _measured(result: dict[str, Any], name: str) -> object:
    measurements = result.get("measurements")
    for one in measurements if isinstance(measurements, list) else []:
        if isinstance(one, dict) and one.get("name") == name:
            return one.get("value")
    return None
