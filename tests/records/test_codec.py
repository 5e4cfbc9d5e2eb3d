import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.errors import RecordError
from radialbench.records.codec import VersionError, from_dict, from_json, to_dict, to_json
from radialbench.records.measurement import Measurement
from radialbench.records.result import SCHEMA, Record
from radialbench.records.store import read, record_of
from tests.records.many import write
from tests.records.sample import RECORD, failed

MARKS = (', "problem": ', ', "status": ', ', "environment": {', ', "created": ', "}", "\\", "null")
WORDS = st.lists(st.sampled_from(MARKS) | st.text(max_size=3), min_size=1, max_size=6)
TEXTS = WORDS.map("".join).filter(bool)


@pytest.mark.parametrize("record", [RECORD, failed(table=None, memory=None)])
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
        model=text,
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
        (
            _set("environment", "cores", "two"),
            "Expected `int`, got `str` - at `$.environment.cores`",
        ),
        (_set("problem", "heads", True), "Expected `int`, got `bool` - at `$.problem.heads`"),
        (_set("problem", "heads", 0), "at least 1, got 0 - at `$.problem`"),
        (
            _set("problem", "haeds", 1),
            "unknown key 'haeds'; did you mean 'heads'? - at `$.problem`",
        ),
        (_set("timing", "samples_ms", 1, "3"), "got `str` - at `$.timing.samples_ms[1]`"),
        (_set("timing", "samples_ms", 1, -3), "1e+12, got -3.0 - at `$.timing`"),
        (_set("timing", "samples_ms", 1, 10**400), "out of range - at `$.timing.samples_ms[1]`"),
        (_set("timing", "samples_ms", 3.0), "Expected `array`, got `float` - at `$.timing"),
        (_set("table", "density", None), "Expected `float`, got `null` - at `$.table.density`"),
        (_set("status", "fine"), "Invalid enum value 'fine' - at `$.status`"),
        (
            _set("environment", "versions", "torch", 2),
            "got `int` - at `$.environment.versions[...]`",
        ),
        (_set("memory", []), "got `array` - at `$.memory`"),
        (lambda document: document.pop("created"), "missing required field `created`"),
        (lambda document: document["problem"].pop("dtype"), "field `dtype` - at `$.problem`"),
    ],
)
def test_reading_names_the_place_at_fault(change: Callable[[Any], None], message: str) -> None:
    document = copy.deepcopy(to_dict(RECORD))
    change(document)
    with pytest.raises(RecordError) as raised:
        from_dict(Record, document)
    assert message in str(raised.value)


@pytest.mark.parametrize("text", [b"7", b"[]", b"nan", b"", b'{"a": 1', b"\xff", b"[" * 100_000])
def test_only_a_mapping_is_a_record(text: bytes) -> None:
    with pytest.raises(
        RecordError, match=r"Expected `object`|missing required|not JSON, or not all of it"
    ):
        from_json(text, Record)


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_within_a_record_misleads(suite: str, reason: str, command: str) -> None:
    here = replace(RECORD.environment, command=command, versions={suite: reason})
    record = failed(suite=suite, reason=reason, environment=here)
    assert record_of(to_json(record).encode()) == record


@given(st.data())
def test_a_line_put_together_anew_is_a_record_or_refused(data: st.DataObject) -> None:
    whole = to_json(RECORD)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=2)))
    cut, end = whole[places[0] : places[1]], whole[places[1] :]
    middle = data.draw(st.sampled_from(["", cut + cut, cut + data.draw(TEXTS), "{" + cut + "}"]))
    try:
        record_of((whole[: places[0]] + middle + end).encode())
    except RecordError as error:
        assert str(error)


def test_keys_in_another_order_are_the_same_record() -> None:
    turned = dict(reversed(to_dict(RECORD).items()))
    assert record_of(json.dumps(turned).encode()) == RECORD


def test_results_may_have_keys_that_are_not_known() -> None:
    document = to_dict(RECORD)
    document["flavour"] = document["problem"]["colour"] = {"new": [1]}
    assert record_of(json.dumps(document).encode()) == RECORD
    with pytest.raises(RecordError, match=r"unknown key '(flavour|colour)'"):
        from_dict(Record, document)


def test_keys_with_a_default_may_be_left_out() -> None:
    document = to_dict(RECORD)
    for key in ("isolated", "ceiling", "telemetry"):
        del document[key]
    for part, keys in (("timing", ("stopped", "rounds")), ("environment", ("host", "card"))):
        for key in keys:
            del document[part][key]
    assert record_of(json.dumps(document).encode()) == RECORD


@pytest.mark.parametrize("change", [{}, {"problem": {"shape": "new"}}])
def test_another_version_is_reported_from_a_broken_line(change: dict[str, Any]) -> None:
    for version, act in ((SCHEMA + 1, "update radialbench"), (0, "measure again")):
        line = json.dumps(to_dict(RECORD) | {"schema": version} | change).encode()
        with pytest.raises(VersionError, match=f"in version {version}; this .* {SCHEMA}: {act}"):
            record_of(line)


def test_the_work_of_reading_grows_as_the_records_do(tmp_path: Path) -> None:
    def calls(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        write(path, count, 10)
        made = 0

        def note(frame: object, event: str, what: object) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(note)
        try:
            found = read(path)
        finally:
            sys.setprofile(None)
        assert len(found.records) == count
        return made

    calls(100)
    assert calls(400) < 2.1 * calls(200)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_never_written(number: float) -> None:
    assert RECORD.accuracy is not None
    broken = failed(accuracy=replace(RECORD.accuracy, rms_error=number))
    with pytest.raises(RecordError, match=r"got (nan|inf) - at `\$\.accuracy\.rms_error`"):
        to_dict(broken)
