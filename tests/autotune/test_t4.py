"""Trials go out as T4: the documents have what the published schema asks for."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from radialbench.autotune.export.t4 import INVALIDITY, to_t4
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.records.codec import from_dict
from radialbench.records.problem import KernelConfig
from tests.records.tuned import KEY
from tests.suites.json_schema import errors

VERSION = {"type": "string", "pattern": r"^[0-9]{1,}.[0-9]{1,}.[0-9]{1,}$"}
MEASUREMENT = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "value": {"anyOf": [{"type": kind} for kind in ("number", "string", "array")]},
        "unit": {"type": "string"},
    },
}
RESULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "schema_version": VERSION,
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "configuration": {"type": "object"},
                    "objectives": {"type": "array"},
                    "times": {"type": "object", "properties": {"runtimes": {"type": "array"}}},
                    "invalidity": {
                        "enum": [
                            *("timeout", "compile", "runtime"),
                            *("correctness", "constraints", "correct"),
                        ]
                    },
                    "correctness": {"type": "number"},
                    "measurements": {"type": "array", "items": MEASUREMENT},
                },
                "required": ["configuration", "times", "invalidity", "correctness"],
            },
        },
    },
    # The schema does not ask for these two, but a document without them says nothing.
    "required": ["schema_version", "results"],
}
"""T4 1.0.0, results: what Kernel Tuner publishes, for the keys that we write."""

TRIALS = (
    Trial(KernelConfig(64, 32, 4, 2), TrialOutcome.OK, None, (1.5, 1.0, 2.0)),
    Trial(KernelConfig(), TrialOutcome.WRONG, "errors of 1.0e+00 in the output"),
    Trial(KernelConfig(), TrialOutcome.REJECTED, "num_stages 6 takes 428,032 bytes"),
    Trial(KernelConfig(), TrialOutcome.COMPILE_FAILED, "out of registers"),
    Trial(KernelConfig(), TrialOutcome.CRASHED, "ended by SIGSEGV"),
    Trial(KernelConfig(), TrialOutcome.TIMEOUT, "stopped: not sampled within 5 s"),
)


def test_every_outcome_has_its_word() -> None:
    assert INVALIDITY.keys() == set(TrialOutcome)
    words = RESULTS["properties"]["results"]["items"]["properties"]["invalidity"]["enum"]
    assert sorted(INVALIDITY.values()) == sorted(words)


def test_documents_are_as_the_schema_asks() -> None:
    document = to_t4(TRIALS, KEY)
    assert errors(RESULTS, document) == []
    broken = json.loads(json.dumps(document))
    del broken["results"][0]["times"]
    assert errors(RESULTS, broken)


def test_what_a_document_says() -> None:
    document = to_t4(TRIALS[:2], KEY)
    assert document["metadata"]["timeunit"] == "milliseconds"
    assert document["metadata"]["problem"]["device"] == "Example GPU"
    good, bad = document["results"]
    assert good == {
        "configuration": {
            "block_m": 64,
            "block_n": 32,
            "num_warps": 4,
            "num_stages": 2,
        },
        "objectives": ["time"],
        "times": {"runtimes": [1.5, 1.0, 2.0]},
        "invalidity": "correct",
        "correctness": 1,
        "measurements": [{"name": "time", "value": 1.5, "unit": "ms"}],
    }
    assert (bad["invalidity"], bad["correctness"]) == ("correctness", 0)
    assert bad["configuration"] == {"block_m": 128, "block_n": 128}
    assert bad["measurements"] == [{"name": "reason", "value": TRIALS[1].reason, "unit": ""}]


COUNT = st.integers(1, 512)
CONFIG = st.builds(KernelConfig, COUNT, COUNT, st.none() | COUNT, st.none() | COUNT)
MS = st.floats(1e-6, 1e6)
OK = st.builds(
    Trial, CONFIG, st.just(TrialOutcome.OK), st.none(), st.lists(MS, min_size=1).map(tuple)
)
BAD = st.builds(
    Trial,
    CONFIG,
    st.sampled_from([*TrialOutcome]).filter(lambda o: o != TrialOutcome.OK),
    st.text(min_size=1),
)


@given(st.lists(OK | BAD))
def test_every_trial_is_in_the_document(trials: list[Trial]) -> None:
    document = json.loads(json.dumps(to_t4(trials, KEY)))
    assert errors(RESULTS, document) == []
    for trial, result in zip(trials, document["results"], strict=True):
        assert from_dict(KernelConfig, result["configuration"]) == trial.config
        assert result["times"]["runtimes"] == list(trial.samples_ms)
        assert result["invalidity"] == INVALIDITY[trial.outcome]
        assert result["measurements"][0]["value"] == (trial.reason or trial.ms)
