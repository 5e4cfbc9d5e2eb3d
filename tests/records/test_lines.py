"""Lines are read quickly, and as closely as one by one."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.store import write
from radialbench.errors import RecordError
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.lines import NewerSchemaError, Reader
from radialbench.records.result import SCHEMA, Record
from radialbench.records.store import read
from tests.records.sample import RECORD, failed

MARKS = (', "problem": ', ', "status": ', ', "environment": {', ', "created": ', "}", "\\", "null")
WORDS = st.lists(st.sampled_from(MARKS) | st.text(max_size=3), min_size=1, max_size=6)
TEXTS = WORDS.map("".join).filter(bool)


def line_of(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_within_a_record_misleads(mask: str, reason: str, command: str) -> None:
    here = replace(RECORD.environment, command=command, versions={mask: reason})
    problem = replace(RECORD.problem, grid=mask)
    record = failed(mask=mask, reason=reason, problem=problem, environment=here)
    assert Reader().record(line_of(to_dict(record))) == record


@given(st.data())
def test_whatever_a_line_says_it_is_read_as_by_its_keys(data: st.DataObject) -> None:
    """Lines that are cut, doubled, or put together anew."""
    whole = line_of(to_dict(RECORD)).decode()
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=2)))
    cut, end = whole[places[0] : places[1]], whole[places[1] :]
    middle = data.draw(st.sampled_from(["", cut + cut, cut + data.draw(TEXTS), "{" + cut + "}"]))
    line = (whole[: places[0]] + middle + end).encode()
    assert outcome(lambda: Reader().record(line)) == outcome(
        lambda: from_dict(Record, json.loads(line))
    )


def outcome(read: Any) -> Record | None:
    try:
        found: Record = read()
    except (RecordError, ValueError):
        return None
    return found


def test_keys_in_another_order_are_the_same_record() -> None:
    turned = dict(reversed(to_dict(RECORD).items()))
    assert Reader().record(line_of(turned)) == RECORD


def test_what_is_equal_is_built_once_and_the_rest_apart() -> None:
    reader = Reader()
    first, second = (reader.record(line_of(to_dict(r))) for r in (RECORD, failed(case="second")))
    assert (first, second) == (RECORD, failed(case="second"))
    assert first.environment is second.environment
    elsewhere = replace(RECORD, environment=replace(RECORD.environment, threads=1))
    assert reader.record(line_of(to_dict(elsewhere))) == elsewhere


def test_older_lines_without_the_newest_keys_are_read() -> None:
    document = to_dict(RECORD)
    for key in ("isolated", "ceiling", "telemetry"):
        del document[key]
    for part, key in (("timing", "stopped"), ("timing", "rounds"), ("environment", "host")):
        del document[part][key]
    assert Reader().record(line_of(document)) == RECORD


def test_a_newer_line_is_told_from_a_broken_one() -> None:
    with pytest.raises(NewerSchemaError, match="update radialbench"):
        Reader().record(line_of(to_dict(RECORD) | {"schema": SCHEMA + 1}))
    with pytest.raises(RecordError, match=r"problem\.heads: expected int, got 'one'"):
        document = to_dict(RECORD)
        document["problem"]["heads"] = "one"
        Reader().record(line_of(document))


@pytest.mark.parametrize("record", [RECORD, failed(case="second"), failed(table=None)])
def test_lines_as_they_are_written_are_read_the_quick_way(record: Record) -> None:
    """Which would not show in what is read, only in how long it takes."""
    assert Reader()._quickly(line_of(to_dict(record)).decode()) == record


@pytest.mark.slow
def test_many_records_are_read_in_moments(tmp_path: Path) -> None:
    """About a second on a busy core of a server; the bound is for much slower ones."""
    path = tmp_path / "results.jsonl"
    write(path, 20_000, 10)
    start = time.perf_counter()
    assert len(read(path).records) == 20_000
    assert time.perf_counter() - start < 6
