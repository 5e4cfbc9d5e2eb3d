"""T4: a document of trials for each problem, as Kernel Tuner and others read them."""

import json
from typing import Any

from radialbench.autotune.evaluator import Outcome, Trial
from radialbench.autotune.export import Chosen
from radialbench.autotune.export._words import config_of, file_word
from radialbench.autotune.store import study_name
from radialbench.autotune.t4 import to_t4
from radialbench.errors import RecordError
from radialbench.records.tuning import TuningRecord


def render(chosen: Chosen) -> dict[str, str]:
    """Give the documents by the names of their files.

    All trials of a problem where their storage is known; else what its record keeps, the chosen
    configuration and the default, with the medians of their times.

    Raises:
        RecordError: The storage has none of their trials, or two records would have one file.
        AutotuneError: The storage cannot be read.
    """
    names = [study_name(one.key, one.kernel) for one in chosen.records]
    found: dict[str, list[Trial]] = {}
    if chosen.storage is not None:
        from radialbench.autotune.study import read_trials

        found = read_trials(chosen.storage, names)
        if not found:
            raise RecordError(
                "the storage has no trials of these records; name the one that tune was given with "
                "--storage"
            )
    texts = {}
    for name, record in zip(names, chosen.records, strict=True):
        file = f"{file_word(name)}.json"
        if file in texts:
            raise RecordError(f"two records would be written to {file}; export them apart")
        trials = found.get(name)
        document = to_t4(trials, record.key) if trials else _kept(record)
        document["metadata"]["chosen"] = {
            "configuration": config_of(record), "source": record.source
        }  # fmt: skip
        texts[file] = json.dumps(document, indent=1, allow_nan=False) + "\n"
    return texts


def _kept(record: TuningRecord) -> dict[str, Any]:
    """Give what a record keeps of its trials."""
    timed = {record.config: record.ms, record.default: record.default_ms}
    document = to_t4(
        [Trial(config, Outcome.OK, None, (ms.value,)) for config, ms in timed.items()], record.key
    )
    for result in document["results"]:
        # The median stands among the measurements; the calls it is of are not known.
        result["times"]["runtimes"] = []
    return document
