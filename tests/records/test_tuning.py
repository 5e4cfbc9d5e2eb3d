"""Tuning records say what cannot be, and come back from their files as they were."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.errors import RecordError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.codec import to_dict
from radialbench.records.problem import Problem
from radialbench.records.statistics import Estimate
from radialbench.records.store import WriteError
from radialbench.records.tuning import SCHEMA, Outcomes, key_of
from radialbench.records.tuning_file import put, read_tuning, write_tuning
from tests.records.sample import RECORD
from tests.records.tuned import KEY, TUNED, kept, tuned


def test_a_key_holds_all_of_a_problem_that_bears_on_speed() -> None:
    problem = Problem("f00d", TokenGrid(21, 30, 52), 1, 12, 128, "bfloat16", sm_scale=0.5)
    assert key_of(problem, "triton", "Example GPU") == KEY
    grouped = key_of(replace(problem, kv_heads=4), "triton", "Example GPU")
    assert (KEY.key_heads, grouped.key_heads) == (12, 4)
    assert grouped == replace(KEY, kv_heads=4) != KEY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "best"}, "TuningRecord.source: unknown value 'best'"),
        ({"source": "default"}, "config is the default if its source says so"),
        ({"ratio": Estimate(1.25)}, "has an interval above 1, got None to None"),
        ({"ratio": Estimate(1.0, 0.98, 1.02)}, "has an interval above 1, got 0.98 to 1.02"),
        ({"ms": Estimate(0.0)}, "TuningRecord.ms must be from 1e-09 to 1e+12, got 0.0"),
        (
            {"ratio": Estimate(1.0, -1.0, 2.0)},
            "to 1e+12, got 1.0 (-1.0 to 2.0)",
        ),
        ({"created": "yesterday"}, "TuningRecord.created must be an ISO 8601 time with its zone"),
        ({"kernel": ""}, "TuningRecord.kernel must be text"),
        ({"schema": 0}, "TuningRecord.schema must be a whole number of at least 1"),
        ({"kv_heads": 5}, "TuningKey.kv_heads must divide the 12 heads, got 5"),
        ({"heads": 0}, "TuningKey.heads must be a whole number of at least 1"),
        ({"mask": MaskIdentity("m", "d1ff")}, "TuningRecord.mask is not the mask of"),
        ({"dtype": "int8"}, "TuningKey.dtype: unknown value 'int8'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=re.escape(message)):
        tuned(**changes)


def test_trials_add_up() -> None:
    assert Outcomes(1, 2, 3, 4, 5, 6).total == 21
    with pytest.raises(RecordError, match="Outcomes.crashed must be a whole number"):
        Outcomes(crashed=-1)


def test_what_has_moved_is_reported() -> None:
    now = {"triton": "3.7.1"}
    assert TUNED.stale_reasons("abc", now) == []
    assert TUNED.stale_reasons(None, {}) == []
    assert TUNED.stale_reasons("old", now) == ["the kernel's source has changed"]
    assert TUNED.stale_reasons("abc", {"triton": "3.8.0"}) == ["triton was 3.7.1 and is 3.8.0"]
    assert TUNED.stale_reasons("abc", {"cutlass": "4"}) == ["cutlass was not recorded and is 4"]


RECORDS = (TUNED, kept(heads=40), tuned(frames=9, edges=(), trials=Outcomes()))


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "gpu.jsonl"
    write_tuning(path, RECORDS)
    assert read_tuning(path) == RECORDS
    assert len(path.read_text().splitlines()) == 3
    assert [*path.parent.iterdir()] == [path]


def test_a_record_takes_the_place_of_the_one_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "gpu.jsonl"
    for record in (*RECORDS, kept()):
        put(path, record)
    assert read_tuning(path) == (kept(), *RECORDS[1:])


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def line_of(**changes: Any) -> str:
    return json.dumps(to_dict(TUNED) | changes) + "\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (line_of()[:200], "2: not a tuning record: not JSON, or not all of it"),
        (line_of().replace("8.1", "NaN"), "2: not a tuning record: only finite numbers are stored"),
        (line_of().replace("8.1", "1e999"), "Number out of range - at `$.ms.high`"),
        (line_of().replace("8.1", '"8.1"'), "null`, got `str` - at `$.ms.high`"),
        (line_of(schema=SCHEMA + 1), f"2: written in version {SCHEMA + 1}; this version reads"),
        (line_of(versions={"triton": 3}), "Expected `str`, got `int` - at `$.versions[...]`"),
        (line_of(flavour="new"), "unknown key 'flavour'; known: "),
        (line_of(key=None), "Expected `object`, got `null` - at `$.key`"),
        ("[1]\n", "2: not a tuning record: Expected `object`, got `array`"),
        ("\x00\x01\n", "2: not a tuning record: not JSON, or not all of it"),
        (json.dumps(to_dict(RECORD)), "Object missing required field `key`. Mend the line"),
        (line_of(), "2: of the same problem as line 1; remove one"),
    ],
)
def test_bad_lines_are_told_with_their_place(line: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "gpu.jsonl", line_of() + line)
    with pytest.raises(RecordError) as raised:
        read_tuning(path)
    assert str(raised.value).startswith(f"{path}:2: ")
    assert message in str(raised.value)


def test_a_line_without_its_last_newline_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "gpu.jsonl", line_of().rstrip("\n"))
    assert read_tuning(path) == (TUNED,)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read .*none.jsonl: No such file"):
        read_tuning(tmp_path / "none.jsonl")
    with pytest.raises(RecordError, match="cannot read .*: Is a directory"):
        read_tuning(tmp_path)
    with pytest.raises(RecordError, match="cannot write /dev/null/x/y.jsonl: .*choose another"):
        write_tuning(Path("/dev/null/x/y.jsonl"), RECORDS)


def test_what_was_there_is_kept_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gpu.jsonl"
    put(path, TUNED)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(WriteError, match="No space left on device"):
            put(path, kept())
    broken = replace(TUNED)
    object.__setattr__(broken, "ms", replace(TUNED.ms))
    object.__setattr__(broken.ms, "value", math.nan)
    with pytest.raises(RecordError, match=r"only finite .* got nan - at `\$\.ms\.value`"):
        write_tuning(path, [broken])
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
