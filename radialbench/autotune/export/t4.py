"""T4, the interchange format of auto-tuners: a document of trials for each problem.

The format is that of the Lorentz Center workshop on generic autotuning (2022); Kernel Tuner
publishes its schema. Times are milliseconds. The reason of a failed trial, for which the format has
no field, is among its measurements.
"""

import json
from collections.abc import Iterable
from typing import Any

from radialbench.autotune.export import Chosen, file_part
from radialbench.autotune.space import fields_of
from radialbench.autotune.trials import Trial, TrialOutcome, study_name
from radialbench.errors import RecordError
from radialbench.records.codec import to_dict
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey, TuningRecord

VERSION = "1.0.0"

INVALIDITY = {
    TrialOutcome.OK: "correct",
    TrialOutcome.WRONG: "correctness",
    TrialOutcome.REJECTED: "constraints",
    TrialOutcome.COMPILE_FAILED: "compile",
    TrialOutcome.CRASHED: "runtime",
    TrialOutcome.TIMEOUT: "timeout",
}
"""The format's term for each outcome."""


def render(chosen: Chosen) -> dict[str, str]:
    """Return the documents by the names of their files.

    A document has all trials of a problem where their storage is known; else the chosen
    configuration and the default, with the medians of their times.

    Raises:
        RecordError: The storage has none of their trials, or two records would have one file.
        AutotuneError: The storage cannot be read.
    """
    names = [study_name(one.key, one.kernel) for one in chosen.records]
    stored: dict[str, list[Trial]] = {}
    if chosen.storage is not None:
        from radialbench.autotune.study import read_trials

        stored = read_trials(chosen.storage, names)
        if not stored:
            raise RecordError(
                "the storage has no trials of these records; name the one that tune was given with "
                "--storage"
            )
    texts = {}
    for name, record in zip(names, chosen.records, strict=True):
        file = f"{file_part(name)}.json"
        if file in texts:
            raise RecordError(f"two records would be written to {file}; export them apart")
        trials = stored.get(name)
        document = to_t4(trials, record.key) if trials else _from_record(record)
        document["metadata"]["chosen"] = {
            "configuration": _flat(record.config), "source": record.source
        }  # fmt: skip
        texts[file] = json.dumps(document, indent=1, allow_nan=False) + "\n"
    return texts


def to_t4(trials: Iterable[Trial], key: TuningKey) -> dict[str, Any]:
    """Return trials as a document of results, with what was tuned in its metadata."""
    return {
        "schema_version": VERSION,
        "metadata": {"timeunit": "milliseconds", "problem": to_dict(key)},
        "results": [_result(trial) for trial in trials],
    }


def _result(trial: Trial) -> dict[str, Any]:
    measured = {"name": "time", "value": trial.ms, "unit": "ms"}
    if trial.reason is not None:
        measured = {"name": "reason", "value": trial.reason, "unit": ""}
    return {
        "configuration": _flat(trial.config),
        "objectives": ["time"],
        "times": {"runtimes": list(trial.samples_ms)},
        "invalidity": INVALIDITY[trial.outcome],
        "correctness": int(trial.outcome == TrialOutcome.OK),
        "measurements": [measured],
    }


def _flat(config: KernelConfig) -> dict[str, int]:
    """Return the fields of a configuration that are set, without nesting."""
    return {name: value for name, value in fields_of(config).items() if value is not None}


def _from_record(record: TuningRecord) -> dict[str, Any]:
    """Return a document of the two configurations in a record."""
    timed = {record.config: record.ms, record.default: record.default_ms}
    document = to_t4(
        [Trial(config, TrialOutcome.OK, None, (ms.value,)) for config, ms in timed.items()],
        record.key,
    )
    for result in document["results"]:
        # The median is among the measurements; the samples behind it are not known.
        result["times"]["runtimes"] = []
    return document
