"""Documents of tuning records come back as they were, and say what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.errors import RecordError
from radialbench.records.codec import VersionError, to_dict
from radialbench.records.tuning_file import (
    DOCUMENT_SCHEMA,
    FORMAT,
    files_of,
    from_document,
    read_records,
    to_document,
    write_tuning,
)
from tests.records.tuned import TUNED, kept, tuned

RECORDS = (TUNED, kept(heads=40), tuned(frames=9, edges=()))


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    text = to_document(RECORDS)
    assert from_document(text.encode()) == RECORDS
    path = tmp_path / "wan.json"
    path.write_text(text, encoding="utf-8")
    assert read_records(path) == RECORDS
    lines = tmp_path / "wan.jsonl"
    write_tuning(lines, RECORDS)
    assert read_records(lines) == RECORDS


@given(st.text(min_size=1), st.text(min_size=1), st.floats(1e-6, 1e6))
def test_whatever_they_say(label: str, device: str, ms: float) -> None:
    record = tuned(label=label, device=device, ms=type(TUNED.ms)(ms))
    assert from_document(to_document([record]).encode()) == (record,)


def test_a_document_says_what_it_is() -> None:
    document = json.loads(to_document(RECORDS))
    assert list(document) == ["format", "schema", "records"]
    assert (document["format"], document["schema"]) == (FORMAT, DOCUMENT_SCHEMA)
    assert [one["source"] for one in document["records"]] == ["tuned", "default", "tuned"]


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(to_document(RECORDS)) | changes)


ENTRY = to_dict(TUNED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (to_document(RECORDS)[:300], "not JSON, or not all of it"),
        (to_document(RECORDS).replace("8.1", "NaN"), "only finite numbers are stored"),
        ("[" * 100_000, "Expected `object`, got `array`"),
        ("\x00", "not JSON, or not all of it"),
        ("[]", "Expected `object`, got `array`"),
        (changed(format="T4"), "not an export of radialbench: its format is 'T4'"),
        (changed(schema=None), "Expected `int`, got `null` - at `$.schema`"),
        (changed(schema=True), "Expected `int`, got `bool` - at `$.schema`"),
        (changed(records={}), "Expected `array`, got `object` - at `$.records`"),
        (changed(records=[ENTRY, 3]), "Expected `object`, got `int` - at `$.records[1]`"),
        (changed(records=[ENTRY | {"x": 1}]), "unknown key 'x'; known: "),
        (
            changed(records=[ENTRY, ENTRY | {"source": "best"}]),
            "TuningRecord.source: unknown value 'best'; known: default, tuned. - at `$.records[1]`",
        ),
        (changed(records=[ENTRY, ENTRY]), "records[1]: of the same problem as records[0]"),
    ],
)
def test_what_is_no_such_document_is_reported(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError) as raised:
        read_records(path)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_what_a_newer_version_wrote_is_reported() -> None:
    for text in (changed(schema=DOCUMENT_SCHEMA + 1), changed(records=[ENTRY | {"schema": 99}])):
        with pytest.raises(VersionError, match="this version reads .: update radialbench"):
            from_document(text.encode())


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.json", "records.journal", "README"):
        (tmp_path / name).touch()
    assert [path.name for path in files_of(tmp_path)] == ["a.json", "b.jsonl"]
    assert files_of(tmp_path / "none.json") == [tmp_path / "none.json"]
    with pytest.raises(RecordError, match=r"cannot read .*none.json: No such file"):
        read_records(tmp_path / "none.json")
