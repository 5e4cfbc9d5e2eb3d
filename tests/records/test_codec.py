import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.errors import RecordError
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from tests.records.sample import RECORD, failed


@pytest.mark.parametrize("record", [RECORD, failed(table=None, memory=None, group=None)])
def test_a_record_reads_back_equal(record: Record) -> None:
    text = json.dumps(to_dict(record), allow_nan=False)
    again = from_dict(Record, json.loads(text))
    assert again == record
    assert isinstance(again.timing, Measurement | None)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1), st.integers(0, 10**12), st.text(min_size=1))
def test_numbers_and_text_read_back_to_the_bit(samples: list[float], size: int, text: str) -> None:
    assert RECORD.timing is not None
    assert RECORD.memory is not None
    record = replace(
        RECORD,
        timing=replace(RECORD.timing, samples_ms=tuple(samples)),
        memory=replace(RECORD.memory, peak_bytes=size),
        group=text,
    )
    assert from_dict(Record, json.loads(json.dumps(to_dict(record)))) == record


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *way, last, value = path

    def change(document: Any) -> None:
        for step in way:
            document = document[step]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("environment", "cores", "two"), r"environment\.cores: expected int, got 'two'"),
        (_set("problem", "heads", True), r"problem\.heads: expected int, got True"),
        (_set("problem", "heads", 0), r"Problem\.heads must be a whole number"),
        (_set("problem", "haeds", 1), r"problem\.haeds: unknown key 'haeds'; did you mean 'heads'"),
        (_set("timing", "samples_ms", 1, "3"), r"timing\.samples_ms\[1\]: expected a finite"),
        (_set("timing", "samples_ms", 1, 10**400), r"timing\.samples_ms\[1\]: expected a finite"),
        (_set("timing", "samples_ms", 3.0), r"timing\.samples_ms: expected list"),
        (_set("table", "density", None), r"table\.density: expected a finite number"),
        (_set("status", "fine"), r"status: unknown value 'fine'"),
        (
            _set("environment", "versions", "torch", 2),
            r"environment\.versions\.torch: expected str",
        ),
        (_set("memory", []), r"memory: expected dict"),
        (lambda document: document.pop("created"), "created: missing"),
        (lambda document: document["problem"].pop("dtype"), r"problem\.dtype: missing"),
    ],
)
def test_reading_names_the_key_at_fault(change: Callable[[Any], None], message: str) -> None:
    document = copy.deepcopy(to_dict(RECORD))
    change(document)
    with pytest.raises(RecordError, match=message):
        from_dict(Record, document)


def test_only_a_mapping_is_a_record() -> None:
    with pytest.raises(RecordError, match="record: expected dict, got 7"):
        from_dict(Record, 7)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_never_written(number: float) -> None:
    assert RECORD.accuracy is not None
    broken = failed(accuracy=replace(RECORD.accuracy, rms_error=number))
    with pytest.raises(RecordError, match=r"accuracy\.rms_error: only finite numbers"):
        to_dict(broken)
