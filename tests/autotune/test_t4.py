"""Trials go out as T4 and come back; the documents have what the published schema asks for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.autotune.evaluator import Outcome, Trial
from radialbench.autotune.t4 import (
    INVALIDITY,
    from_t4,
    metadata_to_t4,
    read_t4,
    to_t4,
    write_t4,
)
from radialbench.errors import RecordError
from radialbench.records.problem import KernelConfig
from tests.records.sample import ENVIRONMENT
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

METADATA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "schema_version": VERSION,
        "metadata": {
            "type": "object",
            "properties": {
                "hardware": {
                    "type": "object",
                    "properties": {
                        "hardware_description": {"type": "array"},
                        "operating_system": {"type": "string"},
                    },
                },
                "environment": {
                    "type": "object",
                    "properties": {
                        "device_query": {"type": "object"},
                        "requirements": {"type": "array"},
                    },
                },
            },
            "required": ["hardware", "environment"],
        },
    },
    "required": ["schema_version", "metadata"],
}

TRIALS = (
    Trial(KernelConfig(64, 32, 4, 2), Outcome.OK, None, (1.5, 1.0, 2.0)),
    Trial(KernelConfig(), Outcome.WRONG, "errors of 1.0e+00 in the output"),
    Trial(KernelConfig(), Outcome.REJECTED, "num_stages 6 takes 428,032 bytes"),
    Trial(KernelConfig(), Outcome.COMPILE_FAILED, "out of registers"),
    Trial(KernelConfig(), Outcome.CRASHED, "ended by SIGSEGV"),
    Trial(KernelConfig(), Outcome.TIMEOUT, "stopped: not sampled within 5 s"),
)


def test_every_outcome_has_its_word() -> None:
    assert INVALIDITY.keys() == set(Outcome)
    words = RESULTS["properties"]["results"]["items"]["properties"]["invalidity"]["enum"]
    assert sorted(INVALIDITY.values()) == sorted(words)


def test_documents_are_as_the_schema_asks() -> None:
    document = to_t4(TRIALS, KEY)
    assert errors(RESULTS, document) == []
    assert errors(METADATA, metadata_to_t4(ENVIRONMENT)) == []
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


def test_where_trials_ran() -> None:
    told = metadata_to_t4(ENVIRONMENT)["metadata"]
    (machine,) = told["hardware"]["hardware_description"]
    assert (machine["device"], machine["cores"]) == ("Example 3000", 2)
    assert told["hardware"]["operating_system"] == "Linux 6.1"
    assert told["environment"]["requirements"] == ["numpy==2.3.5", "torch==2.13.0"]


COUNT = st.integers(1, 512)
CONFIG = st.builds(KernelConfig, COUNT, COUNT, st.none() | COUNT, st.none() | COUNT)
MS = st.floats(1e-6, 1e6)
OK = st.builds(Trial, CONFIG, st.just(Outcome.OK), st.none(), st.lists(MS, min_size=1).map(tuple))
BAD = st.builds(
    Trial,
    CONFIG,
    st.sampled_from([*Outcome]).filter(lambda o: o != Outcome.OK),
    st.text(min_size=1),
)


@given(st.lists(OK | BAD))
def test_trials_come_back_as_they_were(trials: list[Trial]) -> None:
    document = to_t4(trials, KEY)
    assert errors(RESULTS, document) == []
    assert from_t4(json.loads(json.dumps(document))) == tuple(trials)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "t4.json"
    write_t4(path, to_t4(TRIALS, KEY))
    assert read_t4(path) == TRIALS
    with pytest.raises(RecordError, match="cannot write .*: Not a directory"):
        write_t4(path / "x.json", {})
    with pytest.raises(RecordError, match="cannot write .*: Out of range float"):
        write_t4(path, {"results": [float("nan")]})
    with pytest.raises(RecordError, match="cannot read .*none.json: No such file"):
        read_t4(tmp_path / "none.json")
    path.write_text('{"results": [')
    with pytest.raises(RecordError, match="t4.json: not JSON, or not all of it"):
        read_t4(path)
    path.write_text('{"results": {}}')
    with pytest.raises(RecordError, match="t4.json: not a T4 document: it has no list of results"):
        read_t4(path)


def changed(**changes: Any) -> dict[str, Any]:
    """A document of one good trial, its result changed."""
    document = to_t4(TRIALS[:1], KEY)
    document["results"][0] |= changes
    return document


def test_a_document_of_kernel_tuner_with_our_parameters_is_read() -> None:
    """It tells its own times beside those of the trial, and may tell one mean alone."""
    times = {"compilation": 812.4, "benchmark": 3.1, "framework": 0.2, "runtimes": []}
    measured = [
        {"name": "GFLOP/s", "value": 3, "unit": ""},
        {"name": "time", "value": 1.25, "unit": "ms"},
    ]
    document = changed(timestamp="2026-01-02 03:04:05", times=times, measurements=measured)
    del document["metadata"]
    assert from_t4(document) == (Trial(TRIALS[0].config, Outcome.OK, None, (1.25,)),)
    document = changed(invalidity="compile", measurements=[])
    assert from_t4(document) == (Trial(TRIALS[0].config, Outcome.COMPILE_FAILED, "compile"),)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(invalidity="wrong"), "results[0]: invalidity: unknown value 'wrong'"),
        (changed(invalidity=["correct"]), "results[0]: invalidity: unknown value"),
        (
            changed(configuration={"block_size_x": 32}),
            "results[0]: unknown key 'block_size_x'; did you mean",
        ),
        (changed(configuration={"block_m": 0}), "KernelConfig.block_m must be a whole number"),
        (changed(configuration={"block_m": "64"}), "Expected `int`, got `str` - at `$.block_m`"),
        (changed(configuration=None), "results[0]: Expected `object`, got `null`"),
        (changed(times={"runtimes": [1.0, -2.0]}), "times.runtimes must be numbers above 0"),
        (changed(times={"runtimes": [True]}), "times.runtimes must be numbers above 0"),
        (changed(times={"runtimes": [10**400]}), "times.runtimes must be numbers above 0"),
        (changed(times={"runtimes": "fast"}), "times.runtimes must be numbers above 0"),
        (changed(times={}, measurements=[]), "times.runtimes must be numbers above 0, got [None]"),
        ({"results": [3]}, "results[0]: expected a mapping, got 3"),
        ({"results": [], "metadata": {"timeunit": "seconds"}}, "must be milliseconds, got 'sec"),
        ([], "not a T4 document: it has no list of results"),
    ],
)
def test_what_is_not_ours_is_told(document: object, message: str) -> None:
    with pytest.raises(RecordError, match=re.escape(message)):
        from_t4(document)
