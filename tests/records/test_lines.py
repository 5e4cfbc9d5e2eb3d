"""Lines are read quickly, and as closely as one by one."""

import json
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.errors import RecordError
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.lines import NewerSchemaError, record_of
from radialbench.records.result import SCHEMA, Record
from radialbench.records.store import read
from tests.records.many import write
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
    assert record_of(line_of(to_dict(record))) == record


@given(st.data())
def test_whatever_a_line_says_it_is_read_as_by_its_keys(data: st.DataObject) -> None:
    """Lines that are cut, doubled, or put together anew."""
    whole = line_of(to_dict(RECORD)).decode()
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=2)))
    cut, end = whole[places[0] : places[1]], whole[places[1] :]
    middle = data.draw(st.sampled_from(["", cut + cut, cut + data.draw(TEXTS), "{" + cut + "}"]))
    line = (whole[: places[0]] + middle + end).encode()
    assert outcome(lambda: record_of(line)) == outcome(
        lambda: from_dict(Record, known(json.loads(line), Record))
    )


def known(value: Any, kind: Any) -> Any:
    """Leave out the keys that a stored type does not know."""
    (kind,) = [one for one in get_args(kind) or (kind,) if one is not type(None)][:1]
    if not (is_dataclass(kind) and isinstance(value, dict)):
        return value
    hints = get_type_hints(kind)
    return {name: known(entry, hints[name]) for name, entry in value.items() if name in hints}


def outcome(read: Any) -> Record | None:
    try:
        found: Record = read()
    except (RecordError, ValueError):
        return None
    return found


def test_keys_in_another_order_are_the_same_record() -> None:
    turned = dict(reversed(to_dict(RECORD).items()))
    assert record_of(line_of(turned)) == RECORD


def test_unknown_keys_are_passed_over_unless_something_is_missing() -> None:
    document = to_dict(RECORD)
    document["flavour"] = document["problem"]["colour"] = {"new": [1]}
    assert record_of(line_of(document)) == RECORD
    document = to_dict(RECORD)
    document["problem"]["haeds"] = document["problem"].pop("heads")
    with pytest.raises(RecordError, match=r"problem\.heads: missing"):
        record_of(line_of(document))


def test_older_lines_without_the_newest_keys_are_read() -> None:
    document = to_dict(RECORD)
    for key in ("isolated", "ceiling", "telemetry"):
        del document[key]
    for part, keys in (("timing", ("stopped", "rounds")), ("environment", ("host", "card"))):
        for key in keys:
            del document[part][key]
    assert record_of(line_of(document)) == RECORD


def test_a_newer_line_is_told_from_a_broken_one() -> None:
    with pytest.raises(NewerSchemaError, match="update radialbench"):
        record_of(line_of(to_dict(RECORD) | {"schema": SCHEMA + 1}))
    with pytest.raises(RecordError, match=r"problem\.heads: expected int, got 'one'"):
        document = to_dict(RECORD)
        document["problem"]["heads"] = "one"
        record_of(line_of(document))


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
